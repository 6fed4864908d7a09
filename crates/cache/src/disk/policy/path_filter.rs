//! A Bloom filter of paths: whether anything of an object may be on disk, before its version is known.
//!
//! One byte for each page of the disk: at most 2.4 % of unknown paths look known when every page has a path of its own,
//! far fewer otherwise. Such a path costs one HEAD.

/// Bits set for a path.
const HASHES: u64 = 5;

/// The paths of the pages on disk.
#[derive(Debug)]
pub(crate) struct PathFilter {
    words: Vec<u64>,
}

impl PathFilter {
    /// A filter for `pages` pages.
    pub(crate) fn new(pages: u64) -> Self {
        let words = usize::try_from(pages.div_ceil(8)).unwrap_or(usize::MAX).clamp(64, (1 << 26) - 1);
        Self { words: vec![0; words] }
    }

    /// Pages that the filter is made for.
    pub(crate) fn capacity(&self) -> u64 {
        8 * self.words.len() as u64
    }

    pub(crate) fn insert(&mut self, path_tag: u32) {
        for bit in self.bits(path_tag) {
            self.words[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether pages of the path may be on disk; never no where they are.
    pub(crate) fn may_have(&self, path_tag: u32) -> bool {
        self.bits(path_tag).all(|bit| self.words[bit / 64] & (1 << (bit % 64)) != 0)
    }

    fn bits(&self, path_tag: u32) -> impl Iterator<Item = usize> + use<> {
        let bits = self.words.len() as u64 * 64;
        let spread = u64::from(path_tag).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let spread = (spread ^ (spread >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let (first, step) = (spread >> 32, (spread & u64::from(u32::MAX)) | 1);
        let hash = move |n: u64| first.wrapping_add(n.wrapping_mul(step)) & u64::from(u32::MAX);
        (0..HASHES).map(move |n| usize::try_from((hash(n) * bits) >> 32).expect("less than the bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_found_and_few_others() {
        let mut filter = PathFilter::new(65_536);
        let tag = |n: u32| n.wrapping_mul(2_654_435_761);
        (0..65_536).for_each(|n| filter.insert(tag(n)));
        assert!((0..65_536).all(|n| filter.may_have(tag(n))));
        let wrong = (65_536..165_536).filter(|n| filter.may_have(tag(*n))).count();
        assert!(wrong < 3_500, "{wrong} of 100,000");
    }

    #[test]
    fn an_empty_filter_has_nothing() {
        let filter = PathFilter::new(0);
        assert!((0..1000).all(|n| !filter.may_have(n)));
    }
}
