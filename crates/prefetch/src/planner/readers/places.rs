//! The places at which the readers of an object read, and the windows there.
//!
//! Readers near each other are at one place and share a window. The number of places and the sum of their windows are
//! needed at every read, so both are kept in trees: a reader that moves changes only its own entries.

use std::collections::BTreeMap;

use crate::planner::messages::ReaderId;
use crate::planner::readers::{ReaderState, SumTree, Summary, TreeKey};
use crate::planner::streams::ReadStream;

/// The places of all readers of one object.
#[derive(Debug)]
pub(crate) struct ReadPlaces {
    /// The positions of all active streams.
    streams: SumTree<GapSummary>,
    /// The position of each reader's latest read, and its window.
    windows: SumTree<WindowSummary>,
    entries: BTreeMap<ReaderId, PlaceEntries>,
}

/// The entries of one reader in the trees.
#[derive(Debug, Default)]
struct PlaceEntries {
    streams: Vec<TreeKey>,
    window: Option<(TreeKey, u64)>,
}

impl ReadPlaces {
    pub(crate) fn new() -> Self {
        Self { streams: SumTree::new(0), windows: SumTree::new(0), entries: BTreeMap::new() }
    }

    /// Moves `reader` to where `state` says; removes it where this is `None`.
    pub(crate) fn update(&mut self, reader: ReaderId, state: Option<&ReaderState>) {
        let Some(state) = state else {
            if let Some(gone) = self.entries.remove(&reader) {
                gone.streams.iter().for_each(|key| self.streams.remove(*key));
                gone.window.iter().for_each(|(key, _)| self.windows.remove(*key));
            }
            return;
        };
        let entries = self.entries.entry(reader).or_default();
        let key = |stream: &ReadStream| TreeKey::new(stream.position(), stream.id.0);
        let mut streams: Vec<TreeKey> = state.streams.active().map(key).collect();
        streams.sort_unstable();
        if streams != entries.streams {
            let gone = entries.streams.iter().filter(|key| streams.binary_search(key).is_err());
            gone.for_each(|key| self.streams.remove(*key));
            let new = streams.iter().filter(|key| entries.streams.binary_search(key).is_err());
            new.for_each(|key| self.streams.insert(*key, ()));
            entries.streams = streams;
        }
        let last = state.latest_stream.and_then(|id| state.streams.get(id));
        let window = last.map(|stream| (TreeKey::new(stream.position(), reader), state.window_bytes));
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

    /// Lets readers within `near_bytes` of each other share a place from now on.
    ///
    /// Visits every reader where the distance changes. It follows from the link estimate, in powers of two, so it
    /// seldom does.
    pub(crate) fn set_near(&mut self, near_bytes: u64) {
        self.streams.set_context(near_bytes);
        self.windows.set_context(near_bytes);
    }

    /// The number of places at which streams are being read; at least one.
    pub(crate) fn count(&self) -> u64 {
        self.streams.sum().map_or(1, |gaps| gaps.wide + 1)
    }

    /// The number of different positions of active streams; at least one.
    pub(crate) fn offsets(&self) -> u64 {
        self.streams.sum().map_or(1, |gaps| gaps.any + 1)
    }

    /// The windows of all places together; of each place, the largest one.
    pub(crate) fn windows_bytes(&self) -> u64 {
        self.windows.sum().map_or(0, |sum| sum.lowest + sum.between + sum.highest.unwrap_or(0))
    }
}

/// The gaps between neighbouring positions.
#[derive(Debug, Clone, Copy)]
struct GapSummary {
    first: u64,
    last: u64,
    /// Gaps wider than the distance within which readers share a place.
    wide: u64,
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

/// The windows of neighbours. Those at the lowest and at the highest place may share a place with further neighbours.
#[derive(Debug, Clone, Copy)]
struct WindowSummary {
    first: u64,
    last: u64,
    lowest: u64,
    /// The largest window at the highest place; `None` where there is one place only.
    highest: Option<u64>,
    /// The sum of the largest windows at the places between.
    between: u64,
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
    use crate::planner::streams::StreamIds;
    use proptest::prelude::*;
    use std::ops::Range;
    use std::time::Duration;

    /// The number of gaps wider than `near_bytes` between `streams`, plus one.
    fn places(mut streams: Vec<u64>, near_bytes: u64) -> u64 {
        streams.sort_unstable();
        1 + streams.windows(2).filter(|pair| pair[1] - pair[0] > near_bytes).count() as u64
    }

    /// The sum of the largest window (offset and size) of each place.
    fn windows_bytes(mut windows: Vec<(u64, u64)>, near_bytes: u64) -> u64 {
        windows.sort_unstable();
        let together = windows.chunk_by(|a, b| b.0 - a.0 <= near_bytes);
        together.map(|near| near.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0)).sum()
    }

    /// Reads `range` as the latest read, with a window of `window_bytes`.
    fn read(ids: &mut StreamIds, state: &mut ReaderState, range: &Range<u64>, window_bytes: u64) {
        state.latest_stream = Some(state.streams.on_read(ids, Duration::ZERO, range).stream);
        state.window_bytes = window_bytes;
    }

    proptest! {
        /// Whatever readers do: both figures equal those computed from all readers.
        #[test]
        fn figures_are_those_of_all_readers(
            steps in prop::collection::vec((1_u64..12, 0_u64..40, 1_u64..4, 0_u64..50, 0_u8..12), 1..120),
            near in (0_u64..6, 0_u64..6),
        ) {
            let mut kept = ReadPlaces::new();
            let mut ids = StreamIds::default();
            let mut readers = BTreeMap::new();
            let at_end = steps.len() / 2;
            for (n, (reader, at, len, window_bytes, what)) in steps.into_iter().enumerate() {
                let near_bytes = if n < at_end { near.0 } else { near.1 };
                if what == 0 {
                    readers.remove(&reader);
                } else {
                    let state = readers.entry(reader).or_insert_with(ReaderState::default);
                    let last = state.latest_stream.and_then(|id| state.streams.get(id)).map(|stream| stream.end);
                    // Most reads continue a stream.
                    let start = last.filter(|_| what > 3).unwrap_or(at);
                    read(&mut ids, state, &(start..start + len), window_bytes);
                }
                kept.update(reader, readers.get(&reader));
                kept.set_near(near_bytes);
                let streams: Vec<u64> =
                    readers.values().flat_map(|state| state.streams.active()).map(ReadStream::position).collect();
                let last = |state: &ReaderState| {
                    Some((state.streams.get(state.latest_stream?)?.position(), state.window_bytes))
                };
                prop_assert_eq!(kept.count(), places(streams.clone(), near_bytes));
                prop_assert_eq!(kept.offsets(), places(streams, 0));
                let windows = readers.values().filter_map(last).collect();
                prop_assert_eq!(kept.windows_bytes(), windows_bytes(windows, near_bytes));
            }
        }
    }
}
