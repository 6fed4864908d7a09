//! Random numbers for the pauses between tries.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// The step of `SplitMix64` (Steele, Lea and Flood 2014).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator that many tasks share.
#[derive(Debug)]
pub(crate) struct Jitter(AtomicU64);

impl Jitter {
    /// Numbers that follow from `seed`; without one, from the operating system.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(AtomicU64::new(seed.unwrap_or_else(|| RandomState::new().hash_one(STEP))))
    }

    /// The next number in `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, reason = "32 bits fit")]
    pub(crate) fn next(&self) -> f64 {
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as f64 / 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly_and_follow_from_the_seed() {
        let jitter = Jitter::new(Some(7));
        let numbers: Vec<f64> = (0..10_000).map(|_| jitter.next()).collect();
        assert!(numbers.iter().all(|n| (0.0..1.0).contains(n)));
        for tenth in 0..10 {
            let low = f64::from(tenth) / 10.0;
            let count = numbers.iter().filter(|n| (low..low + 0.1).contains(*n)).count();
            assert!((850..1150).contains(&count), "{count} of 10,000 in {low}..");
        }
        let again = Jitter::new(Some(7));
        assert!(numbers.iter().all(|n| again.next().to_bits() == n.to_bits()));
        assert_ne!(Jitter::new(None).next().to_bits(), Jitter::new(None).next().to_bits());
    }
}
