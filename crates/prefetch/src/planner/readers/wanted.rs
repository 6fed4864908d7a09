//! Which bytes of an object its readers want kept, whoever fetched them: ahead of where each is, and just behind its streams. Pure.
//!
//! Kept as readers move, by where each stretch begins: whether anybody wants a part is asked of the stretches at its place, not of
//! every reader. What a reader wants no more comes out as [`SpansChange`]: only parts there can have become useless.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::planner::messages::ReaderId;
use crate::planner::parts::part_map::PartMap;
use crate::planner::readers::reader_state::ReaderState;
use crate::planner::readers::sum_tree::{SumTree, Summary, TreeKey};
use crate::planner::streams::read_stream::{RangeFilter, ReadStream, ReadStreamId, reader_of};

/// What the readers of an object want.
#[derive(Debug)]
pub(crate) struct WantedSpans {
    /// Bytes are served once: nothing behind a reader is kept.
    once: bool,
    /// Of every reader's latest stream, what is ahead of it.
    ahead: SumTree<FurthestEnds>,
    /// Of every reader's latest stream and of those it came back to, what is behind them.
    behind: SumTree<FurthestEnds>,
    /// Of every reader, its streams in the order of their names.
    streams: BTreeMap<ReaderId, Vec<StreamSpans>>,
}

/// The parts that one stream wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamSpans {
    /// The stream.
    stream: ReadStreamId,
    /// Of the parts that were fetched for it, those ahead of it.
    own: Option<RangeFilter>,
    /// Of all parts, those ahead of it as far as its window reaches.
    ahead: Option<RangeFilter>,
    /// Of all parts, those just behind it.
    behind: Option<RangeFilter>,
}

/// What a stream wanted, and what it wants now, if it still is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpansChange {
    before: StreamSpans,
    now: Option<StreamSpans>,
}

impl WantedSpans {
    /// No readers. Where bytes are served `once`, nothing behind one is wanted.
    pub(crate) fn new(once: bool) -> Self {
        Self { once, ahead: SumTree::new(()), behind: SumTree::new(()), streams: BTreeMap::new() }
    }

    /// `reader` wants what `reading` says from here on; nothing if it has gone. Returns what has changed.
    pub(crate) fn update(&mut self, reader: ReaderId, reading: Option<&ReaderState>) -> Vec<SpansChange> {
        let mut now: Vec<StreamSpans> = reading.map_or_else(Vec::new, |reading| {
            let latest = |stream: &ReadStream| Some(stream.id) == reading.latest_stream;
            let stretches = |stream: &ReadStream| StreamSpans {
                stream: stream.id,
                own: stream.ahead(true),
                ahead: stream.ahead(false).filter(|_| latest(stream)),
                behind: (!self.once && (latest(stream) || stream.is_revisited())).then(|| stream.just_behind()),
            };
            reading.streams.iter().map(stretches).collect()
        });
        now.sort_unstable_by_key(|stretches| stretches.stream);
        let known = self.streams.remove(&reader).unwrap_or_default();
        let mut lost = Vec::new();
        let mut next = now.iter().copied().peekable();
        for before in known {
            while let Some(new) = next.next_if(|new| new.stream < before.stream) {
                self.replace(None, Some(new));
            }
            let now = next.next_if(|new| new.stream == before.stream);
            if now != Some(before) {
                self.replace(Some(before), now);
                lost.push(SpansChange { before, now });
            }
        }
        for new in next {
            self.replace(None, Some(new));
        }
        if reading.is_some() {
            self.streams.insert(reader, now);
        }
        lost
    }

    /// Whether any reader, `but` one, wants parts over `range` wherever they come from.
    pub(crate) fn reaches(&self, range: &Range<u64>, but: Option<ReaderId>) -> bool {
        // The one that reaches furthest, of those that begin low enough.
        [&self.ahead, &self.behind]
            .into_iter()
            .filter_map(|tree| tree.sum_up_to(range.end))
            .any(|furthest| furthest.but(but) > range.start)
    }

    fn replace(&mut self, before: Option<StreamSpans>, now: Option<StreamSpans>) {
        let of = |which: fn(StreamSpans) -> Option<RangeFilter>| (before.and_then(which), now.and_then(which));
        let Some(stream) = before.or(now).map(|stretches| stretches.stream) else { return };
        for (tree, (before, now)) in
            [(&mut self.ahead, of(|stretches| stretches.ahead)), (&mut self.behind, of(|stretches| stretches.behind))]
        {
            if let Some(before) = before.filter(|before| now.is_none_or(|now| now.from != before.from)) {
                tree.remove(TreeKey::new(before.from, stream));
            }
            if let Some(now) = now.filter(|now| before != Some(*now)) {
                tree.insert(TreeKey::new(now.from, stream), (now.to, reader_of(stream)));
            }
        }
    }
}

