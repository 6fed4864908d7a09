//! Finds the version that a call reads: the known one, whether it still holds, and what has to be requested.

use std::{ops::Range, sync::Arc};

use futures::future;
use headstart_fetch_core::internal::{is_invalid_range, is_transient, may_be_the_range};
use headstart_fetch_core::{ObjectChanged, internal::mutation::Mutation};
use object_store::{GetOptions, GetRange};

use super::Reads;
use crate::fetches::{FetchWaiter, Sharing, WaitError};
use crate::lookup::{CacheCall, ObjectHead, has_preconditions};
use crate::policy::{FirstStep, OpeningRequest, PageNeed};

/// Attempts at a read whose object changed, fetch was lost or request was overtaken, before the inner store gets it.
const MAX_ATTEMPTS: usize = 4;

/// How many requests of one `get_ranges` are in flight at once: enough to hide the round trips of small ranges on most
/// links. `object_store`'s own `get_ranges` sends ten.
pub(super) const MAX_REQUESTS_PER_CALL: usize = 32;

/// The version that a call reads.
pub(super) struct FoundVersion {
    pub(super) head: Arc<ObjectHead>,
    /// It was the present version during this call, or is trusted to be.
    pub(super) is_valid: bool,
    /// The answer to a request of this very call showed it.
    pub(super) is_confirmed: bool,
    /// The store has evaluated the caller's preconditions.
    pub(super) is_checked: bool,
    /// The fetches that the call waits for already.
    pub(super) waiters: Vec<Arc<FetchWaiter>>,
}

/// What the store said of an object that may be on disk. Where it has not answered, the caller's own request is sent.
enum DiskQuestion {
    Answered(FoundVersion),
    NotAsked,
    /// The store refuses HEAD requests.
    Refused,
}

/// What an attempt to read gave.
pub(super) type Attempt<T> = Result<T, AttemptError>;

/// Why an attempt to read gave no answer.
pub(super) enum AttemptError {
    /// The call is handed to the inner store.
    Bypass,
    /// The call is handed to the inner store, because that refuses HEAD requests.
    HeadRefused,
    /// What was known holds no more: retry.
    Retry,
    /// Retry with this version.
    RetryWith(FoundVersion),
    /// The answer is an error.
    Fail(object_store::Error),
}

impl From<object_store::Error> for AttemptError {
    fn from(error: object_store::Error) -> Self {
        if ObjectChanged::find(&error).is_some() { Self::Retry } else { Self::Fail(error) }
    }
}

impl From<WaitError> for AttemptError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Failed(error) => error.into(),
            WaitError::Lost => Self::Retry,
        }
    }
}

impl FoundVersion {
    /// Whether a request of the call itself brings the bytes that it asks for.
    pub(super) fn is_own(&self) -> bool {
        self.waiters.iter().any(|waiter| waiter.is_own)
    }

    fn known(head: Arc<ObjectHead>, is_valid: bool) -> Self {
        Self { head, is_valid, is_confirmed: false, is_checked: false, waiters: Vec::new() }
    }
}

/// The attempts of one call, each with the version that the one before has found.
#[derive(Default)]
pub(super) struct ReadAttempts {
    left: usize,
    /// The call is handed to the inner store, and not because all attempts failed.
    pub(super) is_bypassed: bool,
    /// The inner store refuses HEAD requests.
    pub(super) is_head_refused: bool,
    /// The inner store refuses the range that the cache requested in place of the caller's.
    pub(super) is_range_refused: bool,
    widens_range: bool,
    found: Option<FoundVersion>,
}

impl ReadAttempts {
    /// `widens_range`: the requests may have other ranges than the caller's.
    pub(super) fn new(widens_range: bool) -> Self {
        Self { left: MAX_ATTEMPTS, widens_range, ..Self::default() }
    }

