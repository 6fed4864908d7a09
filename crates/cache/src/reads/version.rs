//! Finding the version that a call reads: what is known, whether it still holds, and what has to be asked.

use std::ops::Range;
use std::sync::Arc;

use futures::future;
use headstart_fetch_core::mutation::Fault;
use headstart_fetch_core::{ObjectChanged, is_transient};
use object_store::{GetOptions, GetRange, Result};

use crate::engine::Engine;
use crate::fetches::fetch::WaitError;
use crate::fetches::fill::{RemainingBody, proves_present};
use crate::fetches::registry::Sharing;
use crate::fetches::waiter::FetchWaiter;
use crate::lookup::call::ReadCall;
use crate::lookup::version_table::ObjectHead;
use crate::policy::freshness::{self, FirstStep, OpenRequest};
use crate::policy::page::PageNeed;

/// How often a read begins anew when the object changed under it, a fetch was lost, or a question was answered first,
/// before the inner store answers alone.
const TRIES: usize = 4;

/// How many requests of one `get_ranges` are in fetch at once: enough to hide the round trip of small ranges from most links.
/// `object_store`'s own `get_ranges` sends ten.
pub(crate) const MAX_REQUESTS_PER_CALL: usize = 32;

/// The version that a call reads.
pub(crate) struct FoundVersion {
    pub(crate) head: Arc<ObjectHead>,
    /// It was the present version during this call, or is trusted to be.
    pub(crate) valid: bool,
    /// The store was asked by this very call.
    pub(crate) asked: bool,
    /// The store has evaluated the caller's preconditions itself.
    pub(crate) checked: bool,
    /// InFlight that the call waits in already.
    pub(crate) waiters: Vec<Arc<FetchWaiter>>,
    pub(crate) rest: Option<RemainingBody>,
}

/// Why a try did not answer.
pub(crate) enum AttemptError {
    /// The inner store has to answer alone.
    Bypass,
    /// It has to, because it answers no HEAD.
    HeadRefused,
    /// What was known holds no more: begin anew.
    Retry,
    /// Begin anew with this.
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
    pub(crate) fn trusted(head: Arc<ObjectHead>, valid: bool) -> Self {
        Self { head, valid, asked: false, checked: false, waiters: Vec::new(), rest: None }
    }
}

/// The tries of one call, each with what the one before has found.
pub(crate) struct ReadAttempts {
    left: usize,
    /// The inner store has to answer alone, and not because tries ran out.
    pub(crate) bypassed: bool,
    /// Because it answers no HEAD.
    pub(crate) head_refused: bool,
    found: Option<FoundVersion>,
}

impl ReadAttempts {
    pub(crate) fn new() -> Self {
        Self { left: TRIES, bypassed: false, head_refused: false, found: None }
    }

    /// The next try, which begins with what was found; `None` where the inner store has to answer alone.
    pub(crate) fn next(&mut self) -> Option<Option<FoundVersion>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.found.take())
    }

    /// What the call says after a try ended so; `None` where it has to try again.
    pub(crate) fn answered<T>(&mut self, outcome: Result<T, AttemptError>) -> Option<Result<T>> {
        match outcome {
            Ok(answer) => return Some(Ok(answer)),
            Err(AttemptError::Fail(error)) => return Some(Err(error)),
            Err(AttemptError::RetryWith(found)) => self.found = Some(found),
            Err(AttemptError::Retry) => {}
            Err(AttemptError::Bypass) => (self.left, self.bypassed) = (0, true),
            Err(AttemptError::HeadRefused) => (self.left, self.bypassed, self.head_refused) = (0, true, true),
        }
        None
    }
}

impl Engine {
    /// The head of the version that a call reads, as far as it is known.
    pub(crate) fn known(&self, call: &ReadCall) -> Option<Arc<ObjectHead>> {
        self.table.find(&call.path, call.version.as_deref())
    }

    /// What is known of the object, or the first step where that is no answer.
    pub(crate) fn look_up(&self, call: &ReadCall) -> Result<FoundVersion, FirstStep> {
        let head = self.known(call);
        match freshness::first_step(&call.plan, head.as_ref().map(|head| head.known()), self.now()) {
            step @ (FirstStep::Serve | FirstStep::Validate) => {
                head.map(|head| FoundVersion::trusted(head, step == FirstStep::Serve)).ok_or(FirstStep::Open)
            }
            step => Err(step),
        }
    }

    /// Fetches what a call asks for of an object that is not known; the answer tells its version.
    pub(crate) async fn open(
        self: &Arc<Self>,
        call: &ReadCall,
        options: &GetOptions,
    ) -> Result<FoundVersion, AttemptError> {
        let asked = match &options.range {
            _ if options.head => OpenRequest::Head,
            None => OpenRequest::Whole,
            Some(GetRange::Bounded(range)) => OpenRequest::Bounded(self.pages.align(range)),
            Some(GetRange::Offset(start)) => OpenRequest::From(*start),
            Some(GetRange::Suffix(n)) => OpenRequest::Last(*n),
        };
        let request = GetOptions { range: request_range(&asked), ..options.clone() };
        let conditional = has_preconditions(options);
        let sharing = if conditional { Sharing::None } else { Sharing::Full };
        let (waiter, rest) = self.join_or_launch(call, asked, request, sharing)?.ok_or(AttemptError::Retry)?;
        let head = waiter.answer().await?;
        Ok(FoundVersion { head, valid: true, asked: waiter.mine, checked: conditional, waiters: vec![waiter], rest })
    }

