//! Which bytes of an object its readers want kept, whoever fetched them: ahead of where each is, and just behind its streams. Pure.
//!
//! Kept as readers move, by where each stretch begins: whether anybody wants a part is asked of the stretches at its place, not of
//! every reader. What a reader wants no more comes out as [`Lost`]: only parts there can have become useless.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::parts::PartMap;
use crate::plan::ReaderId;
use crate::reading::Reading;
use crate::stream::{Reached, Stream, StreamId, reader_of};
use crate::sum_tree::{Key, SumTree, Summary};

/// What the readers of an object want.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Bytes are served once: nothing behind a reader is kept.
    once: bool,
    /// Of every reader's latest stream, what is ahead of it.
    ahead: SumTree<Furthest>,
    /// Of every reader's latest stream and of those it came back to, what is behind them.
    behind: SumTree<Furthest>,
    /// Of every reader, its streams in the order of their names.
    streams: BTreeMap<ReaderId, Vec<Stretches>>,
}

/// The parts that one stream wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretches {
    /// The stream.
    stream: StreamId,
    /// Of the parts that were fetched for it.
    own: Option<Reached>,
    /// Of all parts.
    ahead: Option<Reached>,
    behind: Option<Reached>,
}

/// What a stream wanted, and what it wants now, if it still is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost {
    before: Stretches,
    now: Option<Stretches>,
}

impl Wanted {
    /// No readers. Where bytes are served `once`, nothing behind one is wanted.
    pub(crate) fn new(once: bool) -> Self {
        Self { once, ahead: SumTree::new(()), behind: SumTree::new(()), streams: BTreeMap::new() }
    }

    /// `reader` wants what `reading` says from here on; nothing if it has gone. Returns what has changed.
    pub(crate) fn update(&mut self, reader: ReaderId, reading: Option<&Reading>) -> Vec<Lost> {
        let mut now: Vec<Stretches> = reading.map_or_else(Vec::new, |reading| {
            let latest = |stream: &Stream| Some(stream.id) == reading.read_last;
            let stretches = |stream: &Stream| Stretches {
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
                lost.push(Lost { before, now });
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

    fn replace(&mut self, before: Option<Stretches>, now: Option<Stretches>) {
        let of = |which: fn(Stretches) -> Option<Reached>| (before.and_then(which), now.and_then(which));
        let Some(stream) = before.or(now).map(|stretches| stretches.stream) else { return };
        for (tree, (before, now)) in
            [(&mut self.ahead, of(|stretches| stretches.ahead)), (&mut self.behind, of(|stretches| stretches.behind))]
        {
            if let Some(before) = before.filter(|before| now.is_none_or(|now| now.from != before.from)) {
                tree.remove(Key::new(before.from, stream));
            }
            if let Some(now) = now.filter(|now| before != Some(*now)) {
                tree.insert(Key::new(now.from, stream), (now.to, reader_of(stream)));
            }
        }
    }
}

impl Lost {
    /// Where those of `parts` start that the stream has wanted and wants no more.
    pub(crate) fn starts(&self, parts: &PartMap) -> Vec<u64> {
        let Self { before, now } = self;
        let [own, ahead, behind] = now.map_or([None; 3], |now| [now.own, now.ahead, now.behind]);
        let of_own = Reached::lost(before.own, own)
            .flat_map(|lost| parts.reached_of(before.stream, lost))
            .filter(|part| own.is_none_or(|own| !own.holds(&part.range)));
        let of_all = Reached::lost(before.ahead, ahead)
            .chain(Reached::lost(before.behind, behind))
            .flat_map(|lost| parts.reached(lost))
            // Most of what is no longer ahead is behind from here on.
            .filter(|part| ![ahead, behind].iter().flatten().any(|now| now.holds(&part.range)));
        of_own.chain(of_all).map(|part| part.range.start).collect()
    }
}

/// How far up the stretches of several readers reach: the furthest one, and the furthest one of anybody else.
#[derive(Debug, Clone, Copy)]
struct Furthest {
    first: (u64, ReaderId),
    other: u64,
}

impl Furthest {
    /// How far up the stretches of those reach who are not `but`; 0 if there is nobody else.
    fn but(self, but: Option<ReaderId>) -> u64 {
        if Some(self.first.1) == but { self.other } else { self.first.0 }
    }
}

impl Summary for Furthest {
    type Value = (u64, ReaderId);
    type Context = ();

    fn of(_: Key, (to, reader): (u64, ReaderId)) -> Self {
        Self { first: (to, reader), other: 0 }
    }

    fn join(self, other: Self, (): ()) -> Self {
        let (high, low) = if self.first.0 >= other.first.0 { (self, other) } else { (other, self) };
        let runner_up = if low.first.1 == high.first.1 { low.other } else { low.first.0 };
        Self { first: high.first, other: high.other.max(runner_up) }
    }
}