    /// Begins the next attempt, with the version found so far; `None` where the call is handed to the inner store.
    pub(super) fn begin_next(&mut self) -> Option<Option<FoundVersion>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.found.take())
    }

    /// The answer of the call after an attempt with this outcome; `None` where it needs another attempt.
    pub(super) fn end<T>(&mut self, outcome: Attempt<T>) -> Option<object_store::Result<T>> {
        match outcome {
            Ok(answer) => return Some(Ok(answer)),
            Err(AttemptError::Fail(error))
                if self.widens_range && may_be_the_range(&error) && !is_invalid_range(&error) =>
            {
                (self.left, self.is_range_refused) = (0, true);
            }
            Err(AttemptError::Fail(error)) => return Some(Err(error)),
            Err(AttemptError::RetryWith(found)) => self.found = Some(found),
            Err(AttemptError::Retry) => {}
            Err(AttemptError::Bypass) => (self.left, self.is_bypassed) = (0, true),
            Err(AttemptError::HeadRefused) => (self.left, self.is_bypassed, self.is_head_refused) = (0, true, true),
        }
        None
    }
}

/// Finds the version that one call reads.
pub(super) struct VersionFinder<'a> {
    pub(super) reads: &'a Reads,
    pub(super) call: &'a Arc<CacheCall>,
}