    /// Fetches `ranges` of an object that is not known, at once, and compares the versions of the answers: of the first
    /// [`MAX_REQUESTS_PER_CALL`] stretches the first window. Nobody knows which bytes beyond them exist.
    pub(crate) async fn open_ranges(
        self: &Arc<Self>,
        call: &ReadCall,
        ranges: &[Range<u64>],
    ) -> Result<FoundVersion, AttemptError> {
        let all = Fault::SizesByTheRange.is_back();
        let windows = self.pages.stretches(ranges, self.bridge_bytes()).into_iter().flat_map(|stretch| {
            let starts = std::iter::successors(Some(stretch.start), |start| Some(self.pages.window_end(*start)));
            let starts = starts.take_while(move |start| *start < stretch.end).take(if all { usize::MAX } else { 1 });
            starts.map(move |start| start..stretch.end.min(self.pages.window_end(start)))
        });
        let mut waiters = Vec::new();
        for window in windows.take(if all { usize::MAX } else { MAX_REQUESTS_PER_CALL }) {
            let asked = OpenRequest::Bounded(window);
            let request = GetOptions::new().with_range(request_range(&asked));
            match self.join_or_launch(call, asked, request, Sharing::Full)? {
                Some((waiter, _)) => waiters.push(waiter),
                None if waiters.is_empty() => return Err(AttemptError::Retry),
                // One of these has been answered already: what is left is fetched as of that version.
                None => break,
            }
        }
        let mut heads = future::try_join_all(waiters.iter().map(|waiter| waiter.answer())).await?;
        let head = heads.pop().ok_or(AttemptError::Bypass)?;
        if heads.iter().any(|other| other.id != head.id) {
            return Err(AttemptError::Retry);
        }
        let asked = waiters.iter().all(|waiter| waiter.mine);
        Ok(FoundVersion { head, valid: true, asked, checked: false, waiters, rest: None })
    }

    /// Asks the store for the present version, and nothing else.
    pub(crate) async fn validate(self: &Arc<Self>, call: &ReadCall) -> Result<FoundVersion, AttemptError> {
        self.validate_by(call, Sharing::Full).await
    }

    /// Asks the store once where one of `ranges` goes beyond the known end of an object that may have grown since.
    pub(crate) async fn confirm_end<'a>(
        self: &Arc<Self>,
        call: &ReadCall,
        found: &FoundVersion,
        mut ranges: impl Iterator<Item = &'a Range<u64>>,
    ) -> Result<(), AttemptError> {
        // What is not valid yet is validated anyway, and a version that is named never grows.
        let is_known = found.asked || !found.valid || call.version.is_some();
        if is_known || !ranges.any(|range| self.may_have_grown(&call.plan, &found.head, range)) {
            return Ok(());
        }
        Err(AttemptError::RetryWith(self.validate_by(call, Sharing::NewRequest).await?))
    }

    async fn validate_by(self: &Arc<Self>, call: &ReadCall, sharing: Sharing) -> Result<FoundVersion, AttemptError> {
        if !call.plan.opens && self.refusals.refuses_heads() {
            return Err(AttemptError::HeadRefused);
        }
        let request = GetOptions { version: call.version.clone(), ..GetOptions::new().with_head(true) };
        let (waiter, _) = self.join_or_launch(call, OpenRequest::Head, request, sharing)?.ok_or(AttemptError::Retry)?;
        match waiter.answer().await.map_err(AttemptError::from) {
            Ok(head) => Ok(FoundVersion { asked: waiter.mine, ..FoundVersion::trusted(head, true) }),
            // Some servers have no HEAD, and say so by 403, 404 or 405.
            Err(AttemptError::Fail(error)) if !call.plan.opens && !is_transient(&error) => {
                Err(AttemptError::HeadRefused)
            }
            Err(unanswered) => Err(unanswered),
        }
    }

    /// Makes sure that `head` is the present version, before bytes that were here already are handed out as its.
    ///
    /// A fill of ours does so by its answer (`is_mine`); else a HEAD does.
    pub(crate) async fn prove(
        self: &Arc<Self>,
        call: &ReadCall,
        head: &Arc<ObjectHead>,
        is_mine: bool,
    ) -> Result<(), AttemptError> {
        if is_mine && (call.version.is_some() || proves_present(self.config.pin, head)) {
            // Every fill of ours is waited for, and each fails where the version is another.
            return Ok(());
        }
        let found = self.validate(call).await?;
        if found.head.id == head.id { Ok(()) } else { Err(AttemptError::RetryWith(found)) }
    }

    /// Whether the inner store has to answer alone, because what another request answers cannot be told to be of the same version, and
    /// what was found does not bring all.
    pub(crate) fn is_out_of_reach(&self, call: &ReadCall, found: &FoundVersion) -> bool {
        let keep = call.plan.may_keep(found.head.has_validator());
        !keep && (found.waiters.is_empty() || found.waiters.iter().any(|waiter| waiter.may_drop_pages()))
    }

    /// Whether any page of `needs` is here.
    pub(crate) fn has_any(&self, head: &ObjectHead, needs: &[PageNeed]) -> bool {
        needs.iter().any(|need| self.memory.has(head.place(need.page)))
    }
}

pub(crate) fn has_preconditions(options: &GetOptions) -> bool {
    options.if_match.is_some()
        || options.if_none_match.is_some()
        || options.if_modified_since.is_some()
        || options.if_unmodified_since.is_some()
}

fn request_range(asked: &OpenRequest) -> Option<GetRange> {
    match asked {
        OpenRequest::Head | OpenRequest::Whole => None,
        OpenRequest::Bounded(range) => Some(GetRange::Bounded(range.clone())),
        OpenRequest::From(start) => Some(GetRange::Offset(*start)),
        OpenRequest::Last(n) => Some(GetRange::Suffix(*n)),
    }
}
