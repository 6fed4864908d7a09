//! Where bytes come from: pages that are here, in_flight of others, and in_flight of one's own.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use headstart_fetch_core::mutation::Fault;
use headstart_fetch_core::{ConfirmedAt, FetchError, FreshUntil, Origin, Refusals, Reserved, byte_range};
use object_store::{Extensions, GetResult, GetResultPayload, ObjectStore, Result};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::config::{CacheConfig, Freshness};
use crate::fetches::arrived_pages::{Charge, UNRESERVED_BYTES};
use crate::fetches::fetch::WaitError;
use crate::fetches::registry::{Claim, InFlight};
use crate::fetches::waiter::{FetchWaiter, Interest};
use crate::lookup::call::ReadCall;
use crate::lookup::memory_tier::MemoryTier;
use crate::lookup::version_table::{ObjectHead, RequestStamp, VersionTable};
use crate::policy::freshness::CachePlan;
use crate::policy::page::{PageNeed, PageSize, WINDOW_BYTES};
use crate::stats::CacheCounters;

/// Holes up to this are bridged where a round trip costs more: what `object_store` itself coalesces.
const MAX_BRIDGE_BYTES: u64 = 1 << 20;

/// The cache without its wrapper.
pub(crate) struct Engine {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) refusals: Refusals,
    pub(crate) config: CacheConfig,
    pub(crate) pages: PageSize,
    pub(crate) table: VersionTable,
    pub(crate) memory: MemoryTier,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) counters: Arc<CacheCounters>,
    /// The zero of the cache's clock: before the cache was made, as layers below may have confirmed their answers earlier.
    pub(crate) start: Instant,
    #[cfg(test)]
    pub(crate) mutation: crate::mutants::Mutation,
}

/// What a call needs of a page, and where it gets it.
pub(crate) struct PlannedPage {
    pub(crate) need: PageNeed,
    pub(crate) from: PageSource,
}

pub(crate) enum PageSource {
    Held(Bytes),
    /// In memory when the call looked. It is looked up again when its turn comes: until then nothing keeps it there.
    InMemory,
    InFlight(Interest),
}

