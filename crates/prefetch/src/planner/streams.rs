//! The streams of reads of one object: what counts as sequential, backward or strided; and who owns a part.

use crate::planner::messages::ReaderId;

mod read_stream;
mod read_turns;
mod revisits;
mod stream_table;

pub(crate) use read_stream::{KEEP_BEHIND_MOST_BYTES, RangeFilter, ReadStream, StreamMatch, StreamShape};
pub(crate) use read_turns::ReadTurns;
pub(crate) use revisits::Revisits;
pub(crate) use stream_table::{FoundStream, StreamJoin, StreamTable};

/// Identifies a stream; never used twice within one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct ReadStreamId(pub(crate) u64);

/// Hands out stream ids, from 1 on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamIds {
    latest: u64,
}

impl StreamIds {
    /// Returns an id that was not returned before.
    pub(crate) fn next_id(&mut self) -> ReadStreamId {
        self.latest += 1;
        ReadStreamId(self.latest)
    }
}

/// For whom a part was fetched. Owners are ordered by reader; the hints of a reader come before its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartOwner {
    pub(crate) reader: ReaderId,
    /// The stream of the reader; `None` where a hint of the reader announced the bytes.
    pub(crate) stream: Option<ReadStreamId>,
}

impl PartOwner {
    pub(crate) const FIRST: Self = Self::hint(ReaderId::MIN);
    pub(crate) const LAST: Self = Self::last_of(ReaderId::MAX);

    /// The owner of parts that a hint of `reader` announced. The lowest owner of this reader.
    pub(crate) const fn hint(reader: ReaderId) -> Self {
        Self { reader, stream: None }
    }

    pub(crate) const fn stream(reader: ReaderId, stream: ReadStreamId) -> Self {
        Self { reader, stream: Some(stream) }
    }

    /// The highest owner that `reader` can have.
    pub(crate) const fn last_of(reader: ReaderId) -> Self {
        Self::stream(reader, ReadStreamId(u64::MAX))
    }
}
