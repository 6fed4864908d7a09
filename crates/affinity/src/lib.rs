//! Which worker reads which file: rendezvous hashing with bounded load. A worker that read a file has it in its cache,
//! and should read it again.
//!
//! ```text
//!  FileKey (store, path, version, block) ──► hash ──► ranking of the workers for this key (rendezvous)
//!                                                        │
//!                     assign: the files of one query  ◄──┴──►  Placement: files that workers hold,
//!                     each worker within its share             while workers join and leave
//! ```
//!
//! ```
//! use headstart_affinity::{FileKey, FileTask, Workers};
//!
//! let workers = Workers::new(["worker-a", "worker-b", "worker-c"]);
//! let key = |path| FileKey { store: "s3://bucket", path, version: "\"1f2e\"", start: 0 };
//! let tasks = ["t/0.parquet", "t/1.parquet"].map(|path| FileTask { key: key(path).hash(), bytes: 1 << 30 });
//! let assigned = workers.assign(&tasks, headstart_affinity::BALANCE);
//! println!("t/0.parquet is read by {}", workers.ids()[assigned[0]]);
//! # assert_eq!(assigned.len(), 2);
//! ```
//!
//! # Promises
//! With `n` workers and keys of equal size:
//! * **Balance.** No worker has more than 1.15 times the mean ([`BALANCE`]), rounded up to a whole key. With keys of
//!   different sizes, the largest key is added to this.
//! * **Few moves.** Where a worker leaves, [`Placement`] moves its keys and no others. A worker that joins as the n-th
//!   takes 1/n of the keys, within a tenth where each worker has thousands. Other keys move only if a worker exceeds
//!   its limit.
//! * **Determinism.** Results depend on the ids and keys only: not on their order, the process, the machine or the
//!   language. `vectors.tsv` has examples.
//!
//! # How it works
//! Every worker has a score for every key: a hash of both. The worker with the highest score owns the key. So a worker
//! that leaves changes only the owners of its keys, and one that joins only wins keys. Where the owner has no room, the
//! next worker of the ranking takes the key, as in "Consistent Hashing with Bounded Loads" (Mirrokni, Thorup,
//! Zadimoghaddam 2016).
//!
//! # Non-goals
//! No clock, no network, no health checks: the caller knows which workers live. No protection against keys that were
//! chosen to collide.
//!
//! # Cost
//! A look-up of an owner computes two multiplications for each worker. `assign` does so once for each distinct key, and
//! once more for each worker that becomes full.

mod hash;
mod placement;
mod rendezvous;

pub use hash::{FileKey, score, worker_hash};
pub use placement::{KeyMove, Placement};
pub use rendezvous::{BALANCE, FileTask, Workers};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
