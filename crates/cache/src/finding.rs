//! Finding the version that a call reads: what is known, whether it still holds, and what has to be asked.

use std::ops::Range;
use std::sync::Arc;

use futures::future;
use headstart_fetch_core::ObjectChanged;
use headstart_fetch_core::internal::is_transient;
use headstart_fetch_core::internal::mutation::Mutation;
use object_store::{GetOptions, GetRange, Result};

use crate::call::Call;
use crate::engine::Engine;
use crate::fill::{Rest, proves_present};
use crate::flight::Vain;
use crate::flights::Sharing;
use crate::page::Need;
use crate::policy::{self, Asked, Step};
use crate::seat::Seat;
use crate::version_table::Head;

/// How often a read begins anew when the object changed under it, a fetch was lost, or a question was answered first,
/// before the inner store answers alone.
const TRIES: usize = 4;

/// How many requests of one `get_ranges` are in flight at once: enough to hide the round trip of small ranges from most links.
/// `object_store`'s own `get_ranges` sends ten.
pub(crate) const REQUESTS: usize = 32;

/// The version that a call reads.
pub(crate) struct Found {
    pub(crate) head: Arc<Head>,
    /// It was the present version during this call, or is trusted to be.
    pub(crate) valid: bool,
    /// The store was asked by this very call.
    pub(crate) asked: bool,
    /// The store has evaluated the caller's preconditions itself.
    pub(crate) checked: bool,
    /// Flights that the call waits in already.
    pub(crate) seats: Vec<Arc<Seat>>,
    pub(crate) rest: Option<Rest>,
}

/// Why a try did not answer.
pub(crate) enum Unanswered {
    /// The inner store has to answer alone.
    Bypass,
    /// It has to, because it answers no HEAD.
    HeadRefused,
    /// What was known holds no more: begin anew.
    Again,
    /// Begin anew with this.
    With(Found),
    /// The answer is an error.
    Fail(object_store::Error),
}

impl From<object_store::Error> for Unanswered {
    fn from(error: object_store::Error) -> Self {
        if ObjectChanged::find(&error).is_some() { Self::Again } else { Self::Fail(error) }
    }
}

impl From<Vain> for Unanswered {
    fn from(vain: Vain) -> Self {
        match vain {
            Vain::Failed(error) => error.into(),
            Vain::Lost => Self::Again,
        }
    }
}

impl Found {
    pub(crate) fn trusted(head: Arc<Head>, valid: bool) -> Self {
        Self { head, valid, asked: false, checked: false, seats: Vec::new(), rest: None }
    }
}

/// The tries of one call, each with what the one before has found.
pub(crate) struct Tries {
    left: usize,
    /// The inner store has to answer alone, and not because tries ran out.
    pub(crate) bypassed: bool,
    /// Because it answers no HEAD.
    pub(crate) head_refused: bool,
    found: Option<Found>,
}

impl Tries {
    pub(crate) fn new() -> Self {
        Self { left: TRIES, bypassed: false, head_refused: false, found: None }
    }

    /// The next try, which begins with what was found; `None` where the inner store has to answer alone.
    pub(crate) fn next(&mut self) -> Option<Option<Found>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.found.take())
    }

    /// What the call says after a try ended so; `None` where it has to try again.
    pub(crate) fn answered<T>(&mut self, outcome: Result<T, Unanswered>) -> Option<Result<T>> {
        match outcome {
            Ok(answer) => return Some(Ok(answer)),
            Err(Unanswered::Fail(error)) => return Some(Err(error)),
            Err(Unanswered::With(found)) => self.found = Some(found),
            Err(Unanswered::Again) => {}
            Err(Unanswered::Bypass) => (self.left, self.bypassed) = (0, true),
            Err(Unanswered::HeadRefused) => (self.left, self.bypassed, self.head_refused) = (0, true, true),
        }
        None
    }
}

impl Engine {
    /// The head of the version that a call reads, as far as it is known.
    pub(crate) fn known(&self, call: &Call) -> Option<Arc<Head>> {
        self.table.find(&call.path, call.version.as_deref())
    }

    /// What is known of the object, or the first step where that is no answer.
    pub(crate) fn look_up(&self, call: &Call) -> Result<Found, Step> {
        let head = self.known(call);
        match policy::first_step(&call.plan, head.as_ref().map(|head| head.known()), self.now()) {
            step @ (Step::Serve | Step::Validate) => {
                head.map(|head| Found::trusted(head, step == Step::Serve)).ok_or(Step::Open)
            }
            step => Err(step),
        }
    }

    /// Fetches what a call asks for of an object that is not known; the answer tells its version.
    pub(crate) async fn open(self: &Arc<Self>, call: &Call, options: &GetOptions) -> Result<Found, Unanswered> {
        let asked = match &options.range {
            _ if options.head => Asked::Head,
            None => Asked::Whole,
            Some(GetRange::Bounded(range)) => Asked::Bounded(self.pages.align(range)),
            Some(GetRange::Offset(start)) => Asked::From(*start),
            Some(GetRange::Suffix(n)) => Asked::Last(*n),
        };
        let request = GetOptions { range: request_range(&asked), ..options.clone() };
        let conditional = has_preconditions(options);
        let sharing = if conditional { Sharing::None } else { Sharing::Full };
        let (seat, rest) = self.join_or_launch(call, asked, request, sharing)?.ok_or(Unanswered::Again)?;
        let head = seat.answer().await?;
        Ok(Found { head, valid: true, asked: seat.mine, checked: conditional, seats: vec![seat], rest })
    }

