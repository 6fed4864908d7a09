//! How `get_ranges` is answered: what is here at once, the rest by a bounded number of requests.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use headstart_fetch_core::byte_range;
use headstart_fetch_core::mutation::Fault;
use object_store::path::Path;
use object_store::{Extensions, GetOptions, GetRange, Result};

use crate::engine::{Engine, PageSource, PlannedPage};
use crate::fetches::fetch::WaitError;
use crate::fetches::waiter::FetchWaiter;
use crate::lookup::call::ReadCall;
use crate::lookup::version_table::ObjectHead;
use crate::policy::freshness::{CachePlan, FirstStep};
use crate::policy::page::PageNeed;
use crate::reads::get::{is_range_refused, resolve};
use crate::reads::version::{AttemptError, FoundVersion, MAX_REQUESTS_PER_CALL, ReadAttempts};

/// Needs that are fetched by one request, with their numbers in the call.
enum PageGroup {
    /// Its request is in fetch.
    Claimed(Vec<(usize, PlannedPage)>),
    /// Its request is sent when others have ended.
    Unclaimed(Vec<(usize, PageNeed)>),
}

impl Engine {
    /// `get_ranges`.
    pub(crate) async fn get_ranges(self: &Arc<Self>, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let plan = CachePlan::new(self.config.enabled, self.config.freshness, None, false);
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        if !plan.bypass && ranges.iter().all(|range| range.start < range.end) {
            let call = ReadCall::new(path, None, plan, Extensions::new());
            let was_known = self.known(&call).is_some();
            let mut refused = None;
            let mut tries = ReadAttempts::new();
            while !self.refusals.refuses_ours(was_known)
                && let Some(found) = tries.next()
            {
                match tries.answered(self.try_ranges(&call, ranges, found).await) {
                    Some(Err(error)) if is_range_refused(&GetOptions::new(), &error) => {
                        refused = Some(error);
                        break;
                    }
                    Some(answer) => return answer,
                    None => {}
                }
            }
            if refused.is_some() || tries.head_refused {
                self.counters.bypasses.add(1);
                let answer = self.inner.get_ranges(path, ranges).await?;
                match refused {
                    Some(_) => self.refusals.refused_ours(was_known, u64::MAX),
                    None => self.refusals.refused_head(),
                }
                return Ok(answer);
            }
        }
        self.counters.bypasses.add(1);
        // Not a fill: as if there were no cache.
        self.inner.get_ranges(path, ranges).await
    }

    async fn try_ranges(
        self: &Arc<Self>,
        call: &Arc<ReadCall>,
        ranges: &[Range<u64>],
        found: Option<FoundVersion>,
    ) -> Result<Vec<Bytes>, AttemptError> {
        let found = match found {
            Some(found) => found,
            None => match self.look_up(call) {
                Ok(found) => found,
                Err(FirstStep::Open) => self.open_ranges(call, ranges).await?,
                Err(_) => return Err(AttemptError::Bypass),
            },
        };
        let head = &found.head;
        if self.is_out_of_reach(call, &found) {
            return Err(AttemptError::Bypass);
        }
        self.confirm_end(call, &found, ranges.iter()).await?;
        let resolved = ranges.iter().map(|range| resolve(Some(&GetRange::Bounded(range.clone())), head.meta.size));
        let resolved = match resolved.collect::<Result<Vec<_>>>() {
            Ok(resolved) => resolved,
            Err(_) if !found.valid => return Err(AttemptError::RetryWith(self.validate(call).await?)),
            Err(error) => return Err(AttemptError::Fail(error)),
        };
        let needs = self.pages.needs(&resolved);
        if !found.valid && !self.has_any(head, &needs) {
            return Err(AttemptError::RetryWith(self.open_ranges(call, ranges).await?));
        }
        let (mut pages, groups) = self.groups(call, head, &needs, &found.waiters)?;
        if !found.valid {
            let is_mine = groups.iter().any(
                |group| matches!(group, PageGroup::Claimed(takes) if takes.iter().any(|(_, take)| take.is_mine())),
            );
            self.prove(call, head, is_mine).await?;
        }
        // Everything owned: borrowed, the future would be `Send` for one lifetime only.
        let mut fetched = stream::iter(groups)
            .map(|group| Arc::clone(self).fetch_group(Arc::clone(call), Arc::clone(head), group))
            .buffer_unordered(requests_at_once());
        while let Some(group) = fetched.try_next().await? {
            for (at, bytes) in group {
                pages[at] = bytes;
            }
        }
        Ok(resolved.into_iter().map(|range| assemble(&needs, &pages, &range)).collect())
    }

