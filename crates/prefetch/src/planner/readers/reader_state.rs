//! One reader of an object: its streams, what it has announced, and when it waits. Pure.

use std::time::Duration;

use crate::planner::messages::{AnnouncedPattern, ReaderId};
use crate::planner::streams::read_stream::{ReadStream, ReadStreamId, announced_by};
use crate::planner::streams::stream_table::{StreamJoin, StreamTable};
use crate::policy::run_lengths::{ReadRun, RunEvent};

/// What is known of one reader.
#[derive(Debug)]
pub(crate) struct ReaderState {
    pub(crate) streams: StreamTable,
    pub(crate) announced: AnnouncedPattern,
    pub(crate) waiting: ThinkClock,
    /// How far ahead of it bytes were wanted lately, were there memory enough.
    pub(crate) window_bytes: u64,
    /// The stream of its latest read.
    pub(crate) latest_stream: Option<ReadStreamId>,
    first_stream: ReadStreamId,
    /// StreamTable that seem to have ended, and as what they have been counted_ends.
    counted_ends: Vec<(ReadStreamId, ReadRun)>,
}

impl ReaderState {
    /// A reader that has read nothing yet.
    pub(crate) fn new(reader: ReaderId) -> Self {
        let first_id = announced_by(reader);
        Self {
            streams: StreamTable::new(first_id),
            announced: AnnouncedPattern::Normal,
            waiting: ThinkClock::default(),
            window_bytes: 0,
            latest_stream: None,
            first_stream: first_id + 1,
            counted_ends: Vec::new(),
        }
    }

    /// Whether `stream` is the one that the reader began with.
    pub(crate) fn is_first(&self, stream: ReadStreamId) -> bool {
        stream == self.first_stream
    }

    /// The reader goes elsewhere from the stream it read last. Returns that stream, where it has not yet shown that it comes
    /// back, and what that tells.
    pub(crate) fn leave_latest(&mut self, size: Option<u64>) -> Option<(ReadStreamId, Option<RunEvent>)> {
        let id = self.latest_stream?;
        if !self.streams.get_mut(id)?.leave() {
            return None;
        }
        let ended = self.ended(self.streams.get(id)?, size);
        if let Some(RunEvent::Ended(run)) = ended {
            self.counted_ends.push((id, run));
        }
        Some((id, ended))
    }

    /// What it tells that `stream` has ended; nothing if that has been told.
    pub(crate) fn ended(&self, stream: &ReadStream, size: Option<u64>) -> Option<RunEvent> {
        let is_counted = self.counted_ends.iter().any(|(id, _)| *id == stream.id);
        let run = ReadRun {
            bytes: if stream.is_at_the_end(size) { u64::MAX } else { stream.run_bytes },
            is_proven: !stream.is_single(),
            is_first: self.is_first(stream.id) && stream.start == 0,
        };
        (!is_counted).then_some(RunEvent::Ended(run))
    }

    /// `stream` goes on, though it may have been counted_ends as ended.
    pub(crate) fn resumed(&mut self, stream: ReadStreamId, joined: StreamJoin) -> Option<RunEvent> {
        let at =
            self.counted_ends.iter().position(|(id, _)| *id == stream).filter(|_| joined == StreamJoin::Continued)?;
        Some(RunEvent::Resumed(self.counted_ends.swap_remove(at).1))
    }

    /// `stream` is forgotten.
    pub(crate) fn forget(&mut self, stream: ReadStreamId) {
        self.counted_ends.retain(|(id, _)| *id != stream);
    }
}

/// How many reads wait now, since when, and how long any have in all.
#[derive(Debug, Default)]
pub(crate) struct ThinkClock {
    reads: u32,
    since: Duration,
    in_all: Duration,
}

impl ThinkClock {
    /// One read more waits. Returns the time so far in which nobody did.
    pub(crate) fn begin(&mut self, now: Duration) -> Duration {
        if self.reads == 0 {
            self.since = now;
        }
        self.reads += 1;
        self.since.saturating_sub(self.in_all)
    }

    /// One read fewer waits. Returns the time so far in which nobody did.
    pub(crate) fn end(&mut self, now: Duration) -> Duration {
        self.reads = self.reads.saturating_sub(1);
        if self.reads > 0 {
            return self.since.saturating_sub(self.in_all);
        }
        self.in_all += now.saturating_sub(self.since);
        now.saturating_sub(self.in_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_waits_count_once() {
        let ms = Duration::from_millis;
        let mut waiting = ThinkClock::default();
        assert_eq!(waiting.begin(ms(10)), ms(10));
        assert_eq!(waiting.begin(ms(20)), ms(10));
        assert_eq!(waiting.end(ms(30)), ms(10));
        assert_eq!(waiting.end(ms(40)), ms(10));
        assert_eq!(waiting.begin(ms(45)), ms(15));
    }
}
