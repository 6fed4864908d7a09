//! The operations of a task.

use std::ops::Range;

use headstart_fetch_core::{AccessHint, CacheHint};

/// One operation. Operations of a reader are skipped if the task has no open reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// `get_opts` and its body.
    Get { key: usize, span: Span, condition: GetCondition, hint: Option<CacheHint>, body: BodyUse },
    /// `get_range`.
    GetRange { key: usize, range: Range<u64> },
    /// `get_ranges`.
    GetRanges { key: usize, ranges: Vec<Range<u64>> },
    /// `head`.
    Head { key: usize },
    /// Opens a reader and closes the task's current one.
    Open { key: usize, by: OpenBy },
    /// `Reader::read_at`.
    ReadAt { range: Range<u64> },
    /// `Reader::chunks_at`.
    ChunksAt { range: Range<u64> },
    /// `AsyncSeek`.
    Seek { to: SeekTo },
    /// `AsyncRead` of up to `len` bytes.
    Read { len: u64 },
    /// `AsyncBufRead`; the whole buffer is consumed.
    FillBuf,
    /// `Reader::stream`.
    Stream { body: BodyUse },
    /// `Reader::size`.
    Size,
    /// Drops the reader.
    Close,
    /// `PrefetchStore::objects`, read to its end.
    Objects { keys: Vec<usize>, list_use: ListUse },
    /// `PrefetchStore::advise`.
    Advise { key: usize, hint: AccessHint },
    /// `Reader::advise`.
    AdviseReader { hint: AccessHint },
    /// `CacheStore::warm`.
    Warm { key: usize, ranges: Vec<Range<u64>> },
    /// `put_opts` through the stack, or a multipart upload.
    Put { key: usize, size: u64, multipart: bool },
    /// `delete_stream` through the stack.
    Delete { keys: Vec<usize> },
    /// `copy_opts` through the stack.
    Copy { from: usize, to: usize },
    /// `rename_opts` through the stack.
    Rename { from: usize, to: usize },
    /// A write out of band: the stack does not see it.
    OutOfBand(ObjectChange),
    /// Reads the body that was left open longest to its end.
    Resume,
    /// Drops the bodies that were left open.
    DropKept,
    /// A pause.
    Sleep { ms: u64 },
}

/// An operation, and when its future is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) cancel: Cancel,
}

impl From<Op> for Step {
    fn from(op: Op) -> Self {
        Self { op, cancel: Cancel::Never }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Span {
    Whole,
    Bounded(Range<u64>),
    Offset(u64),
    Suffix(u64),
}

impl Span {
    /// The range of an object of `size` bytes, by the rules of `object_store`; `None` if it has no bytes there.
    pub(crate) fn of(&self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::Whole => Some(0..size),
            Self::Bounded(range) if range.start >= range.end || range.start >= size => None,
            Self::Bounded(range) => Some(range.start..range.end.min(size)),
            Self::Offset(start) if *start >= size => None,
            Self::Offset(start) => Some(*start..size),
            Self::Suffix(n) => Some(size.saturating_sub(*n)..size),
        }
    }

    /// Whether the span is empty in every object. Stores do not agree on the answer to such spans.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Bounded(range) if range.start >= range.end)
    }

    /// The most bytes that the span has in an object of up to `size` bytes.
    pub(crate) fn most(&self, size: u64) -> u64 {
        match self {
            Self::Whole => size,
            Self::Bounded(range) => range.end.min(size).saturating_sub(range.start),
            Self::Offset(start) => size.saturating_sub(*start),
            Self::Suffix(n) => size.min(*n),
        }
    }
}

/// A condition of a get. `back` selects a version of the key: 0 is the current one, 1 the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GetCondition {
    None,
    IfMatch { back: usize },
    IfNoneMatch { back: usize },
    Version { back: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyUse {
    /// Read to its end.
    ToEnd,
    /// Dropped after this many chunks.
    Drop { chunks: usize },
    /// Left open after this many chunks.
    Keep { chunks: usize },
    /// Polled once and left open.
    KeepPolled,
}

/// How a list of objects is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListUse {
    pub(crate) unordered: bool,
    /// After an error, too.
    pub(crate) continues: bool,
    /// By their bodies.
    pub(crate) bodies: bool,
}

/// When a future is dropped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    Never,
    /// After this many polls.
    Polls(usize),
    /// After this many milliseconds.
    Ms(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenBy {
    Path,
    /// With the metadata of a `head` through the stack.
    Head,
    /// With the metadata of a `list` through the stack.
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeekTo {
    Start(u64),
    /// This many bytes before the end.
    End(u64),
    /// This many bytes forward.
    On(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectChange {
    Put { key: usize, size: u64 },
    Delete { key: usize },
}

impl ObjectChange {
    /// The object's new size; `None` if it is deleted.
    pub(crate) fn size(&self) -> Option<u64> {
        if let Self::Put { size, .. } = self { Some(*size) } else { None }
    }
}

impl Op {
    /// Whether the operation has a future that can be cancelled.
    pub(crate) fn is_cancellable(&self) -> bool {
        !matches!(
            self,
            Self::Open { .. }
                | Self::Close
                | Self::Advise { .. }
                | Self::AdviseReader { .. }
                | Self::OutOfBand(_)
                | Self::DropKept
                | Self::Sleep { .. }
        )
    }

    pub(crate) fn ranges_mut(&mut self) -> &mut [Range<u64>] {
        match self {
            Self::Get { span: Span::Bounded(range), .. }
            | Self::GetRange { range, .. }
            | Self::ReadAt { range, .. }
            | Self::ChunksAt { range, .. } => std::slice::from_mut(range),
            Self::GetRanges { ranges, .. } | Self::Warm { ranges, .. } => ranges,
            _ => &mut [],
        }
    }

    /// The use of the body that the operation opens.
    pub(crate) fn body_mut(&mut self) -> Option<&mut BodyUse> {
        match self {
            Self::Get { body, .. } | Self::Stream { body, .. } => Some(body),
            _ => None,
        }
    }
}
