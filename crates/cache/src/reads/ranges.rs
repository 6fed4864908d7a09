//! Answers `get_ranges`: pages in memory at once, the others by a bounded number of requests in flight.

use std::{iter, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use headstart_fetch_core::{internal::byte_range, internal::mutation::Mutation};
use object_store::{Extensions, GetOptions, GetRange, Result, path::Path};

use super::Reads;
use super::version::{Attempt, AttemptError, FoundVersion, MAX_REQUESTS_PER_CALL, ReadAttempts, VersionFinder};
use crate::fetches::{Claim, FetchWaiter, PlannedPage, WaitError};
use crate::lookup::{CacheCall, ObjectHead, resolve};
use crate::policy::PageNeed;

/// Pages that one request brings.
enum PageGroup {
    /// Its request is in flight.
    Claimed(Vec<PlannedPage>),
    /// Its request is sent when others have ended.
    Unclaimed(Vec<PageNeed>),
}

impl Reads {
    /// `get_ranges`.
    pub(crate) async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let plan = self.lookup.plan(&GetOptions::new());
        let refusals = &self.fetches.refusals;
        let (mut attempts, mut is_known) = (ReadAttempts::new(true), false);
        if !plan.bypass && ranges.iter().all(|range| range.start < range.end) {
            let call = CacheCall::new(path, None, plan, Extensions::new());
            is_known = self.lookup.known(&call).is_some();
            while let Some(found) = attempts.begin_next()
                && !refusals.refuses_ours(is_known)
            {
                if let Some(answer) = attempts.end(self.try_ranges(&call, ranges, found).await) {
                    return answer;
                }
            }
        }
        self.lookup.counters.bypasses.add(1);
        let answer = self.fetches.inner.get_ranges(path, ranges).await?;
        if attempts.is_range_refused {
            refusals.refused_ours(is_known, u64::MAX);
        } else if attempts.is_head_refused {
            refusals.refused_head();
        }
        Ok(answer)
    }

    async fn try_ranges(
        &self,
        call: &Arc<CacheCall>,
        ranges: &[Range<u64>],
        found: Option<FoundVersion>,
    ) -> Attempt<Vec<Bytes>> {
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
        let (in_memory, groups) = self.plan_groups(call, head, needs, &found.waiters)?;
        if !found.is_valid {
            let is_own =
                |group: &_| matches!(group, PageGroup::Claimed(planned) if planned.iter().any(PlannedPage::is_own));
            finder.prove(head, groups.iter().any(is_own)).await?;
        }
        let mut pages = self.clone().fetch_group(Arc::clone(call), Arc::clone(head), in_memory).await?;
        // The closure owns all that it captures: with borrows, the future would not be `Send` for all lifetimes.
        let mut fetched = stream::iter(groups)
            .map(|group| self.clone().fetch_group(Arc::clone(call), Arc::clone(head), group))
            .buffer_unordered(max_requests());
        while let Some(group) = fetched.try_next().await? {
            pages.extend(group);
        }
        pages.sort_by_key(|(need, _)| need.page);
        Ok(resolved.iter().map(|range| assemble(&pages, range)).collect())
    }

    /// The group of `needs` that are in memory, and the groups in which the others come. The first
    /// [`MAX_REQUESTS_PER_CALL`] groups are claimed at once. The others are registered only when their requests are
    /// sent, so that a call that is dropped leaves nothing behind.
    fn plan_groups(
        &self,
        call: &Arc<CacheCall>,
        head: &Arc<ObjectHead>,
        needs: Vec<PageNeed>,
        waiters: &[Arc<FetchWaiter>],
    ) -> Result<(PageGroup, Vec<PageGroup>), WaitError> {
        let claim = Claim { needs, waiters, ..Claim::default() };
        let (mut found, Claim { needs: missing, .. }) = self.fetches.find(call, head, claim);
        let mut groups = Vec::new();
        for waiter in waiters {
            let is_from = |page: &mut PlannedPage| page.waiter().is_some_and(|other| Arc::ptr_eq(other, waiter));
            let group: Vec<_> = found.extract_if(.., is_from).collect();
            if !group.is_empty() {
                groups.push(PageGroup::Claimed(group));
            }
        }
        let missing_pages: Vec<u64> = missing.iter().map(|need| need.page).collect();
        let mut missing = missing.into_iter().peekable();
        for run in self.lookup.pages.runs(&missing_pages, self.lookup.bridge_bytes()) {
            let group: Vec<_> = iter::from_fn(|| missing.next_if(|need| need.page < run.end)).collect();
            groups.push(if groups.len() < max_requests() {
                PageGroup::Claimed(self.fetches.claim(call, head, Claim { needs: group, ..Claim::default() })?)
            } else {
                PageGroup::Unclaimed(group)
            });
        }
        Ok((PageGroup::Claimed(found), groups))
    }

    async fn fetch_group(
        self,
        call: Arc<CacheCall>,
        head: Arc<ObjectHead>,
        group: PageGroup,
    ) -> Attempt<Vec<(PageNeed, Bytes)>> {
        let planned = match group {
            PageGroup::Claimed(planned) => planned,
            PageGroup::Unclaimed(needs) => self.fetches.claim(&call, &head, Claim { needs, ..Claim::default() })?,
        };
        let mut pages = Vec::with_capacity(planned.len());
        for page in planned {
            pages.push((page.need.clone(), self.fetches.take(&call, &head, page).await?));
        }
        Ok(pages)
    }
}

fn max_requests() -> usize {
    if Mutation::AsksAllAtOnce.is_active() { usize::MAX } else { MAX_REQUESTS_PER_CALL }
}

/// The bytes of `range`, from `pages`, which are in order: a slice where one page contains the range, else a copy.
fn assemble(pages: &[(PageNeed, Bytes)], range: &Range<u64>) -> Bytes {
    let first = pages.partition_point(|(need, _)| need.bytes.end <= range.start);
    let part = |(need, page): &(PageNeed, Bytes)| {
        let cut =
            |offset: u64| byte_range::in_memory(offset.clamp(need.bytes.start, need.bytes.end) - need.bytes.start);
        page.slice(cut(range.start)..cut(range.end))
    };
    if range.end <= pages[first].0.bytes.end {
        return part(&pages[first]);
    }
    let mut whole = Vec::with_capacity(byte_range::in_memory(range.end - range.start));
    for page in pages[first..].iter().take_while(|(need, _)| need.bytes.start < range.end) {
        whole.extend_from_slice(&part(page));
    }
    whole.into()
}
