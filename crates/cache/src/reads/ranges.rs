//! Answers `get_ranges`: pages in memory at once, the others by a bounded number of requests in flight.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use headstart_fetch_core::internal::byte_range;
use headstart_fetch_core::internal::mutation::Mutation;
use object_store::path::Path;
use object_store::{Extensions, GetOptions, GetRange, Result};

use super::Reads;
use super::version::{AttemptError, FoundVersion, MAX_REQUESTS_PER_CALL, ReadAttempts, VersionFinder};
use crate::fetches::{FetchWaiter, PageSource, PlannedPage, WaitError};
use crate::lookup::{CacheCall, ObjectHead, resolve};
use crate::policy::PageNeed;

/// Pages that one request brings, with their indexes in the needs of the call.
enum PageGroup {
    /// Its request is in flight.
    Claimed(Vec<(usize, PlannedPage)>),
    /// Its request is sent when others have ended.
    Unclaimed(Vec<(usize, PageNeed)>),
}

impl Reads {
    /// `get_ranges`.
    pub(crate) async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let plan = self.lookup.plan(&GetOptions::new());
        if !plan.bypass && ranges.iter().all(|range| range.start < range.end) {
            let refusals = &self.fetches.refusals;
            let call = CacheCall::new(path, None, plan, Extensions::new());
            let is_known = self.lookup.known(&call).is_some();
            let mut attempts = ReadAttempts::new(true);
            while let Some(found) = attempts.begin_next()
                && !refusals.refuses_ours(is_known)
            {
                if let Some(answer) = attempts.end(self.try_ranges(&call, ranges, found).await) {
                    return answer;
                }
            }
            if attempts.is_range_refused || attempts.is_head_refused {
                self.lookup.counters.bypasses.add(1);
                let answer = self.fetches.inner.get_ranges(path, ranges).await?;
                if attempts.is_range_refused {
                    refusals.refused_ours(is_known, u64::MAX);
                } else {
                    refusals.refused_head();
                }
                return Ok(answer);
            }
        }
        self.lookup.counters.bypasses.add(1);
        self.fetches.inner.get_ranges(path, ranges).await
    }

    async fn try_ranges(
        &self,
        call: &Arc<CacheCall>,
        ranges: &[Range<u64>],
        found: Option<FoundVersion>,
    ) -> Result<Vec<Bytes>, AttemptError> {
        let finder = VersionFinder { reads: self, call };
        let found = finder.begin(found, finder.open_ranges(ranges)).await?;
        let head = &found.head;
        finder.confirm_end(&found, ranges).await?;
        let resolved = ranges.iter().map(|range| resolve(Some(&GetRange::Bounded(range.clone())), head.meta.size));
        let resolved = match resolved.collect::<Result<Vec<_>>>() {
            Ok(resolved) => resolved,
            Err(_) if !found.is_valid => return Err(AttemptError::RetryWith(finder.validate().await?)),
            Err(error) => return Err(AttemptError::Fail(error)),
        };
        let needs = self.lookup.pages.needs(&resolved);
        if !found.is_valid && !finder.has_any(head, &needs) {
            return Err(AttemptError::RetryWith(finder.open_ranges(ranges).await?));
        }
        let (mut pages, groups) = self.plan_groups(call, head, &needs, &found.waiters)?;
        if !found.is_valid {
            let has_own_fill = groups.iter().any(
                |group| matches!(group, PageGroup::Claimed(planned) if planned.iter().any(|(_, page)| page.is_own())),
            );
            finder.prove(head, has_own_fill).await?;
        }
        // The closure owns all that it captures: with borrows, the future would not be `Send` for all lifetimes.
        let mut fetched = stream::iter(groups)
            .map(|group| self.clone().fetch_group(Arc::clone(call), Arc::clone(head), group))
            .buffer_unordered(max_requests());
        while let Some(group) = fetched.try_next().await? {
            for (at, bytes) in group {
                pages[at] = bytes;
            }
        }
        Ok(resolved.into_iter().map(|range| assemble(&needs, &pages, &range)).collect())
    }

    /// The bytes of `needs` that are in memory, and the groups in which the others come. The first
    /// [`MAX_REQUESTS_PER_CALL`] groups are claimed at once. The others are registered only when their requests are
    /// sent, so that a call that is dropped leaves nothing behind.
    fn plan_groups(
        &self,
        call: &Arc<CacheCall>,
        head: &Arc<ObjectHead>,
        needs: &[PageNeed],
        waiters: &[Arc<FetchWaiter>],
    ) -> Result<(Vec<Bytes>, VecDeque<PageGroup>), WaitError> {
        let mut pages = vec![Bytes::new(); needs.len()];
        let mut by_waiter: Vec<Vec<(usize, PlannedPage)>> = waiters.iter().map(|_| Vec::new()).collect();
        let mut missing = VecDeque::new();
        for (at, need) in needs.iter().enumerate() {
            let interest = waiters.iter().enumerate().find_map(|(n, waiter)| Some((n, waiter.interest(need)?)));
            if let Some((n, interest)) = interest {
                by_waiter[n].push((at, self.fetches.in_flight_page(need.clone(), interest)));
            } else if let Some(page) = self.lookup.page(call, head, need) {
                self.lookup.counters.hits.add(1);
                self.lookup.count_hit(call, &page);
                pages[at] = page;
            } else {
                missing.push_back((at, need.clone()));
            }
        }
        waiters.iter().for_each(|waiter| waiter.decide());
        let mut groups: VecDeque<_> =
            by_waiter.into_iter().filter(|planned| !planned.is_empty()).map(PageGroup::Claimed).collect();
        let missing_pages: Vec<u64> = missing.iter().map(|(_, need)| need.page).collect();
        for run in self.lookup.pages.runs(&missing_pages, self.lookup.bridge_bytes()) {
            let length = missing.partition_point(|(_, need)| need.page < run.end);
            let group: Vec<_> = missing.drain(..length).collect();
            groups.push_back(if groups.len() < max_requests() {
                PageGroup::Claimed(self.claim_group(call, head, group)?)
            } else {
                PageGroup::Unclaimed(group)
            });
        }
        Ok((pages, groups))
    }

    fn claim_group(
        &self,
        call: &Arc<CacheCall>,
        head: &Arc<ObjectHead>,
        group: Vec<(usize, PageNeed)>,
    ) -> Result<Vec<(usize, PlannedPage)>, WaitError> {
        let (indexes, needs): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        Ok(indexes.into_iter().zip(self.fetches.claim(call, head, needs, &[], false)?).collect())
    }

    async fn fetch_group(
        self,
        call: Arc<CacheCall>,
        head: Arc<ObjectHead>,
        group: PageGroup,
    ) -> Result<Vec<(usize, Bytes)>, AttemptError> {
        let planned = match group {
            PageGroup::Claimed(planned) => planned,
            PageGroup::Unclaimed(needs) => self.claim_group(&call, &head, needs)?,
        };
        let mut pages = Vec::with_capacity(planned.len());
        for (at, PlannedPage { need, source }) in planned {
            let page = match source {
                PageSource::Held(bytes) => {
                    self.lookup.count_hit(&call, &bytes);
                    bytes
                }
                PageSource::InMemory => self.lookup.page(&call, &head, &need).ok_or(WaitError::Lost)?,
                PageSource::InFlight(interest) => self.fetches.take(&interest, &need).await?,
            };
            pages.push((at, page));
        }
        Ok(pages)
    }
}

fn max_requests() -> usize {
    if Mutation::AsksAllAtOnce.is_active() { usize::MAX } else { MAX_REQUESTS_PER_CALL }
}

/// The bytes of `range`, from the `pages` that hold `needs`: a slice where one page contains the range, else a copy.
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
