//! Who is reading what, and which way: the streams of reads within one object. Pure.
//!
//! As the kernel's `mm/readahead.c` does, a stream is recognised by a read that starts where an earlier one ended,
//! whichever reads came between: interleaved streams of one handle are told apart by where they are.
//! Nothing latches: the table remembers the latest 16, so 16 reads elsewhere forget anything.

use std::ops::Range;
use std::time::Duration;

use crate::window::ConsumerRate;

/// Streams remembered at once.
pub(crate) const MAX_STREAMS: usize = 16;
/// A stream skips ahead at most this far, or one read if that is more, and is still the same stream.
const GAP_BYTES: u64 = 128 * 1024;
/// Reads of one stream that may be on their way at once and so arrive out of order.
const REORDER_READS: u64 = 8;

/// Names a stream for as long as it is in the table.
pub(crate) type StreamId = u64;

/// A run of reads, each starting where an earlier one ended.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    /// Its name.
    pub(crate) id: StreamId,
    /// The first byte of its first read.
    pub(crate) start: u64,
    /// One past the last byte it has read: where the next read is expected.
    pub(crate) end: u64,
    /// Length of its latest read in bytes.
    pub(crate) last_len: u64,
    /// Reads that count as evidence.
    pub(crate) run_reads: u64,
    /// Bytes of those reads.
    pub(crate) run_bytes: u64,
    /// Requests sent for it.
    pub(crate) requests: u64,
    /// How fast it is being read.
    pub(crate) rate: ConsumerRate,
    /// When it last waited for nothing, on the clock that stops while a read waits for us.
    thinking_since: Duration,
    /// Reads that came near its end, exact or not.
    joins: u64,
    /// Where the latest read that went back into it ended.
    revisited_to: Option<u64>,
    /// Whether the reader went elsewhere, and whether it ever came back after that.
    left: bool,
    came_back: bool,
}

/// What a read turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The first read at a new place.
    New(StreamId),
    /// The next read of a known stream.
    Continued(StreamId),
    /// Within reach of a known stream, but no evidence that it goes on.
    Near(StreamId),
}

/// The streams of one object, the one read last at the back.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    table: Vec<Stream>,
    next_id: StreamId,
}

impl Streams {
    /// Takes in a read. `thinking` is the time so far in which nobody waited for us.
    ///
    /// Returns what the read is, and the stream that had to be forgotten for it, if any.
    pub(crate) fn on_read(&mut self, thinking: Duration, read: &Range<u64>) -> (Joined, Option<StreamId>) {
        let len = read.end - read.start;
        let exact = self.table.iter().rposition(|s| s.end == read.start);
        let Some(at) = exact.or_else(|| self.table.iter().rposition(|s| s.reaches(read))) else {
            return self.start(thinking, read);
        };
        // Two reads in a row within what a stream has read are a stream of their own.
        if exact.is_none() && self.table[at].revisited_to == Some(read.start) {
            self.table[at].revisited_to = None;
            return self.start(thinking, read);
        }
        let mut stream = self.table.remove(at);
        stream.joins += 1;
        let evidence = exact.is_some() || (stream.joins > 2 && read.start >= stream.end);
        if evidence {
            stream.rate.on_read(thinking.saturating_sub(stream.thinking_since), len);
            stream.run_reads += 1;
            stream.run_bytes += len;
            stream.last_len = len;
            stream.came_back |= stream.left;
            stream.left = false;
        } else {
            stream.revisited_to = Some(read.end);
        }
        stream.thinking_since = thinking;
        stream.end = stream.end.max(read.end);
        let id = stream.id;
        self.table.push(stream);
        (if evidence { Joined::Continued(id) } else { Joined::Near(id) }, None)
    }

    /// The stream called `id`.
    #[must_use]
    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.table.iter().find(|s| s.id == id)
    }

    /// A request was sent for stream `id`.
    pub(crate) fn on_request(&mut self, id: StreamId) {
        if let Some(stream) = self.table.iter_mut().find(|s| s.id == id) {
            stream.requests += 1;
        }
    }

    /// The reader goes elsewhere from stream `id`. True where it has not yet shown that it comes back.
    pub(crate) fn leave(&mut self, id: StreamId) -> bool {
        let stream = self.table.iter_mut().find(|s| s.id == id);
        stream.is_some_and(|stream| {
            stream.left = true;
            !stream.came_back
        })
    }

    /// The object ends at `size`, and so does every stream.
    pub(crate) fn end_at(&mut self, size: u64) {
        for stream in &mut self.table {
            stream.end = stream.end.min(size);
        }
    }

    /// A read of stream `id` was answered.
    pub(crate) fn on_answered(&mut self, id: StreamId, thinking: Duration) {
        if let Some(stream) = self.table.iter_mut().find(|s| s.id == id) {
            stream.thinking_since = thinking;
        }
    }

    /// Every stream, the one read last at the end.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Stream> {
        self.table.iter()
    }

    fn start(&mut self, thinking: Duration, read: &Range<u64>) -> (Joined, Option<StreamId>) {
        let forgotten = (self.table.len() == MAX_STREAMS).then(|| self.table.remove(0).id);
        self.next_id += 1;
        self.table.push(Stream {
            id: self.next_id,
            start: read.start,
            end: read.end,
            last_len: read.end - read.start,
            run_reads: 1,
            run_bytes: read.end - read.start,
            requests: 0,
            rate: ConsumerRate::default(),
            thinking_since: thinking,
            joins: 0,
            revisited_to: None,
            left: false,
            came_back: false,
        });
        (Joined::New(self.next_id), forgotten)
    }
}

