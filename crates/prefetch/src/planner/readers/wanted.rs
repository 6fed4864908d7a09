//! The bytes that readers want kept, whoever fetched them: ahead of their positions and just behind their streams.
//!
//! The spans are kept in trees by their start, so whether anybody wants a part is looked up without visiting every
//! reader. When a reader moves, [`SpansChange`] names the spans that it no longer wants: only parts there can have
//! become useless.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::planner::messages::ReaderId;
use crate::planner::parts::PartMap;
use crate::planner::readers::{ReaderState, SumTree, Summary, TreeKey};
use crate::planner::streams::{PartOwner, RangeFilter, ReadStream, ReadStreamId};

/// The spans that the readers of one object want.
#[derive(Debug)]
pub(crate) struct WantedSpans {
    /// Whether bytes are served once: then nothing is kept behind a stream whose reader does not go back.
    once: bool,
    /// The spans ahead of each reader's latest stream.
    ahead: SumTree<FurthestEnds>,
    /// The spans behind each reader's latest stream, and behind streams that it came back to; where bytes are served
    /// once, behind streams in which it goes back.
    behind: SumTree<FurthestEnds>,
    /// The spans of each reader, by stream id.
    streams: BTreeMap<ReaderId, Vec<StreamSpans>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamSpans {
    stream: ReadStreamId,
    /// Of the stream's own parts, those ahead of it.
    own: Option<RangeFilter>,
    /// Of all parts, those ahead of it within its window.
    ahead: Option<RangeFilter>,
    /// Of all parts, those just behind it.
    behind: Option<RangeFilter>,
}

/// The spans of one stream before and after a change; `None` where the stream no longer exists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpansChange {
    reader: ReaderId,
    before: StreamSpans,
    now: Option<StreamSpans>,
}

impl WantedSpans {
    /// No readers. Where bytes are served `once`, they are wanted behind streams in which a reader goes back.
    pub(crate) fn new(once: bool) -> Self {
        Self { once, ahead: SumTree::new(()), behind: SumTree::new(()), streams: BTreeMap::new() }
    }

    /// Replaces the spans of `reader` by those of `state`; removes them where it is `None`. Returns what changed.
    pub(crate) fn update(&mut self, reader: ReaderId, state: Option<&ReaderState>) -> Vec<SpansChange> {
        let mut now: Vec<StreamSpans> = state.map_or_else(Vec::new, |state| {
            let latest = |stream: &ReadStream| Some(stream.id) == state.latest_stream;
            let spans = |stream: &ReadStream| StreamSpans {
                stream: stream.id,
                own: stream.ahead(true),
                ahead: stream.ahead(false).filter(|_| latest(stream)),
                behind: stream.is_kept_behind(latest(stream), self.once).then(|| stream.just_behind()),
            };
            state.streams.iter().map(spans).collect()
        });
        now.sort_unstable_by_key(|spans| spans.stream);
        let known = self.streams.remove(&reader).unwrap_or_default();
        let mut changes = Vec::new();
        let mut next = now.iter().peekable();
        for before in &known {
            while let Some(new) = next.next_if(|new| new.stream < before.stream) {
                self.replace(reader, None, Some(new));
            }
            let now = next.next_if(|new| new.stream == before.stream);
            if now != Some(before) {
                self.replace(reader, Some(before), now);
                changes.push(SpansChange { reader, before: *before, now: now.copied() });
            }
        }
        for new in next {
            self.replace(reader, None, Some(new));
        }
        if state.is_some() {
            self.streams.insert(reader, now);
        }
        changes
    }

    /// Whether any reader except `excluded` wants parts over `range`, whoever owns them.
    pub(crate) fn contains(&self, range: &Range<u64>, excluded: Option<ReaderId>) -> bool {
        [&self.ahead, &self.behind].into_iter().any(|spans| contains(spans, range, excluded))
    }

    /// Whether any reader wants parts over `range` kept behind it.
    pub(crate) fn contains_behind(&self, range: &Range<u64>) -> bool {
        contains(&self.behind, range, None)
    }

    /// Replaces the spans of one stream of `reader`; `None` stands for a stream that does not exist.
    fn replace(&mut self, reader: ReaderId, before: Option<&StreamSpans>, now: Option<&StreamSpans>) {
        let of = |which: fn(&StreamSpans) -> Option<RangeFilter>| (before.and_then(which), now.and_then(which));
        let Some(ReadStreamId(stream)) = before.or(now).map(|spans| spans.stream) else { return };
        for (tree, (before, now)) in
            [(&mut self.ahead, of(|spans| spans.ahead)), (&mut self.behind, of(|spans| spans.behind))]
        {
            if let Some(before) = before.filter(|before| now.is_none_or(|now| now.min_end != before.min_end)) {
                tree.remove(TreeKey::new(before.min_end, stream));
            }
            if let Some(now) = now.filter(|now| before != Some(*now)) {
                tree.insert(TreeKey::new(now.min_end, stream), (now.start_below, reader));
            }
        }
    }
}

