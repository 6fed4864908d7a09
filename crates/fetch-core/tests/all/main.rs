//! Tests of `FetchStore`: one program, which is linked once.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/scripted.rs"]
mod odd;

mod download;
mod ends;
mod faults;
mod figures;
mod odd_bodies;
mod odd_stores;
mod priority;
mod semantics;
mod starvation;
mod throughput;
mod validators;
mod versions;