impl Stream {
    /// Whether anybody has come back to it: it is worth keeping.
    pub(crate) fn is_revisited(&self) -> bool {
        self.joins > 0
    }

    /// Whether `read` can belong to this stream though it does not start at its end: one that goes back to what it read lately, or
    /// skips a little. A single read has no neighbourhood but itself: otherwise backward and random reads would seem to join.
    fn reaches(&self, read: &Range<u64>) -> bool {
        let back = self.end.saturating_sub(self.behind_bytes()).max(self.start);
        let skip = GAP_BYTES.max(self.last_len);
        if self.run_reads < 2 {
            return back <= read.start && read.end <= self.end;
        }
        (back..=self.end.saturating_add(skip)).contains(&read.start)
    }

    /// How far behind its end a read may still belong to it, in bytes.
    fn behind_bytes(&self) -> u64 {
        self.last_len.saturating_mul(REORDER_READS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replays reads of `(offset, len)`; returns for each the stream it fell to, and a mark: `+` new, `=` continued, `~` near.
    #[track_caller]
    fn check(reads: &[(u64, u64)], expected: &str) {
        let mut streams = Streams::default();
        let seen: Vec<_> = reads
            .iter()
            .map(|&(offset, len)| match streams.on_read(Duration::ZERO, &(offset..offset + len)).0 {
                Joined::New(id) => format!("+{id}"),
                Joined::Continued(id) => format!("={id}"),
                Joined::Near(id) => format!("~{id}"),
            })
            .collect();
        assert_eq!(seen.join(" "), expected);
    }

    const M: u64 = 1 << 20;

    #[test]
    fn sequential_reads_are_one_stream() {
        check(&[(0, M), (M, M), (2 * M, 7), (2 * M + 7, M)], "+1 =1 =1 =1");
    }

    #[test]
    fn interleaved_streams_are_told_apart() {
        check(&[(0, M), (500 * M, M), (M, M), (501 * M, M), (2 * M, M), (502 * M, M)], "+1 +2 =1 =2 =1 =2");
    }

    #[test]
    fn random_and_backward_reads_are_no_streams() {
        check(&[(9 * M, M), (400 * M, M), (13 * M, M), (700 * M, M)], "+1 +2 +3 +4");
        check(&[(9 * M, M), (8 * M, M), (7 * M, M), (6 * M, M)], "+1 +2 +3 +4");
    }

    #[test]
    fn going_back_a_little_neither_breaks_nor_proves_a_stream() {
        check(&[(0, M), (M, M), (2 * M, M), (M, M), (3 * M, M)], "+1 =1 =1 ~1 =1");
    }

    #[test]
    fn visits_home_are_no_seeks() {
        check(&[(0, M), (50 * M, M), (0, M), (51 * M, M), (0, M)], "+1 +2 ~1 =2 ~1");
    }

    #[test]
    fn a_run_within_a_large_read_is_found() {
        check(&[(0, 100 * M), (0, M), (M, M), (2 * M, M)], "+1 ~1 +2 =2");
    }

    #[test]
    fn sixteen_reads_elsewhere_forget_a_stream() {
        let mut streams = Streams::default();
        streams.on_read(Duration::ZERO, &(0..M));
        streams.on_read(Duration::ZERO, &(M..2 * M));
        for n in 0..15 {
            let (joined, forgotten) = streams.on_read(Duration::ZERO, &((100 + 20 * n) * M..(101 + 20 * n) * M));
            assert!(matches!(joined, Joined::New(_)));
            assert_eq!(forgotten, None);
        }
        assert_eq!(streams.on_read(Duration::ZERO, &(900 * M..901 * M)).1, Some(1));
        assert!(matches!(streams.on_read(Duration::ZERO, &(2 * M..3 * M)).0, Joined::New(_)));
    }
}
