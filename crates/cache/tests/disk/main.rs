//! The disk tier, through the cache: restarts, several caches on one directory, faults, damage, killed writers.
//!
//! `HEADSTART_DISK_TESTS=full` runs the counts that were promised (300 kills, 2,000 damages, …) in place of a part.
#![allow(clippy::unwrap_used, reason = "tests")]

mod damage;
mod faults;
mod home;
mod inspection;
mod kills;
mod limits;
mod opening;
mod restarts;
mod scans;
mod shared;
mod tables;
