//! A seeded random number generator with the same numbers on every platform and in every version.

use std::time::Duration;

use headstart_fetch_core::internal::byte_range::in_memory;

/// The increment of SplitMix64: 2⁶⁴ divided by the golden ratio, odd. Source: Steele, Lea, Flood, "Fast splittable
/// pseudorandom number generators", 2014.
pub(crate) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's finaliser: each bit of `x` affects all 64 bits.
#[must_use]
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A SplitMix64 generator.
///
/// `rand`'s `StdRng` has the same numbers only within one version of `rand`; workloads and fault plans must not change
/// with a dependency.
#[derive(Debug, Clone)]
pub struct SeededRng(u64);

impl SeededRng {
    /// A generator whose numbers follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ GOLDEN))
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in `0..n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `[0, 1)`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Shuffles `items` (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = in_memory(self.below(last as u64 + 1));
            items.swap(last, other);
        }
    }

    /// A lognormal time with this median (Box–Muller); `sigma` is the standard deviation of its logarithm.
    pub fn lognormal(&mut self, median: Duration, sigma: f64) -> Duration {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median.mul_f64((sigma * normal).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // The test vector of other SplitMix64 implementations for this seed.
        let mut rng = SeededRng(1_234_567);
        let published = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([rng.bits(), rng.bits(), rng.bits()], published);
    }

    #[test]
    fn every_order_comes_up() {
        let mut rng = SeededRng::new(3);
        let orders = (0..200).map(|_| {
            let mut items = [0, 1, 2];
            rng.shuffle(&mut items);
            items
        });
        assert_eq!(orders.collect::<std::collections::BTreeSet<_>>().len(), 6);
    }

    #[test]
    fn numbers_stay_below_and_reach_both_ends() {
        let mut rng = SeededRng::new(7);
        let seen: std::collections::BTreeSet<u64> = (0..1000).map(|_| rng.below(10)).collect();
        assert!(seen.into_iter().eq(0..10));
        assert!((0..1000).map(|_| rng.unit()).all(|x| (0.0..1.0).contains(&x)));
        assert_eq!(rng.below(0), 0);
    }
}
