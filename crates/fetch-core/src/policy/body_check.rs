//! Checks that an answer covers the requested range, and that its body has exactly the promised bytes.
//!
//! [`BodyCheck`] counts the bytes of one body. Its owner reports each chunk ([`BodyCheck::on_chunk`]) before it uses
//! it, and the end of the stream ([`BodyCheck::on_end`]); both fail with the error that the reader gets.
//! `internal::exact_body` does this for a body that is only passed on.

use std::{ops::Range, time::Duration};

use crate::error::FetchError;

/// Counts the bytes of one body against the range that its answer promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyCheck {
    range: Range<u64>,
    at: u64,
}

/// Checks that an answer covers the bytes `expected`.
///
/// # Errors
/// [`FetchError::WrongRange`].
pub fn check_range(expected: &Range<u64>, answered: &Range<u64>) -> Result<(), FetchError> {
    if expected == answered {
        return Ok(());
    }
    Err(FetchError::WrongRange {
        wanted_start: expected.start,
        wanted_end: expected.end,
        start: answered.start,
        end: answered.end,
    })
}

impl BodyCheck {
    /// A body of the bytes `range`, of which nothing has arrived.
    pub fn new(range: Range<u64>) -> Self {
        Self { at: range.start, range }
    }

    /// The body of an answer that covers the bytes `answered` of an object of `size`, to a request for `requested`. The
    /// end of an object cuts the range of an answer short; nothing else may.
    ///
    /// # Errors
    /// [`FetchError::WrongRange`].
    pub fn of_answer(requested: &Range<u64>, answered: &Range<u64>, size: u64) -> Result<Self, FetchError> {
        let expected = requested.start..requested.end.min(size);
        check_range(&expected, answered)?;
        Ok(Self::new(expected))
    }

    /// The bytes promised.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The bytes that have not arrived.
    pub fn missing(&self) -> Range<u64> {
        self.at..self.range.end
    }

    /// The next byte to arrive.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether all bytes have arrived.
    pub fn is_complete(&self) -> bool {
        self.at >= self.range.end
    }

    /// Counts a chunk of `bytes`.
    ///
    /// # Errors
    /// [`FetchError::LongBody`] if it goes past the promised end. Nothing of it is counted then.
    pub fn on_chunk(&mut self, bytes: usize) -> Result<(), FetchError> {
        let after = self.at.saturating_add(bytes as u64);
        if after > self.range.end {
            return Err(FetchError::LongBody { start: self.range.start, end: self.range.end });
        }
        self.at = after;
        Ok(())
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// [`FetchError::ShortBody`] if bytes are missing.
    pub fn on_end(&self) -> Result<(), FetchError> {
        if self.is_complete() {
            return Ok(());
        }
        Err(FetchError::ShortBody { start: self.range.start, end: self.range.end, at: self.at })
    }

    /// The error of a body that has stalled for the time `waited`.
    pub fn stalled(&self, waited: Duration) -> FetchError {
        FetchError::Stalled { start: self.range.start, end: self.range.end, at: self.at, waited }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_complete_short_or_long() {
        let mut body = BodyCheck::of_answer(&(10..30), &(10..20), 20).expect("the object ends at 20");
        body.on_chunk(4).expect("fits");
        assert_eq!((body.at(), body.missing(), body.is_complete()), (14, 14..20, false));
        assert_eq!(body.on_end(), Err(FetchError::ShortBody { start: 10, end: 20, at: 14 }));
        assert_eq!(body.on_chunk(7), Err(FetchError::LongBody { start: 10, end: 20 }));
        body.on_chunk(6).expect("nothing of the long chunk was counted");
        assert!(body.is_complete() && body.on_end().is_ok() && body.on_chunk(0).is_ok());
    }

    #[test]
    fn only_the_end_of_the_object_cuts_an_answer_short() {
        for (requested, answered, size) in [(0..10, 0..9, 10), (0..10, 0..10, 9), (5..9, 0..4, 10)] {
            let wrong = BodyCheck::of_answer(&requested, &answered, size);
            assert!(matches!(wrong, Err(FetchError::WrongRange { .. })), "{requested:?} {answered:?} of {size}");
        }
    }
}
