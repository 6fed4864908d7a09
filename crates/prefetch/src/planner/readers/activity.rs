//! Which readers have a window and are reading, and where they began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::planner::messages::ReaderId;

/// The readers of one object that have a window, by the time of their latest read.
#[derive(Debug, Default)]
pub(crate) struct ReaderActivity {
    /// When the latest read of each reader ended (`None` while one is in progress), and where its stream began.
    readers: BTreeMap<ReaderId, (Option<Duration>, u64)>,
    starts: BTreeSet<(u64, ReaderId)>,
    /// The readers without a read in progress, the longest idle first.
    idle: BTreeSet<(Duration, ReaderId)>,
}

impl ReaderActivity {
    /// `reader` has a window, and a read in progress of a stream that began at `start`.
    pub(crate) fn on_read(&mut self, reader: ReaderId, start: u64) {
        self.remove(reader);
        self.readers.insert(reader, (None, start));
        self.starts.insert((start, reader));
    }

    /// The read of `reader` has ended `now`.
    pub(crate) fn on_read_end(&mut self, reader: ReaderId, now: Duration) {
        if let Some((idle_since, _)) = self.readers.get_mut(&reader) {
            if let Some(before) = idle_since.replace(now) {
                self.idle.remove(&(before, reader));
            }
            self.idle.insert((now, reader));
        }
    }

    pub(crate) fn remove(&mut self, reader: ReaderId) {
        let Some((idle_since, start)) = self.readers.remove(&reader) else { return };
        self.starts.remove(&(start, reader));
        if let Some(since) = idle_since {
            self.idle.remove(&(since, reader));
        }
    }

    /// The lowest place, from `at` on, at which another reader than `reader` began.
    pub(crate) fn next_start(&self, reader: ReaderId, at: u64) -> Option<u64> {
        self.starts.range((at, 0)..).find(|(_, other)| *other != reader).map(|(start, _)| *start)
    }

    /// Forgets the readers whose latest read ended `idle_after` ago or earlier.
    pub(crate) fn forget_idle(&mut self, now: Duration, idle_after: Duration) {
        while let Some(&(since, reader)) = self.idle.first()
            && now.saturating_sub(since) >= idle_after
        {
            self.remove(reader);
        }
    }

    /// The readers known.
    pub(crate) fn count(&self) -> u64 {
        self.readers.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn readers_count_while_they_read_and_shortly_after() {
        let mut activity = ReaderActivity::default();
        let mut count = |at: u32, event: &dyn Fn(&mut ReaderActivity)| {
            event(&mut activity);
            activity.forget_idle(at * MS, 200 * MS);
            activity.count()
        };
        assert_eq!(count(0, &|activity| activity.on_read(1, 0)), 1);
        assert_eq!(count(1, &|activity| activity.on_read(2, 50)), 2);
        assert_eq!(count(2, &|activity| activity.on_read_end(3, 2 * MS)), 2, "it has no window");
        assert_eq!(count(10, &|activity| activity.on_read_end(1, 10 * MS)), 2);
        assert_eq!(count(209, &|_| ()), 2);
        assert_eq!(count(210, &|_| ()), 1, "the first one is idle");
        assert_eq!(count(9_000, &|_| ()), 1, "the second one waits for its bytes");
        assert_eq!(count(9_001, &|activity| activity.on_read(1, 0)), 2);
        assert_eq!(count(9_002, &|activity| activity.remove(2)), 1);
    }

    #[test]
    fn a_reader_ends_where_another_began() {
        let mut activity = ReaderActivity::default();
        for (reader, start) in [(1, 0), (2, 50), (3, 100), (3, 90)] {
            activity.on_read(reader, start);
        }
        assert_eq!(activity.next_start(1, 10), Some(50));
        assert_eq!(activity.next_start(2, 50), Some(90));
        assert_eq!(activity.next_start(1, 91), None);
        activity.remove(2);
        assert_eq!(activity.next_start(1, 10), Some(90));
    }
}
