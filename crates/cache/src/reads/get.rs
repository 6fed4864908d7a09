//! How a read is answered: from which version, from which pages, and what has to begin anew.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future;
use futures::stream::{self, StreamExt};
use headstart_fetch_core::{
    CacheHint, FetchError, LocalFile, RangeOrigin, is_invalid_range, is_lasting_version, may_be_the_range,
};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, GetResult, Result};

use crate::config::Freshness;
use crate::engine::{Engine, PageSource, PlannedPage, result};
use crate::fetches::fetch::WaitError;
use crate::fetches::waiter::FetchWaiter;
use crate::lookup::call::ReadCall;
use crate::policy::freshness::{CachePlan, FirstStep};
use crate::reads::page_body::PageBody;
use crate::reads::version::{AttemptError, FoundVersion, ReadAttempts, has_preconditions};

impl Engine {
    /// `get_opts`.
    pub(crate) async fn get(self: &Arc<Self>, path: &Path, options: GetOptions) -> Result<GetResult> {
        let plan = self.plan(&options);
        let origin = options.extensions.get::<RangeOrigin>().copied();
        if !plan.bypass && is_plain(&options) {
            let call = ReadCall::new(path, options.version.clone(), plan, options.extensions.clone());
            let head = self.known(&call);
            let is_as_asked = origin == Some(RangeOrigin::Asked) || self.refusals.refuses_ours(head.is_some());
            let mut is_refused = false;
            // Of an object that is not known, only bounded ranges are asked for otherwise than the caller did.
            let adds = origin.is_none() && (head.is_some() || matches!(options.range, Some(GetRange::Bounded(_))));
            let mut tries = ReadAttempts::new();
            while !is_as_asked
                && !is_refused
                && let Some(found) = tries.next()
            {
                match tries.answered(self.try_get(&call, &options, found).await) {
                    Some(Err(error)) if adds && is_range_refused(&options, &error) => is_refused = true,
                    Some(answer) => return answer,
                    None => {}
                }
            }
            if is_as_asked || is_refused || tries.head_refused {
                let answer = self.ask_as_asked(&call, options, tries.head_refused).await?;
                if tries.head_refused {
                    self.refusals.refused_head();
                } else if is_refused {
                    self.refusals.refused_ours(head.is_some(), answer.meta.size);
                }
                return Ok(answer);
            }
        }
        self.counters.bypasses.add(1);
        self.inner.get_opts(path, options).await
    }

    /// What the caller asked for, from the inner store: that has refused what we ask for in its place, or a HEAD. The answer tells
    /// what the object is like, so that the next reads know where it ends and which version is the present one.
    async fn ask_as_asked(&self, call: &ReadCall, mut options: GetOptions, head_refused: bool) -> Result<GetResult> {
        self.counters.bypasses.add(1);
        let asking = self.table.asking(&call.path, self.now());
        if !head_refused {
            options.extensions.insert(RangeOrigin::Asked);
        }
        let result = self.inner.get_opts(&call.path, options).await?;
        let opaque = LocalFile::is_source_of(&result);
        let (confirmed, meta) = (self.confirmed(asking, &result.extensions), result.meta.clone());
        self.table.learn(&call.path, call.version.as_deref(), confirmed, meta, result.attributes.clone(), opaque);
        Ok(result)
    }

    /// How a call with these options uses the cache.
    #[inline]
    pub(crate) fn plan(&self, options: &GetOptions) -> CachePlan {
        let hint = options.extensions.get::<CacheHint>().copied();
        CachePlan::new(self.config.enabled, self.config.freshness, hint, options.head)
    }

