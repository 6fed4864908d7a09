//! Who is reading what, and which way: the streams of reads of one reader within one object. Pure.
//!
//! As the kernel's `mm/readahead.c` does, a stream is recognised by a read that starts where an earlier one ended,
//! whichever reads came between: interleaved streams of one handle are told apart by where they are. Reads that go down, or that
//! are equally far apart, are streams too; reads in a slightly different order (several threads' `pread`s) are merged into one.
//! Nothing latches: the table remembers the latest 32, 16 streams and as many reads that are none, so 32 reads elsewhere forget anything.

use std::ops::Range;
use std::time::Duration;

use crate::planner::streams::read_stream::{ReadStream, ReadStreamId, StreamMatch, StreamShape};

/// StreamTable, and single reads that may become some, remembered at once.
const MOST: usize = 32;
/// A stream that none of so many reads belonged to takes no share any more.
const ACTIVE_READS: u64 = 32;

/// What a read new_shape out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamJoin {
    /// The first read at a new place.
    New,
    /// The next read of a known stream.
    Continued,
    /// Within reach of a known stream, but no evidence that it goes on.
    Near,
}

/// A read, and what it did to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundStream {
    /// What it is.
    pub(crate) joined: StreamJoin,
    /// The stream it belongs to.
    pub(crate) stream: ReadStreamId,
    /// StreamTable that became one with it.
    pub(crate) merged: Vec<ReadStreamId>,
    /// The read made it a stream of this shape.
    pub(crate) new_shape: Option<StreamShape>,
}

/// The streams of one reader, the one read last at the back.
#[derive(Debug)]
pub(crate) struct StreamTable {
    table: Vec<ReadStream>,
    next_id: ReadStreamId,
    reads: u64,
}

impl StreamTable {
    /// No streams; their names begin at `first_id`.
    pub(crate) fn new(first_id: ReadStreamId) -> Self {
        Self { table: Vec::new(), next_id: first_id, reads: 0 }
    }

    /// Takes in a read. `think_time` is the time so far in which nobody waited for us.
    ///
    /// Returns what the read is, and the stream that had to be forgotten for it, if any.
    pub(crate) fn on_read(&mut self, think_time: Duration, read: &Range<u64>) -> (FoundStream, Option<ReadStream>) {
        self.reads += 1;
        let next = |stream: &ReadStream| stream.reach(read) == StreamMatch::Next;
        let up = self.table.iter().rposition(|stream| stream.end == read.start && next(stream));
        let exact = up.or_else(|| self.table.iter().rposition(next));
        let near = || self.table.iter().rposition(|stream| stream.reach(read) == StreamMatch::Near);
        let Some(at) = exact.or_else(near) else {
            return self.elsewhere(think_time, read);
        };
        // Two reads in a row within what a stream has read are a stream of their own.
        if exact.is_none() && self.table[at].is_second_revisit(read) {
            return self.elsewhere(think_time, read);
        }
        let mut stream = self.table.remove(at);
        let shape = stream.shape;
        let evidence = stream.take(think_time, read, self.reads, exact.is_some());
        let merged = self.merge_into(&mut stream);
        let new_shape = (evidence && (stream.run_reads == 2 || stream.shape != shape)).then_some(stream.shape);
        let joined = if evidence { StreamJoin::Continued } else { StreamJoin::Near };
        let found = FoundStream { joined, stream: stream.id, merged, new_shape };
        // Each of several streams, equally far apart and read in turn, begins as one of equal distances.
        let strided = evidence && matches!(stream.shape, StreamShape::Strided { .. });
        let forgotten = if strided { self.push_single(think_time, read).1 } else { None };
        self.table.push(stream);
        (found, forgotten)
    }

    /// The stream called `id`.
    #[must_use]
    pub(crate) fn get(&self, id: ReadStreamId) -> Option<&ReadStream> {
        self.table.iter().find(|stream| stream.id == id)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, id: ReadStreamId) -> Option<&mut ReadStream> {
        self.table.iter_mut().find(|stream| stream.id == id)
    }

