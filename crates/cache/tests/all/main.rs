//! Tests of the cache: one program, which is linked once.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../fetch-core/tests/common/scripted.rs"]
mod odd;

mod conformance;
mod deletes;
mod large_reads;
mod link;
mod memory;
mod odd_stores;
mod promises_memory;
mod promises_requests;
mod promises_resident;
mod ranges;
mod reads;
mod runtimes;
mod single_flight;
mod trace_events;
mod versions;
mod warm;