    /// What is here of `needs`, and in which groups the others come. The first [`MAX_REQUESTS_PER_CALL`] groups are claimed at once; the others are
    /// not registered before their requests are sent, so that a call that is dropped leaves nothing behind.
    fn groups(
        self: &Arc<Self>,
        call: &ReadCall,
        head: &Arc<ObjectHead>,
        needs: &[PageNeed],
        waiters: &[Arc<FetchWaiter>],
    ) -> Result<(Vec<Bytes>, VecDeque<PageGroup>), WaitError> {
        let mut pages = vec![Bytes::new(); needs.len()];
        let mut by_seat: Vec<Vec<(usize, PlannedPage)>> = waiters.iter().map(|_| Vec::new()).collect();
        let mut missing = VecDeque::new();
        for (at, need) in needs.iter().enumerate() {
            let interest =
                waiters.iter().enumerate().find_map(|(waiter, brings)| Some((waiter, brings.interest(need)?)));
            if let Some((waiter, interest)) = interest {
                by_seat[waiter].push((at, self.take_of(need.clone(), interest)));
            } else if let Some(page) = self.page(call, head, need) {
                self.counters.hits.add(1);
                self.count_hit(call, &page);
                pages[at] = page;
            } else {
                missing.push_back((at, need.clone()));
            }
        }
        waiters.iter().for_each(|waiter| waiter.decided());
        let mut groups: VecDeque<_> =
            by_seat.into_iter().filter(|takes| !takes.is_empty()).map(PageGroup::Claimed).collect();
        let missing_pages: Vec<u64> = missing.iter().map(|(_, need)| need.page).collect();
        for run in self.pages.runs(&missing_pages, self.bridge_bytes()) {
            let length = missing.partition_point(|(_, need)| need.page < run.end);
            let group: Vec<_> = missing.drain(..length).collect();
            groups.push_back(if groups.len() < requests_at_once() {
                PageGroup::Claimed(self.claim_group(call, head, group)?)
            } else {
                PageGroup::Unclaimed(group)
            });
        }
        Ok((pages, groups))
    }

    fn claim_group(
        self: &Arc<Self>,
        call: &ReadCall,
        head: &Arc<ObjectHead>,
        group: Vec<(usize, PageNeed)>,
    ) -> Result<Vec<(usize, PlannedPage)>, WaitError> {
        let (numbers, needs): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        Ok(numbers.into_iter().zip(self.claim(call, head, needs, &[])?).collect())
    }

    async fn fetch_group(
        self: Arc<Self>,
        call: Arc<ReadCall>,
        head: Arc<ObjectHead>,
        group: PageGroup,
    ) -> Result<Vec<(usize, Bytes)>, AttemptError> {
        let takes = match group {
            PageGroup::Claimed(takes) => takes,
            PageGroup::Unclaimed(needs) => self.claim_group(&call, &head, needs)?,
        };
        let mut pages = Vec::with_capacity(takes.len());
        for (at, take) in takes {
            let page = match take.from {
                PageSource::Held(bytes) => {
                    self.count_hit(&call, &bytes);
                    bytes
                }
                PageSource::InMemory => self.page(&call, &head, &take.need).ok_or(WaitError::Lost)?,
                PageSource::InFlight(interest) => self.take(&interest, &take.need).await?,
            };
            pages.push((at, page));
        }
        Ok(pages)
    }
}

/// How many requests of one call are in fetch at once.
fn requests_at_once() -> usize {
    if Fault::AsksAllAtOnce.is_back() { usize::MAX } else { MAX_REQUESTS_PER_CALL }
}

/// Puts `range` together from what was fetched for `needs`: a slice where one page holds it, else a copy.
fn assemble(needs: &[PageNeed], pages: &[Bytes], range: &Range<u64>) -> Bytes {
    let first = needs.partition_point(|need| need.bytes.end <= range.start);
    let part = |at: usize| {
        let bytes = &needs[at].bytes;
        let cut = |offset: u64| byte_range::in_memory(offset.clamp(bytes.start, bytes.end) - bytes.start);
        pages[at].slice(cut(range.start)..cut(range.end))
    };
    if range.end <= needs[first].bytes.end {
        return part(first);
    }
    let mut whole = Vec::with_capacity(byte_range::in_memory(range.end - range.start));
    for (at, _) in needs.iter().enumerate().skip(first).take_while(|(_, need)| need.bytes.start < range.end) {
        whole.extend_from_slice(&part(at));
    }
    whole.into()
}
