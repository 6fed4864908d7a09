//! Fetches in flight: each missing page is requested once, however many reads want it, and stored when it arrives.
//!
//! [`Fetches`] finds pages in memory (by [`Lookup`]) or in flight, or starts a fill. `reads` decides what to ask for.

mod arrived_pages;
mod disk_run;
mod fetch;
mod fill_body;
mod launch;
#[cfg(test)]
mod schedule_tests;
mod single_flight;
mod task;
mod waiter;

/// The lock of the state that tasks share. In unit tests, `shuttle` chooses which task gets it next.
mod sync {
    #[cfg(not(test))]
    pub(crate) use headstart_fetch_core::internal::locks::Mutex;

    #[cfg(test)]
    pub(crate) use super::explored::{ExploredMutex as Mutex, explore};
}

#[cfg(test)]
#[path = "../../fetch-core/src/internal/sync/explored.rs"]
mod explored;

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use headstart_fetch_core::internal::{Refusals, Reserved, byte_range};
use headstart_fetch_core::{MemoryBudget, PinBy, internal::mutation::Mutation};
use object_store::{Extensions, ObjectStore};

pub(crate) use self::arrived_pages::{Charge, UNRESERVED_BYTES};
pub(crate) use self::fetch::WaitError;
use self::launch::current_runtime;
use self::single_flight::InFlight;
pub(crate) use self::single_flight::{Claim, Sharing};
pub(crate) use self::waiter::FetchWaiter;
use self::waiter::Interest;
use crate::config::CacheConfig;
use crate::lookup::{CacheCall, Lookup, ObjectHead};
use crate::policy::{PageNeed, SafetyRules};

/// The requests of the cache, and the reads that share them.
pub(crate) struct Fetches {
    pub(crate) inner: Arc<dyn ObjectStore>,
    /// What the inner store has refused of what the cache adds to requests.
    pub(crate) refusals: Refusals,
    lookup: Arc<Lookup>,
    in_flight: Arc<InFlight>,
    budget: Option<Arc<MemoryBudget>>,
    pin: PinBy,
    rules: SafetyRules,
}

/// The part of a page that a call needs, and where it comes from.
pub(crate) struct PlannedPage {
    pub(crate) need: PageNeed,
    pub(crate) source: PageSource,
}

pub(crate) enum PageSource {
    /// The call holds the bytes.
    Held(Bytes),
    /// The page was in memory when the call looked. It is looked up again when its turn comes: it may be evicted.
    InMemory,
    InFlight(Interest),
}

impl Fetches {
    pub(crate) fn new(
        inner: Arc<dyn ObjectStore>,
        lookup: Arc<Lookup>,
        config: &CacheConfig,
        rules: SafetyRules,
    ) -> Self {
        let in_flight = InFlight::new(lookup.pages, config.stall_timeout);
        let (refusals, budget, pin) = (Refusals::default(), config.budget.clone(), config.pin());
        Self { inner, refusals, lookup, in_flight, budget, pin, rules }
    }

    /// Pages and objects that are being fetched now.
    pub(crate) fn len(&self) -> u64 {
        self.in_flight.len() as u64
    }