    /// Fetches `ranges` of an object that is not known, at once, and compares the versions of the answers: of the first
    /// [`REQUESTS`] stretches the first window. Nobody knows which bytes beyond them exist.
    pub(crate) async fn open_ranges(self: &Arc<Self>, call: &Call, ranges: &[Range<u64>]) -> Result<Found, Unanswered> {
        let all = Mutation::SizesByTheRange.is_active();
        let windows = self.pages.stretches(ranges, self.bridge_bytes()).into_iter().flat_map(|stretch| {
            let starts = std::iter::successors(Some(stretch.start), |start| Some(self.pages.window_end(*start)));
            let starts = starts.take_while(move |start| *start < stretch.end).take(if all { usize::MAX } else { 1 });
            starts.map(move |start| start..stretch.end.min(self.pages.window_end(start)))
        });
        let mut seats = Vec::new();
        for window in windows.take(if all { usize::MAX } else { REQUESTS }) {
            let asked = Asked::Bounded(window);
            let request = GetOptions::new().with_range(request_range(&asked));
            match self.join_or_launch(call, asked, request, Sharing::Full)? {
                Some((seat, _)) => seats.push(seat),
                None if seats.is_empty() => return Err(Unanswered::Again),
                // One of these has been answered already: what is left is fetched as of that version.
                None => break,
            }
        }
        let mut heads = future::try_join_all(seats.iter().map(|seat| seat.answer())).await?;
        let head = heads.pop().ok_or(Unanswered::Bypass)?;
        if heads.iter().any(|other| other.id != head.id) {
            return Err(Unanswered::Again);
        }
        let asked = seats.iter().all(|seat| seat.mine);
        Ok(Found { head, valid: true, asked, checked: false, seats, rest: None })
    }

    /// Asks the store for the present version, and nothing else.
    pub(crate) async fn validate(self: &Arc<Self>, call: &Call) -> Result<Found, Unanswered> {
        self.validate_by(call, Sharing::Full).await
    }

    /// Asks the store once where one of `ranges` goes beyond the known end of an object that may have grown since.
    pub(crate) async fn confirm_end<'a>(
        self: &Arc<Self>,
        call: &Call,
        found: &Found,
        mut ranges: impl Iterator<Item = &'a Range<u64>>,
    ) -> Result<(), Unanswered> {
        // What is not valid yet is validated anyway, and a version that is named never grows.
        let is_known = found.asked || !found.valid || call.version.is_some();
        if is_known || !ranges.any(|range| self.may_have_grown(&call.plan, &found.head, range)) {
            return Ok(());
        }
        Err(Unanswered::With(self.validate_by(call, Sharing::Anew).await?))
    }

    async fn validate_by(self: &Arc<Self>, call: &Call, sharing: Sharing) -> Result<Found, Unanswered> {
        if !call.plan.opens && self.refusals.refuses_heads() {
            return Err(Unanswered::HeadRefused);
        }
        let request = GetOptions { version: call.version.clone(), ..GetOptions::new().with_head(true) };
        let (seat, _) = self.join_or_launch(call, Asked::Head, request, sharing)?.ok_or(Unanswered::Again)?;
        match seat.answer().await.map_err(Unanswered::from) {
            Ok(head) => Ok(Found { asked: seat.mine, ..Found::trusted(head, true) }),
            // Some servers have no HEAD, and say so by 403, 404 or 405.
            Err(Unanswered::Fail(error)) if !call.plan.opens && !is_transient(&error) => Err(Unanswered::HeadRefused),
            Err(unanswered) => Err(unanswered),
        }
    }

    /// Makes sure that `head` is the present version, before bytes that were here already are handed out as its.
    ///
    /// A fill of ours does so by its answer (`is_mine`); else a HEAD does.
    pub(crate) async fn prove(
        self: &Arc<Self>,
        call: &Call,
        head: &Arc<Head>,
        is_mine: bool,
    ) -> Result<(), Unanswered> {
        if is_mine && (call.version.is_some() || proves_present(self.config.pin, head)) {
            // Every fill of ours is waited for, and each fails where the version is another.
            return Ok(());
        }
        let found = self.validate(call).await?;
        if found.head.id == head.id { Ok(()) } else { Err(Unanswered::With(found)) }
    }

    /// Whether the inner store has to answer alone, because what another request answers cannot be told to be of the same version, and
    /// what was found does not bring all.
    pub(crate) fn is_out_of_reach(&self, call: &Call, found: &Found) -> bool {
        let keep = call.plan.may_keep(found.head.has_validator());
        !keep && (found.seats.is_empty() || found.seats.iter().any(|seat| seat.may_lose_pages()))
    }

    /// Whether any page of `needs` is here.
    pub(crate) fn has_any(&self, head: &Head, needs: &[Need]) -> bool {
        needs.iter().any(|need| self.memory.has(head.place(need.page)))
    }
}

pub(crate) fn has_preconditions(options: &GetOptions) -> bool {
    options.if_match.is_some()
        || options.if_none_match.is_some()
        || options.if_modified_since.is_some()
        || options.if_unmodified_since.is_some()
}

fn request_range(asked: &Asked) -> Option<GetRange> {
    match asked {
        Asked::Head | Asked::Whole => None,
        Asked::Bounded(range) => Some(GetRange::Bounded(range.clone())),
        Asked::From(start) => Some(GetRange::Offset(*start)),
        Asked::Last(n) => Some(GetRange::Suffix(*n)),
    }
}
