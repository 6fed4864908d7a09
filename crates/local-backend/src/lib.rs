//! Files of this machine for Headstart: from a URL to a store and what it is like.
//!
//! `file:///path` is a URL: percent-escapes are decoded, `?` and `#` belong to the path, `..` is resolved before any link is looked
//! at. There are no options, and no variable counts. Files whose names end in `#` and digits cannot be read: `LocalFileSystem` keeps
//! such names for itself.
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
//! The store is `object_store`'s `LocalFileSystem`, but that a range of up to 1 MiB is opened and read in one visit to a blocking
//! thread, not two. A `FetchStore` on top of it neither splits nor merges: one read gets all that a disk or the kernel's cache
//! gives. It turns files that are to be streamed into reads of megabytes, where the store alone hops to a blocking thread for
//! each 8 KiB. Caches and read-ahead leave files alone: the kernel has both. `cargo xtask local` measures all of it.
//!
//! # Versions
//!
//! A file's version is its inode, its size and the time of its last change in microseconds. So an overwrite by renaming
//! another file into place, as `LocalFileSystem` does it, is seen: the new file has another inode while the old one is there. What
//! cannot be told apart:
//!
//! - a file changed in place, without a change of size, within the resolution of the file system's clock (1–10 ms on most
//!   local ones, 1–2 s on FAT and some network ones), or by one who sets the time back afterwards;
//! - a file replaced twice within a tick of that clock, by one of the same size that got the first one's inode again;
//! - a file changed through a memory map that has not been written back yet;
//! - on network file systems that make inodes up, a file that is replaced by one of the same size and time.
//!
//! An answer that is open while its file is overwritten in place may mix both: files have no snapshots. A file that is
//! replaced by a rename keeps its old bytes for those who have it open.

mod backend;
mod store;

pub use backend::LocalBackend;
