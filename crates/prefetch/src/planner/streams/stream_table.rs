//! The streams of one reader within one object: finds the stream that a read continues.
//!
//! As in the kernel's `mm/readahead.c`, a read continues the stream that ended where the read starts, whichever reads
//! came between. So interleaved streams of one reader are told apart by their positions. Backward and strided reads are
//! streams too, and reads slightly out of order (several threads' `pread`s) are merged into one stream. The table holds
//! 32 entries, 16 streams and as many single reads, because interleaved streams look like a stride at first. So any
//! stream is forgotten after 32 reads elsewhere.

use std::ops::Range;
use std::time::Duration;

use crate::planner::streams::{ReadStream, ReadStreamId, ReadTurns, StreamIds, StreamMatch, StreamShape};

/// Streams and single reads remembered at once.
const MOST: usize = 32;
/// A stream is active while one of the latest 32 reads belonged to it. Only active streams share the memory.
const ACTIVE_READS: u64 = 32;

/// Reads of a run after which a jump counts as the start of a long run.
const LONG_RUN_READS: u64 = 4;
/// Long runs in a row after which the reader is expected to make one more.
const LONG_RUNS: u32 = 2;

/// The relation of a read to the streams of its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamJoin {
    /// The first read at a new position.
    New,
    /// The next read of a known stream.
    Continued,
    /// Near a known stream, but no evidence that the stream continues.
    Near,
}

#[derive(Debug)]
pub(crate) struct FoundStream {
    pub(crate) join: StreamJoin,
    pub(crate) stream: ReadStreamId,
    pub(crate) merged: Vec<ReadStreamId>,
    /// Its shape, where the read made it a stream or changed its shape.
    pub(crate) new_shape: Option<StreamShape>,
    /// The stream that was evicted for the read.
    pub(crate) evicted: Option<ReadStream>,
    /// Single reads that later reads are expected to continue, in this order: [`ReadTurns`].
    pub(crate) in_turn: Vec<ReadStreamId>,
}

/// The streams of one reader, the latest at the back.
#[derive(Debug, Default)]
pub(crate) struct StreamTable {
    table: Vec<ReadStream>,
    first: Option<ReadStreamId>,
    reads: u64,
    turns: ReadTurns,
    /// Jumps in a row after which the reader made a run of [`LONG_RUN_READS`] reads or more.
    long_runs: u32,
}

impl StreamTable {
    /// Takes in a read and returns its stream. `think_time` is the reader's think time so far.
    pub(crate) fn on_read(&mut self, ids: &mut StreamIds, think_time: Duration, read: &Range<u64>) -> FoundStream {
        self.reads += 1;
        let mut found = self.find(ids, think_time, read);
        found.in_turn = self.turns.on_read(&mut self.table, self.reads, &found);
        found
    }

    /// Finds the stream of a read, and adds the read to it.
    fn find(&mut self, ids: &mut StreamIds, think_time: Duration, read: &Range<u64>) -> FoundStream {
        let (exact, near) = self.latest_matches(read);
        let Some(at) = exact.or(near) else {
            return self.start_single(ids, think_time, read);
        };
        // Two reads in a row within already read bytes are a stream of their own.
        if exact.is_none() && self.table[at].is_second_revisit(read) {
            return self.start_single(ids, think_time, read);
        }
        let mut stream = self.table.remove(at);
        let shape = stream.shape;
        let evidence = stream.record_read(think_time, read, self.reads, exact.is_some());
        let merged = self.merge_into(&mut stream);
        let new_shape = (evidence && (stream.run_reads == 2 || stream.shape != shape)).then_some(stream.shape);
        let join = if evidence { StreamJoin::Continued } else { StreamJoin::Near };
        // Interleaved forward streams, equally far apart, look like a stride: their reads also begin streams of their
        // own.
        let strided = evidence && matches!(stream.shape, StreamShape::Strided { .. });
        let evicted = if strided { self.push_single(ids, think_time, read).1 } else { None };
        let found = FoundStream { join, stream: stream.id, merged, new_shape, evicted, in_turn: Vec::new() };
        self.table.push(stream);
        found
    }

    /// The latest stream that `read` continues, preferably upwards, and the latest that it is near.
    fn latest_matches(&self, read: &Range<u64>) -> (Option<usize>, Option<usize>) {
        let (mut exact, mut near) = (None, None);
        for (at, stream) in self.table.iter().enumerate().rev() {
            match stream.match_read(read) {
                StreamMatch::Next if stream.end == read.start => return (Some(at), near),
                StreamMatch::Next => exact = exact.or(Some(at)),
                StreamMatch::Near => near = near.or(Some(at)),
                StreamMatch::No => {}
            }
        }
        (exact, near)
    }

    /// Whether `id` is the first stream of this reader.
    pub(crate) fn is_first(&self, id: ReadStreamId) -> bool {
        self.first == Some(id)
    }

    pub(crate) fn get(&self, id: ReadStreamId) -> Option<&ReadStream> {
        self.table.iter().find(|stream| stream.id == id)
    }

