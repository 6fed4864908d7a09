//! Fetches in the air: who fetches which pages, who waits for them, and what has arrived.
//!
//! Every fetch is a task of its own, so no reader depends on another's fate. Whoever wants a page takes a [`Seat`] in its
//! flight; when the last seat is given up, the task is aborted, and its GET with it. One lock guards who flies what;
//! it is never held across an await.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future;
use headstart_fetch_core::mutation::Fault;
use headstart_fetch_core::runtime::{Home, has_timer};
use headstart_fetch_core::{Promotion, byte_range, depends_on_request, share};
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::call::Call;
use crate::error::CacheError;
use crate::memory::{Arrival, PageKey};
use crate::page::{Need, PageSize};
use crate::pieces::{Charge, Pieces};
use crate::policy::{Asked, worth_joining};
use crate::version_table::{Asking, Head};

/// All fetches in the air.
pub(crate) struct Flights {
    air: Mutex<Air>,
    stall_timeout: Duration,
}

#[derive(Default)]
struct Air {
    /// Who fetches which page.
    pages: HashMap<PageKey, Arc<Flight>>,
    /// Requests whose version is not known before they are answered.
    openings: HashMap<Path, Vec<Opening>>,
}

struct Opening {
    /// The version that was asked for by name, if one was.
    version: Option<String>,
    asked: Asked,
    asking: Asking,
    flight: Arc<Flight>,
}

/// One request, or one window of a long body.
pub(crate) struct Flight {
    /// Which bytes it brings; known when it is answered.
    span: OnceLock<Range<u64>>,
    /// Keep what it brings. A reader that keeps pages may join one that does not.
    admit: AtomicBool,
    /// Of a speculative flight: turns it into one that is waited for. A reader that waits may join one that nobody waits for.
    promotion: Option<Promotion>,
    /// Its caller has said that what it brings will be read.
    announced: bool,
    board: Mutex<Board>,
    /// Ticks whenever the board changes. Whoever has waited longest is woken first, so that virtual time repeats itself.
    tick: Notify,
    /// Ticks whenever the fetch may have room to read on.
    room: Notify,
    task: OnceLock<AbortHandle>,
    /// Where its task runs.
    home: Option<Home>,
}

#[derive(Default)]
struct Board {
    /// Readers that wait or may still read. Changed under the air's lock only.
    seats: usize,
    /// The pages registered in its name. Changed under the air's lock only.
    keys: Vec<PageKey>,
    /// The path it is an opening of, as long as it is registered as one.
    opens: Option<Path>,
    answer: Option<Arc<Head>>,
    /// A reader that had joined it has left, because nothing had arrived for long.
    silent: bool,
    pieces: Pieces,
    end: Option<End>,
}

/// How a flight ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// Everything arrived.
    Landed,
    /// All who wait get this error, once.
    Failed(Arc<object_store::Error>),
    /// It brings nothing, and that is nobody's error: its task is gone, or the answer is of no use to a cache.
    Lost,
}

/// Why a wait was in vain.
#[derive(Debug)]
pub(crate) enum Vain {
    /// The fetch failed.
    Failed(object_store::Error),
    /// The fetch is gone; another one may succeed.
    Lost,
}

