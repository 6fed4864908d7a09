//! The decisions of the disk tier, without I/O, clock, lock or task.
//!
//! | file | decides |
//! |---|---|
//! | `layout.rs`, `entry.rs` | what lies where in a segment, what files are called |
//! | `admission.rs` | what is written to a full disk |
//! | `keep.rs` | which segments are deleted |
//! | `health.rs` | what is tried while the disk fails |
//! | `pace.rs` | how long a read waits for the disk before it fetches |
//! | `path_filter.rs` | whether anything of an object may be on disk |

pub(crate) mod admission;
pub(crate) mod entry;
pub(crate) mod health;
pub(crate) mod keep;
pub(crate) mod layout;
pub(crate) mod pace;
pub(crate) mod path_filter;
