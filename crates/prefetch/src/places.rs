//! At how many places of an object it is being read, and how large the windows there are. Pure.
//!
//! Readers near each other are at one place and share a window. Both figures are asked for at every read, so they are kept by place
//! and not counted anew: a reader that moves changes its own entries only.

use std::collections::BTreeMap;

use crate::plan::ReaderId;
use crate::reading::Reading;
use crate::stream::Stream;
use crate::sum_tree::{Key, SumTree, Summary};

/// Where the readers of an object are.
#[derive(Debug)]
pub(crate) struct Places {
    /// Of every stream that is being read now, where its reader is.
    streams: SumTree<Gaps>,
    /// Of every reader, where it read last, and its window.
    windows: SumTree<Windows>,
    entries: BTreeMap<ReaderId, Entries>,
}

/// What one reader has in the trees.
#[derive(Debug, Default)]
struct Entries {
    /// Ascending.
    streams: Vec<Key>,
    window: Option<(Key, u64)>,
}

impl Places {
    /// No readers.
    pub(crate) fn new() -> Self {
        Self { streams: SumTree::new(0), windows: SumTree::new(0), entries: BTreeMap::new() }
    }

    /// `reader` is where `reading` says from here on; nowhere if it has gone.
    pub(crate) fn update(&mut self, reader: ReaderId, reading: Option<&Reading>) {
        let Some(reading) = reading else {
            if let Some(gone) = self.entries.remove(&reader) {
                gone.streams.iter().for_each(|key| self.streams.remove(*key));
                gone.window.iter().for_each(|(key, _)| self.windows.remove(*key));
            }
            return;
        };
        let entries = self.entries.entry(reader).or_default();
        let key = |stream: &Stream| Key::new(stream.position(), stream.id);
        let mut streams: Vec<Key> = reading.streams.active().map(key).collect();
        streams.sort_unstable();
        if streams != entries.streams {
            let gone = entries.streams.iter().filter(|key| streams.binary_search(key).is_err());
            gone.for_each(|key| self.streams.remove(*key));
            let new = streams.iter().filter(|key| entries.streams.binary_search(key).is_err());
            new.for_each(|key| self.streams.insert(*key, ()));
            entries.streams = streams;
        }
        let last = reading.read_last.and_then(|id| reading.streams.get(id));
        let window = last.map(|stream| (Key::new(stream.position(), reader), reading.window_bytes));
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
struct Gaps {
    first: u64,
    last: u64,
    /// Gaps that are wider than what is near.
    wide: u64,
    /// Gaps that are not empty.
    any: u64,
}

impl Summary for Gaps {
    type Value = ();
    type Context = u64;

    fn of(key: Key, (): ()) -> Self {
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
struct Windows {
    first: u64,
    last: u64,
    /// The largest window at the lowest place.
    lowest: u64,
    /// The largest window at the highest place; `None` if there is one place only.
    highest: Option<u64>,
    /// The largest windows at the places between, together.
    between: u64,
}

impl Windows {
    fn all(&self) -> u64 {
        self.lowest + self.between + self.highest.unwrap_or(0)
    }
}

impl Summary for Windows {
    type Value = u64;
    type Context = u64;

    fn of(key: Key, window_bytes: u64) -> Self {
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