    /// Finds the pages of `claim` in a fetch that the call waits for already, or in memory. Returns the rest of the
    /// claim too.
    pub(crate) fn find<'a>(
        &self,
        call: &CacheCall,
        head: &ObjectHead,
        mut claim: Claim<'a>,
    ) -> (Vec<PlannedPage>, Claim<'a>) {
        let (mut found, mut missing) = (Vec::with_capacity(claim.needs.len()), Vec::new());
        for need in claim.needs {
            let in_flight = claim.waiters.iter().find_map(|waiter| waiter.interest(&need)).map(PageSource::InFlight);
            match in_flight.or_else(|| self.lookup.page(call, head, &need).map(PageSource::Held)) {
                Some(source) => found.push(PlannedPage { need, source }),
                None => missing.push(need),
            }
        }
        let ahead = (!claim.ahead.is_empty()).then(|| self.lookup.pages.of(claim.ahead.start));
        claim.waiters.iter().for_each(|waiter| waiter.decide(ahead));
        self.count(&found);
        claim.needs = missing;
        (found, claim)
    }

    /// Plans each page of `claim`: in a fetch of the call or in memory ([`Fetches::find`]), in another call's fetch, or
    /// in a new one.
    pub(crate) fn claim(
        self: &Arc<Self>,
        call: &Arc<CacheCall>,
        head: &Arc<ObjectHead>,
        claim: Claim<'_>,
    ) -> Result<Vec<PlannedPage>, WaitError> {
        let (mut planned, missing) = self.find(call, head, claim);
        if missing.needs.is_empty() {
            return Ok(planned);
        }
        if !call.may_keep(head) {
            // Nothing would tell whether the answer to another request is of the same version.
            return Err(WaitError::Lost);
        }
        let runtime = current_runtime()?;
        let in_memory = |need: &PageNeed| self.lookup.page(call, head, need);
        let ahead = if missing.is_private { 0..0 } else { missing.ahead.clone() };
        let on_disk = self.on_disk(call, head, &missing);
        let runs = |pages: &[u64], is_in_flight: &dyn Fn(u64) -> bool| {
            let bridge_bytes = self.lookup.bridge_bytes();
            let (mut from_disk, fetched): (Vec<_>, Vec<_>) =
                pages.iter().partition(|page| on_disk.binary_search(page).is_ok());
            let mut runs = self.lookup.pages.runs(&fetched, bridge_bytes);
            if let Some(last) = runs.last_mut() {
                let is_missing = |page| {
                    !is_in_flight(page)
                        && !self.is_in_memory(call, head, page)
                        && !self.lookup.is_on_disk(call, head, page)
                };
                last.end = self.lookup.pages.run_end(last, &ahead, bridge_bytes, is_missing);
            }
            from_disk.retain(|page| !runs.iter().any(|run| run.contains(page)));
            runs.extend(self.lookup.pages.runs(&from_disk, 0));
            runs
        };
        let (claimed, new_fetches) = self.in_flight.claim(call, head.id, missing, in_memory, runs);
        for (run, waiter) in &new_fetches {
            if on_disk.binary_search(&run.start).is_ok() {
                self.launch_disk_run(call, &runtime, head, run, waiter);
            } else {
                self.launch_fill(call, &runtime, head, run, waiter);
            }
        }
        self.count(&claimed);
        planned.extend(claimed);
        planned.sort_by_key(|page| page.need.page);
        Ok(planned)
    }

    /// The pages of `claim` that are on disk, in ascending order. A private claim reads none: an attempt before it has
    /// failed.
    fn on_disk(&self, call: &CacheCall, head: &ObjectHead, claim: &Claim<'_>) -> Vec<u64> {
        let Some(disk) = self.lookup.disk.as_ref().filter(|_| !claim.is_private) else { return Vec::new() };
        let pages = claim.needs.iter().map(|need| need.page);
        let on_disk: Vec<u64> = pages.filter(|page| self.lookup.is_on_disk(call, head, *page)).collect();
        if on_disk.is_empty() || disk.tier.may_read() { on_disk } else { Vec::new() }
    }

    /// Counts hits, misses (the call sent the request that brings the page) and joins. Pages from disk are counted when
    /// they are read.
    fn count(&self, planned: &[PlannedPage]) {
        let in_flight = planned.iter().filter(|page| page.waiter().is_some()).count();
        let own = planned.iter().filter(|page| page.own_waiter().is_some()).count();
        let requested = planned.iter().filter(|page| page.is_own()).count();
        self.lookup.counters.hits.add((planned.len() - in_flight) as u64);
        self.lookup.counters.misses.add(requested as u64);
        self.lookup.counters.joins.add((in_flight - own) as u64);
    }

    /// Waits for a page and takes its needed bytes. Counts them, unless the call began the fetch. Cancel safe.
    pub(crate) async fn take(
        &self,
        call: &CacheCall,
        head: &ObjectHead,
        page: PlannedPage,
    ) -> Result<Bytes, WaitError> {
        let bytes = match page.source {
            PageSource::Held(bytes) => bytes,
            PageSource::InMemory => self.lookup.page(call, head, &page.need).ok_or(WaitError::Lost)?,
            PageSource::InFlight(interest) => {
                let bytes = interest.waiter.take(&page.need).await?;
                if !interest.waiter.is_own {
                    self.lookup.counters.joined_bytes.add(bytes.len() as u64);
                }
                return Ok(bytes);
            }
        };
        self.lookup.count_hit(call, &bytes);
        Ok(bytes)
    }

    /// Memory for `bytes` that a request with `extensions` brings. A fetch never waits for memory while it holds an
    /// open request: where none is free, it reads on in lockstep with its readers.
    pub(crate) fn charge(&self, extensions: &Extensions, bytes: u64) -> Charge {
        let Some(budget) = self.budget_for(extensions).filter(|_| bytes > 0) else { return Charge::NotCharged };
        match budget.try_reserve(byte_range::in_memory(bytes)) {
            Some(reservation) => Charge::Reserved(reservation),
            None if Mutation::IgnoresTheBudget.is_active() => Charge::NotCharged,
            None => Charge::Lockstep,
        }
    }

    /// Whether memory for `bytes` that a request of `call` brings is free.
    pub(crate) fn has_room(&self, call: &CacheCall, bytes: u64) -> bool {
        let is_free = |budget: &Arc<MemoryBudget>| budget.free_bytes() as u64 >= bytes;
        Mutation::IgnoresTheBudget.is_active() || self.budget_for(&call.extensions).is_none_or(is_free)
    }

    /// The budget that is charged for a request with `extensions`, unless a layer above has reserved the memory.
    fn budget_for(&self, extensions: &Extensions) -> Option<&Arc<MemoryBudget>> {
        self.budget.as_ref().filter(|_| extensions.get::<Reserved>().is_none())
    }

    /// The part of `window` that a call holds or fetches at once: all where memory is free. Else its first pages, as
    /// long as all are in memory (and few), or all are missing, so that one request brings them in lockstep.
    pub(crate) fn affordable(&self, call: &CacheCall, head: &ObjectHead, window: Range<u64>) -> Range<u64> {
        if self.has_room(call, byte_range::len(&window)) {
            return window;
        }
        let pages = self.lookup.pages;
        let in_memory = |page: u64| self.is_in_memory(call, head, page);
        let first = pages.of(window.start);
        let first_in_memory = in_memory(first);
        let most_bytes = if first_in_memory { UNRESERVED_BYTES as u64 } else { u64::MAX };
        let max_end = window.start.saturating_add(most_bytes).min(window.end);
        let mut page = first + 1;
        while pages.start(page) < max_end && in_memory(page) == first_in_memory {
            page += 1;
        }
        window.start..pages.start(page).min(window.end)
    }

    fn is_in_memory(&self, call: &CacheCall, head: &ObjectHead, page: u64) -> bool {
        call.plan.reads_cache && self.lookup.memory.has(head.locate(page))
    }

    /// Whether the answer to a pinned fill proves that `head` is the present version.
    pub(crate) fn fill_proves_present(&self, head: &ObjectHead) -> bool {
        self.pin != PinBy::Version || head.meta.version.is_none()
    }
}

impl PlannedPage {
    /// The waiter of the fetch that brings the page, if one does.
    pub(crate) fn waiter(&self) -> Option<&Arc<FetchWaiter>> {
        match &self.source {
            PageSource::InFlight(interest) => Some(&interest.waiter),
            PageSource::Held(_) | PageSource::InMemory => None,
        }
    }

    /// Whether a request to the store that its call has sent brings the page.
    pub(crate) fn is_own(&self) -> bool {
        self.own_waiter().is_some_and(|waiter| !waiter.is_from_disk())
    }

    /// The waiter of the fetch that brings the page, if its call has begun it.
    pub(crate) fn own_waiter(&self) -> Option<&Arc<FetchWaiter>> {
        self.waiter().filter(|waiter| waiter.is_own)
    }
}
