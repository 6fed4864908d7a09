//! Arithmetic on byte ranges of an object, and conversions of sizes.

use std::ops::Range;

/// Length of `range` in bytes; 0 if it is empty or reversed.
pub fn len(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// Whether `range` is so long (more than 1 TiB) that it means "to the end": nothing beyond the first request is sent
/// before the length of the object is known.
pub fn is_open_ended(range: &Range<u64>) -> bool {
    len(range) > 1 << 40
}

/// The bytes that `a` and `b` have in common, if any.
pub fn intersection(a: &Range<u64>, b: &Range<u64>) -> Option<Range<u64>> {
    let both = a.start.max(b.start)..a.end.min(b.end);
    (both.start < both.end).then_some(both)
}

/// The parts of `wanted` that `held` does not cover. `held` is sorted by start and may overlap.
pub fn missing(wanted: &Range<u64>, held: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut holes = Vec::new();
    let mut at = wanted.start;
    for piece in held {
        if at >= wanted.end || piece.start >= wanted.end {
            break;
        }
        if piece.start > at {
            holes.push(at..piece.start);
        }
        at = at.max(piece.end);
    }
    if at < wanted.end {
        holes.push(at..wanted.end);
    }
    holes
}

/// A length in memory. Object lengths are `u64`; whatever is in memory fits `usize`.
///
/// # Panics
/// On a target whose address space is smaller than `bytes`: such a buffer cannot exist there.
pub fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a buffer larger than the address space was asked for")
}

/// A number of bytes from a calculation in `f64`: rounded down, and 0 if it is negative or not a number.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
pub fn from_f64(bytes: f64) -> u64 {
    bytes as u64
}

/// The largest power of two that is not above `n`; 0 for 0.
pub fn pow2_floor(n: u64) -> u64 {
    n.checked_ilog2().map_or(0, |log| 1 << log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reversed_and_touching_ranges_are_empty() {
        assert_eq!(len(&Range { start: 5, end: 3 }), 0);
        assert_eq!(intersection(&(0..5), &(5..9)), None);
        assert_eq!(intersection(&(0..6), &(5..9)), Some(5..6));
    }

    #[test]
    fn conversions_round_down_and_saturate() {
        assert_eq!([0, 1, 2, 3, 4, u64::MAX].map(pow2_floor), [0, 1, 2, 2, 4, 1 << 63]);
        assert_eq!([1.9, -3.0, f64::NAN, f64::INFINITY].map(from_f64), [1, 0, 0, u64::MAX]);
    }

    proptest! {
        #[test]
        fn missing_and_held_tile_the_wanted(
            wanted in (0_u64..60, 0_u64..60),
            mut held in prop::collection::vec((0_u64..60, 0_u64..12), 0..6),
        ) {
            held.sort_unstable();
            let wanted = wanted.0..wanted.0 + wanted.1;
            let held: Vec<_> = held.into_iter().map(|(start, n)| start..start + n).collect();
            let holes = missing(&wanted, held.iter().cloned());
            for byte in wanted {
                let is_held = held.iter().any(|piece| piece.contains(&byte));
                let in_holes = holes.iter().filter(|hole| hole.contains(&byte)).count();
                prop_assert_eq!(in_holes, usize::from(!is_held), "byte {}", byte);
            }
        }
    }
}
