//! The settings of the disk tier.

use std::path::PathBuf;
use std::sync::Arc;

use headstart_fetch_core::ConfigError;
use serde::{Deserialize, Serialize};

use super::io::DiskIo;
use super::policy::layout::SegmentLayout;

/// The least `bytes` of a directory, beside sixteen pages.
const MIN_DISK_BYTES: u64 = 16 << 20;

/// The largest directory: locations of pages have 40 bits, in units of 64 bytes.
const MAX_DISK_BYTES: u64 = 32 << 40;

/// The disk tier of a cache: a directory of pages that outlives the process, and that all processes of the host may
/// share.
///
/// **Bytes of objects lie in the directory unencrypted.** File names and keys contain hashes, no paths.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    /// The directory; it is made if it is missing. It must belong to this user, and nobody else may write to it.
    /// Several processes may share it. Default: none, no disk tier.
    pub directory: Option<PathBuf>,
    /// The most bytes in the directory, beside one segment (a sixteenth of `bytes`, at most 64 MiB) for each open
    /// cache. Default: 10 GiB.
    pub bytes: u64,
    /// The free space of the file system that the tier leaves to others: below it, segments are deleted. Default:
    /// 1 GiB.
    pub floor_bytes: u64,
    /// Name of the store: tells its objects from those of other stores in the same directory. Two stores that share a
    /// name must have the same bytes wherever path, version and size are equal. Caches with a directory need one; the
    /// facade uses the URL. Default: empty.
    pub name: String,
    /// The system calls to use instead of the system's own; for tests.
    #[doc(hidden)]
    #[serde(skip)]
    pub io: Option<Arc<dyn DiskIo>>,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self { directory: None, bytes: 10 << 30, floor_bytes: 1 << 30, name: String::new(), io: None }
    }
}

impl DiskConfig {
    /// A tier of the store `name` in `directory`, with the defaults.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self { directory: Some(directory.into()), name: name.into(), ..Self::default() }
    }

    /// Gives the store a name, where there is a directory and no name yet.
    pub fn name_unless_given(&mut self, name: impl FnOnce() -> String) {
        if self.directory.is_some() && self.name.is_empty() {
            self.name = name();
        }
    }

    /// Checks the values, for pages of `page_bytes`.
    pub(crate) fn check(&self, page_bytes: usize) -> Result<(), ConfigError> {
        let least = MIN_DISK_BYTES.max(16 * page_bytes as u64);
        if self.bytes < least || self.bytes > MAX_DISK_BYTES {
            let allowed = "expected at least 16MiB and sixteen pages, at most 32 TiB";
            return Err(ConfigError::bad("disk_bytes", self.bytes, allowed));
        }
        Ok(())
    }

    /// The segments that a cache with these settings writes.
    pub(crate) fn layout(&self, page_bytes: usize) -> SegmentLayout {
        SegmentLayout::new(self.bytes, page_bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_hold_too_few_pages_or_too_many_are_refused() {
        for (bytes, page_bytes, allowed) in [
            (16 << 20, 64 << 10, true),
            ((16 << 20) - 1, 64 << 10, false),
            (16 << 20, 4 << 20, false),
            (64 << 20, 4 << 20, true),
            (33 << 40, 64 << 10, false),
        ] {
            let config = DiskConfig { bytes, ..DiskConfig::new("d", "s") };
            assert_eq!(config.check(page_bytes).is_ok(), allowed, "{bytes} {page_bytes}");
        }
    }
}
