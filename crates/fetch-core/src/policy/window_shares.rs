//! Divides the bytes that may be ahead of readers among the streams of one link.
//!
//! One bandwidth × delay product fills a link, however many streams share it. The division is max-min fair (Bertsekas
//! and Gallager, *Data Networks*, section 6.5): a stream that wants less than an even share gets what it wants, and the
//! others divide the rest. Streams that nobody reads at present do not count.

use std::collections::BTreeMap;
use std::time::Duration;

/// The share is computed anew after at most this time, or sooner where idle streams are recognised sooner. With many
/// objects, most reads then need no computation.
const REFRESH: Duration = Duration::from_millis(5);

/// What the streams of one object want ahead of their readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowDemand {
    /// Streams at different places that are being read.
    pub streams: u64,
    /// What each of them would have ahead if it had the link for itself, in bytes.
    pub bytes_each: u64,
    /// Whether a read is in progress.
    pub is_reading: bool,
}

/// What one stream of a link may have ahead of its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowShare {
    /// The most bytes ahead.
    pub most_bytes: u64,
    /// The streams that share the link; at least one.
    pub streams: u64,
}

/// The demands of all objects that are read over one link.
#[derive(Debug, Default)]
pub(crate) struct WindowShares {
    demands: BTreeMap<u64, (WindowDemand, Duration)>,
    latest_id: u64,
    streams: u64,
    /// The share computed last, when, and of how many bytes.
    known: Option<(Duration, u64, WindowShare)>,
}

impl WindowShares {
    /// An id for one more object.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.latest_id += 1;
        self.latest_id
    }

    /// The streams of object `id` want this from `now` on.
    pub(crate) fn set(&mut self, id: u64, demand: WindowDemand, now: Duration) {
        let before = if demand.streams == 0 {
            self.demands.remove(&id).map(|(before, _)| before)
        } else {
            self.demands.insert(id, (demand, now)).map(|(before, _)| before)
        };
        if before.map_or(0, |before| before.streams) != demand.streams {
            self.known = None;
        }
    }

    /// The streams that shared the link when this was computed last: at least one, and none while nothing has a
    /// window.
    pub(crate) fn streams(&self) -> u64 {
        if self.demands.is_empty() { 0 } else { self.streams.max(1) }
    }

    /// The share of one stream in `total_bytes`. Objects that were not read for `idle_after` do not count.
    pub(crate) fn share(&mut self, now: Duration, total_bytes: u64, idle_after: Duration) -> WindowShare {
        if let Some((at, total, share)) = self.known
            && total == total_bytes
            && now.saturating_sub(at) < REFRESH.min(idle_after / 4)
        {
            return share;
        }
        let is_active =
            |(demand, at): &&(WindowDemand, Duration)| demand.is_reading || now.saturating_sub(*at) < idle_after;
        let mut active: Vec<(u64, u64)> =
            self.demands.values().filter(is_active).map(|(demand, _)| (demand.bytes_each, demand.streams)).collect();
        active.sort_unstable();
        let streams = active.iter().map(|(_, streams)| streams).sum::<u64>().max(1);
        let share = WindowShare { most_bytes: water_level(&active, total_bytes), streams };
        self.known = Some((now, total_bytes, share));
        self.streams = streams;
        share
    }
}

/// The level up to which `total` fills the `wants`: what each of so many wants, in ascending order. Where there is more
/// than is wanted, the last one gets the rest.
pub fn water_level(wants: &[(u64, u64)], total: u64) -> u64 {
    let mut left = total;
    let mut count: u64 = wants.iter().map(|(_, count)| count).sum();
    let mut highest = 0;
    for &(want, alike) in wants {
        let even = left / count.max(1);
        if want > even {
            return even;
        }
        left -= want.saturating_mul(alike).min(left);
        count -= alike;
        highest = want;
    }
    left.saturating_add(highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const IDLE: Duration = Duration::from_millis(200);

    fn reading(streams: u64, bytes_each: u64) -> WindowDemand {
        WindowDemand { streams, bytes_each, is_reading: true }
    }

    #[test]
    fn streams_divide_one_window_and_leave_what_they_do_not_want() {
        let mut shares = WindowShares::default();
        let mut most = |id, demand, at: u32| {
            shares.set(id, demand, at * MS);
            let WindowShare { most_bytes, streams } = shares.share(at * MS, 160, IDLE);
            (most_bytes, streams)
        };
        assert_eq!(most(1, reading(1, 160), 0), (160, 1), "alone");
        assert_eq!(most(2, reading(3, 160), 1), (40, 4));
        assert_eq!(most(3, reading(1, 10), 2), (37, 5), "one wants less than an even share");
        assert_eq!(most(2, reading(0, 0), 3), (150, 2), "and the other has the rest");
    }

    #[test]
    fn idle_streams_do_not_count_and_waiting_ones_do() {
        let mut shares = WindowShares::default();
        shares.set(1, reading(1, 100), Duration::ZERO);
        shares.set(2, WindowDemand { is_reading: false, ..reading(1, 100) }, Duration::ZERO);
        assert_eq!(shares.share(199 * MS, 100, IDLE).streams, 2);
        assert_eq!(shares.share(205 * MS, 100, IDLE), WindowShare { most_bytes: 100, streams: 1 });
        assert_eq!(WindowShares::default().share(MS, 100, IDLE), WindowShare { most_bytes: 100, streams: 1 });
    }

    proptest! {
        /// Nothing is left while a stream wants more, and no stream has more than another that wants more.
        #[test]
        fn is_max_min_fair(mut wants in prop::collection::vec((1_u64..1000, 1_u64..9), 1..20), total in 0_u64..5000) {
            wants.sort_unstable();
            let level = water_level(&wants, total);
            let given: u64 = wants.iter().map(|(want, count)| (*want).min(level) * count).sum();
            let wanted: u64 = wants.iter().map(|(want, count)| want * count).sum();
            let count: u64 = wants.iter().map(|(_, count)| count).sum();
            prop_assert!(given <= total);
            prop_assert!(given == wanted || total - given < count);
        }
    }
}