impl SpansChange {
    /// Where those of `parts` start that the stream has wanted and wants no more.
    pub(crate) fn starts(&self, parts: &PartMap) -> Vec<u64> {
        let Self { before, now } = self;
        let [own, ahead, behind] = now.map_or([None; 3], |now| [now.own, now.ahead, now.behind]);
        let of_own = RangeFilter::lost(before.own, own)
            .flat_map(|lost| parts.reached_of(before.stream, lost))
            .filter(|part| own.is_none_or(|own| !own.holds(&part.range)));
        let of_all = RangeFilter::lost(before.ahead, ahead)
            .chain(RangeFilter::lost(before.behind, behind))
            .flat_map(|lost| parts.reached(lost))
            // Most of what is no longer ahead is behind from here on.
            .filter(|part| ![ahead, behind].iter().flatten().any(|now| now.holds(&part.range)));
        of_own.chain(of_all).map(|part| part.range.start).collect()
    }
}

/// How far up the stretches of several readers reach: the furthest one, and the furthest one of anybody else.
#[derive(Debug, Clone, Copy)]
struct FurthestEnds {
    /// One past the highest start that the furthest stretch reaches, and whose it is.
    first: (u64, ReaderId),
    /// The same of the furthest stretch of any other reader; 0 if there is none.
    other: u64,
}

impl FurthestEnds {
    /// How far up the stretches of those reach who are not `but`; 0 if there is nobody else.
    fn but(self, but: Option<ReaderId>) -> u64 {
        if Some(self.first.1) == but { self.other } else { self.first.0 }
    }
}

impl Summary for FurthestEnds {
    type Value = (u64, ReaderId);
    type Context = ();

    fn of(_: TreeKey, (to, reader): (u64, ReaderId)) -> Self {
        Self { first: (to, reader), other: 0 }
    }

    fn join(self, other: Self, (): ()) -> Self {
        let (high, low) = if self.first.0 >= other.first.0 { (self, other) } else { (other, self) };
        let runner_up = if low.first.1 == high.first.1 { low.other } else { low.first.0 };
        Self { first: high.first, other: high.other.max(runner_up) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const UNIT: u64 = 256 * 1024;

    /// Whether `reading` wants parts over `range`, if they were fetched for `stream`.
    fn wants(reading: &ReaderState, stream: ReadStreamId, range: &Range<u64>, once: bool) -> bool {
        reading.streams.iter().any(|own| {
            let latest = Some(own.id) == reading.latest_stream;
            own.id == stream && own.is_ahead(range, true)
                || latest && own.is_ahead(range, false)
                || !once && (latest || own.is_revisited()) && own.just_behind().holds(range)
        })
    }

    proptest! {
        /// Whoever reads where, comes and goes: what is wanted is what any reader wants, and of the parts that a reader wants no more,
        /// none is left out.
        #[test]
        fn wants_are_those_of_all_readers(
            steps in prop::collection::vec((1_u64..8, 0_u64..60, 1_u64..6, 0_u64..30, 0_u8..12), 1..80),
            parts in prop::collection::vec((0_u64..3, 1_u64..8, 1_u64..8, 1_u64..20), 1..30),
            once: bool,
        ) {
            let mut kept = WantedSpans::new(once);
            let mut readers = BTreeMap::new();
            let mut map = PartMap::default();
            let mut end = 0;
            for (gap, len, reader, stream) in parts {
                let start = end + gap * UNIT;
                end = start + len * UNIT;
                map.add(start..end, crate::planner::streams::read_stream::announced_by(reader) + stream, Duration::ZERO);
            }
            for (reader, at, len, ahead, what) in steps {
                let wanted = |readers: &BTreeMap<ReaderId, ReaderState>| -> BTreeSet<u64> {
                    let Some(reading) = readers.get(&reader) else { return BTreeSet::new() };
                    let wanted = map.iter().filter(|part| wants(reading, part.stream, &part.range, once));
                    wanted.map(|part| part.range.start).collect()
                };
                let before = wanted(&readers);
                if what == 0 {
                    readers.remove(&reader);
                } else {
                    let reading = readers.entry(reader).or_insert_with(|| ReaderState::new(reader));
                    let last = reading.latest_stream.and_then(|id| reading.streams.get(id)).map(|s| (s.start, s.end));
                    let len = len * UNIT;
                    // Most reads go on, up or down.
                    let start = match last {
                        Some((_, end)) if what > 5 => end,
                        Some((start, _)) if what > 3 && start >= len => start - len,
                        _ => at * UNIT,
                    };
                    let stream = reading.streams.on_read(Duration::ZERO, &(start..start + len)).0.stream;
                    reading.latest_stream = Some(stream);
                    reading.streams.get_mut(stream).expect("just read").ahead_bytes = ahead * UNIT;
                }
                let lost = kept.update(reader, readers.get(&reader));
                let lost: BTreeSet<u64> = lost.iter().flat_map(|lost| lost.starts(&map)).collect();
                let gone: BTreeSet<u64> = before.difference(&wanted(&readers)).copied().collect();
                prop_assert!(gone.is_subset(&lost), "{gone:?} were lost, {lost:?} are said to be");
                for part in map.iter() {
                    for but in (1..8).map(Some).chain([None]) {
                        let others = || readers.iter().filter(|(reader, _)| Some(**reader) != but);
                        let any = others().any(|(_, reading)| wants(reading, 0, &part.range, once));
                        prop_assert_eq!(kept.reaches(&part.range, but), any, "{:?} but {:?}", part.range, but);
                    }
                }
            }
        }
    }
}
