//! The body of an answer: a range page by page, without a copy.

use std::{collections::VecDeque, iter, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use headstart_fetch_core::internal::byte_range;
use object_store::{GetResult, Result};

use super::Reads;
use crate::fetches::{Charge, Claim, FetchWaiter, Fetches, PageSource, PlannedPage, UNRESERVED_BYTES, WaitError};
use crate::lookup::{CacheCall, ObjectHead};
use crate::policy::PageNeed;

/// How often a page is planned once bytes are handed out. The last plan is a private fetch, beyond others' influence.
const MAX_ATTEMPTS: usize = 3;

/// Hands out a range, which it plans window by window. While one window is read, the next one is in flight.
pub(super) struct PageStream {
    reads: Reads,
    call: Arc<CacheCall>,
    head: Arc<ObjectHead>,
    window: StreamWindow,
    next_window: StreamWindow,
    /// The bytes that no window covers yet.
    unclaimed: Range<u64>,
    /// The fetch of this stream that brings the last planned pages, and the next ones as far as they were missing.
    reading: Option<Arc<FetchWaiter>>,
}

/// The next pages of a stream, in order.
#[derive(Default)]
struct StreamWindow {
    planned: VecDeque<PlannedPage>,
    /// Memory for the held pages: the memory tier may have evicted them.
    _charge: Charge,
}

impl StreamWindow {
    /// Holds the pages that are in memory, where the budget has room for them; else the first few of them.
    fn new(fetches: &Fetches, call: &CacheCall, planned: Vec<PlannedPage>) -> Self {
        let mut planned = VecDeque::from(planned);
        let held = planned.iter().map(|page| if let PageSource::Held(bytes) = &page.source { bytes.len() } else { 0 });
        let held_bytes: usize = held.sum();
        if held_bytes <= UNRESERVED_BYTES {
            return Self { planned, _charge: Charge::NotCharged };
        }
        let charge = fetches.charge(&call.extensions, held_bytes as u64);
        if matches!(charge, Charge::Lockstep) {
            let mut left = UNRESERVED_BYTES;
            for page in &mut planned {
                if let PageSource::Held(bytes) = &page.source {
                    match left.checked_sub(bytes.len()) {
                        Some(rest) => left = rest,
                        None => (left, page.source) = (0, PageSource::InMemory),
                    }
                }
            }
        }
        Self { planned, _charge: charge }
    }
}

impl PageStream {
    /// An answer with a stream of `range` as its body: the pages of `window`, then the bytes `unclaimed`.
    pub(super) fn answer(
        reads: &Reads,
        call: &Arc<CacheCall>,
        head: &Arc<ObjectHead>,
        range: Range<u64>,
        window: Vec<PlannedPage>,
        unclaimed: Range<u64>,
    ) -> GetResult {
        let stream = Self {
            reads: reads.clone(),
            call: Arc::clone(call),
            head: Arc::clone(head),
            reading: last_own_waiter(&window),
            window: StreamWindow::new(&reads.fetches, call, window),
            next_window: StreamWindow::default(),
            unclaimed,
        };
        let next = |mut stream: Self| async move { Ok(stream.next().await?.map(|page| (page, stream))) };
        reads.lookup.answer_call(call, head, range, stream::try_unfold(stream, next).boxed())
    }

    /// The next page.
    ///
    /// # Cancel safety
    /// Not cancel safe: a page that is waited for is lost. `try_unfold` never drops this future before its end.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        tokio::task::consume_budget().await;
        self.advance_window();
        let has_room = || self.reads.fetches.has_room(&self.call, byte_range::len(&self.next_range()));
        if self.next_window.planned.is_empty()
            && !self.unclaimed.is_empty()
            && (self.window.planned.is_empty() || has_room())
        {
            self.claim_next_window()?;
            self.advance_window();
        }
        for attempts_left in (0..MAX_ATTEMPTS).rev() {
            let Some(page) = self.window.planned.pop_front() else { return Ok(None) };
            let (need, waiter) = (page.need.clone(), page.waiter().cloned());
            match self.reads.fetches.take(&self.call, &self.head, page).await {
                Err(WaitError::Lost) => self.claim_again(need, waiter.as_ref(), attempts_left == 1)?,
                taken => return Ok(Some(taken?)),
            }
        }
        Err(WaitError::Lost.into())
    }

    /// Replaces a window that is read by the next one.
    fn advance_window(&mut self) {
        if self.window.planned.is_empty() {
            self.window = std::mem::take(&mut self.next_window);
        }
    }

    /// Plans `need` again, and all pages of the window that were to come from the fetch of `lost` or from memory. The
    /// version is known, so the stream never mixes two.
    fn claim_again(&mut self, need: PageNeed, lost: Option<&Arc<FetchWaiter>>, is_private: bool) -> Result<()> {
        let is_lost = |page: &PlannedPage| match &page.source {
            PageSource::Held(_) => false,
            PageSource::InMemory => true,
            PageSource::InFlight(interest) => lost.is_some_and(|lost| Arc::ptr_eq(&interest.waiter, lost)),
        };
        let (lost, mut planned): (Vec<_>, Vec<_>) = self.window.planned.drain(..).partition(is_lost);
        let needs = iter::once(need).chain(lost.into_iter().map(|page| page.need)).collect();
        planned.extend(self.claim(needs, self.unclaimed.clone(), is_private)?);
        planned.sort_by_key(|page| page.need.page);
        self.window = StreamWindow::new(&self.reads.fetches, &self.call, planned);
        Ok(())
    }

    fn next_range(&self) -> Range<u64> {
        let start = self.unclaimed.start;
        start..self.unclaimed.end.min(self.reads.lookup.pages.window_end(start))
    }

    fn claim_next_window(&mut self) -> Result<()> {
        let range = self.reads.fetches.affordable(&self.call, &self.head, self.next_range());
        let needs = self.reads.lookup.pages.needs(std::slice::from_ref(&range));
        let planned = self.claim(needs, range.end..self.unclaimed.end, false)?;
        self.next_window = StreamWindow::new(&self.reads.fetches, &self.call, planned);
        self.unclaimed.start = range.end;
        Ok(())
    }

    /// Plans `needs`, and lets the fetch that brings the last of them read on `ahead`.
    fn claim(&mut self, needs: Vec<PageNeed>, ahead: Range<u64>, is_private: bool) -> Result<Vec<PlannedPage>> {
        let claim = Claim { needs, ahead, waiters: self.reading.as_slice(), is_private };
        let planned = self.reads.fetches.claim(&self.call, &self.head, claim)?;
        if self.next_window.planned.is_empty() {
            self.reading = last_own_waiter(&planned).or(self.reading.take());
        }
        Ok(planned)
    }
}

fn last_own_waiter(planned: &[PlannedPage]) -> Option<Arc<FetchWaiter>> {
    planned.last()?.own_waiter().cloned()
}
