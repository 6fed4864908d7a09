//! Pure decisions of read-ahead: sizes of windows and requests, limits on speculation, shares of memory.

pub(crate) mod memory_shares;
pub(crate) mod run_lengths;
pub(crate) mod speculation;
pub(crate) mod window;
