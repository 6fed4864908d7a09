//! Local files for Headstart: opens a file from a `file://` URL.
//!
//! In `file:///path` percent-escapes are decoded, `?` and `#` belong to the path, and `..` is resolved before symbolic
//! links. There are no options and no environment variables. Files with names that end in `#` and digits cannot be
//! read, since `LocalFileSystem` reserves such names.
//!
//! ```
//! use headstart_local_backend::LocalBackend;
//!
//! let backend = LocalBackend::from_url(&"file:///data/table%201.parquet".parse()?)?;
//! assert_eq!(backend.path().as_ref(), "data/table 1.parquet");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # How files are read
//!
//! The store is `object_store`'s `LocalFileSystem`, except that a range of up to 1 MiB is opened and read in one task
//! on a blocking thread, not in two. A `FetchStore` on top of it neither splits nor merges ranges: one read uses the
//! full rate of the disk or the kernel's page cache. It streams files in reads of megabytes, where the store alone
//! needs a blocking task for each 8 KiB. The cache and read-ahead do not apply to files, since the kernel has both.
//!
//! # Versions
//!
//! The version of a file is its inode, its size and the time of its last modification in microseconds. An overwrite
//! that renames another file into place, as `LocalFileSystem` does, is detected: the new file has another inode
//! while the old file exists. These changes are not detected:
//!
//! - a change in place that keeps the size, within the resolution of the file system's clock (1–10 ms on most local
//!   file systems, 1–2 s on FAT and some network file systems), or with the modification time set back afterwards;
//! - two replacements within a tick of that clock, if the second file has the same size and reuses the first inode;
//! - a change through a memory map that has not been written back yet;
//! - on network file systems with synthetic inodes, a replacement with the same size and time.
//!
//! Files have no snapshots: a read during an overwrite in place may return bytes of both versions. After a replacement
//! by rename, open files keep their old bytes.
//!
//! # Non-goals
//! This crate does not watch files for changes and does not lock them.

mod backend;
mod store;

pub use backend::LocalBackend;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
