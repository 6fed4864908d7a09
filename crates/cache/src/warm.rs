//! Fetching pages before anybody reads them.

use std::ops::Range;
use std::sync::Arc;

use futures::stream::{self, TryStreamExt};
use headstart_fetch_core::Intent;
use object_store::path::Path;
use object_store::{Extensions, GetOptions, GetRange, Result};

use crate::call::Call;
use crate::engine::{Engine, Source};
use crate::finding::{Found, Tries, Unanswered};
use crate::page::WINDOW_BYTES;
use crate::policy::{Plan, Step};
use crate::read::resolve;

/// Windows on their way at once.
const WINDOWS: usize = 8;

impl Engine {
    /// Fetches what is missing of `ranges`, and returns how many bytes came.
    pub(crate) async fn warm(self: &Arc<Self>, path: &Path, ranges: &[Range<u64>]) -> Result<u64> {
        let plan = Plan { announced: true, ..Plan::new(self.config.enabled, self.config.freshness, None, false) };
        let ranges: Vec<_> = ranges.iter().filter(|range| range.start < range.end).cloned().collect();
        if plan.bypass || ranges.is_empty() {
            return Ok(0);
        }
        let mut extensions = Extensions::new();
        extensions.insert(Intent::Speculative);
        let call = Call::new(path, plan, extensions);
        let mut tries = Tries::new();
        while let Some(found) = tries.next() {
            if let Some(answer) = tries.answered(self.try_warm(&call, &ranges, found).await) {
                return answer.map(|()| call.origin.wire_bytes());
            }
        }
        Ok(call.origin.wire_bytes())
    }

    async fn try_warm(
        self: &Arc<Self>,
        call: &Arc<Call>,
        ranges: &[Range<u64>],
        found: Option<Found>,
    ) -> Result<(), Unanswered> {
        let found = match found {
            Some(found) => found,
            None => match self.look_up(call) {
                Ok(found) => found,
                Err(Step::Open) => {
                    let range = &ranges[0];
                    let first = range.start..range.end.min(self.pages.window_end(range.start));
                    self.open(call, &GetOptions::new().with_range(Some(first))).await?
                }
                Err(_) => return Err(Unanswered::Bypass),
            },
        };
        if !call.plan.may_keep(found.head.has_token()) {
            return Err(Unanswered::Bypass);
        }
        if !found.valid {
            return Err(Unanswered::With(self.validate(call).await?));
        }
        let bounded = |range: &Range<u64>| resolve(Some(&GetRange::Bounded(range.clone())), found.head.meta.size);
        let ranges = ranges.iter().map(bounded).collect::<Result<Vec<_>>>()?;
        let windows = ranges.iter().flat_map(|range| {
            let begins = std::iter::successors(Some(range.start), |start| Some(self.pages.window_end(*start)));
            begins
                .take_while(|start| *start < range.end)
                .map(|start| start..range.end.min(self.pages.window_end(start)))
        });
        stream::iter(windows.map(|window| Ok(self.warm_window(call, &found, window))))
            .try_buffer_unordered(WINDOWS)
            .try_collect()
            .await
    }

    async fn warm_window(self: &Arc<Self>, call: &Call, found: &Found, window: Range<u64>) -> Result<(), Unanswered> {
        debug_assert!(window.end - window.start <= WINDOW_BYTES);
        let mut needs = self.pages.needs(&[window]);
        needs.retain(|need| !self.memory.has(found.head.place(need.page)));
        for take in self.claim(call, &found.head, needs, &found.seats)? {
            if let Source::Flight(seat) = take.from {
                seat.landed().await?;
            }
        }
        Ok(())
    }
}
