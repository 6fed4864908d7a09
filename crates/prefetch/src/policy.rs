//! Pure decisions: sizes of windows and requests, limits on speculation, shares of memory, objects of a list in flight.

pub(crate) mod memory_shares;
pub(crate) mod object_window;
pub(crate) mod request_pacer;
pub(crate) mod run_lengths;
pub(crate) mod speculation;
pub(crate) mod window;
