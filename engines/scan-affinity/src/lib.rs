//! Which worker of a cluster reads which file of a DataFusion scan: what the adapters for distributed engines share.
//!
//! ```text
//!  adapter of an engine ── ids of the workers that live ──▶ ScanAffinity ──▶ Holdings: who holds which key
//!        │                                                                      │
//!        └── scan of a plan ──▶ scan_of, parts ──▶ keys of files and blocks ────┘──▶ route, balance, divide
//! ```
//!
//! The key of a file is its store, path and version. Of a file larger than [`ScanAffinity::with_block_bytes`], each
//! block has a key. A key belongs to one worker until this worker leaves, or another joins and takes its share.
//!
//! # What it does not do
//! It knows no engine: it finds no workers, and sends no plans.
//!
//! # Memory
//! An entry in three tables for each key that was used lately ([`ScanAffinity::with_most_keys`]).

mod affinity;
mod policy;
mod scan;
mod versions;

pub use affinity::ScanAffinity;
pub use policy::holdings::Holdings;
pub use policy::routes::{most_held, route, spread};
pub use scan::{ScanPart, divide, keeps_order, parts, scan_of, with_parts};
pub use versions::{VersionCodec, VersionedScan, unversioned};

pub use headstart_affinity;
