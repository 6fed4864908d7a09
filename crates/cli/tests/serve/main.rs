//! `serve` as a process.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod clients;
mod process;
mod writes;

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
