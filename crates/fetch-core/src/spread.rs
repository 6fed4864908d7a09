//! Spreads the sizes of requests, so that those sent together do not end together. Pure.

/// The golden ratio's fraction, in 1,024ths.
const GOLDEN_1024: u64 = 633;

/// The size of request number `nth` among requests of `mean_bytes` on average: between three quarters and five quarters of that.
///
/// Requests of one size that are sent together share the link, end together, and leave it idle until the next ones begin. Multiples
/// of the golden ratio, modulo one, are the sequence of which any few in a row are spread most evenly (Knuth, *The Art of Computer
/// Programming* 3, section 6.4).
#[must_use]
pub fn spread_bytes(nth: u64, mean_bytes: u64) -> u64 {
    mean_bytes / 4 * 3 + mean_bytes / 2048 * (nth % 1024 * GOLDEN_1024 % 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_few_in_a_row_differ_and_the_mean_is_kept() {
        let mean = 4 << 20;
        for first in [0, 1, 1000, u64::MAX - 2000] {
            let sizes: Vec<u64> = (0..1024).map(|n| spread_bytes(first + n, mean)).collect();
            assert!(sizes.iter().all(|size| (mean / 4 * 3..=mean / 4 * 5).contains(size)));
            assert!(sizes.windows(4).all(|few| few[1..].iter().all(|size| size.abs_diff(few[0]) >= mean / 32)));
            assert!((sizes.iter().sum::<u64>() / 1024).abs_diff(mean) < mean / 1000);
        }
    }
}
