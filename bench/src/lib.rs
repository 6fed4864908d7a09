//! The parts of Headstart's bench: workloads, their traces, checks of every byte, and results.
//!
//! ```text
//!   workloads/*.toml ── Workload ── Trace ── drive ── ReadSource: a system
//!                                              │
//!                                            Meter ── Outcome of a run ── Results of a bench
//! ```
//!
//! `cargo xtask bench` runs it for the systems of this crate, and the programs in `peers/` for other libraries.

pub mod check;
pub mod child;
pub mod drive;
pub mod ideal;
pub mod limit;
pub mod meter;
pub mod ours;
pub mod process;
pub mod results;
pub mod simulate;
pub mod source;
pub mod system;
pub mod traces;
pub mod workload;

#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/guide.md")]
    struct Guide;
    #[doc = include_str!("../../docs/configuration.md")]
    struct Configuration;
}