    /// The same, mutable.
    pub(crate) fn get_mut(&mut self, id: ReadStreamId) -> Option<&mut ReadStream> {
        self.table.iter_mut().find(|stream| stream.id == id)
    }

    /// All streams, the latest at the end.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &ReadStream> {
        self.table.iter()
    }

    pub(crate) fn active(&self) -> impl Iterator<Item = &ReadStream> {
        let is_stream = |stream: &ReadStream| stream.run_reads > 1 || stream.is_expected;
        self.table.iter().filter(move |stream| is_stream(stream) && self.reads - stream.read_number < ACTIVE_READS)
    }

    /// The streams that are read by turns with the latest one, and this one itself.
    pub(crate) fn by_turns(&self) -> impl Iterator<Item = &ReadStream> {
        let since = self.table.last().map_or(0, |latest| latest.read_before);
        self.active().filter(move |stream| stream.read_number > since)
    }

    /// The lowest start, at or above the end of `stream`, of a forward stream that is interleaved with it: the bytes
    /// beyond have just been read.
    pub(crate) fn next_start(&self, stream: &ReadStream) -> Option<u64> {
        let by_turns = |other: &&ReadStream| other.read_number > stream.read_before && other.id != stream.id;
        let others = self.active().filter(by_turns).filter(|other| other.shape == StreamShape::Forward);
        others.map(|other| other.start).filter(|start| *start >= stream.end).min()
    }

    pub(crate) fn end_at(&mut self, size: u64) {
        for stream in &mut self.table {
            stream.end = stream.end.min(size);
        }
    }

    /// Adds a read that continues no stream: the fourth read of a stride, or a single read.
    fn start_single(&mut self, ids: &mut StreamIds, think_time: Duration, read: &Range<u64>) -> FoundStream {
        let is_expected = self.expects_run();
        let (stream, evicted) = self.push_single(ids, think_time, read);
        if let Some(single) = self.table.last_mut() {
            single.is_expected = is_expected;
        }
        let mut found = FoundStream {
            join: StreamJoin::New,
            stream,
            merged: Vec::new(),
            new_shape: None,
            evicted,
            in_turn: Vec::new(),
        };
        if let Some(step) = self.stride_to(read) {
            let stream = ReadStream::single(ids.next_id(), think_time, read, self.reads).strided(step);
            found =
                FoundStream { join: StreamJoin::Continued, stream: stream.id, new_shape: Some(stream.shape), ..found };
            if stream.shape == StreamShape::Forward {
                found.merged = self.stride_members(step, read);
                self.table.retain(|single| !found.merged.contains(&single.id));
            }
            self.table.push(stream);
        }
        found
    }

    /// The reader jumps: whether it is expected to make a run there, because it did so after the jumps before.
    fn expects_run(&mut self) -> bool {
        let is_run = |latest: &ReadStream| latest.shape == StreamShape::Forward && latest.run_reads >= LONG_RUN_READS;
        let is_long = self.table.last().is_some_and(is_run);
        self.long_runs = if is_long { self.long_runs.saturating_add(1) } else { 0 };
        self.long_runs >= LONG_RUNS
    }

    /// Adds a single read; evicts the oldest entry where the table is full.
    fn push_single(
        &mut self,
        ids: &mut StreamIds,
        think_time: Duration,
        read: &Range<u64>,
    ) -> (ReadStreamId, Option<ReadStream>) {
        let forgotten = (self.table.len() >= MOST).then(|| self.table.remove(0));
        let id = ids.next_id();
        self.first.get_or_insert(id);
        self.table.push(ReadStream::single(id, think_time, read, self.reads));
        (id, forgotten)
    }

    /// The single reads of the stride that ends with `read`.
    fn stride_members(&self, step: i64, read: &Range<u64>) -> Vec<ReadStreamId> {
        let starts = [0, 1, 2, 3].map(|n| read.start.wrapping_add_signed(-n * step));
        let members = self.table.iter().filter(|stream| stream.is_single() && starts.contains(&stream.start));
        members.map(|stream| stream.id).collect()
    }

    /// The step from three earlier single reads of the same length to `read`, if the four are equally far apart, in
    /// this order.
    fn stride_to(&self, read: &Range<u64>) -> Option<i64> {
        let len = read.end - read.start;
        // Compares the start first: this runs over pairs of entries at every random read.
        // The filter says of most starts that no entry has them.
        let filter = self.table.iter().fold([0_u64; 4], |mut filter, stream| {
            let (word, bit) = filter_bit(stream.start);
            filter[word] |= bit;
            filter
        });
        let single_at = |start: u64, below: usize| {
            let (word, bit) = filter_bit(start);
            let is_alike =
                |single: &ReadStream| single.start == start && single.is_single() && single.last_len() == len;
            (filter[word] & bit != 0).then(|| self.table[..below].iter().rposition(is_alike)).flatten()
        };
        let singles = self.table.iter().enumerate().filter(|(_, s)| s.is_single() && s.last_len() == len);
        singles.rev().skip(1).find_map(|(last, stream)| {
            let step = i64::try_from(i128::from(read.start) - i128::from(stream.start)).ok()?;
            let start_of = |n: i64| read.start.checked_add_signed(step.checked_mul(-n)?);
            let second = single_at(start_of(2)?, last)?;
            single_at(start_of(3)?, second).map(|_| step)
        })
    }

    /// Merges streams that `stream` has caught up with: they were reads of this stream in another order.
    fn merge_into(&mut self, stream: &mut ReadStream) -> Vec<ReadStreamId> {
        let mut merged = Vec::new();
        while let Some(at) = self.table.iter().position(|other| stream.has_caught_up_with(other)) {
            let other = self.table.remove(at);
            merged.push(other.id);
            stream.absorb(&other);
        }
        merged
    }
}

