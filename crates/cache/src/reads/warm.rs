//! Fetches pages before anybody reads them.

use std::{ops::Range, sync::Arc};

use futures::stream::{self, StreamExt, TryStreamExt};
use headstart_fetch_core::{Intent, internal::byte_range};
use object_store::{Error, Extensions, GetOptions, GetRange, Result, path::Path};
use tokio::sync::Mutex;

use super::Reads;
use super::version::{Attempt, AttemptError, FoundVersion, ReadAttempts, VersionFinder};
use crate::fetches::{Claim, PlannedPage};
use crate::lookup::{CacheCall, resolve};
use crate::policy::CachePlan;

/// Windows in flight at once.
const MAX_WINDOWS: usize = 8;

impl Reads {
    /// Fetches the missing pages of `ranges`, and returns how many bytes crossed the wire.
    pub(crate) async fn warm(&self, path: &Path, ranges: &[Range<u64>]) -> Result<u64> {
        let plan = CachePlan { announced: true, ..self.lookup.plan(&GetOptions::new()) };
        let ranges: Vec<_> = ranges.iter().filter(|range| range.start < range.end).cloned().collect();
        if plan.bypass || ranges.is_empty() {
            return Ok(0);
        }
        let mut extensions = Extensions::new();
        extensions.insert(Intent::Speculative);
        let call = CacheCall::new(path, None, plan, extensions);
        let mut attempts = ReadAttempts::new(false);
        while let Some(found) = attempts.begin_next() {
            if let Some(answer) = attempts.end(self.try_warm(&call, &ranges, found).await) {
                return answer.map(|()| call.origin.wire_bytes());
            }
        }
        if !attempts.is_bypassed {
            // The object keeps changing, or others' requests fail. The store says whether it exists and has the ranges.
            let mut head = GetOptions::new().with_head(true);
            head.extensions.insert(Intent::Demand);
            let size = self.fetches.inner.get_opts(path, head).await?.meta.size;
            clamp(&ranges, size)?;
        }
        Ok(call.origin.wire_bytes())
    }

    async fn try_warm(&self, call: &Arc<CacheCall>, ranges: &[Range<u64>], found: Option<FoundVersion>) -> Attempt<()> {
        let finder = VersionFinder { reads: self, call };
        let pages = self.lookup.pages;
        let first = ranges[0].start..ranges[0].end.min(pages.window_end(ranges[0].start));
        let found = finder.begin(found, open_first(&finder, first)).await?;
        if !call.may_keep(&found.head) {
            return Err(AttemptError::Bypass);
        }
        if !found.is_valid {
            return Err(AttemptError::RetryWith(finder.validate().await?));
        }
        finder.confirm_end(&found, ranges).await?;
        let size = found.head.meta.size;
        // Whole pages, as parts of pages are not kept.
        let stretches = pages.stretches(&clamp(ranges, size)?, self.lookup.bridge_bytes());
        let windows: Vec<_> =
            stretches.into_iter().flat_map(|stretch| pages.windows(stretch.start..stretch.end.min(size))).collect();
        // The call keeps pages, and takes none of them.
        found.waiters.iter().for_each(|waiter| waiter.decide(None));
        let (found, turn) = (Arc::new(found), Arc::default());
        // The closure owns all that it captures: with borrows, the future would not be `Send` for all lifetimes.
        stream::iter(windows)
            .map(|window| {
                let (call, found, turn) = (Arc::clone(call), Arc::clone(&found), Arc::clone(&turn));
                Ok(self.clone().warm_window(call, found, window, turn))
            })
            .try_buffer_unordered(MAX_WINDOWS)
            .try_collect()
            .await
    }

    async fn warm_window(
        self,
        call: Arc<CacheCall>,
        found: Arc<FoundVersion>,
        window: Range<u64>,
        turn: Arc<Mutex<()>>,
    ) -> Attempt<()> {
        // Windows without memory of their own come one after the other.
        let has_room = self.fetches.has_room(&call, byte_range::len(&window));
        let _turn = if has_room { None } else { Some(turn.lock_owned().await) };
        let mut needs = self.lookup.pages.needs(&[window]);
        // The fetches that opened the object count once: what they have brought is in memory the second time.
        let mut waiters = found.waiters.as_slice();
        for is_private in [false, true] {
            needs.retain(|need| !self.lookup.has_page(&call, &found.head, need.page));
            let claim = Claim { needs: needs.clone(), waiters, is_private, ..Claim::default() };
            let planned = self.fetches.claim(&call, &found.head, claim)?;
            let fetch_of = |page: &PlannedPage| Some((Arc::clone(page.waiter()?), page.need.page));
            let mut fetching: Vec<_> = planned.iter().rev().filter_map(fetch_of).collect();
            // Ends the call's interest in the pages: it keeps them, and takes none.
            drop(planned);
            // The last page of each fetch is left.
            fetching.dedup_by(|(one, _), (other, _)| Arc::ptr_eq(one, other));
            let mut has_joined = false;
            for (waiter, last_page) in fetching {
                has_joined |= !waiter.is_own;
                waiter.passed(last_page).await?;
            }
            if !has_joined {
                break;
            }
            // Pages that another call's fetch brought before this call joined may not be kept: look again, once.
            waiters = &[];
        }
        Ok(())
    }
}

/// Opens an object by its `first` window, or by a HEAD: stores answer the first bytes of an empty object by an error.
async fn open_first(finder: &VersionFinder<'_>, first: Range<u64>) -> Attempt<FoundVersion> {
    let starts_at_0 = first.start == 0;
    match finder.open(&GetOptions::new().with_range(Some(first))).await {
        Err(AttemptError::Fail(error)) if starts_at_0 && !matches!(error, Error::NotFound { .. }) => {
            Err(AttemptError::RetryWith(finder.validate().await?))
        }
        opened => opened,
    }
}

/// The bytes of `ranges` that an object of `size` bytes has. Of an empty object, a range from its start is empty.
fn clamp(ranges: &[Range<u64>], size: u64) -> Result<Vec<Range<u64>>> {
    let bounded = |range: &Range<u64>| resolve(Some(&GetRange::Bounded(range.clone())), size);
    ranges.iter().filter(|range| size > 0 || range.start > 0).map(bounded).collect()
}
