//! Tests of the facade: one program, which is linked once.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../cache/tests/common/mod.rs"]
mod cache_common;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/content.rs"]
mod content;

mod cache_model;
mod configuration;
mod cost_of_reads;
mod disk_processes;
mod metrics;
mod objects;
mod observability;
mod odd_servers;
mod options;
mod promises_cache;
mod promises_concurrency;
mod promises_large_reads;
mod public_api;
mod secrets;
mod servers;
mod stack;
mod tls;
mod urls;
mod whole_stack;
mod wire;
