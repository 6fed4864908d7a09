//! The body of an answer, page by page, without a copy.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use headstart_fetch_core::byte_range;
use object_store::{GetResult, Result};

use crate::engine::{Engine, PageSource, PlannedPage, result, runtime};
use crate::fetches::arrived_pages::{Charge, UNRESERVED_BYTES};
use crate::fetches::fetch::WaitError;
use crate::fetches::fill::RemainingBody;
use crate::fetches::waiter::FetchWaiter;
use crate::lookup::call::ReadCall;
use crate::lookup::version_table::ObjectHead;
use crate::policy::page::PageNeed;

/// How often a lost fetch is begun anew once bytes are handed out; the last time by a request that nobody shares.
const TRIES: usize = 3;

/// Hands out a range window by window. The next window is on its way while one is read; no further one is.
pub(crate) struct PageBody {
    engine: Arc<Engine>,
    call: Arc<ReadCall>,
    head: Arc<ObjectHead>,
    window: Window,
    ahead: Window,
    /// What is not claimed yet.
    unclaimed: Range<u64>,
    /// The body that brings it, where one is open.
    rest: Option<RemainingBody>,
}

/// What comes next, page by page.
#[derive(Default)]
struct Window {
    takes: VecDeque<PlannedPage>,
    /// The memory of pages that the cache may have evicted since.
    _pages: Charge,
}

impl Window {
    /// A window of `takes`. It keeps the pages that are here, where there is memory for them; else the first few.
    fn new(engine: &Engine, call: &ReadCall, takes: Vec<PlannedPage>) -> Self {
        let mut takes = VecDeque::from(takes);
        let pages =
            || takes.iter().filter_map(|take| if let PageSource::Held(page) = &take.from { Some(page) } else { None });
        let bytes: usize = pages().map(Bytes::len).sum();
        if bytes <= UNRESERVED_BYTES {
            return Self { takes, _pages: Charge::NotCharged };
        }
        let charge = engine.charge(&call.extensions, bytes as u64);
        if matches!(charge, Charge::Lockstep) {
            let mut left = UNRESERVED_BYTES;
            for take in &mut takes {
                if let PageSource::Held(page) = &take.from {
                    match left.checked_sub(page.len()) {
                        Some(rest) => left = rest,
                        None => (left, take.from) = (0, PageSource::InMemory),
                    }
                }
            }
        }
        Self { takes, _pages: charge }
    }
}

impl PageBody {
    pub(crate) fn new(
        engine: &Arc<Engine>,
        call: &Arc<ReadCall>,
        head: Arc<ObjectHead>,
        window: Vec<PlannedPage>,
        unclaimed: Range<u64>,
        rest: Option<RemainingBody>,
    ) -> Self {
        // The body ends with this window: whoever waits for its rest would keep it open.
        let rest = rest.filter(|_| !unclaimed.is_empty());
        Self {
            engine: Arc::clone(engine),
            call: Arc::clone(call),
            head,
            window: Window::new(engine, call, window),
            ahead: Window::default(),
            unclaimed,
            rest,
        }
    }

    /// The answer of which this is the body.
    pub(crate) fn into_result(self, range: Range<u64>) -> GetResult {
        let head = Arc::clone(&self.head);
        let upwards = self.engine.upwards(&head, &self.call.plan, self.call.origin.clone());
        let pages = stream::try_unfold(self, |mut body| async move { Ok(body.next().await?.map(|page| (page, body))) });
        result(upwards, &head, range, pages.boxed())
    }

    /// The next page.
    ///
    /// # Cancel safety
    /// Not cancel safe: a page that is waited for is lost. The stream above never drops this future before its end.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        tokio::task::consume_budget().await;
        self.turn_window();
        let nothing_claimed = self.window.takes.is_empty();
        if self.ahead.takes.is_empty() && !self.unclaimed.is_empty() && (nothing_claimed || self.may_fetch_ahead()) {
            self.claim_window()?;
            self.turn_window();
        }
        for tries_left in (0..TRIES).rev() {
            let Some(take) = self.window.takes.pop_front() else { return Ok(None) };
            match take.from {
                PageSource::Held(bytes) => {
                    self.engine.count_hit(&self.call, &bytes);
                    return Ok(Some(bytes));
                }
                PageSource::InMemory => match self.engine.page(&self.call, &self.head, &take.need) {
                    Some(bytes) => {
                        self.engine.count_hit(&self.call, &bytes);
                        return Ok(Some(bytes));
                    }
                    None => self.claim_again(take.need, None, tries_left == 1)?,
                },
                PageSource::InFlight(interest) => match self.engine.take(&interest, &take.need).await {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(WaitError::Failed(error)) => return Err(error),
                    Err(WaitError::Lost) => self.claim_again(take.need, Some(&interest.waiter), tries_left == 1)?,
                },
            }
        }
        Err(WaitError::Lost.into())
    }

    /// Where the window is read, the one ahead takes its place.
    fn turn_window(&mut self) {
        if self.window.takes.is_empty() {
            self.window = std::mem::take(&mut self.ahead);
        }
    }

    /// Finds `need`, and whatever else of the window was to come from the fetch of `lost` or from memory, elsewhere: the version is known,
    /// so nothing can be torn.
    fn claim_again(&mut self, need: PageNeed, lost: Option<&Arc<FetchWaiter>>, alone: bool) -> Result<()> {
        let is_lost = |take: &PlannedPage| match &take.from {
            PageSource::Held(_) => false,
            PageSource::InMemory => true,
            PageSource::InFlight(interest) => lost.is_some_and(|lost| Arc::ptr_eq(&interest.waiter, lost)),
        };
        let (mut needs, mut takes) = (vec![need], Vec::new());
        for take in self.window.takes.drain(..) {
            if is_lost(&take) {
                needs.push(take.need);
            } else {
                takes.push(take);
            }
        }
        takes.extend(self.engine.claim_by(&self.call, &self.head, needs, &[], alone)?);
        takes.sort_by_key(|take| take.need.page);
        self.window = Window::new(&self.engine, &self.call, takes);
        Ok(())
    }

    /// The next window of what is not claimed yet.
    fn next_window(&self) -> Range<u64> {
        let start = self.unclaimed.start;
        start..self.unclaimed.end.min(self.engine.pages.window_end(start))
    }

    /// Whether there is memory for the next window while this one is read.
    fn may_fetch_ahead(&self) -> bool {
        self.engine.has_room(&self.call, byte_range::len(&self.next_window()))
    }

    fn claim_window(&mut self) -> Result<()> {
        let pages = self.engine.pages;
        let mut window = self.next_window();
        if self.rest.is_none() {
            window = self.engine.affordable(&self.call, &self.head, window);
        }
        let start = window.start;
        let needs = pages.needs(std::slice::from_ref(&window));
        let takes = match self.rest.take() {
            None => self.engine.claim(&self.call, &self.head, needs, &[])?,
            Some(rest) => {
                let aligned = start..pages.align(&window).end.min(self.head.meta.size);
                let (takes, rest) =
                    self.engine.launch_window(&self.call, &runtime()?, &self.head, aligned, needs, rest);
                self.rest = Some(rest).filter(|_| window.end < self.unclaimed.end);
                takes
            }
        };
        self.ahead = Window::new(&self.engine, &self.call, takes);
        self.unclaimed.start = window.end;
        Ok(())
    }
}
