//! How a read is answered: what is known, whether it still holds, and what has to be asked.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future;
use futures::stream::{self, StreamExt};
use headstart_fetch_core::{CacheHint, FetchError, ObjectChanged, byte_range};
use object_store::path::Path;
use object_store::{Extensions, GetOptions, GetRange, GetResult, Result};

use crate::body::PageBody;
use crate::call::Call;
use crate::config::Freshness;
use crate::engine::{Engine, Source, Take, result};
use crate::fill::{Rest, proves_present};
use crate::flights::{Seat, Vain};
use crate::memory::PageKey;
use crate::page::Need;
use crate::policy::{self, Asked, Plan, Step};
use crate::version_table::Head;

/// How often a read begins anew when the object changed under it, a fetch was lost, or a question was answered first,
/// before the inner store answers alone.
const TRIES: usize = 4;

/// The version that a call reads.
struct Found {
    head: Arc<Head>,
    /// It was the present version during this call, or is trusted to be.
    valid: bool,
    /// The store was asked by this very call.
    asked: bool,
    /// The store has evaluated the caller's preconditions itself.
    checked: bool,
    /// Flights that the call waits in already.
    seats: Vec<Arc<Seat>>,
    rest: Option<Rest>,
}

/// Why a try did not answer.
enum Unanswered {
    /// The inner store has to answer alone.
    Bypass,
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
    fn trusted(head: Arc<Head>, valid: bool) -> Self {
        Self { head, valid, asked: false, checked: false, seats: Vec::new(), rest: None }
    }
}

impl Engine {
    /// `get_opts`.
    pub(crate) async fn get(self: &Arc<Self>, path: &Path, options: GetOptions) -> Result<GetResult> {
        let hint = options.extensions.get::<CacheHint>().copied();
        let plan = Plan::new(self.config.enabled, self.config.freshness, hint, options.head);
        if !plan.bypass && is_plain(&options) {
            tokio::task::consume_budget().await;
            let call = Call::new(path, plan, options.extensions.clone());
            let mut found = None;
            for _ in 0..TRIES {
                match self.try_get(&call, &options, found.take()).await {
                    Ok(result) => return Ok(result),
                    Err(Unanswered::Fail(error)) => return Err(error),
                    Err(Unanswered::With(known)) => found = Some(known),
                    Err(Unanswered::Again) => {}
                    Err(Unanswered::Bypass) => break,
                }
            }
        }
        self.counters.bypasses.add(1);
        self.inner.get_opts(path, options).await
    }

    async fn try_get(
        self: &Arc<Self>,
        call: &Arc<Call>,
        options: &GetOptions,
        found: Option<Found>,
    ) -> Result<GetResult, Unanswered> {
        let plan = call.plan;
        let found = match found {
            Some(found) => found,
            None => match self.look_up(call) {
                Ok(found) => found,
                Err(Step::Open) if options.version.is_none() => self.open(call, options).await?,
                Err(_) => return Err(Unanswered::Bypass),
            },
        };
        let head = Arc::clone(&found.head);
        // Older versions are not kept; and what is stale proves nothing of another version.
        if options.version.is_some() && options.version != head.meta.version {
            return Err(Unanswered::Bypass);
        }
        if !plan.may_keep(head.has_token()) && found.seats.is_empty() {
            return Err(Unanswered::Bypass);
        }
        if !found.valid && (options.head || has_preconditions(options)) {
            return Err(Unanswered::With(self.validate(call).await?));
        }
        if !found.checked
            && let Err(error) = options.check_preconditions(&head.meta)
        {
            let hearsay = !found.asked && plan.freshness != Freshness::Immutable && options.version.is_none();
            return match error {
                // Whoever asks for another version than we know may know better.
                object_store::Error::Precondition { .. } if hearsay => {
                    Err(Unanswered::With(self.open(call, options).await?))
                }
                error => Err(Unanswered::Fail(error)),
            };
        }
        if options.head {
            return Ok(result(call, &head, 0..head.meta.size, stream::empty().boxed()));
        }
        let range = match resolve(options.range.as_ref(), head.meta.size) {
            Ok(range) => range,
            Err(_) if !found.valid => return Err(Unanswered::With(self.validate(call).await?)),
            Err(error) => return Err(Unanswered::Fail(error)),
        };
        if range.is_empty() {
            // Stores do not agree on what the empty part of an object is: only an answer of this one to this question will do.
            return match found.rest {
                None if options.range.is_some() => Err(Unanswered::Bypass),
                None if !found.valid => Err(Unanswered::With(self.validate(call).await?)),
                _ => Ok(result(call, &head, range, stream::once(future::ready(Ok(Bytes::new()))).boxed())),
            };
        }

        let window = range.start..range.end.min(self.pages.window_end(range.start));
        if !plan.may_keep(head.has_token()) && found.rest.is_none() && window.end < range.end {
            // What the flight of another brings is not all, and nothing tells whether the rest is of the same version.
            return Err(Unanswered::Bypass);
        }
        let needs = self.pages.needs(std::slice::from_ref(&window));
        if !found.valid && !self.has_any(&head, &needs) {
            // Nothing to validate for: the GET that is needed anyway tells the version.
            return Err(Unanswered::With(self.open(call, options).await?));
        }
        let takes = self.claim(call, &head, needs, &found.seats)?;
        if !found.valid {
            self.prove(call, &head, &takes).await?;
        }
        self.first_of_each(&takes).await?;
        let body = PageBody::new(self, call, head, takes, window.end..range.end, found.rest);
        Ok(body.into_result(range))
    }

