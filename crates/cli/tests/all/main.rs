//! The command as a process: one program for all tests, which is linked once.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

mod caches;
mod copies;
#[cfg(unix)]
mod interruptions;
mod measurements;
mod reads;
#[cfg(unix)]
mod serve;
#[cfg(unix)]
mod top;
