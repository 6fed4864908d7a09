//! What `top` makes of the metrics of a process: figures of a time, of each stack and of all, and their rows.
//!
//! ```text
//!   text ── exposition ── scrape: samples of each stack
//!                            │ two of them
//!                         change: what counters gained ── figures ── rows
//!                            │
//!                         model: what to show now, also while nothing answers
//! ```

pub(crate) mod address;
pub(crate) mod change;
pub(crate) mod figures;
pub(crate) mod model;
pub(crate) mod rows;
pub(crate) mod scrape;
