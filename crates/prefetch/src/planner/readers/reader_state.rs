//! The state of one reader of an object: its streams, its announced pattern, and its think time.

use std::time::Duration;

use crate::planner::hints::AnnouncedPattern;
use crate::planner::streams::{ReadStream, ReadStreamId, Revisits, StreamJoin, StreamShape, StreamTable};
use crate::policy::run_lengths::{ReadRun, RunEvent};

#[derive(Debug, Default)]
pub(crate) struct ReaderState {
    pub(crate) streams: StreamTable,
    pub(crate) announced: AnnouncedPattern,
    pub(crate) think_clock: ThinkClock,
    /// The size of its latest window, without the limits of memory and settings.
    pub(crate) window_bytes: u64,
    pub(crate) latest_stream: Option<ReadStreamId>,
    /// Whether it may want other bytes than when its wants were looked at last.
    pub(crate) may_want_others: bool,
    /// The ranges to which it returns.
    pub(crate) revisits: Revisits,
    /// Streams that were reported as ended, with the runs reported for them.
    counted_ends: Vec<(ReadStreamId, ReadRun)>,
}

impl ReaderState {
    /// Whether `stream` was read last, or is read by turns with the stream that was.
    pub(crate) fn is_reading(&self, stream: ReadStreamId) -> bool {
        self.latest_stream == Some(stream) || self.streams.by_turns().any(|other| other.id == stream)
    }

    /// Whether `stream` is a single read that was made last, and nothing announces more: then it has no window, and no
    /// other stream is read by turns with it.
    pub(crate) fn is_at_random(&self, stream: ReadStreamId) -> bool {
        let is_alone = |latest: &ReadStream| {
            let is_single = latest.is_single() && !latest.is_expected && latest.shape == StreamShape::Forward;
            latest.id == stream && is_single && latest.start > 0
        };
        self.announced != AnnouncedPattern::Sequential && self.streams.iter().next_back().is_some_and(is_alone)
    }

    /// The reader goes elsewhere from its latest stream. Returns this stream and the report of its end, unless the
    /// reader has come back to the stream before.
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

    /// The report of the end of `stream`, if it was not reported yet.
    pub(crate) fn ended(&self, stream: &ReadStream, size: Option<u64>) -> Option<RunEvent> {
        let is_counted = self.counted_ends.iter().any(|(id, _)| *id == stream.id);
        let run = ReadRun {
            bytes: if stream.is_at_the_end(size) { u64::MAX } else { stream.run_bytes },
            is_proven: !stream.is_single(),
            is_first: self.streams.is_first(stream.id) && stream.start == 0,
        };
        (!is_counted).then_some(RunEvent::Ended(run))
    }

    /// Corrects the report of the end of `stream`, if there was one and the stream continues.
    pub(crate) fn resumed(&mut self, stream: ReadStreamId, join: StreamJoin) -> Option<RunEvent> {
        let at =
            self.counted_ends.iter().position(|(id, _)| *id == stream).filter(|_| join == StreamJoin::Continued)?;
        Some(RunEvent::Resumed(self.counted_ends.swap_remove(at).1))
    }

    pub(crate) fn forget(&mut self, stream: ReadStreamId) {
        self.counted_ends.retain(|(id, _)| *id != stream);
    }
}

#[cfg(test)]
impl ReaderState {
    /// Whether the reader wants parts over `range` that were fetched for its stream `own_id`, if for any.
    pub(crate) fn wants(&self, own_id: Option<ReadStreamId>, range: &std::ops::Range<u64>, once: bool) -> bool {
        self.streams.iter().any(|own| {
            let latest = Some(own.id) == self.latest_stream;
            Some(own.id) == own_id && own.is_ahead(range, true)
                || latest && own.is_ahead(range, false)
                || own.is_kept_behind(latest, once) && own.just_behind().matches(range)
        })
    }

    /// Whether the reader wants parts over `range` kept behind it.
    pub(crate) fn wants_behind(&self, range: &std::ops::Range<u64>, once: bool) -> bool {
        let is_kept = |own: &&ReadStream| own.is_kept_behind(Some(own.id) == self.latest_stream, once);
        self.streams.iter().filter(is_kept).any(|own| own.just_behind().matches(range))
    }
}

/// Measures think time: the time during which no read of the reader was in progress.
#[derive(Debug, Default)]
pub(crate) struct ThinkClock {
    reads: u32,
    busy_since: Duration,
    busy_total: Duration,
    ended_at: Duration,
}

impl ThinkClock {
    /// A read begins. Returns the think time so far.
    pub(crate) fn on_read_begin(&mut self, now: Duration) -> Duration {
        if self.reads == 0 {
            self.busy_since = now;
        }
        self.reads += 1;
        self.busy_since.saturating_sub(self.busy_total)
    }

    /// A read ends. Returns the think time so far.
    pub(crate) fn on_read_end(&mut self, now: Duration) -> Duration {
        self.reads = self.reads.saturating_sub(1);
        self.ended_at = now;
        if self.reads > 0 {
            return self.busy_since.saturating_sub(self.busy_total);
        }
        self.busy_total += now.saturating_sub(self.busy_since);
        now.saturating_sub(self.busy_total)
    }

    /// For how long no read has been in progress.
    pub(crate) fn idle_for(&self, now: Duration) -> Duration {
        if self.reads > 0 { Duration::ZERO } else { now.saturating_sub(self.ended_at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_waits_count_once() {
        let ms = Duration::from_millis;
        let mut waiting = ThinkClock::default();
        assert_eq!(waiting.on_read_begin(ms(10)), ms(10));
        assert_eq!(waiting.on_read_begin(ms(20)), ms(10));
        assert_eq!(waiting.on_read_end(ms(30)), ms(10));
        assert_eq!(waiting.on_read_end(ms(40)), ms(10));
        assert_eq!(waiting.idle_for(ms(43)), ms(3));
        assert_eq!(waiting.on_read_begin(ms(45)), ms(15));
        assert_eq!(waiting.idle_for(ms(48)), ms(0));
    }
}
