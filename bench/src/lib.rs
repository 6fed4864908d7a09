//! What the bench of Headstart is made of: workloads as data, the reads they mean, checks of every byte, results.
//!
//! ```text
//!   workloads/*.toml ── Workload ── Trace ── drive ── Source: a way of reading
//!                                              │
//!                                            Meter ── Outcome of a run ── Results of a bench
//! ```
//!
//! `cargo xtask bench` runs it over ways of reading that stand in xtask; the programs in `peers/` run others by it.

pub mod check;
pub mod child;
pub mod drive;
pub mod ideal;
pub mod limit;
pub mod meter;
pub mod ours;
pub mod results;
pub mod simulate;
pub mod source;
pub mod system;
pub mod traces;
pub mod workload;
