//! Answers `get_opts`.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use headstart_fetch_core::internal::{LocalFile, RangeOrigin};
use object_store::{Error, GetOptions, GetRange, GetResult, Result, path::Path};

use super::version::{Attempt, AttemptError, FoundVersion, ReadAttempts, VersionFinder};
use super::{Reads, page_stream::PageStream};
use crate::config::Freshness;
use crate::fetches::{Claim, FetchWaiter, PlannedPage, WaitError};
use crate::lookup::{CacheCall, has_preconditions, is_portable, resolve};

impl Reads {
    /// `get_opts`.
    pub(crate) async fn get(&self, path: &Path, mut options: GetOptions) -> Result<GetResult> {
        let plan = self.lookup.plan(&options);
        let origin = options.extensions.get::<RangeOrigin>().copied();
        if !plan.bypass && is_portable(&options) {
            let refusals = &self.fetches.refusals;
            let call = CacheCall::new(path, options.version.clone(), plan, options.extensions.clone());
            let is_known = self.lookup.known(&call).is_some();
            let is_as_asked = origin == Some(RangeOrigin::Asked) || refusals.refuses_ours(is_known);
            // Of an object that is not known, only bounded ranges are widened.
            let widens = is_known || matches!(options.range, Some(GetRange::Bounded(_)));
            let mut attempts = ReadAttempts::new(widens && origin.is_none() && !options.head);
            while !is_as_asked && let Some(found) = attempts.begin_next() {
                if let Some(answer) = attempts.end(self.try_get(&call, &options, found).await) {
                    return answer;
                }
            }
            if is_as_asked || attempts.is_range_refused || attempts.is_head_refused {
                // The inner store has refused a HEAD, or the request that the cache sent in place of the caller's. The
                // answer to the caller's own is recorded, so that the next reads know the present version and its end.
                self.lookup.counters.bypasses.add(1);
                let stamp = self.lookup.stamp(path);
                if !attempts.is_head_refused {
                    options.extensions.insert(RangeOrigin::Asked);
                }
                let answer = self.fetches.inner.get_opts(path, options).await?;
                self.lookup.record(&call, stamp, &answer, LocalFile::is_source_of(&answer));
                if attempts.is_head_refused {
                    refusals.refused_head();
                } else if attempts.is_range_refused {
                    refusals.refused_ours(is_known, answer.meta.size);
                }
                return Ok(answer);
            }
        }
        self.lookup.counters.bypasses.add(1);
        self.fetches.inner.get_opts(path, options).await
    }

    async fn try_get(
        &self,
        call: &Arc<CacheCall>,
        options: &GetOptions,
        found: Option<FoundVersion>,
    ) -> Attempt<GetResult> {
        let finder = VersionFinder { reads: self, call };
        let found = finder.begin(found, finder.open(options)).await?;
        let head = Arc::clone(&found.head);
        // The store has answered for a named version with an answer that does not name it.
        if options.version.is_some() && options.version != head.meta.version {
            return Err(AttemptError::Bypass);
        }
        check_preconditions(&finder, options, &found).await?;
        if options.head {
            return Ok(self.lookup.answer_call(call, &head, 0..head.meta.size, stream::empty().boxed()));
        }
        let range = resolve_range(&finder, options, &found).await?;
        if range.is_empty() {
            // Stores differ in how they answer for the empty part of an object, so the store itself has to answer.
            if !found.is_own() && options.range.is_some() {
                return Err(AttemptError::Bypass);
            }
            if !found.is_own() && !found.is_valid {
                return Err(AttemptError::RetryWith(finder.validate().await?));
            }
            return Ok(self.lookup.answer_call(call, &head, range, stream::iter([Ok(Bytes::new())]).boxed()));
        }
        let pages = self.lookup.pages;
        let window = range.start..range.end.min(pages.window_end(range.start));
        if !call.may_keep(&head) && !found.is_own() && window.end < range.end {
            // Another call's fetch may end before the rest of the range, and the rest might be of another version.
            return Err(AttemptError::Bypass);
        }
        let window = self.fetches.affordable(call, &head, window);
        let needs = pages.needs(std::slice::from_ref(&window));
        if !found.is_valid && !finder.has_any(&head, &needs) {
            // A GET is needed anyway, and its answer shows the version: no HEAD.
            return Err(AttemptError::RetryWith(finder.open(options).await?));
        }
        let ahead = window.end..range.end;
        let claim = Claim { needs, ahead: ahead.clone(), waiters: &found.waiters, ..Claim::default() };
        let planned = self.fetches.claim(call, &head, claim)?;
        if !found.is_valid {
            finder.prove(&head, planned.iter().any(PlannedPage::is_own)).await?;
        }
        await_first_pages(&planned).await?;
        // The same version, perhaps confirmed a moment ago.
        let head = self.lookup.known(call).filter(|known| known.id == head.id).unwrap_or(head);
        Ok(PageStream::answer(self, call, &head, range, planned, ahead))
    }
}

/// Waits for the first page of every fetch in `planned`: until bytes are handed out, the read can be retried.
async fn await_first_pages(planned: &[PlannedPage]) -> Result<(), WaitError> {
    let mut last: Option<&Arc<FetchWaiter>> = None;
    for page in planned {
        if let Some(waiter) = page.waiter()
            && !last.is_some_and(|last| Arc::ptr_eq(last, waiter))
        {
            waiter.take(&page.need).await?;
            last = Some(waiter);
        }
    }
    Ok(())
}

/// Evaluates preconditions, unless the store has. Only a valid version answers a HEAD or a precondition.
async fn check_preconditions(finder: &VersionFinder<'_>, options: &GetOptions, found: &FoundVersion) -> Attempt<()> {
    if !found.is_valid && (options.head || has_preconditions(options)) {
        return Err(AttemptError::RetryWith(finder.validate().await?));
    }
    if found.is_checked {
        return Ok(());
    }
    let Err(error) = options.check_preconditions(&found.head.meta) else { return Ok(()) };
    let is_unconfirmed =
        !found.is_confirmed && finder.call.plan.freshness != Freshness::Immutable && options.version.is_none();
    match error {
        // A caller that asks for another version than the known one may know a newer one.
        Error::Precondition { .. } if is_unconfirmed => Err(AttemptError::RetryWith(finder.open(options).await?)),
        error => Err(AttemptError::Fail(error)),
    }
}

/// The bytes that the call selects of the found version.
async fn resolve_range(finder: &VersionFinder<'_>, options: &GetOptions, found: &FoundVersion) -> Attempt<Range<u64>> {
    let wanted = match &options.range {
        Some(GetRange::Bounded(range)) => range.clone(),
        Some(GetRange::Offset(start)) => *start..start.saturating_add(1),
        None | Some(GetRange::Suffix(_)) => 0..0,
    };
    finder.confirm_end(found, &[wanted]).await?;
    match resolve(options.range.as_ref(), found.head.meta.size) {
        Ok(range) => Ok(range),
        Err(_) if !found.is_valid => Err(AttemptError::RetryWith(finder.validate().await?)),
        Err(error) => Err(AttemptError::Fail(error)),
    }
}
