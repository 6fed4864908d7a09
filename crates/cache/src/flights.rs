//! Fetches in the air: who fetches which pages, and who joins whom.
//!
//! Every fetch is a task of its own, so no reader depends on another's fate. Whoever wants a page takes a [`Seat`] in its
//! flight; when the last seat is given up, the task is aborted, and its GET with it. One lock guards who flies what;
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

use crate::call::Call;
use crate::flight::{End, Flight, Pilot};
use crate::memory::PageKey;
use crate::page::Need;
use crate::policy::{Asked, worth_joining};
use crate::seat::{Interest, Seat};
use crate::sync::Mutex;
use crate::version_table::Asking;

/// All fetches in the air.
pub(crate) struct Flights {
    pub(crate) air: Mutex<Air>,
    pub(crate) stall_timeout: Duration,
}

#[derive(Default)]
pub(crate) struct Air {
    /// Who fetches which page.
    pages: HashMap<PageKey, Arc<Flight>>,
    /// Requests whose version is not known before they are answered.
    openings: HashMap<Path, Vec<Opening>>,
}

struct Opening {
    asked: Asked,
    asking: Asking,
    flight: Arc<Flight>,
}

/// Which calls share the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// The caller joins a request in flight, and others may join the caller's.
    Full,
    /// The caller needs the answer to a request sent from now on; others may join it.
    Anew,
    /// Nobody: the request has preconditions of its own.
    None,
}

/// What to do about a page that is not here.
pub(crate) enum Claim {
    /// Somebody fetches it.
    Join(Interest),
    /// It arrived in the meantime.
    Here(Bytes),
    /// It is fetched in the caller's name.
    Fetch(Interest),
}

/// A run of pages that is to be fetched, and the seat of the reader that has it fetched.
pub(crate) type Run = (Range<u64>, Arc<Seat>);

