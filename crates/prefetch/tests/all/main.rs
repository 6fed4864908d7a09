//! Tests of read-ahead: one program, which is linked once.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../fetch-core/tests/common/scripted.rs"]
mod odd;

mod calls;
mod deletes;
mod link_estimate;
mod odd_stores;
mod promises_patterns;
mod promises_sequential;
mod promises_shared_link;
mod promises_sharing;
mod reader;
mod runtimes;
mod validators;
