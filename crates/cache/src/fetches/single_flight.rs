//! Single flight: which fetch brings which page, and which reads join it.
//!
//! Every fetch is a task of its own, so no reader depends on what becomes of another. A reader that wants a page
//! holds a [`FetchWaiter`] of its fetch. When the last waiter is dropped, the task is aborted, and its GET with it.
//! One lock guards the registry; it is never held across an await.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{collections::HashMap, collections::hash_map::Entry, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::path::Path;

use super::fetch::{Fetch, FetchOutcome, FetchProgress};
use super::waiter::{FetchWaiter, Interest};
use super::{PageSource, PlannedPage, sync::Mutex};
use crate::lookup::{CacheCall, PageKey, RequestStamp};
use crate::policy::{OpeningRequest, PageNeed, PageSize, worth_joining};

/// All fetches in flight.
pub(crate) struct InFlight {
    pub(super) registry: Mutex<Registry>,
    pages: PageSize,
    pub(super) stall_timeout: Duration,
}

#[derive(Default)]
pub(super) struct Registry {
    /// The fetch of each page.
    pages: HashMap<PageKey, Arc<Fetch>>,
    /// Requests whose version is not known until they are answered.
    openings: HashMap<Path, Vec<OpeningFetch>>,
}

struct OpeningFetch {
    request: OpeningRequest,
    stamp: RequestStamp,
    fetch: Arc<Fetch>,
}

/// Which calls share the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// The caller joins a request in flight, and others may join the caller's.
    Full,
    /// The caller needs the answer to a request sent from now on. Others may join it.
    NewRequest,
    /// No other call: the request has preconditions of its own.
    None,
}

/// What a call reads of a version that is known.
#[derive(Default)]
pub(crate) struct Claim<'a> {
    /// The needed pages, ascending.
    pub(crate) needs: Vec<PageNeed>,
    /// The bytes behind them that the call reads next. One request brings both.
    pub(crate) ahead: Range<u64>,
    /// The fetches that the call waits for already.
    pub(crate) waiters: &'a [Arc<FetchWaiter>],
    /// No fetch of others is joined, and no other call joins the new ones.
    pub(crate) is_private: bool,
}

/// A new fetch of a run of pages, and the waiter of the call that has to launch it.
pub(crate) type NewFetch = (Range<u64>, Arc<FetchWaiter>);