    /// Every stream, the one read last at the end.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &ReadStream> {
        self.table.iter()
    }

    /// The streams that are being read now.
    pub(crate) fn active(&self) -> impl Iterator<Item = &ReadStream> {
        self.table.iter().filter(|stream| stream.run_reads > 1 && self.reads - stream.read_number < ACTIVE_READS)
    }

    /// Where the next stream that is read by turns with `stream` began, at or above its end: what lies beyond has just been read.
    pub(crate) fn next_start(&self, stream: &ReadStream) -> Option<u64> {
        let by_turns = |other: &&ReadStream| other.read_number > stream.read_before && other.id != stream.id;
        let others = self.active().filter(by_turns).filter(|other| other.shape == StreamShape::Forward);
        others.map(|other| other.start).filter(|start| *start >= stream.end).min()
    }

    /// The object ends at `size`, and so does every stream.
    pub(crate) fn end_at(&mut self, size: u64) {
        for stream in &mut self.table {
            stream.end = stream.end.min(size);
        }
    }

    /// A read that belongs to no stream: the fourth of equal distances, or the first of its kind.
    fn elsewhere(&mut self, think_time: Duration, read: &Range<u64>) -> (FoundStream, Option<ReadStream>) {
        let (single, forgotten) = self.push_single(think_time, read);
        let mut found = FoundStream { joined: StreamJoin::New, stream: single, merged: Vec::new(), new_shape: None };
        if let Some(step) = self.stride_to(read) {
            let stream = ReadStream::strided(self.id(), think_time, read, self.reads, step);
            found = FoundStream {
                joined: StreamJoin::Continued,
                stream: stream.id,
                new_shape: Some(stream.shape),
                ..found
            };
            if stream.shape == StreamShape::Forward {
                found.merged = self.members(step, read);
                self.table.retain(|single| !found.merged.contains(&single.id));
            }
            self.table.push(stream);
        }
        (found, forgotten)
    }

    /// Remembers `read`, in place of what was read longest ago.
    fn push_single(&mut self, think_time: Duration, read: &Range<u64>) -> (ReadStreamId, Option<ReadStream>) {
        let forgotten = (self.table.len() >= MOST).then(|| self.table.remove(0));
        let id = self.id();
        self.table.push(ReadStream::single(id, think_time, read, self.reads));
        (id, forgotten)
    }

    /// The reads that lie `step` apart from each other, up to `read`.
    fn members(&self, step: i64, read: &Range<u64>) -> Vec<ReadStreamId> {
        let starts = [0, 1, 2, 3].map(|n| read.start.wrapping_add_signed(-n * step));
        let members = self.table.iter().filter(|stream| stream.is_single() && starts.contains(&stream.start));
        members.map(|stream| stream.id).collect()
    }

    /// The distance between this and three earlier reads of the same length, if they are equally far apart, in this order.
    fn stride_to(&self, read: &Range<u64>) -> Option<i64> {
        let len = read.end - read.start;
        let singles = || self.table.iter().enumerate().filter(|(_, s)| s.is_single() && s.last_len() == len);
        singles().rev().skip(1).find_map(|(last, stream)| {
            let step = i64::try_from(i128::from(read.start) - i128::from(stream.start)).ok()?;
            let before = |at: usize, n: i64| {
                let start = read.start.checked_add_signed(step.checked_mul(-n)?)?;
                singles().rev().find(|(index, single)| *index < at && single.start == start).map(|(index, _)| index)
            };
            before(before(last, 2)?, 3).map(|_| step)
        })
    }

    /// Reads ahead of the others have been caught up with: they were the same stream, in another order.
    fn merge_into(&mut self, stream: &mut ReadStream) -> Vec<ReadStreamId> {
        let mut merged = Vec::new();
        while let Some(at) = self.table.iter().position(|other| stream.has_caught_up_with(other)) {
            let other = self.table.remove(at);
            merged.push(other.id);
            stream.absorb(&other);
        }
        merged
    }

    fn id(&mut self) -> ReadStreamId {
        self.next_id += 1;
        self.next_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Replays reads of `(offset, len)`; returns for each the stream it fell to, and a mark: `+` new, `=` continued, `~` near;
    /// and at the end the shape of each stream that has one.
    #[track_caller]
    fn check(reads: &[(u64, u64)], expected: &str) {
        let mut streams = StreamTable::new(0);
        let mut seen: Vec<_> = reads
            .iter()
            .map(|&(offset, len)| {
                let found = streams.on_read(Duration::ZERO, &(offset..offset + len)).0;
                match found.joined {
                    StreamJoin::New => format!("+{}", found.stream),
                    StreamJoin::Continued => format!("={}", found.stream),
                    StreamJoin::Near => format!("~{}", found.stream),
                }
            })
            .collect();
        seen.extend(streams.iter().filter(|stream| stream.run_reads > 1).map(|stream| match stream.shape {
            StreamShape::Forward => format!("f{}", stream.id),
            StreamShape::Backward => format!("b{}", stream.id),
            StreamShape::Strided { step } => format!("s{}:{}", stream.id, step / (1 << 20)),
        }));
        assert_eq!(seen.join(" "), expected);
    }

    const M: u64 = 1 << 20;

    #[test]
    fn sequential_reads_are_one_stream() {
        check(&[(0, M), (M, M), (2 * M, 7), (2 * M + 7, M)], "+1 =1 =1 =1 f1");
    }

    #[test]
    fn interleaved_streams_are_told_apart() {
        let reads = [(0, M), (500 * M, M), (M, M), (501 * M, M), (2 * M, M), (502 * M, M)];
        check(&reads, "+1 +2 =1 =2 =1 =2 f1 f2");
    }

    #[test]
    fn random_reads_are_no_streams() {
        check(&[(9 * M, M), (400 * M, M), (13 * M, M), (700 * M, M)], "+1 +2 +3 +4");
    }

    #[test]
    fn backward_reads_are_a_stream() {
        check(&[(9 * M, M), (8 * M, M), (7 * M, M), (6 * M, M)], "+1 =1 =1 =1 b1");
        check(&[(9 * M, M), (8 * M, M), (10 * M, M), (11 * M, M)], "+1 =1 =1 =1 f1");
    }

    #[test]
    fn three_equal_distances_are_a_stride() {
        check(&[(0, M), (4 * M, M), (8 * M, M), (12 * M, M), (16 * M, M), (20 * M, M)], "+1 +2 +3 =5 =5 =5 s5:4");
        check(&[(90 * M, M), (80 * M, M), (70 * M, M), (60 * M, M), (50 * M, M)], "+1 +2 +3 =5 =5 s5:-10");
        // Two at once.
        let reads = [0, 500, 4, 504, 8, 508, 12, 512, 16, 516].map(|n| (n * M, M));
        check(&reads, "+1 +2 +3 +4 +5 +6 =8 =10 =8 =10 s8:4 s10:4");
        // Of another length, or not in order.
        check(&[(0, M), (4 * M, M), (8 * M, 7), (12 * M, M)], "+1 +2 +3 +4");
        check(&[(8 * M, M), (4 * M, M), (0, M), (12 * M, M)], "+1 +2 +3 +4");
        // Four streams in turn.
        let reads = [0, 100, 200, 300, 1, 101, 201, 301, 2].map(|n| (n * M, M));
        check(&reads, "+1 +2 +3 =5 =1 =2 =3 =4 =1 s5:100 f2 f3 f4 f1");
        // Holes too small to be skipped: an ordinary stream.
        check(&[(0, 10 * M), (11 * M, 10 * M), (22 * M, 10 * M), (33 * M, 10 * M)], "+1 +2 +3 =5 f5");
    }

    #[test]
    fn reads_in_another_order_are_one_stream() {
        let reads = [5, 2, 7, 0, 3, 1, 6, 4, 13, 8, 9, 15, 11, 10, 12, 14, 16].map(|n| (n * M, M));
        check(&reads, "+1 +2 +3 +4 =2 =4 =1 =4 =4 =4 =4 =4 =4 =4 =4 =4 =4 f4");
    }

    #[test]
    fn going_back_a_little_neither_breaks_nor_proves_a_stream() {
        check(&[(0, M), (M, M), (2 * M, M), (M, M), (3 * M, M)], "+1 =1 =1 ~1 =1 f1");
    }

    #[test]
    fn visits_home_are_no_seeks() {
        check(&[(0, M), (50 * M, M), (0, M), (51 * M, M), (0, M)], "+1 +2 ~1 =2 ~1 f2");
    }

    #[test]
    fn a_run_within_a_large_read_is_found() {
        check(&[(0, 100 * M), (0, M), (M, M), (2 * M, M)], "+1 ~1 +2 =2 f2");
    }

    #[test]
    fn many_reads_elsewhere_forget_a_stream() {
        let mut streams = StreamTable::new(0);
        streams.on_read(Duration::ZERO, &(0..M));
        streams.on_read(Duration::ZERO, &(M..2 * M));
        for n in 0..31 {
            let start = (100 + 20 * n + n * n) * M;
            let (found, forgotten) = streams.on_read(Duration::ZERO, &(start..start + M));
            assert!(found.joined == StreamJoin::New && forgotten.is_none());
        }
        assert_eq!(streams.on_read(Duration::ZERO, &(90_000 * M..90_001 * M)).1.map(|stream| stream.id), Some(1));
        assert_eq!(streams.on_read(Duration::ZERO, &(2 * M..3 * M)).0.joined, StreamJoin::New);
    }

    proptest! {
        /// Whatever is read: the table stays small, names are never used twice, every read belongs to a stream that holds it.
        #[test]
        fn the_table_is_sound(reads in prop::collection::vec((0_u64..60, 1_u64..5), 1..200)) {
            let mut streams = StreamTable::new(0);
            let mut gone = Vec::new();
            for (at, len) in reads {
                let (found, forgotten) = streams.on_read(Duration::ZERO, &(at * M..(at + len) * M));
                gone.extend(forgotten.map(|stream| stream.id));
                gone.extend(found.merged);
                prop_assert!(streams.iter().count() <= MOST + 1);
                let mut ids: Vec<_> = streams.iter().map(|stream| stream.id).collect();
                ids.sort_unstable();
                prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(ids.iter().all(|id| !gone.contains(id)));
                let stream = streams.get(found.stream).expect("it is in the table");
                prop_assert!(stream.start <= at * M && (at + len) * M <= stream.end, "{stream:?}");
            }
        }
    }
}