/// Whether `range` is in the spans of any reader except `excluded`.
fn contains(spans: &SumTree<FurthestEnds>, range: &Range<u64>, excluded: Option<ReaderId>) -> bool {
    // Of the spans that begin low enough, the one with the highest end decides.
    spans.sum_up_to(range.end).is_some_and(|furthest| furthest.excluded(excluded) > range.start)
}

impl SpansChange {
    /// The starts of those of `parts` that the stream wanted and no longer wants.
    pub(crate) fn starts_of_lost(&self, parts: &PartMap) -> Vec<u64> {
        let Self { reader, before, now } = self;
        let owner = PartOwner::stream(*reader, before.stream);
        let [own, ahead, behind] = now.map_or([None; 3], |now| [now.own, now.ahead, now.behind]);
        let of_own = RangeFilter::difference(before.own, own)
            .flat_map(|lost| parts.matching_of(owner, lost))
            .filter(|part| own.is_none_or(|own| !own.matches(&part.range)));
        // Most parts that are no longer ahead are behind now.
        let of_ahead = RangeFilter::difference(before.ahead, ahead)
            .flat_map(|lost| parts.matching(lost))
            .filter(|part| ![ahead, behind].iter().flatten().any(|now| now.matches(&part.range)));
        // Where bytes are served once, a part that was read is useless ahead.
        let of_behind = RangeFilter::difference(before.behind, behind)
            .flat_map(|lost| parts.matching(lost))
            .filter(|part| behind.is_none_or(|behind| !behind.matches(&part.range)));
        of_own.chain(of_ahead).chain(of_behind).map(|part| part.range.start).collect()
    }
}

/// The highest end of the spans of several readers, and the highest end of any other reader.
#[derive(Debug, Clone, Copy)]
struct FurthestEnds {
    /// One past the highest start that a span reaches, and the reader of that span.
    first: (u64, ReaderId),
    /// The same for the spans of all other readers; 0 if there is none.
    other: u64,
}

impl FurthestEnds {
    /// The highest end among readers except `excluded`; 0 if there is none.
    fn excluded(self, excluded: Option<ReaderId>) -> u64 {
        if Some(self.first.1) == excluded { self.other } else { self.first.0 }
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
    use crate::planner::streams::StreamIds;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const UNIT: u64 = 256 * 1024;

    proptest! {
        /// Whatever readers do: the wanted spans are those of all readers, and a change misses no part that a reader no
        /// longer wants.
        #[test]
        fn wants_are_those_of_all_readers(
            steps in prop::collection::vec((1_u64..8, 0_u64..60, 1_u64..6, 0_u64..30, 0_u8..12), 1..80),
            parts in prop::collection::vec((0_u64..3, 1_u64..8, 1_u64..8, 1_u64..20), 1..30),
            once: bool,
        ) {
            let mut kept = WantedSpans::new(once);
            let mut ids = StreamIds::default();
            let mut readers = BTreeMap::new();
            let mut map = PartMap::default();
            let mut end = 0;
            for (gap, len, reader, stream) in parts {
                let start = end + gap * UNIT;
                end = start + len * UNIT;
                map.add(start..end, PartOwner::stream(reader, ReadStreamId(stream)), Duration::ZERO);
            }
            for (reader, at, len, ahead, what) in steps {
                let wanted = |readers: &BTreeMap<ReaderId, ReaderState>| -> BTreeSet<u64> {
                    let Some(state) = readers.get(&reader) else { return BTreeSet::new() };
                    let own_id = |owner: PartOwner| owner.stream.filter(|_| owner.reader == reader);
                    let wanted = map.iter().filter(|part| state.wants(own_id(part.owner), &part.range, once));
                    wanted.map(|part| part.range.start).collect()
                };
                let before = wanted(&readers);
                if what == 0 {
                    readers.remove(&reader);
                } else {
                    let state = readers.entry(reader).or_insert_with(ReaderState::default);
                    let last = state.latest_stream.and_then(|id| state.streams.get(id)).map(|s| (s.start, s.end));
                    let len = len * UNIT;
                    // Most reads continue a stream, up or down.
                    let start = match last {
                        Some((_, end)) if what > 5 => end,
                        Some((start, _)) if what > 3 && start >= len => start - len,
                        _ => at * UNIT,
                    };
                    let stream = state.streams.on_read(&mut ids, Duration::ZERO, &(start..start + len)).stream;
                    state.latest_stream = Some(stream);
                    state.streams.get_mut(stream).expect("just read").ahead_bytes = ahead * UNIT;
                }
                let lost = kept.update(reader, readers.get(&reader));
                let lost: BTreeSet<u64> = lost.iter().flat_map(|lost| lost.starts_of_lost(&map)).collect();
                let gone: BTreeSet<u64> = before.difference(&wanted(&readers)).copied().collect();
                prop_assert!(gone.is_subset(&lost), "{gone:?} were lost, {lost:?} are said to be");
                for part in map.iter() {
                    for excluded in (1..8).map(Some).chain([None]) {
                        let others = || readers.iter().filter(|(reader, _)| Some(**reader) != excluded);
                        let any = others().any(|(_, state)| state.wants(None, &part.range, once));
                        let kept = kept.contains(&part.range, excluded);
                        prop_assert_eq!(kept, any, "{:?} except {:?}", part.range, excluded);
                    }
                }
            }
        }
    }
}
