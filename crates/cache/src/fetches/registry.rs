//! Fetches in the registry: who fetches which pages, and who joins whom.
//!
//! Every fetch is a task of its own, so no reader depends on another's fate. Whoever wants a page takes a [`FetchWaiter`] in its
//! fetch; when the last waiter is given up, the task is aborted, and its GET with it. One lock guards who flies what;
//! it is never held across an await.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;

use tokio::runtime::Handle;

use crate::fetches::fetch::{Fetch, FetchGuard, FetchOutcome};
use crate::fetches::sync::Mutex;
use crate::fetches::waiter::{FetchWaiter, Interest};
use crate::lookup::call::ReadCall;
use crate::lookup::memory_tier::PageKey;
use crate::lookup::version_table::RequestStamp;
use crate::policy::freshness::{OpenRequest, worth_joining};
use crate::policy::page::PageNeed;

/// All fetches in the registry.
pub(crate) struct InFlight {
    pub(crate) registry: Mutex<Registry>,
    pub(crate) stall_timeout: Duration,
}

#[derive(Default)]
pub(crate) struct Registry {
    /// Who fetches which page.
    pages: HashMap<PageKey, Arc<Fetch>>,
    /// Requests whose version is not known before they are answered.
    openings: HashMap<Path, Vec<OpeningFetch>>,
}

struct OpeningFetch {
    asked: OpenRequest,
    asking: RequestStamp,
    fetch: Arc<Fetch>,
}

/// Which calls share the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// The caller joins a request in fetch, and others may join the caller's.
    Full,
    /// The caller needs the answer to a request sent from now on; others may join it.
    NewRequest,
    /// Nobody: the request has preconditions of its own.
    None,
}

/// What to do about a page that is not here.
pub(crate) enum Claim {
    /// Somebody fetches it.
    Join(Interest),
    /// It arrived in the meantime.
    InMemory(Bytes),
    /// It is fetched in the caller's name.
    Fetch(Interest),
}

/// A run of pages that is to be fetched, and the waiter of the reader that has it fetched.
pub(crate) type NewFetch = (Range<u64>, Arc<FetchWaiter>);

