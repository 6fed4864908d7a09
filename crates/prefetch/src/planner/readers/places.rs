//! At how many places of an object it is being read, and how large the windows there are. Pure.
//!
//! Readers near each other are at one place and share a window. Both figures are asked for at every read, so they are kept by place
//! and not counted_ends anew: a reader that moves changes its own entries only.

use std::collections::BTreeMap;

use crate::planner::messages::ReaderId;
use crate::planner::readers::reader_state::ReaderState;
use crate::planner::readers::sum_tree::{SumTree, Summary, TreeKey};
use crate::planner::streams::read_stream::ReadStream;

/// Where the readers of an object are.
#[derive(Debug)]
pub(crate) struct ReadPlaces {
    /// Of every stream that is being read now, where its reader is.
    streams: SumTree<GapSummary>,
    /// Of every reader, where it read last, and its window.
    windows: SumTree<WindowSummary>,
    entries: BTreeMap<ReaderId, PlaceEntries>,
}

/// What one reader has in the trees.
#[derive(Debug, Default)]
struct PlaceEntries {
    /// Ascending.
    streams: Vec<TreeKey>,
    window: Option<(TreeKey, u64)>,
}

impl ReadPlaces {
    /// No readers.
    pub(crate) fn new() -> Self {
        Self { streams: SumTree::new(0), windows: SumTree::new(0), entries: BTreeMap::new() }
    }

    /// `reader` is where `reading` says from here on; nowhere if it has gone.
    pub(crate) fn update(&mut self, reader: ReaderId, reading: Option<&ReaderState>) {
        let Some(reading) = reading else {
            if let Some(gone) = self.entries.remove(&reader) {
                gone.streams.iter().for_each(|key| self.streams.remove(*key));
                gone.window.iter().for_each(|(key, _)| self.windows.remove(*key));
            }
            return;
        };
        let entries = self.entries.entry(reader).or_default();
        let key = |stream: &ReadStream| TreeKey::new(stream.position(), stream.id);
        let mut streams: Vec<TreeKey> = reading.streams.active().map(key).collect();
        streams.sort_unstable();
        if streams != entries.streams {
            let gone = entries.streams.iter().filter(|key| streams.binary_search(key).is_err());
            gone.for_each(|key| self.streams.remove(*key));
            let new = streams.iter().filter(|key| entries.streams.binary_search(key).is_err());
            new.for_each(|key| self.streams.insert(*key, ()));
            entries.streams = streams;
        }
        let last = reading.latest_stream.and_then(|id| reading.streams.get(id));
        let window = last.map(|stream| (TreeKey::new(stream.position(), reader), reading.window_bytes));
        if window != entries.window {
            if let Some((key, _)) = entries.window.filter(|(key, _)| Some(*key) != window.map(|(key, _)| key)) {
                self.windows.remove(key);
            }
            if let Some((key, bytes)) = window {
                self.windows.insert(key, bytes);
            }
            entries.window = window;
        }
    }

    /// Readers within `near_bytes` of each other are at one place from here on.
    ///
    /// Looks at every reader if that is another distance than before: it follows from the link's estimate, in powers of two.
    pub(crate) fn set_near(&mut self, near_bytes: u64) {
        self.streams.set_context(near_bytes);
        self.windows.set_context(near_bytes);
    }

    /// At how many places streams are being read; one at least.
    pub(crate) fn count(&self) -> u64 {
        self.streams.sum().map_or(1, |gaps| gaps.wide + 1)
    }

    /// At how many offsets streams are being read; one at least.
    pub(crate) fn offsets(&self) -> u64 {
        self.streams.sum().map_or(1, |gaps| gaps.any + 1)
    }

    /// The windows of all readers together: of those at one place, who share one, the largest.
    pub(crate) fn windows_bytes(&self) -> u64 {
        self.windows.sum().map_or(0, |windows| windows.all())
    }
}

/// Offsets of neighbours, and the gaps between them.
#[derive(Debug, Clone, Copy)]
struct GapSummary {
    first: u64,
    last: u64,
    /// GapSummary that are wider than what is near.
    wide: u64,
    /// GapSummary that are not empty.
    any: u64,
}

impl Summary for GapSummary {
    type Value = ();
    type Context = u64;

    fn of(key: TreeKey, (): ()) -> Self {
        Self { first: key.offset(), last: key.offset(), wide: 0, any: 0 }
    }

    fn join(self, higher: Self, near_bytes: u64) -> Self {
        let gap = higher.first - self.last;
        Self {
            first: self.first,
            last: higher.last,
            wide: self.wide + higher.wide + u64::from(gap > near_bytes),
            any: self.any + higher.any + u64::from(gap > 0),
        }
    }
}