impl InFlight {
    pub(crate) fn new(pages: PageSize, stall_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { registry: Mutex::default(), pages, stall_timeout })
    }

    /// Pages and objects that are being fetched now.
    pub(crate) fn len(&self) -> usize {
        let registry = self.registry.lock();
        registry.pages.len() + registry.openings.values().map(Vec::len).sum::<usize>()
    }

    /// A waiter for a fetch that opens the object of `call`: one in flight that brings part of `request` and is fresh
    /// enough, or a new one, which the caller has to launch. `None` where `is_known` says that no request is needed.
    ///
    /// All under one lock: an answer is recorded before its fetch is deregistered, so of readers that come together
    /// one sends a request, and the others find either its fetch or its answer.
    pub(crate) fn open(
        self: &Arc<Self>,
        call: &CacheCall,
        request: &OpeningRequest,
        stamp: RequestStamp,
        sharing: Sharing,
        is_known: impl Fn() -> bool,
    ) -> Option<Arc<FetchWaiter>> {
        let path = &call.path;
        let mut registry = self.registry.lock();
        if sharing == Sharing::Full && call.plan.reads_cache {
            let is_useful = |opening: &&OpeningFetch| {
                opening.fetch.version == call.version
                    && opening.stamp.epoch == stamp.epoch
                    && call.plan.is_fresh(opening.stamp.at, stamp.at)
                    && worth_joining(&opening.request, request)
            };
            if let Some(opening) = registry.openings.get(path).and_then(|openings| openings.iter().find(is_useful)) {
                return Some(self.join(&opening.fetch, call, opening.request == *request).undecided());
            }
            if is_known() {
                return None;
            }
        }
        let fetch = Fetch::new(call, self.pages, call.plan.admit, false);
        if sharing != Sharing::None {
            fetch.progress.lock().opens = Some(path.clone());
            let opening = OpeningFetch { request: request.clone(), stamp, fetch: Arc::clone(&fetch) };
            registry.openings.entry(path.clone()).or_default().push(opening);
        }
        Some(self.waiter(&fetch, call, true, true).undecided())
    }

    /// Finds each page that `claim` needs of the version `id`, all under one lock: in flight, `in_memory` by now, or
    /// missing. The missing ones are grouped by `runs` into new fetches, which the caller has to launch. `runs` is told
    /// which pages are in flight.
    pub(crate) fn claim(
        self: &Arc<Self>,
        call: &CacheCall,
        id: u64,
        claim: Claim<'_>,
        in_memory: impl Fn(&PageNeed) -> Option<Bytes>,
        runs: impl Fn(&[u64], &dyn Fn(u64) -> bool) -> Vec<Range<u64>>,
    ) -> (Vec<PlannedPage>, Vec<NewFetch>) {
        let mut joined = claim.waiters.to_vec();
        let (mut planned, mut missing) = (Vec::new(), Vec::new());
        let mut registry = self.registry.lock();
        for need in claim.needs {
            let key = PageKey { version: id, page: need.page };
            if call.plan.reads_cache
                && !claim.is_private
                && let Some(fetch) = registry.pages.get(&key)
            {
                if fetch.progress.lock().pages.add_interest(need.page) {
                    let known = joined.iter().find(|waiter| Arc::ptr_eq(&waiter.fetch, fetch)).cloned();
                    let waiter = known.unwrap_or_else(|| {
                        joined.push(self.join(fetch, call, true));
                        Arc::clone(&joined[joined.len() - 1])
                    });
                    let source = PageSource::InFlight(Interest { waiter, page: need.page });
                    planned.push(PlannedPage { need, source });
                    continue;
                }
                // The fetch has brought the page, and dropped it after its readers had taken it.
                registry.pages.remove(&key);
            }
            // A fetch stores a page before it is deregistered, so this order of looking misses none.
            match in_memory(&need) {
                Some(page) => planned.push(PlannedPage { need, source: PageSource::Held(page) }),
                None => missing.push(need),
            }
        }
        let mut new_fetches = Vec::new();
        let is_in_flight = |page| registry.pages.contains_key(&PageKey { version: id, page });
        for run in runs(&missing.iter().map(|need| need.page).collect::<Vec<_>>(), &is_in_flight) {
            let fetch = Fetch::new(call, self.pages, call.plan.admit, claim.is_private);
            registry.register(&fetch, id, run.clone());
            if !claim.ahead.is_empty() {
                fetch.progress.lock().pages.follow(Some(self.pages.of(claim.ahead.start)));
            }
            new_fetches.push((run, self.waiter(&fetch, call, true, true)));
        }
        for need in missing {
            let (_, waiter) =
                new_fetches.iter().find(|(run, _)| run.contains(&need.page)).expect("every missing page is in a run");
            planned.push(PlannedPage { source: PageSource::InFlight(waiter.interest_in(need.page)), need });
        }
        (planned, new_fetches)
    }

    /// Ends `fetch` and wakes its waiters.
    pub(super) fn end(&self, fetch: &Fetch, outcome: FetchOutcome) {
        // Deregistered first: a waiter that retries must not find this fetch.
        self.registry.lock().deregister(fetch);
        fetch.update(|progress| {
            progress.outcome.get_or_insert(outcome);
            progress.pages.end();
        });
    }

    /// A waiter for another call's fetch. Its pages are kept if either call wants that; it is demanded if either is.
    fn join(self: &Arc<Self>, fetch: &Arc<Fetch>, call: &CacheCall, same_request: bool) -> Arc<FetchWaiter> {
        fetch.admit.fetch_or(call.plan.admit, Ordering::Relaxed);
        if !call.is_speculative() {
            fetch.promote();
        }
        self.waiter(fetch, call, false, same_request && fetch.version == call.version)
    }

    fn waiter(
        self: &Arc<Self>,
        fetch: &Arc<Fetch>,
        call: &CacheCall,
        is_own: bool,
        same_request: bool,
    ) -> Arc<FetchWaiter> {
        fetch.progress.lock().waiters += 1;
        let promotion = call.promotion().cloned();
        let is_undecided = AtomicBool::new(false);
        let (fetch, in_flight) = (Arc::clone(fetch), Arc::clone(self));
        Arc::new(FetchWaiter { fetch, in_flight, is_own, same_request, promotion, is_undecided })
    }
}

impl Registry {
    /// Registers the first of `pages` for `fetch`, except those that another fetch brings already.
    pub(super) fn register(&mut self, fetch: &Arc<Fetch>, version: u64, pages: Range<u64>) {
        if fetch.is_private {
            return;
        }
        let mut progress = fetch.progress.lock();
        for page in fetch.pages.joinable(&pages) {
            let key = PageKey { version, page };
            if let Entry::Vacant(vacant) = self.pages.entry(key) {
                vacant.insert(Arc::clone(fetch));
                progress.keys.push(key);
            }
        }
    }

    /// Removes the registrations of the pages that `fetch` has brought and dropped.
    pub(super) fn deregister_dropped(&mut self, fetch: &Fetch) {
        let FetchProgress { keys, pages, .. } = &mut *fetch.progress.lock();
        for key in keys.extract_if(.., |key| pages.is_dropped(key.page)) {
            self.remove(key, fetch);
        }
    }

    /// Removes all registrations of `fetch`: no further call joins it.
    pub(super) fn deregister(&mut self, fetch: &Fetch) {
        let mut progress = fetch.progress.lock();
        for key in progress.keys.drain(..) {
            self.remove(key, fetch);
        }
        if let Some(path) = progress.opens.take()
            && let Entry::Occupied(mut openings) = self.openings.entry(path)
        {
            openings.get_mut().retain(|opening| !std::ptr::eq(Arc::as_ptr(&opening.fetch), fetch));
            if openings.get().is_empty() {
                openings.remove();
            }
        }
    }

    /// Removes the registration of a page for `fetch`, unless another fetch brings the page by now.
    fn remove(&mut self, key: PageKey, fetch: &Fetch) {
        if self.pages.get(&key).is_some_and(|other| std::ptr::eq(Arc::as_ptr(other), fetch)) {
            self.pages.remove(&key);
        }
    }
}
