//! What the bench of Headstart is made of: workloads as data, the reads they mean, checks of every byte, results.
//!
//! `cargo xtask bench` runs it; the programs in `peers/` run their own ways of reading by it.

pub mod results;
