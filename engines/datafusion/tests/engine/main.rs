//! Sessions of DataFusion that read by Headstart: local files, and the simulated cloud by the real S3 client.
#![allow(clippy::unwrap_used, reason = "the first error ends a test")]

mod common;
mod metrics;
mod registry;
mod scans;
mod tpch;
