//! The body of an answer, page by page, without a copy.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use object_store::{GetResult, Result};

use crate::call::Call;
use crate::engine::{Engine, Source, Take, result, runtime};
use crate::fill::Rest;
use crate::flights::{Seat, Vain};
use crate::page::Need;
use crate::version_table::Head;

/// How often a lost fetch is begun anew once bytes are handed out; the last time by a request that nobody shares.
const TRIES: usize = 3;

/// Hands out a range window by window. The next window is on its way while one is read; no further one is.
pub(crate) struct PageBody {
    engine: Arc<Engine>,
    call: Arc<Call>,
    head: Arc<Head>,
    window: VecDeque<Take>,
    ahead: VecDeque<Take>,
    /// What is not claimed yet.
    unclaimed: Range<u64>,
    /// The body that brings it, where one is open.
    rest: Option<Rest>,
}

impl PageBody {
    pub(crate) fn new(
        engine: &Arc<Engine>,
        call: &Arc<Call>,
        head: Arc<Head>,
        window: Vec<Take>,
        unclaimed: Range<u64>,
        rest: Option<Rest>,
    ) -> Self {
        // The body ends with this window: whoever waits for its rest would keep it open.
        let rest = rest.filter(|_| !unclaimed.is_empty());
        Self {
            engine: Arc::clone(engine),
            call: Arc::clone(call),
            head,
            window: window.into(),
            ahead: VecDeque::new(),
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
        if self.window.is_empty() {
            std::mem::swap(&mut self.window, &mut self.ahead);
        }
        if self.ahead.is_empty() && !self.unclaimed.is_empty() {
            self.claim_window()?;
        }
        for tries_left in (0..TRIES).rev() {
            let Some(take) = self.window.pop_front() else { return Ok(None) };
            match take.from {
                Source::Page(bytes) => {
                    self.engine.count_hit(&self.call, &bytes);
                    return Ok(Some(bytes));
                }
                Source::Flight(seat) => match self.engine.take(&seat, &take.need).await {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(Vain::Failed(error)) => return Err(error),
                    Err(Vain::Lost) => self.claim_again(take.need, &seat, tries_left == 1)?,
                },
            }
        }
        Err(Vain::Lost.into())
    }

    /// Finds `need`, and whatever else was to come from the fetch of `lost`, elsewhere: the version is known, so nothing can be torn.
    fn claim_again(&mut self, need: Need, lost: &Arc<Seat>, alone: bool) -> Result<()> {
        let is_lost = |take: &Take| matches!(&take.from, Source::Flight(seat) if Arc::ptr_eq(seat, lost));
        let mut needs = vec![need];
        let others = self.window.iter().chain(&self.ahead).filter(|take| is_lost(take));
        needs.extend(others.map(|take| take.need.clone()));
        let mut found = self.engine.claim_by(&self.call, &self.head, needs, &[], alone)?.into_iter();
        let first = found.next();
        for take in self.window.iter_mut().chain(&mut self.ahead).filter(|take| is_lost(take)) {
            *take = found.next().expect("one take a need");
        }
        self.window.push_front(first.expect("one take a need"));
        Ok(())
    }

    fn claim_window(&mut self) -> Result<()> {
        let pages = self.engine.pages;
        let start = self.unclaimed.start;
        let window = start..self.unclaimed.end.min(pages.window_end(start));
        let needs = pages.needs(std::slice::from_ref(&window));
        self.ahead = match self.rest.take() {
            None => self.engine.claim(&self.call, &self.head, needs, &[])?.into(),
            Some(rest) => {
                let aligned = start..pages.align(&window).end.min(self.head.meta.size);
                let (seat, rest) = self.engine.launch_window(&self.call, &runtime()?, &self.head, aligned, rest);
                self.rest = Some(rest).filter(|_| window.end < self.unclaimed.end);
                needs.into_iter().map(|need| Take::of(need, &seat)).collect()
            }
        };
        self.unclaimed.start = window.end;
        Ok(())
    }
}