impl VersionFinder<'_> {
    /// Begins an attempt: the version that the last one has `found`, else the known one, else that of `open`'s answer.
    pub(super) async fn begin(
        &self,
        found: Option<FoundVersion>,
        open: impl Future<Output = Attempt<FoundVersion>>,
    ) -> Attempt<FoundVersion> {
        let found = match found {
            Some(found) => found,
            None => match self.reads.lookup.first_step(self.call) {
                Ok((head, is_valid)) => FoundVersion::known(head, is_valid),
                Err(FirstStep::Open) => match self.ask_for_disk().await? {
                    DiskQuestion::Answered(found) => found,
                    DiskQuestion::NotAsked => open.await?,
                    DiskQuestion::Refused => {
                        let found = open.await?;
                        self.reads.fetches.refusals.refused_head();
                        found
                    }
                },
                Err(_) => return Err(AttemptError::Bypass),
            },
        };
        // Where answers cannot be told to be of one version, the fetches that the call waits for must bring all.
        let keeps = self.call.may_keep(&found.head);
        if !keeps && (found.waiters.is_empty() || found.waiters.iter().any(|waiter| waiter.may_miss_pages())) {
            return Err(AttemptError::Bypass);
        }
        Ok(found)
    }

    /// The present version of an object that is not known while pages of it may be on disk: a HEAD tells whether they
    /// are of this version, and nothing is fetched that is there.
    async fn ask_for_disk(&self) -> Attempt<DiskQuestion> {
        let (lookup, plan) = (&self.reads.lookup, &self.call.plan);
        let is_useful = !plan.opens && plan.reads_cache && lookup.may_be_on_disk(&self.call.path);
        if !is_useful || self.reads.fetches.refusals.refuses_heads() {
            return Ok(DiskQuestion::NotAsked);
        }
        match self.validate().await {
            Ok(found) => Ok(DiskQuestion::Answered(found)),
            Err(AttemptError::HeadRefused) => Ok(DiskQuestion::Refused),
            // The caller's own request gets the store's own answer.
            Err(AttemptError::Fail(_)) => Ok(DiskQuestion::NotAsked),
            Err(other) => Err(other),
        }
    }

    /// Sends the caller's request for an object that is not known. The answer shows its version.
    pub(super) async fn open(&self, options: &GetOptions) -> Attempt<FoundVersion> {
        let request = match &options.range {
            _ if options.head => OpeningRequest::Head,
            None => OpeningRequest::Whole,
            Some(GetRange::Bounded(range)) => OpeningRequest::Bounded(self.reads.lookup.pages.align(range)),
            Some(GetRange::Offset(start)) => OpeningRequest::From(*start),
            Some(GetRange::Suffix(n)) => OpeningRequest::Last(*n),
        };
        let mut sent = options.clone();
        if let OpeningRequest::Bounded(range) = &request {
            sent.range = Some(range.clone().into());
        }
        let is_checked = has_preconditions(options);
        let sharing = if is_checked { Sharing::None } else { Sharing::Full };
        let opened = self.reads.fetches.open(self.call, request, sent, sharing)?;
        let waiter = opened.ok_or(AttemptError::Retry)?;
        let head = waiter.answer().await?;
        let is_confirmed = waiter.is_own;
        Ok(FoundVersion { head, is_valid: true, is_confirmed, is_checked, waiters: vec![waiter] })
    }

    /// Requests `ranges` of an object that is not known, all at once, and compares the versions of the answers. Of
    /// each of the first [`MAX_REQUESTS_PER_CALL`] stretches it requests the first window: the object may end there.
    pub(super) async fn open_ranges(&self, ranges: &[Range<u64>]) -> Attempt<FoundVersion> {
        let pages = self.reads.lookup.pages;
        let all = Mutation::SizesByTheRange.is_active();
        let windows = pages.stretches(ranges, self.reads.lookup.bridge_bytes()).into_iter().flat_map(|stretch| {
            let windows = pages.windows(stretch);
            windows.take(if all { usize::MAX } else { 1 })
        });
        let mut waiters = Vec::new();
        for window in windows.take(if all { usize::MAX } else { MAX_REQUESTS_PER_CALL }) {
            let options = GetOptions::new().with_range(Some(window.clone()));
            match self.reads.fetches.open(self.call, OpeningRequest::Bounded(window), options, Sharing::Full)? {
                Some(waiter) => waiters.push(waiter),
                None if waiters.is_empty() => return Err(AttemptError::Retry),
                // One of these requests is answered already: the other stretches are fetched as of its version.
                None => break,
            }
        }
        let mut heads = future::try_join_all(waiters.iter().map(|waiter| waiter.answer())).await?;
        let head = heads.pop().ok_or(AttemptError::Bypass)?;
        if heads.iter().any(|other| other.id != head.id) {
            return Err(AttemptError::Retry);
        }
        let is_confirmed = waiters.iter().all(|waiter| waiter.is_own);
        Ok(FoundVersion { is_confirmed, waiters, ..FoundVersion::known(head, true) })
    }

    /// Asks the store for the present version by a HEAD, shared with other calls.
    pub(super) async fn validate(&self) -> Attempt<FoundVersion> {
        self.validate_by(Sharing::Full).await
    }

    /// Asks the store once where one of `ranges` exceeds the known end of an object that may have grown.
    pub(super) async fn confirm_end(&self, found: &FoundVersion, ranges: &[Range<u64>]) -> Attempt<()> {
        // A version that is not valid yet is validated anyway, and a named version never grows.
        let is_settled = found.is_confirmed || !found.is_valid || self.call.version.is_some();
        if is_settled
            || !ranges.iter().any(|range| self.reads.lookup.may_have_grown(&self.call.plan, &found.head, range))
        {
            return Ok(());
        }
        Err(AttemptError::RetryWith(self.validate_by(Sharing::NewRequest).await?))
    }

    async fn validate_by(&self, sharing: Sharing) -> Attempt<FoundVersion> {
        let opens = self.call.plan.opens;
        if !opens && self.reads.fetches.refusals.refuses_heads() {
            return Err(AttemptError::HeadRefused);
        }
        let options = GetOptions { version: self.call.version.clone(), ..GetOptions::new().with_head(true) };
        let opened = self.reads.fetches.open(self.call, OpeningRequest::Head, options, sharing)?;
        let waiter = opened.ok_or(AttemptError::Retry)?;
        match waiter.answer().await.map_err(AttemptError::from) {
            Ok(head) => Ok(FoundVersion { is_confirmed: waiter.is_own, ..FoundVersion::known(head, true) }),
            // Some servers refuse HEAD requests, with 403, 404 or 405.
            Err(AttemptError::Fail(error)) if !opens && !is_transient(&error) => Err(AttemptError::HeadRefused),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that `head` is the present version, before bytes from memory are handed out as its.
    ///
    /// The answer to a fill of the call's own proves it (`has_own_fill`), else a HEAD does.
    pub(super) async fn prove(&self, head: &Arc<ObjectHead>, has_own_fill: bool) -> Attempt<()> {
        if has_own_fill && (self.call.version.is_some() || self.reads.fetches.fill_proves_present(head)) {
            // The call waits for each of its own fills, and a fill fails where the version is another.
            return Ok(());
        }
        let found = self.validate().await?;
        if found.head.id == head.id { Ok(()) } else { Err(AttemptError::RetryWith(found)) }
    }

    /// Whether any page of `needs` is in memory or on disk.
    pub(super) fn has_any(&self, head: &ObjectHead, needs: &[PageNeed]) -> bool {
        needs.iter().any(|need| self.reads.lookup.has_page(self.call, head, need.page))
    }
}