    /// `get_ranges`.
    pub(crate) async fn get_ranges(self: &Arc<Self>, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let plan = Plan::new(self.config.enabled, self.config.freshness, None, false);
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        if !plan.bypass && ranges.iter().all(|range| range.start < range.end) {
            tokio::task::consume_budget().await;
            let call = Call::new(path, plan, Extensions::new());
            let mut found = None;
            for _ in 0..TRIES {
                match self.try_ranges(&call, ranges, found.take()).await {
                    Ok(result) => return Ok(result),
                    Err(Unanswered::Fail(error)) => return Err(error),
                    Err(Unanswered::With(known)) => found = Some(known),
                    Err(Unanswered::Again) => {}
                    Err(Unanswered::Bypass) => break,
                }
            }
        }
        self.counters.bypasses.add(1);
        // Not a fill: as if there were no cache.
        self.inner.get_ranges(path, ranges).await
    }

    async fn try_ranges(
        self: &Arc<Self>,
        call: &Arc<Call>,
        ranges: &[Range<u64>],
        found: Option<Found>,
    ) -> Result<Vec<Bytes>, Unanswered> {
        let plan = &call.plan;
        let found = match found {
            Some(found) => found,
            None => match self.look_up(call) {
                Ok(found) => found,
                Err(Step::Open) => self.open_ranges(call, ranges).await?,
                Err(_) => return Err(Unanswered::Bypass),
            },
        };
        let head = &found.head;
        if !plan.may_keep(head.has_token()) && found.seats.is_empty() {
            return Err(Unanswered::Bypass);
        }
        let resolved = ranges.iter().map(|range| resolve(Some(&GetRange::Bounded(range.clone())), head.meta.size));
        let resolved = match resolved.collect::<Result<Vec<_>>>() {
            Ok(resolved) => resolved,
            Err(_) if !found.valid => return Err(Unanswered::With(self.validate(call).await?)),
            Err(error) => return Err(Unanswered::Fail(error)),
        };
        let needs = self.pages.needs(&resolved);
        if !found.valid && !self.has_any(head, &needs) {
            return Err(Unanswered::With(self.open_ranges(call, ranges).await?));
        }
        let takes = self.claim(call, head, needs.clone(), &found.seats)?;
        if !found.valid {
            self.prove(call, head, &takes).await?;
        }
        // All flights are under way: one after the other here costs nothing.
        let mut pages = Vec::with_capacity(takes.len());
        for take in takes {
            pages.push(match take.from {
                Source::Page(bytes) => {
                    self.count_hit(call, &bytes);
                    bytes
                }
                Source::Flight(seat) => seat.take(self.pages, &take.need).await?,
            });
        }
        Ok(resolved.into_iter().map(|range| assemble(&needs, &pages, &range)).collect())
    }

    /// What is known of the object, or the first step where that is no answer.
    fn look_up(&self, call: &Call) -> Result<Found, Step> {
        let head = self.table.get(&call.path);
        match policy::first_step(&call.plan, head.as_ref().map(|head| head.known()), self.now()) {
            step @ (Step::Serve | Step::Validate) => {
                head.map(|head| Found::trusted(head, step == Step::Serve)).ok_or(Step::Open)
            }
            step => Err(step),
        }
    }

    /// Fetches what a call asks for of an object that is not known; the answer tells its version.
    async fn open(self: &Arc<Self>, call: &Call, options: &GetOptions) -> Result<Found, Unanswered> {
        let asked = match &options.range {
            _ if options.head => Asked::Head,
            None => Asked::Whole,
            Some(GetRange::Bounded(range)) => Asked::Bounded(self.pages.align(range)),
            Some(GetRange::Offset(start)) => Asked::From(*start),
            Some(GetRange::Suffix(n)) => Asked::Last(*n),
        };
        let request = GetOptions { range: request_range(&asked), version: None, ..options.clone() };
        let conditional = has_preconditions(options);
        let (seat, rest) = self.join_or_launch(call, asked, request, !conditional)?.ok_or(Unanswered::Again)?;
        let head = seat.answer().await?;
        Ok(Found { head, valid: true, asked: seat.mine, checked: conditional, seats: vec![seat], rest })
    }

