//! Readers that share fetches, under schedules that `shuttle` chooses: every reader gets its bytes, none waits for
//! ever, and no page is fetched twice at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::Utc;
use headstart_fetch_core::MemoryBudget;
use object_store::{Attributes, Extensions, ObjectMeta};

use crate::fetches::fetch::{FetchGuard, FetchOutcome};
use crate::fetches::sync::{Mutex, explore};
use crate::fetches::{Charge, Claim, PageSource, PlannedPage, WaitError};
use crate::lookup::{CacheCall, ObjectHead, VersionTable};
use crate::policy::{CachePlan, PageNeed, PageSize, SafetyRules};
use crate::{config::Freshness, fetches::single_flight::InFlight, policy::page::MIN_PAGE_BYTES};

const PAGES: u32 = 4;
const PAGE: u64 = MIN_PAGE_BYTES as u64;

/// What the readers share.
struct World {
    in_flight: Arc<InFlight>,
    head: Arc<ObjectHead>,
    kept: Mutex<HashMap<u64, Bytes>>,
    /// Number of fetches of each page that are active now.
    active_fetches: [AtomicUsize; PAGES as usize],
    budget: Arc<MemoryBudget>,
    tasks: Mutex<Vec<shuttle::future::JoinHandle<()>>>,
}

impl World {
    fn new() -> Arc<Self> {
        let table = VersionTable::new(10, SafetyRules::ALL);
        let (size, e_tag) = (u64::from(PAGES) * PAGE, Some("1".into()));
        let meta = ObjectMeta { location: "a".into(), last_modified: Utc::now(), size, e_tag, version: None };
        let stamp = table.stamp(&"a".into(), Duration::ZERO);
        let pages = PageSize::new(MIN_PAGE_BYTES).expect("it is allowed");
        Arc::new(Self {
            in_flight: InFlight::new(pages, Duration::from_secs(60)),
            head: table.record(&"a".into(), None, stamp, meta, Attributes::new(), false),
            kept: Mutex::default(),
            active_fetches: Default::default(),
            budget: MemoryBudget::new(MIN_PAGE_BYTES * 3),
            tasks: Mutex::default(),
        })
    }

    fn claim(self: &Arc<Self>, needs: Vec<PageNeed>) -> Vec<PlannedPage> {
        let plan = CachePlan::new(Freshness::default(), None, false);
        let call = CacheCall::new(&"a".into(), None, plan, Extensions::new());
        let in_memory = |need: &PageNeed| self.kept.lock().get(&need.page).map(|page| page.slice(..10));
        let runs = |missing: &[u64], _: &dyn Fn(u64) -> bool| missing.iter().map(|page| *page..page + 1).collect();
        let claim = Claim { needs, ..Claim::default() };
        let (planned, runs) = self.in_flight.claim(&call, self.head.id, claim, in_memory, runs);
        for (run, waiter) in runs {
            let guard = FetchGuard { fetch: Arc::clone(&waiter.fetch), in_flight: Arc::clone(&self.in_flight) };
            match self.budget.try_reserve(MIN_PAGE_BYTES) {
                Some(reservation) => guard.fetch.charge(Charge::Reserved(reservation)),
                None => guard.fetch.charge(Charge::Lockstep),
            }
            let task = shuttle::future::spawn(run_fetch(Arc::clone(self), guard, run.start));
            self.tasks.lock().push(task);
        }
        planned
    }
}

/// The task of a fetch of `page`. That of page 3 is lost at the end.
async fn run_fetch(world: Arc<World>, guard: FetchGuard, page: u64) {
    let fetches = &world.active_fetches[usize::try_from(page).expect("small")];
    assert_eq!(fetches.fetch_add(1, Ordering::SeqCst), 0, "page {page} is fetched twice");
    shuttle::future::yield_now().await;
    let span = page * PAGE..(page + 1) * PAGE;
    guard.answered(&world.head, span, page..page + 1);
    guard.room(page, MIN_PAGE_BYTES).await;
    let bytes = Bytes::from(vec![u8::try_from(page).expect("small"); MIN_PAGE_BYTES]);
    guard.arrived(page, bytes, |bytes, _| drop(world.kept.lock().insert(page, bytes)));
    fetches.fetch_sub(1, Ordering::SeqCst);
    guard.finish(Ok(if page == 3 { FetchOutcome::Lost } else { FetchOutcome::Finished }));
}

/// Reads pages `first..last`; drops the others after `gives_up_after` of them.
async fn read(world: Arc<World>, first: u64, last: u64, gives_up_after: usize) {
    let needs: Vec<_> = (first..last).map(|page| PageNeed { page, bytes: page * PAGE..page * PAGE + 10 }).collect();
    for page in world.claim(needs).into_iter().take(gives_up_after) {
        let (need, mut planned) = (page.need.clone(), Some(page));
        for _ in 0..4 {
            let page = planned.take().unwrap_or_else(|| world.claim(vec![need.clone()]).remove(0));
            let bytes = match page.source {
                PageSource::Held(bytes) => Ok(bytes),
                PageSource::InFlight(interest) => interest.waiter.take(&need).await,
                PageSource::InMemory => panic!("only a stream looks again"),
            };
            match bytes {
                Ok(bytes) => {
                    assert_eq!(bytes, vec![u8::try_from(need.page).expect("small"); 10]);
                    break;
                }
                Err(WaitError::Lost) => {}
                Err(WaitError::Failed(error)) => panic!("nothing fails here: {error}"),
            }
        }
    }
}

#[test]
fn no_schedule_loses_a_page_or_fetches_one_twice() {
    explore(3000, || {
        let world = World::new();
        let readers: Vec<_> = [(0, 4, 9), (0, 2, 9), (1, 4, 1), (2, 4, 9), (0, 4, 2)]
            .into_iter()
            .map(|(first, last, gives_up)| shuttle::future::spawn(read(Arc::clone(&world), first, last, gives_up)))
            .collect();
        shuttle::future::block_on(async {
            for reader in readers {
                reader.await.expect("no reader panics");
            }
            // No runtime aborts fetches without waiters here: they run to their end.
            let tasks = std::mem::take(&mut *world.tasks.lock());
            for task in tasks {
                task.await.expect("no fetch panics");
            }
        });
        assert_eq!((world.in_flight.len(), world.budget.used_bytes()), (0, 0));
    });
}
