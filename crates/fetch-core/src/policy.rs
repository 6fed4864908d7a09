//! Pure decisions about requests: sizes, delays, limits and estimates. The files below do no I/O and take time as
//! `now`.

pub(crate) mod body_check;
pub mod byte_range;
pub(crate) mod concurrency;
pub mod fill;
mod first_bytes;
pub(crate) mod hedge;
pub(crate) mod link;
pub(crate) mod merge;
pub(crate) mod profile;
pub(crate) mod retry;
pub(crate) mod split;
pub(crate) mod stall;
pub(crate) mod window_shares;