impl InFlight {
    pub(crate) fn new(stall_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { registry: Mutex::default(), stall_timeout })
    }

    /// Pages and objects being fetched now.
    pub(crate) fn len(&self) -> usize {
        let registry = self.registry.lock();
        registry.pages.len() + registry.openings.values().map(Vec::len).sum::<usize>()
    }

    /// A waiter in a fetch that opens `path`: one that brings something of what is `asked` and is `fresh` enough, or a new
    /// one, which is the caller's to launch. `None` where `known` says that no fetch is needed any more.
    ///
    /// All under one lock: an answer is known before its fetch stops being an opening, so of readers that come together
    /// one flies, and the others find either its fetch or its answer.
    pub(crate) fn open(
        self: &Arc<Self>,
        call: &ReadCall,
        asked: &OpenRequest,
        asking: RequestStamp,
        sharing: Sharing,
        known: impl Fn() -> bool,
    ) -> Option<Arc<FetchWaiter>> {
        let path = &call.path;
        let mut registry = self.registry.lock();
        if sharing == Sharing::Full && call.plan.look {
            let of_use = |opening: &&OpeningFetch| {
                opening.fetch.version == call.version
                    && opening.asking.epoch == asking.epoch
                    && call.plan.is_fresh(opening.asking.at, asking.at)
                    && worth_joining(&opening.asked, asked)
            };
            if let Some(opening) = registry.openings.get(path).and_then(|openings| openings.iter().find(of_use)) {
                let waiter = self.join(&opening.fetch, call, opening.asked == *asked);
                return Some(waiter.undecided());
            }
            if known() {
                return None;
            }
        }
        let fetch = Fetch::of(call, call.plan.admit, false);
        if sharing != Sharing::None {
            fetch.progress.lock().opens = Some(path.clone());
            let opening = OpeningFetch { asked: asked.clone(), asking, fetch: Arc::clone(&fetch) };
            registry.openings.entry(path.clone()).or_default().push(opening);
        }
        Some(self.waiter(&fetch, call, true, true).undecided())
    }

    /// Claims `needs` of the version `id`, all under one lock: what is `here` by now, what is in the registry, and what is
    /// missing; the missing ones are grouped by `runs` into in_flight, returned with their pages, and are the caller's to launch.
    /// `alone`: no other fetch is joined, and nobody joins the new ones.
    pub(crate) fn claim(
        self: &Arc<Self>,
        call: &ReadCall,
        id: u64,
        needs: &[PageNeed],
        alone: bool,
        here: impl Fn(u64) -> Option<Bytes>,
        runs: impl Fn(&[u64]) -> Vec<Range<u64>>,
    ) -> (Vec<Claim>, Vec<NewFetch>) {
        let mut joined: Vec<Arc<FetchWaiter>> = Vec::new();
        let mut missing = Vec::new();
        let mut registry = self.registry.lock();
        let claims: Vec<Option<Claim>> = needs
            .iter()
            .map(|need| {
                let key = PageKey { version: id, page: need.page };
                if call.plan.look
                    && !alone
                    && let Some(fetch) = registry.pages.get(&key)
                {
                    if fetch.progress.lock().pieces.want(need.page) {
                        let known = joined.iter().find(|waiter| Arc::ptr_eq(&waiter.fetch, fetch)).cloned();
                        let waiter = known.unwrap_or_else(|| {
                            let waiter = self.join(fetch, call, true);
                            joined.push(Arc::clone(&waiter));
                            waiter
                        });
                        return Some(Claim::Join(Interest { waiter, page: need.page }));
                    }
                    // It has arrived there, was taken, and is dropped.
                    registry.pages.remove(&key);
                }
                // A fetch stores a page before it gives up its registration: looked up in this order, none slips through.
                if let Some(page) = here(need.page) {
                    return Some(Claim::InMemory(page));
                }
                missing.push(need.page);
                None
            })
            .collect();
        let in_flight: Vec<NewFetch> = runs(&missing)
            .into_iter()
            .map(|run| {
                let fetch = Fetch::of(call, call.plan.admit, alone);
                if !alone {
                    registry.register(&fetch, id, run.clone());
                }
                (run, self.waiter(&fetch, call, true, true))
            })
            .collect();
        let fetch = |page: u64| {
            let (_, waiter) =
                in_flight.iter().find(|(run, _)| run.contains(&page)).expect("every missing page is in a run");
            Claim::Fetch(waiter.interest_in(page))
        };
        let claims = claims.into_iter().zip(needs).map(|(claim, need)| claim.unwrap_or_else(|| fetch(need.page)));
        (claims.collect(), in_flight)
    }

    /// A new fetch for `pages` of the version `id`, whoever else fetches them: the next window of a body that is open already.
    pub(crate) fn window(
        self: &Arc<Self>,
        call: &ReadCall,
        id: u64,
        pages: Range<u64>,
        admit: bool,
    ) -> Arc<FetchWaiter> {
        let fetch = Fetch::of(call, admit, false);
        let mut registry = self.registry.lock();
        registry.register(&fetch, id, pages);
        self.waiter(&fetch, call, true, true)
    }

    /// Runs the task that flies `fetch`. Whatever becomes of the task, its [`FetchGuard`] tells the waiters.
    pub(crate) fn launch(
        self: &Arc<Self>,
        runtime: &Handle,
        waiter: &FetchWaiter,
        task: impl FnOnce(FetchGuard) -> futures::future::BoxFuture<'static, ()>,
    ) {
        let guard = FetchGuard { fetch: Arc::clone(&waiter.fetch), in_flight: Arc::clone(self) };
        let task = runtime.spawn(task(guard));
        // The waiter in hand keeps everyone from wanting to abort it before this line.
        let _ = waiter.fetch.task.set(task.abort_handle());
    }

    /// `fetch` is over.
    pub(crate) fn end(&self, fetch: &Fetch, end: FetchOutcome) {
        // First out of the registry: who tries again must not find this fetch.
        self.registry.lock().deregister(fetch);
        {
            let mut progress = fetch.progress.lock();
            progress.end.get_or_insert(end);
            progress.pieces.ends();
        }
        fetch.tick.notify_waiters();
    }

    /// A waiter in the fetch of another call: what it brings is kept if one of both wants that, and waited for if one of both waits.
    fn join(self: &Arc<Self>, fetch: &Arc<Fetch>, call: &ReadCall, same_request: bool) -> Arc<FetchWaiter> {
        fetch.admit.fetch_or(call.plan.admit, Ordering::Relaxed);
        if !call.is_ahead() {
            fetch.promote();
        }
        self.waiter(fetch, call, false, same_request && fetch.version == call.version)
    }

    fn waiter(
        self: &Arc<Self>,
        fetch: &Arc<Fetch>,
        call: &ReadCall,
        mine: bool,
        same_request: bool,
    ) -> Arc<FetchWaiter> {
        fetch.progress.lock().waiters += 1;
        let promotion = call.promotion().cloned();
        let is_undecided = AtomicBool::new(false);
        let (fetch, in_flight) = (Arc::clone(fetch), Arc::clone(self));
        Arc::new(FetchWaiter { fetch, in_flight, mine, same_request, promotion, is_undecided })
    }
}

impl Registry {
    /// Registers `pages` in the name of `fetch`, where nobody else has them.
    pub(crate) fn register(&mut self, fetch: &Arc<Fetch>, version: u64, pages: Range<u64>) {
        let mut progress = fetch.progress.lock();
        for page in pages {
            let key = PageKey { version, page };
            if let Entry::Vacant(vacant) = self.pages.entry(key) {
                vacant.insert(Arc::clone(fetch));
                progress.keys.push(key);
            }
        }
    }

    /// Nobody joins `fetch` from here on.
    pub(crate) fn deregister(&mut self, fetch: &Fetch) {
        let mut progress = fetch.progress.lock();
        for key in progress.keys.drain(..) {
            if let Entry::Occupied(occupied) = self.pages.entry(key)
                && std::ptr::eq(&raw const **occupied.get(), fetch)
            {
                occupied.remove();
            }
        }
        if let Some(path) = progress.opens.take()
            && let Entry::Occupied(mut openings) = self.openings.entry(path)
        {
            openings.get_mut().retain(|opening| !std::ptr::eq(&raw const *opening.fetch, fetch));
            if openings.get().is_empty() {
                openings.remove();
            }
        }
    }
}
