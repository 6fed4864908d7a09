//! The task of a fetch: sends one request, checks the version of the answer, cuts the body into pages and stores them.

use std::{fmt::Debug, ops::Range, sync::Arc};

use headstart_fetch_core::internal::{LocalFile, RangeOrigin, Reserved, byte_range, check_range};
use headstart_fetch_core::{ObjectChanged, ObjectVersion};
use object_store::{Error, Extensions, GetOptions, GetResult, Result};
use tokio::time::Instant;

use super::fetch::{FetchGuard, FetchOutcome};
use super::{Fetches, arrived_pages::Charge, fill_body::FillBody};
use crate::lookup::{CacheCall, ObjectHead, RequestStamp};
use crate::policy::{OpeningRequest, WINDOW_BYTES};
use crate::trace_events;

/// The task of one fetch.
pub(super) struct FetchTask {
    pub(super) guard: FetchGuard,
    pub(super) fetches: Arc<Fetches>,
    /// The call that began the fetch.
    pub(super) call: Arc<CacheCall>,
    /// Sent with the request.
    pub(super) extensions: Extensions,
    pub(super) stamp: RequestStamp,
    /// Memory for its pages has been requested from the budget.
    pub(super) is_charged: bool,
}

impl FetchTask {
    /// Requests memory for a request of at most `max_bytes` from the budget, if the fetch may hold them all.
    pub(super) fn charge_request(&mut self, max_bytes: Option<u64>) {
        let Some(bytes) = max_bytes.filter(|bytes| *bytes <= WINDOW_BYTES) else { return };
        let charge = self.fetches.charge(&self.extensions, bytes);
        if matches!(charge, Charge::Reserved(_)) {
            // A byte is charged once: layers below do not reserve again.
            self.extensions.insert(Reserved);
        }
        self.guard.fetch.charge(charge);
        self.is_charged = true;
    }

    /// Requests memory for the part of a body of `bytes` that waits here. The layer below charges its own read-ahead.
    fn charge_body(&self, bytes: u64) {
        self.guard.fetch.charge(self.fetches.charge(&self.extensions, bytes.min(WINDOW_BYTES)));
    }

    /// Opens an object whose version is not known.
    pub(super) async fn open(&self, request: &OpeningRequest, mut options: GetOptions) -> Result<FetchOutcome> {
        let (fetches, lookup) = (&*self.fetches, &*self.fetches.lookup);
        options.extensions = self.extensions.clone();
        if *request == OpeningRequest::Head {
            lookup.counters.validations.add(1);
        } else {
            lookup.counters.fills.add(1);
            trace_events::fill_started(&self.call.path, request);
        }
        let begun = Instant::now();
        let result = fetches.inner.get_opts(&self.call.path, options).await.inspect_err(|error| {
            if matches!(error, Error::NotFound { .. }) {
                lookup.versions.remove(&self.call.path, self.call.version.as_deref());
            }
        })?;
        lookup.link_took(begun);
        // To cache local files gains nothing; where ranges are ignored it does harm, as the cache requests wider ones.
        let has_range = *request == OpeningRequest::Head || result.range == request.range_in(result.meta.size);
        let uncacheable = LocalFile::is_source_of(&result) || !has_range;
        let head = lookup.record(&self.call, self.stamp, &result, uncacheable);
        if *request == OpeningRequest::Head {
            trace_events::version_validated(&self.call.path, head.meta.size);
            fetches.refusals.granted_head();
            self.guard.answered(&head, 0..0, 0..0);
            return Ok(FetchOutcome::Finished);
        }
        if head.uncacheable {
            // The next attempt bypasses the cache.
            return Ok(FetchOutcome::Lost);
        }
        if matches!(request, OpeningRequest::Bounded(_)) {
            fetches.refusals.granted_range();
        }
        self.read(&head, result).await
    }

    /// Fetches `range`, whole pages of the version `head`.
    pub(super) async fn fill(&self, head: &Arc<ObjectHead>, range: &Range<u64>) -> Result<FetchOutcome> {
        trace_events::fill_started(&self.call.path, range);
        match self.answer(head, range).await? {
            Some(result) => self.read(head, result).await,
            None => Ok(FetchOutcome::Lost),
        }
    }

    /// The answer to a request for `range` of the version `head`; `None` where it cannot be used.
    pub(super) async fn answer(&self, head: &Arc<ObjectHead>, range: &Range<u64>) -> Result<Option<GetResult>> {
        let lookup = &*self.fetches.lookup;
        let begun = Instant::now();
        let result = self.request(head, range).await.inspect_err(|error| {
            if ObjectChanged::find(error).is_some() {
                lookup.counters.object_changes.add(1);
                lookup.versions.forget(&self.call.path, self.call.version.as_deref(), head.id);
            }
        })?;
        if LocalFile::is_source_of(&result) {
            lookup.versions.forget(&self.call.path, self.call.version.as_deref(), head.id);
            return Ok(None);
        }
        check_range(range, &result.range)?;
        lookup.link_took(begun);
        self.fetches.refusals.granted_range();
        Ok(Some(result))
    }