impl Engine {
    /// Time since `start`.
    #[inline]
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// What an answer from the version `head` tells those above.
    pub(crate) fn upwards(&self, head: &ObjectHead, plan: &CachePlan, origin: Origin) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(origin);
        if let Some(confirmed_at) = self.start.checked_add(head.asked_at) {
            extensions.insert(ConfirmedAt(confirmed_at));
        }
        if let Freshness::Ttl(ttl) = plan.freshness
            && let Some(until) = self.start.checked_add(head.asked_at.saturating_add(ttl))
        {
            extensions.insert(FreshUntil(until));
        }
        extensions
    }

    /// `asking`, of a request answered with `extensions`, as of when the answer was confirmed: a layer below may have known it.
    pub(crate) fn confirmed(&self, asking: RequestStamp, extensions: &Extensions) -> RequestStamp {
        let confirmed_at = ConfirmedAt::of(extensions, self.start + asking.at);
        RequestStamp { at: confirmed_at.saturating_duration_since(self.start), ..asking }
    }

    /// Finds each of `needs`: in a fetch that the call waits in already, in a page, in the fetch of another call, or
    /// in a new one.
    pub(crate) fn claim(
        self: &Arc<Self>,
        call: &ReadCall,
        head: &Arc<ObjectHead>,
        needs: Vec<PageNeed>,
        waiters: &[Arc<FetchWaiter>],
    ) -> Result<Vec<PlannedPage>, WaitError> {
        self.claim_by(call, head, needs, waiters, false)
    }

    /// As [`Engine::claim`]; `alone`: what is not here comes by in_flight that nobody shares.
    pub(crate) fn claim_by(
        self: &Arc<Self>,
        call: &ReadCall,
        head: &Arc<ObjectHead>,
        needs: Vec<PageNeed>,
        waiters: &[Arc<FetchWaiter>],
        alone: bool,
    ) -> Result<Vec<PlannedPage>, WaitError> {
        let keep = call.plan.may_keep(head.has_validator());
        let mut takes = Vec::with_capacity(needs.len());
        let mut open = Vec::new();
        let (mut hits, mut joins, mut misses) = (0, 0, 0);
        for need in needs {
            if let Some(interest) = waiters.iter().find_map(|waiter| waiter.interest(&need)) {
                takes.push(Some(self.take_of(need, interest)));
            } else if let Some(page) = self.page(call, head, &need) {
                hits += 1;
                takes.push(Some(PlannedPage { need, from: PageSource::Held(page) }));
            } else {
                open.push((takes.len(), need));
                takes.push(None);
            }
        }
        waiters.iter().for_each(|waiter| waiter.decided());
        if !open.is_empty() {
            if !keep {
                // Nothing would tell whether another request is answered with the same version.
                return Err(WaitError::Lost);
            }
            let runtime = runtime()?;
            let wanted: Vec<PageNeed> = open.iter().map(|(_, need)| need.clone()).collect();
            let (claims, runs) = self.in_flight.claim(
                call,
                head.id,
                &wanted,
                alone,
                |page| call.plan.look.then(|| self.memory.get(head.place(page))).flatten(),
                |missing| self.pages.runs(missing, self.bridge_bytes()),
            );
            for (run, waiter) in &runs {
                self.launch_fill(call, &runtime, head, run, waiter);
            }
            for ((at, need), claim) in open.into_iter().zip(claims) {
                let from = match claim {
                    Claim::InMemory(page) => {
                        hits += 1;
                        PageSource::Held(self.slice(&page, &need))
                    }
                    Claim::Join(interest) => {
                        joins += 1;
                        PageSource::InFlight(interest)
                    }
                    Claim::Fetch(interest) => {
                        misses += 1;
                        PageSource::InFlight(interest)
                    }
                };
                takes[at] = Some(PlannedPage { need, from });
            }
        }
        self.counters.hits.add(hits);
        self.counters.joins.add(joins);
        self.counters.misses.add(misses);
        Ok(takes.into_iter().flatten().collect())
    }

    pub(crate) fn count_hit(&self, call: &ReadCall, bytes: &Bytes) {
        call.origin.add_hit(bytes.len() as u64);
        self.counters.hit_bytes.add(bytes.len() as u64);
    }

    /// Takes what is needed of a page from a fetch, and counts it where another call had begun that.
    pub(crate) async fn take(&self, interest: &Interest, need: &PageNeed) -> Result<Bytes, WaitError> {
        let bytes = interest.waiter.take(self.pages, need).await?;
        if !interest.waiter.mine {
            self.counters.joined_bytes.add(bytes.len() as u64);
        }
        Ok(bytes)
    }

    /// What a waiter that the call has already brings.
    pub(crate) fn take_of(&self, need: PageNeed, interest: Interest) -> PlannedPage {
        if interest.waiter.mine { &self.counters.misses } else { &self.counters.joins }.add(1);
        PlannedPage { need, from: PageSource::InFlight(interest) }
    }

    /// MemoryTier for `bytes` that a request with `extensions` brings. Nothing ever waits for memory while it holds an open request: where none is
    /// free, the request goes in lockstep with its readers.
    pub(crate) fn charge(&self, extensions: &Extensions, bytes: u64) -> Charge {
        match &self.config.budget {
            Some(budget) if bytes > 0 && extensions.get::<Reserved>().is_none() => {
                let unreserved =
                    || if Fault::IgnoresTheBudget.is_back() { Charge::NotCharged } else { Charge::Lockstep };
                budget.try_reserve(byte_range::in_memory(bytes)).map_or_else(unreserved, Charge::Reserved)
            }
            _ => Charge::NotCharged,
        }
    }

    /// The part of `window` that a call keeps or fetches at once: all of it, where there is memory; else its first pages that are
    /// all here, and few, or all missing, so that they come by one request in lockstep.
    pub(crate) fn affordable(&self, call: &ReadCall, head: &ObjectHead, window: Range<u64>) -> Range<u64> {
        if self.has_room(call, byte_range::len(&window)) {
            return window;
        }
        let is_here = |page: u64| call.plan.look && self.memory.has(head.place(page));
        let first = self.pages.of(window.start);
        let here = is_here(first);
        let most = if here { window.start.saturating_add(UNRESERVED_BYTES as u64).min(window.end) } else { window.end };
        let mut page = first + 1;
        while self.pages.start(page) < most && is_here(page) == here {
            page += 1;
        }
        window.start..self.pages.start(page).min(window.end)
    }

    /// Whether memory for `bytes` that a request of `call` brings is free.
    pub(crate) fn has_room(&self, call: &ReadCall, bytes: u64) -> bool {
        match &self.config.budget {
            Some(budget) if call.extensions.get::<Reserved>().is_none() => {
                budget.free_bytes() as u64 >= bytes || Fault::IgnoresTheBudget.is_back()
            }
            _ => true,
        }
    }

    pub(crate) fn page(&self, call: &ReadCall, head: &ObjectHead, need: &PageNeed) -> Option<Bytes> {
        call.plan.look.then(|| self.memory.get(head.place(need.page))).flatten().map(|page| self.slice(&page, need))
    }

    fn slice(&self, page: &Bytes, need: &PageNeed) -> Bytes {
        let start = self.pages.start(need.page);
        let at = |offset: u64| byte_range::in_memory(offset - start);
        page.slice(at(need.bytes.start)..at(need.bytes.end))
    }

    /// What a hole between missing pages may cost before a request of its own is cheaper.
    pub(crate) fn bridge_bytes(&self) -> u64 {
        self.config.link.as_ref().map_or(0, |link| link.link().round_trip_bytes().min(MAX_BRIDGE_BYTES))
    }
}

impl PlannedPage {
    /// The call's waiter in the fetch that brings it, if one does; the interest in it is given up.
    pub(crate) fn into_seat(self) -> Option<Arc<FetchWaiter>> {
        match self.from {
            PageSource::InFlight(interest) => Some(Arc::clone(&interest.waiter)),
            PageSource::Held(_) | PageSource::InMemory => None,
        }
    }

    /// Its call has it fetched.
    pub(crate) fn is_mine(&self) -> bool {
        matches!(&self.from, PageSource::InFlight(interest) if interest.waiter.mine)
    }
}

/// An answer of the cache's own, with what goes upwards.
#[inline]
pub(crate) fn result(
    extensions: Extensions,
    head: &ObjectHead,
    range: Range<u64>,
    stream: BoxStream<'static, Result<Bytes>>,
) -> GetResult {
    GetResult {
        payload: GetResultPayload::Stream(stream),
        meta: head.meta.clone(),
        range,
        attributes: head.attributes.clone(),
        extensions,
    }
}

/// The runtime that fetches run on.
pub(crate) fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| FetchError::NoRuntime.into())
}

const _: () = assert!(WINDOW_BYTES.is_multiple_of(crate::policy::page::MAX_PAGE_BYTES as u64));
