//! Readers that share fetches, under schedules that `shuttle` chooses: each has its bytes, none waits for ever, and nothing is fetched twice
//! while it is in flight.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use headstart_fetch_core::MemoryBudget;
use object_store::{Attributes, Extensions, ObjectMeta};

use crate::call::Call;
use crate::config::Freshness;
use crate::flight::{End, Pilot, Vain};
use crate::flights::{Claim, Flights};
use crate::page::{MIN_PAGE_BYTES, Need, PageSize};
use crate::pieces::Charge;
use crate::policy::Plan;
use crate::sync::{Mutex, explore};
use crate::version_table::{Head, VersionTable};

const PAGES: u32 = 4;
const PAGE: u64 = MIN_PAGE_BYTES as u64;

/// What the readers share.
struct World {
    flights: Arc<Flights>,
    pages: PageSize,
    head: Arc<Head>,
    kept: Mutex<HashMap<u64, Bytes>>,
    /// Fetches of each page that are in flight now.
    in_flight: [AtomicUsize; PAGES as usize],
    budget: Arc<MemoryBudget>,
}

impl World {
    fn new() -> Arc<Self> {
        let table = VersionTable::new(10);
        let meta = ObjectMeta {
            location: "a".into(),
            last_modified: Utc::now(),
            size: u64::from(PAGES) * PAGE,
            e_tag: Some("1".into()),
            version: None,
        };
        let asking = table.asking(&"a".into(), Duration::ZERO);
        Arc::new(Self {
            flights: Flights::new(Duration::from_secs(60)),
            pages: PageSize::new(MIN_PAGE_BYTES).expect("it is allowed"),
            head: table.learn(&"a".into(), None, asking, meta, Attributes::new(), false),
            kept: Mutex::default(),
            in_flight: Default::default(),
            budget: MemoryBudget::new(MIN_PAGE_BYTES * 3),
        })
    }

    fn claim(self: &Arc<Self>, needs: &[Need]) -> Vec<Claim> {
        let plan = Plan::new(true, Freshness::default(), None, false);
        let call = Call::new(&"a".into(), None, plan, Extensions::new());
        let here = |page| self.kept.lock().get(&page).cloned();
        let runs = |missing: &[u64]| missing.iter().map(|page| *page..page + 1).collect();
        let (claims, runs) = self.flights.claim(&call, self.head.id, needs, false, here, runs);
        for (run, seat) in runs {
            let pilot = Pilot { flight: Arc::clone(&seat.flight), flights: Arc::clone(&self.flights) };
            match self.budget.try_reserve(MIN_PAGE_BYTES) {
                Some(reservation) => pilot.charge(Charge::Reserved(reservation), self.pages),
                None => pilot.charge(Charge::Lockstep, self.pages),
            }
            drop(shuttle::future::spawn(fly(Arc::clone(self), pilot, run.start)));
        }
        claims
    }
}

/// The task of a fetch of `page`: one in so many is lost.
async fn fly(world: Arc<World>, pilot: Pilot, page: u64) {
    let fetches = &world.in_flight[usize::try_from(page).expect("small")];
    assert_eq!(fetches.fetch_add(1, Ordering::SeqCst), 0, "page {page} is fetched twice");
    shuttle::future::yield_now().await;
    let bytes = page * PAGE..(page + 1) * PAGE;
    pilot.answered(&world.head, world.pages, bytes, page..page + 1);
    pilot.room(page, MIN_PAGE_BYTES).await;
    let piece = Bytes::from(vec![u8::try_from(page).expect("small"); MIN_PAGE_BYTES]);
    pilot.arrived(page, piece, |bytes, _| drop(world.kept.lock().insert(page, bytes)));
    fetches.fetch_sub(1, Ordering::SeqCst);
    pilot.land(if page == 3 { End::Lost } else { End::Landed });
}

/// Reads pages `first..last`; gives up after so many of them.
async fn read(world: Arc<World>, first: u64, last: u64, gives_up_after: usize) {
    let needs: Vec<_> = (first..last).map(|page| Need { page, bytes: page * PAGE..page * PAGE + 10 }).collect();
    let claims = world.claim(&needs);
    for (claim, need) in claims.into_iter().zip(needs).take(gives_up_after) {
        let mut claim = Some(claim);
        for _ in 0..4 {
            let bytes = match claim.take().unwrap_or_else(|| world.claim(std::slice::from_ref(&need)).remove(0)) {
                Claim::Here(page) => Ok(page.slice(..10)),
                Claim::Join(interest) | Claim::Fetch(interest) => interest.seat.take(world.pages, &need).await,
            };
            match bytes {
                Ok(bytes) => {
                    assert_eq!(bytes, vec![u8::try_from(need.page).expect("small"); 10]);
                    break;
                }
                Err(Vain::Lost) => {}
                Err(Vain::Failed(error)) => panic!("nothing fails here: {error}"),
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
        });
        // Fetches that nobody waits for any more end by themselves here; there is no runtime that would abort them.
        while world.flights.len() > 0 {
            shuttle::thread::yield_now();
        }
        while world.budget.used_bytes() > 0 {
            shuttle::thread::yield_now();
        }
    });
}
