//! Whether a read waits for a request in flight for the same object, or sends its own.

use std::ops::Range;

use headstart_fetch_core::internal::byte_range;

/// What a request asks of an object whose size is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OpeningRequest {
    /// Metadata only.
    Head,
    /// The whole object.
    Whole,
    /// These bytes, as far as they exist.
    Bounded(Range<u64>),
    /// Everything from this byte on.
    From(u64),
    /// This many bytes at the end.
    Last(u64),
}

impl OpeningRequest {
    /// The most bytes that the answer brings, where the request limits them.
    pub(crate) fn max_bytes(&self) -> Option<u64> {
        match self {
            Self::Head => Some(0),
            Self::Bounded(range) => Some(byte_range::len(range)),
            Self::Last(bytes) => Some(*bytes),
            Self::Whole | Self::From(_) => None,
        }
    }

    /// The bytes that the answer must bring, of an object of `size` bytes.
    pub(crate) fn range_in(&self, size: u64) -> Range<u64> {
        match self {
            Self::Head => 0..0,
            Self::Whole => 0..size,
            Self::Bounded(range) => range.start..range.end.min(size),
            Self::From(start) => *start..size,
            Self::Last(bytes) => size.saturating_sub(*bytes)..size,
        }
    }
}

/// Whether the answer to `running` brings something that `wanted` asks for.
///
/// No where this depends on the unknown size: a second request costs less than waiting for a useless answer.
pub(crate) fn worth_joining(running: &OpeningRequest, wanted: &OpeningRequest) -> bool {
    use OpeningRequest::{Bounded, From, Head, Last, Whole};
    match (running, wanted) {
        (_, Head) => true,
        (Head, _) | (Bounded(_), Last(_)) | (Last(_), Bounded(_)) => false,
        (Bounded(a), Bounded(b)) => byte_range::intersection(a, b).is_some(),
        (Bounded(a), From(from)) | (From(from), Bounded(a)) => *from < a.end,
        (Whole, _) | (_, Whole) | (From(_) | Last(_), From(_) | Last(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_overlap_are_joined() {
        use OpeningRequest::{Bounded, From, Head, Last, Whole};
        for (running, wanted, join) in [
            (Bounded(0..10), Bounded(9..20), true),
            (Bounded(0..10), Bounded(10..20), false),
            (Bounded(0..10), From(9), true),
            (From(10), Bounded(0..10), false),
            (Bounded(0..10), Last(5), false),
            (Bounded(0..10), Whole, true),
            (Last(5), From(0), true),
            (Last(5), Last(9), true),
            (Bounded(0..10), Head, true),
            (Head, Whole, false),
        ] {
            assert_eq!(worth_joining(&running, &wanted), join, "{running:?} {wanted:?}");
        }
    }
}