impl Flights {
    pub(crate) fn new(stall_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { air: Mutex::default(), stall_timeout })
    }

    /// Pages and objects being fetched now.
    pub(crate) fn len(&self) -> usize {
        let air = self.air.lock();
        air.pages.len() + air.openings.values().map(Vec::len).sum::<usize>()
    }

    /// A seat in a flight that opens `path`: one that brings something of what is `asked` and is `fresh` enough, or a new
    /// one, which is the caller's to launch. `None` where `known` says that no flight is needed any more.
    ///
    /// All under one lock: an answer is known before its flight stops being an opening, so of readers that come together
    /// one flies, and the others find either its flight or its answer.
    pub(crate) fn open(
        self: &Arc<Self>,
        call: &Call,
        asked: &Asked,
        asking: Asking,
        sharing: Sharing,
        known: impl Fn() -> bool,
    ) -> Option<Arc<Seat>> {
        let path = &call.path;
        let mut air = self.air.lock();
        if sharing == Sharing::Full && call.plan.look {
            let of_use = |opening: &&Opening| {
                opening.flight.version == call.version
                    && opening.asking.epoch == asking.epoch
                    && call.plan.is_fresh(opening.asking.at, asking.at)
                    && worth_joining(&opening.asked, asked)
            };
            if let Some(opening) = air.openings.get(path).and_then(|openings| openings.iter().find(of_use)) {
                let seat = self.join(&opening.flight, call, opening.asked == *asked);
                return Some(seat.undecided());
            }
            if known() {
                return None;
            }
        }
        let flight = Flight::of(call, call.plan.admit, false);
        if sharing != Sharing::None {
            flight.board.lock().opens = Some(path.clone());
            let opening = Opening { asked: asked.clone(), asking, flight: Arc::clone(&flight) };
            air.openings.entry(path.clone()).or_default().push(opening);
        }
        Some(self.seat(&flight, call, true, true).undecided())
    }

    /// Claims `needs` of the version `id`, all under one lock: what is `here` by now, what is in the air, and what is
    /// missing; the missing ones are grouped by `runs` into flights, returned with their pages, and are the caller's to launch.
    /// `alone`: no other flight is joined, and nobody joins the new ones.
    pub(crate) fn claim(
        self: &Arc<Self>,
        call: &Call,
        id: u64,
        needs: &[Need],
        alone: bool,
        here: impl Fn(u64) -> Option<Bytes>,
        runs: impl Fn(&[u64]) -> Vec<Range<u64>>,
    ) -> (Vec<Claim>, Vec<Run>) {
        let mut joined: Vec<Arc<Seat>> = Vec::new();
        let mut missing = Vec::new();
        let mut air = self.air.lock();
        let claims: Vec<Option<Claim>> = needs
            .iter()
            .map(|need| {
                let key = PageKey { version: id, page: need.page };
                if call.plan.look
                    && !alone
                    && let Some(flight) = air.pages.get(&key)
                {
                    if flight.board.lock().pieces.want(need.page) {
                        let known = joined.iter().find(|seat| Arc::ptr_eq(&seat.flight, flight)).cloned();
                        let seat = known.unwrap_or_else(|| {
                            let seat = self.join(flight, call, true);
                            joined.push(Arc::clone(&seat));
                            seat
                        });
                        return Some(Claim::Join(Interest { seat, page: need.page }));
                    }
                    // It has arrived there, was taken, and is dropped.
                    air.pages.remove(&key);
                }
                // A flight stores a page before it gives up its registration: looked up in this order, none slips through.
                if let Some(page) = here(need.page) {
                    return Some(Claim::Here(page));
                }
                missing.push(need.page);
                None
            })
            .collect();
        let flights: Vec<Run> = runs(&missing)
            .into_iter()
            .map(|run| {
                let flight = Flight::of(call, call.plan.admit, alone);
                if !alone {
                    air.register(&flight, id, run.clone());
                }
                (run, self.seat(&flight, call, true, true))
            })
            .collect();
        let fetch = |page: u64| {
            let (_, seat) =
                flights.iter().find(|(run, _)| run.contains(&page)).expect("every missing page is in a run");
            Claim::Fetch(seat.interest_in(page))
        };
        let claims = claims.into_iter().zip(needs).map(|(claim, need)| claim.unwrap_or_else(|| fetch(need.page)));
        (claims.collect(), flights)
    }

    /// A new flight for `pages` of the version `id`, whoever else fetches them: the next window of a body that is open already.
    pub(crate) fn window(self: &Arc<Self>, call: &Call, id: u64, pages: Range<u64>, admit: bool) -> Arc<Seat> {
        let flight = Flight::of(call, admit, false);
        let mut air = self.air.lock();
        air.register(&flight, id, pages);
        self.seat(&flight, call, true, true)
    }

    /// Runs the task that flies `flight`. Whatever becomes of the task, its [`Pilot`] tells the waiters.
    pub(crate) fn launch(
        self: &Arc<Self>,
        runtime: &Handle,
        seat: &Seat,
        task: impl FnOnce(Pilot) -> futures::future::BoxFuture<'static, ()>,
    ) {
        let pilot = Pilot { flight: Arc::clone(&seat.flight), flights: Arc::clone(self) };
        let task = runtime.spawn(task(pilot));
        // The seat in hand keeps everyone from wanting to abort it before this line.
        let _ = seat.flight.task.set(task.abort_handle());
    }

    /// `flight` is over.
    pub(crate) fn end(&self, flight: &Flight, end: End) {
        // First out of the air: who tries again must not find this flight.
        self.air.lock().strike_off(flight);
        {
            let mut board = flight.board.lock();
            board.end.get_or_insert(end);
            board.pieces.ends();
        }
        flight.tick.notify_waiters();
    }

    /// A seat in the flight of another call: what it brings is kept if one of both wants that, and waited for if one of both waits.
    fn join(self: &Arc<Self>, flight: &Arc<Flight>, call: &Call, same_request: bool) -> Arc<Seat> {
        flight.admit.fetch_or(call.plan.admit, Ordering::Relaxed);
        if !call.is_ahead() {
            flight.promote();
        }
        self.seat(flight, call, false, same_request && flight.version == call.version)
    }

    fn seat(self: &Arc<Self>, flight: &Arc<Flight>, call: &Call, mine: bool, same_request: bool) -> Arc<Seat> {
        flight.board.lock().seats += 1;
        let promotion = call.promotion().cloned();
        let is_undecided = AtomicBool::new(false);
        let (flight, flights) = (Arc::clone(flight), Arc::clone(self));
        Arc::new(Seat { flight, flights, mine, same_request, promotion, is_undecided })
    }
}

impl Air {
    /// Registers `pages` in the name of `flight`, where nobody else has them.
    pub(crate) fn register(&mut self, flight: &Arc<Flight>, version: u64, pages: Range<u64>) {
        let mut board = flight.board.lock();
        for page in pages {
            let key = PageKey { version, page };
            if let Entry::Vacant(vacant) = self.pages.entry(key) {
                vacant.insert(Arc::clone(flight));
                board.keys.push(key);
            }
        }
    }

    /// Nobody joins `flight` from here on.
    pub(crate) fn strike_off(&mut self, flight: &Flight) {
        let mut board = flight.board.lock();
        for key in board.keys.drain(..) {
            if let Entry::Occupied(occupied) = self.pages.entry(key)
                && std::ptr::eq(&raw const **occupied.get(), flight)
            {
                occupied.remove();
            }
        }
        if let Some(path) = board.opens.take()
            && let Entry::Occupied(mut openings) = self.openings.entry(path)
        {
            openings.get_mut().retain(|opening| !std::ptr::eq(&raw const *opening.flight, flight));
            if openings.get().is_empty() {
                openings.remove();
            }
        }
    }
}