/// The windows of neighbours. Those at the lowest and at the highest place may share theirs with neighbours beyond.
#[derive(Debug, Clone, Copy)]
struct WindowSummary {
    first: u64,
    last: u64,
    /// The largest window at the lowest place.
    lowest: u64,
    /// The largest window at the highest place; `None` if there is one place only.
    highest: Option<u64>,
    /// The largest windows at the places between, together.
    between: u64,
}

impl WindowSummary {
    fn all(&self) -> u64 {
        self.lowest + self.between + self.highest.unwrap_or(0)
    }
}

impl Summary for WindowSummary {
    type Value = u64;
    type Context = u64;

    fn of(key: TreeKey, window_bytes: u64) -> Self {
        Self { first: key.offset(), last: key.offset(), lowest: window_bytes, highest: None, between: 0 }
    }

    fn join(self, higher: Self, near_bytes: u64) -> Self {
        let (first, last) = (self.first, higher.last);
        let between = self.between + higher.between;
        if higher.first - self.last > near_bytes {
            let highest = Some(higher.highest.unwrap_or(higher.lowest));
            let inner = self.highest.unwrap_or(0) + if higher.highest.is_some() { higher.lowest } else { 0 };
            return Self { first, last, lowest: self.lowest, highest, between: between + inner };
        }
        let shared = self.highest.unwrap_or(self.lowest).max(higher.lowest);
        let (lowest, highest, inner) = match (self.highest, higher.highest) {
            (None, highest) => (shared, highest, 0),
            (Some(_), None) => (self.lowest, Some(shared), 0),
            (Some(_), Some(highest)) => (self.lowest, Some(highest), shared),
        };
        Self { first, last, lowest, highest, between: between + inner }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ops::Range;
    use std::time::Duration;

    /// GapSummary wider than `near_bytes` between `streams`, and one.
    fn places(mut streams: Vec<u64>, near_bytes: u64) -> u64 {
        streams.sort_unstable();
        1 + streams.windows(2).filter(|pair| pair[1] - pair[0] > near_bytes).count() as u64
    }

    /// Of the `windows` (offset and size) near each other, the largest; all of these together.
    fn windows_bytes(mut windows: Vec<(u64, u64)>, near_bytes: u64) -> u64 {
        windows.sort_unstable();
        let together = windows.chunk_by(|a, b| b.0 - a.0 <= near_bytes);
        together.map(|near| near.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0)).sum()
    }

    /// A reader that reads `range` next and wants `window_bytes` ahead of it.
    fn read(reading: &mut ReaderState, range: &Range<u64>, window_bytes: u64) {
        reading.latest_stream = Some(reading.streams.on_read(Duration::ZERO, range).0.stream);
        reading.window_bytes = window_bytes;
    }

    proptest! {
        /// Whoever reads where, comes and goes: both figures are those of going through everybody.
        #[test]
        fn figures_are_those_of_all_readers(
            steps in prop::collection::vec((1_u64..12, 0_u64..40, 1_u64..4, 0_u64..50, 0_u8..12), 1..120),
            near in (0_u64..6, 0_u64..6),
        ) {
            let mut kept = ReadPlaces::new();
            let mut readers = BTreeMap::new();
            let at_end = steps.len() / 2;
            for (n, (reader, at, len, window_bytes, what)) in steps.into_iter().enumerate() {
                let near_bytes = if n < at_end { near.0 } else { near.1 };
                if what == 0 {
                    readers.remove(&reader);
                } else {
                    let reading = readers.entry(reader).or_insert_with(|| ReaderState::new(reader));
                    let last = reading.latest_stream.and_then(|id| reading.streams.get(id)).map(|stream| stream.end);
                    // Most reads go on.
                    let start = last.filter(|_| what > 3).unwrap_or(at);
                    read(reading, &(start..start + len), window_bytes);
                }
                kept.update(reader, readers.get(&reader));
                kept.set_near(near_bytes);
                let streams: Vec<u64> =
                    readers.values().flat_map(|reading| reading.streams.active()).map(ReadStream::position).collect();
                let last = |reading: &ReaderState| {
                    Some((reading.streams.get(reading.latest_stream?)?.position(), reading.window_bytes))
                };
                prop_assert_eq!(kept.count(), places(streams.clone(), near_bytes));
                prop_assert_eq!(kept.offsets(), places(streams, 0));
                prop_assert_eq!(kept.windows_bytes(), windows_bytes(readers.values().filter_map(last).collect(), near_bytes));
            }
        }
    }
}