/// The bit of `start` in a Bloom filter of 256 bits: its word and its mask.
fn filter_bit(start: u64) -> (usize, u64) {
    // Fibonacci hashing (Knuth): multiples of a power of two are spread, too.
    let hash = start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    (usize::try_from(hash >> 6).unwrap_or(0), 1 << (hash & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table with its own ids.
    #[derive(Default)]
    struct Table(StreamTable, StreamIds);

    impl Table {
        fn on_read(&mut self, read: Range<u64>) -> FoundStream {
            self.0.on_read(&mut self.1, Duration::ZERO, &read)
        }
    }

    /// Replays reads of `(offset, len)`. Checks the stream of each read with a mark (`+` new, `=` continued, `~` near),
    /// and at the end the shape of each stream.
    #[track_caller]
    fn check(reads: &[(u64, u64)], expected: &str) {
        let mut streams = Table::default();
        let mut seen: Vec<_> = reads
            .iter()
            .map(|&(offset, len)| {
                let found = streams.on_read(offset..offset + len);
                match found.join {
                    StreamJoin::New => format!("+{}", found.stream.0),
                    StreamJoin::Continued => format!("={}", found.stream.0),
                    StreamJoin::Near => format!("~{}", found.stream.0),
                }
            })
            .collect();
        seen.extend(streams.0.iter().filter(|stream| stream.run_reads > 1).map(|stream| match stream.shape {
            StreamShape::Forward => format!("f{}", stream.id.0),
            StreamShape::Backward => format!("b{}", stream.id.0),
            StreamShape::Strided { step } => format!("s{}:{}", stream.id.0, step / (1 << 20)),
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
        // Two interleaved strides.
        let reads = [0, 500, 4, 504, 8, 508, 12, 512, 16, 516].map(|n| (n * M, M));
        check(&reads, "+1 +2 +3 +4 +5 +6 =8 =10 =8 =10 s8:4 s10:4");
        // Reads of another length, and reads out of order.
        check(&[(0, M), (4 * M, M), (8 * M, 7), (12 * M, M)], "+1 +2 +3 +4");
        check(&[(8 * M, M), (4 * M, M), (0, M), (12 * M, M)], "+1 +2 +3 +4");
        // Four interleaved forward streams.
        let reads = [0, 100, 200, 300, 1, 101, 201, 301, 2].map(|n| (n * M, M));
        check(&reads, "+1 +2 +3 =5 =1 =2 =3 =4 =1 s5:100 f2 f3 f4 f1");
        // Small holes make a forward stream.
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
        let mut streams = Table::default();
        streams.on_read(0..M);
        streams.on_read(M..2 * M);
        for n in 0..31 {
            let start = (100 + 20 * n + n * n) * M;
            let found = streams.on_read(start..start + M);
            assert!(found.join == StreamJoin::New && found.evicted.is_none());
        }
        assert_eq!(streams.on_read(90_000 * M..90_001 * M).evicted.map(|stream| stream.id.0), Some(1));
        assert_eq!(streams.on_read(2 * M..3 * M).join, StreamJoin::New);
    }

    proptest! {
        /// Whatever is read: the table stays small, ids are never reused, and the stream of a read contains the read.
        #[test]
        fn the_table_is_sound(reads in prop::collection::vec((0_u64..60, 1_u64..5), 1..200)) {
            let mut streams = Table::default();
            let mut gone = Vec::new();
            for (at, len) in reads {
                let found = streams.on_read(at * M..(at + len) * M);
                gone.extend(found.evicted.map(|stream| stream.id));
                gone.extend(found.merged);
                prop_assert!(streams.0.iter().count() <= MOST + 1);
                let is_single = |id: &ReadStreamId| streams.0.get(*id).is_some_and(ReadStream::is_single);
                prop_assert!(found.in_turn.iter().all(is_single));
                let mut ids: Vec<_> = streams.0.iter().map(|stream| stream.id).collect();
                ids.sort_unstable();
                prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(ids.iter().all(|id| !gone.contains(id)));
                let stream = streams.0.get(found.stream).expect("it is in the table");
                prop_assert!(stream.start <= at * M && (at + len) * M <= stream.end, "{stream:?}");
            }
        }
    }
}
