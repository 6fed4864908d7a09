//! One reader of an object: its streams, what it has announced, and when it waits. Pure.

use crate::learned::{Run, RunEvent};
use crate::plan::{Announced, ReaderId};
use crate::stream::{Stream, StreamId, announced_by};
use crate::streams::{Joined, Streams};
use crate::waiting::Waiting;

/// What is known of one reader.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) streams: Streams,
    pub(crate) announced: Announced,
    pub(crate) waiting: Waiting,
    /// How far ahead of it bytes were wanted lately, were there memory enough.
    pub(crate) window_bytes: u64,
    /// The stream of its latest read.
    pub(crate) read_last: Option<StreamId>,
    first_stream: StreamId,
    /// Streams that seem to have ended, and as what they have been counted.
    counted: Vec<(StreamId, Run)>,
}

impl Reading {
    /// A reader that has read nothing yet.
    pub(crate) fn new(reader: ReaderId) -> Self {
        let first_id = announced_by(reader);
        Self {
            streams: Streams::new(first_id),
            announced: Announced::Nothing,
            waiting: Waiting::default(),
            window_bytes: 0,
            read_last: None,
            first_stream: first_id + 1,
            counted: Vec::new(),
        }
    }

    /// Whether `stream` is the one that the reader began with.
    pub(crate) fn is_first(&self, stream: StreamId) -> bool {
        stream == self.first_stream
    }

    /// The reader goes elsewhere from the stream it read last. Returns that stream, where it has not yet shown that it comes
    /// back, and what that tells.
    pub(crate) fn leave_last(&mut self, size: Option<u64>) -> Option<(StreamId, Option<RunEvent>)> {
        let id = self.read_last?;
        if !self.streams.get_mut(id)?.leave() {
            return None;
        }
        let ended = self.ended(self.streams.get(id)?, size);
        if let Some(RunEvent::Ended(run)) = ended {
            self.counted.push((id, run));
        }
        Some((id, ended))
    }

    /// What it tells that `stream` has ended; nothing if that has been told.
    pub(crate) fn ended(&self, stream: &Stream, size: Option<u64>) -> Option<RunEvent> {
        let is_counted = self.counted.iter().any(|(id, _)| *id == stream.id);
        let run = Run {
            bytes: if stream.is_at_the_end(size) { u64::MAX } else { stream.run_bytes },
            is_proven: !stream.is_single(),
            is_first: self.is_first(stream.id) && stream.start == 0,
        };
        (!is_counted).then_some(RunEvent::Ended(run))
    }

    /// `stream` goes on, though it may have been counted as ended.
    pub(crate) fn resumed(&mut self, stream: StreamId, joined: Joined) -> Option<RunEvent> {
        let at = self.counted.iter().position(|(id, _)| *id == stream).filter(|_| joined == Joined::Continued)?;
        Some(RunEvent::Resumed(self.counted.swap_remove(at).1))
    }

    /// `stream` is forgotten.
    pub(crate) fn forget(&mut self, stream: StreamId) {
        self.counted.retain(|(id, _)| *id != stream);
    }
}
