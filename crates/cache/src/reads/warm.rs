//! Fetching pages before anybody reads them.

use std::ops::Range;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use headstart_fetch_core::{Intent, byte_range};
use object_store::path::Path;
use object_store::{Error, Extensions, GetOptions, GetRange, Result};
use tokio::sync::Mutex;

use crate::engine::{Engine, PlannedPage};
use crate::fetches::waiter::FetchWaiter;
use crate::lookup::call::ReadCall;
use crate::policy::freshness::{CachePlan, FirstStep};
use crate::policy::page::WINDOW_BYTES;
use crate::reads::get::resolve;
use crate::reads::version::{AttemptError, FoundVersion, ReadAttempts};

/// Windows on their way at once.
const WINDOWS: usize = 8;

impl Engine {
    /// Fetches what is missing of `ranges`, and returns how many bytes came.
    pub(crate) async fn warm(self: &Arc<Self>, path: &Path, ranges: &[Range<u64>]) -> Result<u64> {
        let plan =
            CachePlan { announced: true, ..CachePlan::new(self.config.enabled, self.config.freshness, None, false) };
        let ranges: Vec<_> = ranges.iter().filter(|range| range.start < range.end).cloned().collect();
        if plan.bypass || ranges.is_empty() {
            return Ok(0);
        }
        let mut extensions = Extensions::new();
        extensions.insert(Intent::Speculative);
        let call = ReadCall::new(path, None, plan, extensions);
        let mut tries = ReadAttempts::new();
        while let Some(found) = tries.next() {
            if let Some(answer) = tries.answered(self.try_warm(&call, &ranges, found).await) {
                return answer.map(|()| call.origin.wire_bytes());
            }
        }
        if !tries.bypassed {
            // The object changes all the time, or others' requests for it fail. The store says whether there is anything to warm.
            let mut head = GetOptions::new().with_head(true);
            head.extensions.insert(Intent::Demand);
            let size = self.inner.get_opts(path, head).await?.meta.size;
            clamp(&ranges, size)?;
        }
        Ok(call.origin.wire_bytes())
    }

    async fn try_warm(
        self: &Arc<Self>,
        call: &Arc<ReadCall>,
        ranges: &[Range<u64>],
        found: Option<FoundVersion>,
    ) -> Result<(), AttemptError> {
        let found = match found {
            Some(found) => found,
            None => match self.look_up(call) {
                Ok(found) => found,
                Err(FirstStep::Open) => {
                    let range = &ranges[0];
                    let first = range.start..range.end.min(self.pages.window_end(range.start));
                    match self.open(call, &GetOptions::new().with_range(Some(first))).await {
                        // Of an empty object stores have no first bytes.
                        Err(AttemptError::Fail(error))
                            if range.start == 0 && !matches!(error, Error::NotFound { .. }) =>
                        {
                            return Err(AttemptError::RetryWith(self.validate(call).await?));
                        }
                        opened => opened?,
                    }
                }
                Err(_) => return Err(AttemptError::Bypass),
            },
        };
        if !call.plan.may_keep(found.head.has_validator()) {
            return Err(AttemptError::Bypass);
        }
        if !found.valid {
            return Err(AttemptError::RetryWith(self.validate(call).await?));
        }
        self.confirm_end(call, &found, ranges.iter()).await?;
        let size = found.head.meta.size;
        let ranges = clamp(ranges, size)?;
        // Whole pages: what another fetch brings of a page in part is not kept.
        let ranges = self.pages.stretches(&ranges, self.bridge_bytes());
        let windows: Vec<_> = ranges
            .iter()
            .flat_map(|range| {
                let begins = std::iter::successors(Some(range.start), |start| Some(self.pages.window_end(*start)));
                let end = range.end.min(size);
                begins.take_while(move |start| *start < end).map(move |start| (start, end))
            })
            .map(|(start, end)| start..end.min(self.pages.window_end(start)))
            .collect();
        // What is fetched is kept, and not taken from here.
        found.waiters.iter().for_each(|waiter| waiter.decided());
        let (found, turn) = (Arc::new(found), Arc::default());
        // Everything owned: borrowed, the future would be `Send` for one lifetime only, and nobody could spawn it.
        stream::iter(windows)
            .map(|window| {
                let (call, found, turn) = (Arc::clone(call), Arc::clone(&found), Arc::clone(&turn));
                Ok(Arc::clone(self).warm_window(call, found, window, turn))
            })
            .try_buffer_unordered(WINDOWS)
            .try_collect()
            .await
    }

    async fn warm_window(
        self: Arc<Self>,
        call: Arc<ReadCall>,
        found: Arc<FoundVersion>,
        window: Range<u64>,
        turn: Arc<Mutex<()>>,
    ) -> Result<(), AttemptError> {
        let _turn = if self.has_room(&call, byte_range::len(&window)) {
            None
        } else {
            // Windows without memory of their own come one after the other.
            Some(turn.lock_owned().await)
        };
        debug_assert!(window.end - window.start <= WINDOW_BYTES);
        let mut needs = self.pages.needs(&[window]);
        // What it has brought has been brought: the second time round, it is of no use.
        let mut waiters = found.waiters.as_slice();
        loop {
            needs.retain(|need| !self.memory.has(found.head.place(need.page)));
            let mut joined = false;
            let takes = self.claim(&call, &found.head, needs.clone(), std::mem::take(&mut waiters))?;
            let mut fetching: Vec<Arc<FetchWaiter>> = takes.into_iter().filter_map(PlannedPage::into_seat).collect();
            fetching.dedup_by(|one, other| Arc::ptr_eq(one, other));
            for waiter in fetching {
                joined |= !waiter.mine;
                waiter.landed().await?;
            }
            if !joined {
                return Ok(());
            }
            // The call that began the fetch may have wanted nothing kept, until we came.
        }
    }
}

/// What there is of `ranges` in an object of `size` bytes.
fn clamp(ranges: &[Range<u64>], size: u64) -> Result<Vec<Range<u64>>> {
    let bounded = |range: &Range<u64>| resolve(Some(&GetRange::Bounded(range.clone())), size);
    // Of an empty object, all is here.
    ranges.iter().filter(|range| size > 0 || range.start > 0).map(bounded).collect()
}
