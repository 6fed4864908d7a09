//! Data sets of Lance that are read by Headstart: the simulated cloud in virtual time.
#![allow(clippy::unwrap_used, reason = "the first error ends a test")]

mod common;
mod reads;
#[path = "../../../slatedb/tests/engine/steps.rs"]
mod steps;
