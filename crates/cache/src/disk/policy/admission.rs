//! What is written to a full disk: pages that are used more often than those that would have to go.
//!
//! Uses are counted as in TinyLFU (Einziger et al., 2017): in a table of small counters, of which the least one of
//! three counts. Old uses fade: with every use a part of the table is halved.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

/// Counters a page of the disk, of one byte each. Pages that are not on disk are counted too, so a counter of a small
/// table shows what several pages together were used. With Zipf 0.9 over eight disks beside a scan, the hit ratio is
/// 0.91 of what is possible with 4 counters a page, 0.96 with 16, and 0.965 with 32.
const COUNTERS_A_PAGE: u64 = 16;

/// Uses that are counted while all counters are halved once, in units of counters.
const USES_A_COUNTER: usize = 4;

/// More uses of a page say no more about its segment: a few popular pages do not keep many others on disk.
const MOST_USES: u8 = 8;

/// Counters of a page.
const HASHES: u64 = 3;

/// The least uses of a page that a full disk takes: the second use is the first sign that there are more to come.
const LEAST_USES: u8 = 2;

/// How often pages were used a short time ago.
pub(crate) struct UseCounts {
    counters: Vec<AtomicU8>,
    uses: AtomicUsize,
    /// The uses of a page that a full disk takes.
    least: AtomicU8,
}

impl UseCounts {
    /// Counts for a disk of `pages` pages.
    pub(crate) fn new(pages: u64) -> Self {
        let counters = usize::try_from(pages.saturating_mul(COUNTERS_A_PAGE)).unwrap_or(usize::MAX);
        let counters = (0..counters.clamp(1 << 10, 1 << 28)).map(|_| AtomicU8::new(0)).collect();
        Self { counters, uses: AtomicUsize::new(0), least: AtomicU8::new(LEAST_USES) }
    }

    /// Counts a use of the page; returns how often it was used.
    pub(crate) fn add(&self, fingerprint: u64) -> u8 {
        let uses = self.of(fingerprint).saturating_add(1);
        for at in self.places(fingerprint) {
            if self.counters[at].load(Relaxed) < uses {
                self.counters[at].store(uses, Relaxed);
            }
        }
        let count = self.uses.fetch_add(1, Relaxed);
        if count.is_multiple_of(USES_A_COUNTER) {
            let counter = &self.counters[count / USES_A_COUNTER % self.counters.len()];
            counter.store(counter.load(Relaxed) / 2, Relaxed);
        }
        uses
    }

    /// How often the page was used.
    pub(crate) fn of(&self, fingerprint: u64) -> u8 {
        self.places(fingerprint).map(|at| self.counters[at].load(Relaxed)).min().unwrap_or(0)
    }

    /// Whether a full disk takes a page that was used so often.
    pub(crate) fn admits(&self, uses: u8) -> bool {
        uses >= self.least.load(Relaxed)
    }

    /// The pages that go next are those with these `fingerprints`: from now on a page has to be used more often than
    /// half of them.
    pub(crate) fn compare_with(&self, fingerprints: impl IntoIterator<Item = u64>) {
        let mut uses: Vec<u8> = fingerprints.into_iter().map(|fingerprint| self.of(fingerprint)).collect();
        uses.sort_unstable();
        let median = uses.get(uses.len() / 2).copied().unwrap_or(0);
        self.least.store(median.saturating_add(1).max(LEAST_USES), Relaxed);
    }

    /// How often the pages of a segment, with these `fingerprints`, are used on average.
    pub(crate) fn mean(&self, fingerprints: &[u64]) -> f32 {
        let uses = fingerprints.iter().map(|fingerprint| f32::from(self.of(*fingerprint).min(MOST_USES)));
        #[expect(clippy::cast_precision_loss, reason = "a segment has few pages")]
        let pages = fingerprints.len().max(1) as f32;
        uses.sum::<f32>() / pages
    }

    /// The page was used at least so often, as an earlier process has found.
    pub(crate) fn recall(&self, fingerprint: u64, uses: u8) {
        for at in self.places(fingerprint) {
            self.counters[at].fetch_max(uses.min(MOST_USES), Relaxed);
        }
    }

    fn places(&self, fingerprint: u64) -> impl Iterator<Item = usize> + use<> {
        let counters = self.counters.len() as u64;
        (0..HASHES).map(move |n| {
            let mixed = (fingerprint ^ (n << 60)).wrapping_add(n).wrapping_mul(0xff51_afd7_ed55_8ccd);
            let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
            usize::try_from(((mixed >> 32) * counters) >> 32).expect("less than the counters")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(counts: &UseCounts, fingerprint: u64) {
        let _ = counts.add(fingerprint);
    }

    #[test]
    fn a_full_disk_takes_what_is_used_again_and_not_a_scan() {
        let counts = UseCounts::new(10_000);
        let admitted = (0..20_000_u64).filter(|n| counts.admits(counts.add(n * 7919))).count();
        assert!(admitted < 2_000, "{admitted} of a scan of 20,000");
        assert!(!counts.admits(counts.add(1)) && counts.admits(counts.add(1)));
    }

    #[test]
    fn old_uses_fade() {
        let counts = UseCounts::new(1000);
        (0..8).for_each(|_| used(&counts, 5));
        assert_eq!(counts.of(5), 8);
        (0..200_000_u64).for_each(|n| used(&counts, 1 << 30 | (n % 1000)));
        assert!(counts.of(5) <= 1, "{}", counts.of(5));
    }

    #[test]
    fn a_page_must_be_used_more_than_those_that_go() {
        let counts = UseCounts::new(1000);
        (0..20).for_each(|_| used(&counts, 1));
        (0..3).for_each(|_| used(&counts, 2));
        counts.compare_with([1, 2, 3, 2, 1]);
        assert!(!counts.admits(3) && counts.admits(4));
        assert_eq!(counts.mean(&[1, 2, 3]), 11.0 / 3.0);
        counts.recall(3, 2);
        assert_eq!(counts.mean(&[1, 2, 3]), 13.0 / 3.0);
        counts.compare_with([]);
        assert!(counts.admits(2) && !counts.admits(1));
    }
}
