//! Tests of the simulated cloud: one program, which is linked once.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod server_http;
mod server_integration;
mod server_json;
mod server_link;
mod store_faults;
mod store_integration;
mod store_time;