    /// Fetches `ranges` of an object that is not known, all at once, and compares the versions of the answers.
    async fn open_ranges(self: &Arc<Self>, call: &Call, ranges: &[Range<u64>]) -> Result<Found, Unanswered> {
        let pages: Vec<u64> = self.pages.needs(ranges).into_iter().map(|need| need.page).collect();
        let mut seats = Vec::new();
        for run in self.pages.runs(&pages, self.bridge_bytes()) {
            let asked = Asked::Bounded(self.pages.start(run.start)..self.pages.start(run.end));
            let request = GetOptions::new().with_range(request_range(&asked));
            seats.push(self.join_or_launch(call, asked, request, true)?.ok_or(Unanswered::Again)?.0);
        }
        let mut heads = future::try_join_all(seats.iter().map(|seat| seat.answer())).await?;
        let head = heads.pop().ok_or(Unanswered::Bypass)?;
        if heads.iter().any(|other| other.id != head.id) {
            return Err(Unanswered::Again);
        }
        Ok(Found { head, valid: true, asked: true, checked: false, seats, rest: None })
    }

    /// Asks the store for the present version, and nothing else.
    async fn validate(self: &Arc<Self>, call: &Call) -> Result<Found, Unanswered> {
        let request = GetOptions::new().with_head(true);
        let (seat, _) = self.join_or_launch(call, Asked::Head, request, true)?.ok_or(Unanswered::Again)?;
        Ok(Found { asked: seat.mine, ..Found::trusted(seat.answer().await?, true) })
    }

    /// Makes sure that `head` is the present version, before bytes that were here already are handed out as its.
    ///
    /// A fill of ours does so by its answer; else a HEAD does.
    async fn prove(self: &Arc<Self>, call: &Call, head: &Arc<Head>, takes: &[Take]) -> Result<(), Unanswered> {
        let mine = takes.iter().any(|take| matches!(&take.from, Source::Flight(seat) if seat.mine));
        if mine && proves_present(self.config.pin, head) {
            // Every fill of ours is waited for, and each fails where the version is another.
            return Ok(());
        }
        let found = self.validate(call).await?;
        if found.head.id == head.id { Ok(()) } else { Err(Unanswered::With(found)) }
    }

    /// Waits until every fetch among `takes` has brought its first page: what can still begin anew without anybody
    /// having seen bytes does so now.
    async fn first_of_each(&self, takes: &[Take]) -> Result<(), Vain> {
        let mut last: Option<&Arc<Seat>> = None;
        for take in takes {
            if let Source::Flight(seat) = &take.from
                && !last.is_some_and(|last| Arc::ptr_eq(last, seat))
            {
                seat.take(self.pages, &take.need).await?;
                last = Some(seat);
            }
        }
        Ok(())
    }

    fn has_any(&self, head: &Head, needs: &[Need]) -> bool {
        needs.iter().any(|need| self.memory.has(PageKey { version: head.id, page: need.page }))
    }
}

/// Whether the call means the same on every store. An empty or reversed range, and a part of a HEAD, do not.
fn is_plain(options: &GetOptions) -> bool {
    match &options.range {
        None => true,
        Some(_) if options.head => false,
        Some(GetRange::Bounded(range)) => range.start < range.end,
        Some(GetRange::Suffix(n)) => *n > 0,
        Some(GetRange::Offset(_)) => true,
    }
}

fn has_preconditions(options: &GetOptions) -> bool {
    options.if_match.is_some()
        || options.if_none_match.is_some()
        || options.if_modified_since.is_some()
        || options.if_unmodified_since.is_some()
}

/// The bytes that `range` means in an object of `size`.
fn resolve(range: Option<&GetRange>, size: u64) -> Result<Range<u64>> {
    let Some(range) = range else { return Ok(0..size) };
    let start = match range {
        GetRange::Bounded(range) => range.start,
        GetRange::Offset(start) => *start,
        GetRange::Suffix(_) => 0,
    };
    range.as_range(size).map_err(|_| FetchError::PastEnd { start, size }.into())
}

fn request_range(asked: &Asked) -> Option<GetRange> {
    match asked {
        Asked::Head | Asked::Whole => None,
        Asked::Bounded(range) => Some(GetRange::Bounded(range.clone())),
        Asked::From(start) => Some(GetRange::Offset(*start)),
        Asked::Last(n) => Some(GetRange::Suffix(*n)),
    }
}

/// Puts `range` together from what was fetched for `needs`: a slice where one page holds it, else a copy.
fn assemble(needs: &[Need], pages: &[Bytes], range: &Range<u64>) -> Bytes {
    let first = needs.partition_point(|need| need.bytes.end <= range.start);
    let part = |at: usize| {
        let bytes = &needs[at].bytes;
        let cut = |offset: u64| byte_range::in_memory(offset.clamp(bytes.start, bytes.end) - bytes.start);
        pages[at].slice(cut(range.start)..cut(range.end))
    };
    if range.end <= needs[first].bytes.end {
        return part(first);
    }
    let mut whole = Vec::with_capacity(byte_range::in_memory(range.end - range.start));
    for (at, _) in needs.iter().enumerate().skip(first).take_while(|(_, need)| need.bytes.start < range.end) {
        whole.extend_from_slice(&part(at));
    }
    whole.into()
}