    async fn try_get(
        self: &Arc<Self>,
        call: &Arc<ReadCall>,
        options: &GetOptions,
        found: Option<FoundVersion>,
    ) -> Result<GetResult, AttemptError> {
        let plan = call.plan;
        let found = match found {
            Some(found) => found,
            None => match self.look_up(call) {
                Ok(found) => found,
                Err(FirstStep::Open) => self.open(call, options).await?,
                Err(_) => return Err(AttemptError::Bypass),
            },
        };
        let head = Arc::clone(&found.head);
        // The store answers for a version that the answer does not name.
        if options.version.is_some() && options.version != head.meta.version {
            return Err(AttemptError::Bypass);
        }
        if self.is_out_of_reach(call, &found) {
            return Err(AttemptError::Bypass);
        }
        if !found.valid && (options.head || has_preconditions(options)) {
            return Err(AttemptError::RetryWith(self.validate(call).await?));
        }
        if !found.checked
            && let Err(error) = options.check_preconditions(&head.meta)
        {
            let is_unconfirmed = !found.asked && plan.freshness != Freshness::Immutable && options.version.is_none();
            return match error {
                // Whoever asks for another version than we know may know better.
                object_store::Error::Precondition { .. } if is_unconfirmed => {
                    Err(AttemptError::RetryWith(self.open(call, options).await?))
                }
                error => Err(AttemptError::Fail(error)),
            };
        }
        if options.head {
            return Ok(result(
                self.upwards(&head, &plan, call.origin.clone()),
                &head,
                0..head.meta.size,
                stream::empty().boxed(),
            ));
        }
        let wanted = match &options.range {
            Some(GetRange::Bounded(range)) => range.clone(),
            Some(GetRange::Offset(start)) => *start..start.saturating_add(1),
            None | Some(GetRange::Suffix(_)) => 0..0,
        };
        self.confirm_end(call, &found, std::iter::once(&wanted)).await?;
        let range = match resolve(options.range.as_ref(), head.meta.size) {
            Ok(range) => range,
            Err(_) if !found.valid => return Err(AttemptError::RetryWith(self.validate(call).await?)),
            Err(error) => return Err(AttemptError::Fail(error)),
        };
        if range.is_empty() {
            // Stores do not agree on what the empty part of an object is: only an answer of this one to this question will do.
            return match found.rest {
                None if options.range.is_some() => Err(AttemptError::Bypass),
                None if !found.valid => Err(AttemptError::RetryWith(self.validate(call).await?)),
                _ => Ok(result(
                    self.upwards(&head, &plan, call.origin.clone()),
                    &head,
                    range,
                    stream::once(future::ready(Ok(Bytes::new()))).boxed(),
                )),
            };
        }

        let window = range.start..range.end.min(self.pages.window_end(range.start));
        if !plan.may_keep(head.has_validator()) && found.rest.is_none() && window.end < range.end {
            // What the fetch of another brings is not all, and nothing tells whether the rest is of the same version.
            return Err(AttemptError::Bypass);
        }
        let window = if found.rest.is_some() { window } else { self.affordable(call, &head, window) };
        let needs = self.pages.needs(std::slice::from_ref(&window));
        if !found.valid && !self.has_any(&head, &needs) {
            // Nothing to validate for: the GET that is needed anyway tells the version.
            return Err(AttemptError::RetryWith(self.open(call, options).await?));
        }
        let takes = self.claim(call, &head, needs, &found.waiters)?;
        if !found.valid {
            self.prove(call, &head, takes.iter().any(PlannedPage::is_mine)).await?;
        }
        self.first_of_each(&takes).await?;
        // The same version, perhaps shown to be the present one a moment ago.
        let head = self.known(call).filter(|shown| shown.id == head.id).unwrap_or(head);
        let body = PageBody::new(self, call, head, takes, window.end..range.end, found.rest);
        Ok(body.into_result(range))
    }

    /// Waits until every fetch among `takes` has brought its first page: what can still begin anew without anybody
    /// having seen bytes does so now.
    async fn first_of_each(&self, takes: &[PlannedPage]) -> Result<(), WaitError> {
        let mut last: Option<&Arc<FetchWaiter>> = None;
        for take in takes {
            if let PageSource::InFlight(interest) = &take.from
                && !last.is_some_and(|last| Arc::ptr_eq(last, &interest.waiter))
            {
                interest.waiter.take(self.pages, &take.need).await?;
                last = Some(&interest.waiter);
            }
        }
        Ok(())
    }
}

/// Whether `error` may be a refusal of the range that was asked for in place of the caller's.
pub(crate) fn is_range_refused(options: &GetOptions, error: &Error) -> bool {
    !options.head && may_be_the_range(error) && !is_invalid_range(error)
}

/// Whether the call means the same on every store. An empty or reversed range, and a part of a HEAD, do not.
fn is_plain(options: &GetOptions) -> bool {
    if options.version.as_deref().is_some_and(|version| !is_lasting_version(version)) {
        return false;
    }
    match &options.range {
        None => true,
        Some(_) if options.head => false,
        Some(GetRange::Bounded(range)) => range.start < range.end,
        Some(GetRange::Suffix(n)) => *n > 0,
        Some(GetRange::Offset(_)) => true,
    }
}

/// The bytes that `range` means in an object of `size`.
pub(crate) fn resolve(range: Option<&GetRange>, size: u64) -> Result<Range<u64>> {
    let Some(range) = range else { return Ok(0..size) };
    let start = match range {
        GetRange::Bounded(range) => range.start,
        GetRange::Offset(start) => *start,
        GetRange::Suffix(_) => 0,
    };
    range.as_range(size).map_err(|_| FetchError::PastEnd { start, size }.into())
}