impl From<object_store::Error> for Vain {
    fn from(error: object_store::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Vain> for object_store::Error {
    fn from(vain: Vain) -> Self {
        match vain {
            Vain::Failed(error) => error,
            Vain::Lost => CacheError::Lost.into(),
        }
    }
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
                opening.version == call.version
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
        let flight = Flight::of(call, call.plan.admit);
        if sharing != Sharing::None {
            flight.board.lock().opens = Some(path.clone());
            let opening =
                Opening { version: call.version.clone(), asked: asked.clone(), asking, flight: Arc::clone(&flight) };
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
                let flight = Flight::of(call, call.plan.admit);
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
        let flight = Flight::of(call, admit);
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
    fn end(&self, flight: &Flight, end: End) {
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
        self.seat(flight, call, false, same_request)
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
    fn register(&mut self, flight: &Arc<Flight>, version: u64, pages: Range<u64>) {
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
    fn strike_off(&mut self, flight: &Flight) {
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

impl Flight {
    /// A flight that begins for `call`.
    fn of(call: &Call, admit: bool) -> Arc<Self> {
        Arc::new(Self {
            span: OnceLock::new(),
            admit: AtomicBool::new(admit),
            promotion: call.is_ahead().then(Promotion::default),
            announced: call.plan.announced,
            board: Mutex::default(),
            tick: Notify::new(),
            room: Notify::new(),
            task: OnceLock::new(),
            home: Home::current(),
        })
    }

    fn charge(&self, charge: Charge, pages: PageSize) {
        self.board.lock().pieces.charge(charge, byte_range::in_memory(pages.bytes()));
    }

    /// Somebody waits for it.
    fn promote(&self) {
        if let Some(promotion) = &self.promotion {
            promotion.promote();
        }
    }

    /// Nobody waits for it yet.
    fn is_ahead(&self) -> bool {
        self.promotion.as_ref().is_some_and(|promotion| !promotion.is_promoted())
    }

    /// How its pages come.
    fn arrival(&self) -> Arrival {
        match (self.announced, self.is_ahead()) {
            (true, _) => Arrival::Announced,
            (false, true) => Arrival::Ahead,
            (false, false) => Arrival::Demanded,
        }
    }
}

/// A reader's interest in a flight. Dropping the last one aborts the flight, unless it has landed.
pub(crate) struct Seat {
    flight: Arc<Flight>,
    flights: Arc<Flights>,
    /// The reader began the flight.
    pub(crate) mine: bool,
    /// The reader's own request would be the same as the flight's.
    same_request: bool,
    /// Of a speculative reader: tells when somebody waits for it, and so for the flight.
    promotion: Option<Promotion>,
    /// The reader does not know yet which pages it wants, and so wants all.
    is_undecided: AtomicBool,
}

/// A reader's interest in one page of a flight. When nobody is interested any more, the flight drops the page.
pub(crate) struct Interest {
    pub(crate) seat: Arc<Seat>,
    page: u64,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.seat.flight.board.lock().pieces.unwant(self.page);
        self.seat.flight.room.notify_one();
    }
}

/// A reader that waits for a page of a flight, or for all of it.
struct Awaiting<'a> {
    flight: &'a Flight,
    page: u64,
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.flight.board.lock().pieces.wait_no_more(self.page);
    }
}

impl Seat {
    fn undecided(self: Arc<Self>) -> Arc<Self> {
        self.is_undecided.store(true, Ordering::Relaxed);
        self.flight.board.lock().pieces.undecided();
        self
    }

    /// The reader knows what it wants: what it has an [`Interest`] in.
    pub(crate) fn decided(&self) {
        if self.is_undecided.swap(false, Ordering::Relaxed) {
            self.flight.board.lock().pieces.decided();
            self.flight.room.notify_one();
        }
    }

    /// Sets the memory for what the flight brings.
    pub(crate) fn charge(&self, charge: Charge, pages: PageSize) {
        self.flight.charge(charge, pages);
    }

    /// The reader's interest in `page` of a flight that has not been launched yet.
    pub(crate) fn interest_in(self: &Arc<Self>, page: u64) -> Interest {
        self.flight.board.lock().pieces.want(page);
        Interest { seat: Arc::clone(self), page }
    }

    /// The reader's interest in `need`, where the flight is answered, and brings it or still has it.
    pub(crate) fn interest(self: &Arc<Self>, need: &Need) -> Option<Interest> {
        let brings =
            self.flight.span.get().is_some_and(|span| span.start <= need.bytes.start && need.bytes.end <= span.end);
        let wanted = brings && self.flight.board.lock().pieces.want(need.page);
        wanted.then(|| Interest { seat: Arc::clone(self), page: need.page })
    }

    /// Turns the flight's request into demand once somebody waits; goes down with it.
    pub(crate) fn promotion(&self) -> Option<&Promotion> {
        self.flight.promotion.as_ref()
    }

    /// Resolves when somebody comes to wait for this reader, and so for a flight that nobody waits for yet.
    async fn waited_for(&self) {
        match &self.promotion {
            Some(promotion) if self.flight.is_ahead() => promotion.promoted().await,
            _ => future::pending().await,
        }
    }

    /// What the answer said.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn answer(&self) -> Result<Arc<Head>, Vain> {
        let answer = self.until(None, |board| board.answer.clone()).await;
        match answer {
            // Another's range or precondition: a request of this reader's own may be answered.
            Err(Vain::Failed(error))
                if !self.same_request && depends_on_request(&error) && !Fault::SharesRangeErrors.is_back() =>
            {
                Err(Vain::Lost)
            }
            answer => answer,
        }
    }

    /// Waits for a page of the flight and takes from it what is needed, without a copy.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn take(&self, pages: PageSize, need: &Need) -> Result<Bytes, Vain> {
        self.until(Some(need.page), |board| {
            let span = self.flight.span.get()?;
            if board.pieces.is_gone(need.page) {
                return Some(Err(Vain::Lost));
            }
            let piece = board.pieces.get(need.page)?;
            let begins = span.start.max(pages.start(need.page));
            let slice = need.bytes.start - begins..need.bytes.end - begins;
            Some(Ok(piece.slice(byte_range::in_memory(slice.start)..byte_range::in_memory(slice.end))))
        })
        .await?
    }

    /// Waits until everything has arrived.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn landed(&self) -> Result<(), Vain> {
        self.until(Some(u64::MAX), |board| matches!(board.end, Some(End::Landed)).then_some(())).await
    }

    /// Waits until `ready` finds on the board what it looks for; `page` is what it waits for, `u64::MAX` all of the flight.
    ///
    /// The layer below may be silent for many reasons: an outage that it rides out, a queue, memory. So a reader waits for a fetch of
    /// its own as long as that layer does. It leaves a fetch of another reader after a while, to fetch itself, and any fetch
    /// whose runtime has stopped.
    async fn until<T>(&self, page: Option<u64>, ready: impl Fn(&Board) -> Option<T>) -> Result<T, Vain> {
        let mut awaiting = None;
        loop {
            // Before the look, so that no tick is missed.
            let tick = self.flight.tick.notified();
            {
                let mut board = self.flight.board.lock();
                if let Some(found) = ready(&board) {
                    return Ok(found);
                }
                match &board.end {
                    Some(End::Failed(error)) => return Err(Vain::Failed(share(error))),
                    Some(End::Landed | End::Lost) => return Err(Vain::Lost),
                    None if board.silent && !self.is_patient() => return Err(Vain::Lost),
                    None => {}
                }
                if let (None, Some(page)) = (&awaiting, page) {
                    board.pieces.wait_for(page);
                    awaiting = Some(Awaiting { flight: &self.flight, page });
                    self.flight.room.notify_one();
                }
            }
            tokio::select! {
                biased;
                () = tick => {}
                () = self.waited_for() => self.flight.promote(),
                () = self.silent_for_long() => {
                    // What nobody waits for may queue behind others for as long as there are any.
                    if !self.flight.is_ahead() || self.flight.span.get().is_some() {
                        let mut air = self.flights.air.lock();
                        air.strike_off(&self.flight);
                        self.flight.board.lock().silent = true;
                    }
                }
                () = self.stopped() => self.give_up(),
            }
        }
    }

    /// The reader waits for the flight however long nothing arrives.
    fn is_patient(&self) -> bool {
        self.mine && !Fault::QueueingStalls.is_back()
    }

    /// Resolves when nothing has arrived for so long that a reader who joined the flight fetches itself.
    async fn silent_for_long(&self) {
        if self.is_patient() || !has_timer() {
            return future::pending().await;
        }
        tokio::time::sleep(self.flights.stall_timeout).await;
    }

    /// Resolves when the flight's task stands still because its runtime has stopped.
    pub(crate) async fn stopped(&self) {
        match &self.flight.home {
            Some(home) if !Fault::TrustsRuntimes.is_back() => home.stopped().await,
            _ => future::pending().await,
        }
    }

    /// The flight's task will not go on: whoever waits for it begins anew.
    fn give_up(&self) {
        self.flights.end(&self.flight, End::Lost);
        if let Some(task) = self.flight.task.get() {
            task.abort();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.decided();
        let mut unwanted = Pieces::default();
        let deserted = {
            let mut air = self.flights.air.lock();
            let seats = {
                let mut board = self.flight.board.lock();
                board.seats -= 1;
                board.seats
            };
            if seats == 0 {
                air.strike_off(&self.flight);
                // Its task may be on a runtime that has stopped, and keep what it holds: the memory is freed here.
                unwanted = std::mem::take(&mut self.flight.board.lock().pieces);
            }
            seats == 0
        };
        drop(unwanted);
        // Outside the locks: a task that is dropped here and now runs its pilot's `drop`, which takes them.
        if deserted && let Some(task) = self.flight.task.get() {
            task.abort();
        }
    }
}

/// A flight as its task sees it. Dropped without [`Pilot::land`], by a panic, an abort or a runtime that shuts down, it is lost.
pub(crate) struct Pilot {
    flight: Arc<Flight>,
    flights: Arc<Flights>,
}

impl Pilot {
    /// The request is answered: the flight will bring `span`, and the pages that lie wholly in it can be joined from now on.
    pub(crate) fn answered(&self, head: &Arc<Head>, pages: PageSize, span: Range<u64>, whole_pages: Range<u64>) {
        {
            let mut air = self.flights.air.lock();
            if self.flight.board.lock().seats > 0 {
                // From an opening to pages in one step: a reader finds one or the other.
                air.strike_off(&self.flight);
                air.register(&self.flight, head.id, whole_pages);
            }
        }
        let starts = (pages.of(span.start), byte_range::in_memory(byte_range::len(&span)));
        let _ = self.flight.span.set(span);
        {
            let mut board = self.flight.board.lock();
            board.pieces.starts(starts.0, starts.1);
            board.answer = Some(Arc::clone(head));
            board.silent = false;
        }
        self.flight.tick.notify_waiters();
    }

    /// Sets the memory for what the flight brings.
    pub(crate) fn charge(&self, charge: Charge, pages: PageSize) {
        self.flight.charge(charge, pages);
    }

    /// Waits until there is room for `page`, of `bytes`.
    ///
    /// # Cancel safety
    /// Cancel safe: it only watches.
    pub(crate) async fn room(&self, page: u64, bytes: usize) {
        self.until(|board| board.pieces.may_read(page, bytes)).await;
    }

    /// Waits until a reader waits for something of the flight.
    ///
    /// # Cancel safety
    /// Cancel safe: it only watches.
    pub(crate) async fn awaited(&self) {
        self.until(|board| board.pieces.is_awaited()).await;
    }

    async fn until(&self, ready: impl Fn(&Board) -> bool) {
        // The task is the only one that waits for room, so that a tick before it waits is not lost.
        while !ready(&self.flight.board.lock()) {
            self.flight.room.notified().await;
        }
    }

    /// `page`, or part of it, arrived; `keep` stores it, told how it comes.
    pub(crate) fn arrived(&self, page: u64, piece: Bytes, keep: impl FnOnce(Bytes, Arrival)) {
        if self.flight.admit.load(Ordering::Relaxed) {
            keep(piece.clone(), self.flight.arrival());
        }
        {
            let mut board = self.flight.board.lock();
            board.pieces.push(page, piece);
            board.silent = false;
        }
        self.flight.tick.notify_waiters();
    }

    /// The flight is over.
    pub(crate) fn land(self, end: End) {
        self.flights.end(&self.flight, end);
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.flights.end(&self.flight, End::Lost);
    }
}