    /// Requests `range` of the version `head`, and checks that the answer is of that version.
    async fn request(&self, head: &ObjectHead, range: &Range<u64>) -> Result<GetResult> {
        let fetches = &*self.fetches;
        // Some servers refuse a range that covers the whole object.
        let is_whole = *range == (0..head.meta.size) && fetches.refusals.refuses_ends();
        let mut options = GetOptions::new().with_range((!is_whole).then(|| range.clone()));
        options.version.clone_from(&self.call.version);
        options.extensions = self.extensions.clone();
        if is_whole {
            options.extensions.insert(RangeOrigin::Asked);
        }
        if !fetches.rules.verify_fills {
            options = GetOptions::new().with_range(Some(range.clone()));
            return fetches.inner.get_opts(&self.call.path, options).await;
        }
        let is_pinned = head.version.pin(fetches.pin, &mut options);
        let named = options.version.clone();
        fetches.lookup.counters.fills.add(1);
        let result = match fetches.refusals.get_opts(&*fetches.inner, &self.call.path, options).await {
            Ok(result) => result,
            Err(error) => {
                let range = Some(range.clone().into());
                let asked =
                    GetOptions { range, version: named, extensions: self.extensions.clone(), ..GetOptions::new() };
                let (store, path) = (&*fetches.inner, &self.call.path);
                return Err(ObjectChanged::explain_or_ask(error, is_pinned, store, path, &head.version, asked).await);
            }
        };
        if !head.version.has_validator() && self.call.may_keep(head) && result.meta.size == head.meta.size {
            // Without a validator, only objects that never change are fetched in parts.
            return Ok(result);
        }
        let found = if named.is_some() {
            // A version that was requested by name need not be the present one.
            ObjectVersion::of(&result.meta)
        } else {
            fetches.lookup.record(&self.call, self.stamp, &result, false).version.clone()
        };
        if head.version.is_same(&found) {
            return Ok(result);
        }
        Err(ObjectChanged::new(&self.call.path, &head.version, Some(&found)).into())
    }

    /// Reads the body of an answer: cuts it into pages, stores and hands on each.
    async fn read(&self, head: &Arc<ObjectHead>, result: GetResult) -> Result<FetchOutcome> {
        let pages = self.fetches.lookup.pages;
        let body = FillBody::new(result);
        if !self.is_charged {
            self.charge_body(body.end - body.at);
        }
        let joinable = match self.call.may_keep(head) {
            true => pages.whole_in(&(body.at..body.end), head.meta.size),
            false => 0..0,
        };
        self.guard.answered(head, body.at..body.end, joinable);
        self.read_body(head, body).await
    }

    /// Reads a body, all of the fetch or a part of it.
    pub(super) async fn read_body(&self, head: &Arc<ObjectHead>, mut body: FillBody) -> Result<FetchOutcome> {
        let lookup = &*self.fetches.lookup;
        let pages = lookup.pages;
        let keep = self.call.may_keep(head);
        let (first, end) = (pages.of(body.at), body.end);
        let joinable_from = |at: u64| if keep { pages.whole_in(&(at..end), head.meta.size) } else { 0..0 };
        while body.at < end {
            let page = pages.of(body.at);
            if pages.is_registered_anew(page - first) {
                self.guard.register_next(head.id, joinable_from(body.at));
                if self.guard.is_lockstep() {
                    self.charge_body(end - body.at);
                }
            }
            let range = body.at..pages.start(page + 1).min(end);
            let length = byte_range::in_memory(byte_range::len(&range));
            self.guard.room(page, length).await;
            let bytes = body.take(length, &lookup.counters, &self.call.origin).await?;
            let is_whole = keep && !pages.whole_in(&range, head.meta.size).is_empty();
            self.guard.arrived(page, lookup.memory.counted(bytes), |bytes, arrival| {
                if is_whole {
                    lookup.keep_fetched(&self.call.path, head, page, bytes, arrival);
                }
            });
        }
        Ok(FetchOutcome::Finished)
    }

    /// Ends a fetch that has requested `range`.
    pub(super) fn finish_fill(self, range: &impl Debug, outcome: Result<FetchOutcome>) {
        let path = &self.call.path;
        match &outcome {
            Ok(FetchOutcome::Finished) => {
                trace_events::fill_finished(path, range, self.guard.fetch.span.get().map_or(0, byte_range::len));
            }
            Ok(_) => trace_events::fill_unusable(path, range),
            Err(error) => trace_events::fill_failed(path, range, error),
        }
        self.guard.finish(outcome);
    }
}
