//! Sends the scans of `datafusion-distributed` 4 to the workers that have the files in Headstart's caches.
//!
//! ```text
//!  coordinator   with_cache_affinity    CacheAffinity: which worker holds which file (headstart-affinity)
//!      │                                 plan: one task a worker, with the files that it holds
//!      │                                 run: each task to the worker that holds most bytes of it
//!      ▼ plans (gRPC)
//!  workers       worker(&registry)      HeadstartRegistry: opens stores on first use, with a cache for all queries
//!                                        scans of Parquet files: row groups ahead, of the version that was planned
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use datafusion::execution::SessionStateBuilder;
//! use datafusion::prelude::SessionContext;
//! use datafusion_distributed::{DistributedExt, SessionStateBuilderExt, Worker, WorkerResolver};
//! use headstart_datafusion::{HeadstartRegistry, with_headstart};
//! use headstart_distributed::{CacheAffinity, with_cache_affinity, worker};
//!
//! # fn coordinator(resolver: impl WorkerResolver) -> datafusion::error::Result<SessionContext> {
//! let registry = Arc::new(HeadstartRegistry::new());
//! let builder = with_headstart(SessionStateBuilder::new().with_default_features(), &registry)?
//!     .with_distributed_worker_resolver(resolver)
//!     .with_distributed_planner();
//! let affinity = Arc::new(CacheAffinity::new());
//! let context = SessionContext::new_with_state(with_cache_affinity(builder, &affinity)?.build());
//! # Ok(context)
//! # }
//! # fn on_each_worker() -> datafusion::error::Result<Worker> {
//! let registry = HeadstartRegistry::new().with_option("mode", "cached")?;
//! let worker = worker(&Arc::new(registry))?;
//! # Ok(worker)
//! # }
//! ```
//!
//! # What goes where
//! The key of a file is its store, path and version. Of a file larger than [`CacheAffinity::with_block_bytes`], each
//! block has a key. A key belongs to one worker until this worker leaves, or another joins and takes its share. So a
//! file is read where it was read before, whichever query reads it, and however DataFusion divides it into partitions.
//!
//! Which workers live is what the session's
//! [`WorkerResolver`](datafusion_distributed::WorkerResolver) says when a query is planned, and again when it starts.
//! The keys of a worker that it no longer names move to the others, and no other keys move. The engine does not retry:
//! a query that runs on a worker that dies ends with an error. Run it again when the resolver no longer names the
//! worker.
//!
//! # Several coordinators
//! Each has its own [`CacheAffinity`], and the same calls lead to the same result. Coordinators that see workers join
//! and leave at different times may differ in some keys, which are then cached twice. Give all sessions of a process
//! the same [`CacheAffinity`].
//!
//! # What it does not do
//! * Stages without scans run where the engine puts them.
//! * Scans whose partitions are declared to be divided by value (`output_partitioning`) are divided by the engine.
//! * The children of a `UNION` run in all tasks of their stage (`distributed.children_isolator_unions` is off), because
//!   the engine would otherwise give each child only some of the workers.
//! * With fewer tasks than workers (`distributed.max_tasks_per_stage`), a task reads the files of several workers.
//! * Options of stores do not travel: each worker opens its stores with the options of its own registry.
//!
//! # Memory
//! An entry in three tables for each key that was used lately ([`CacheAffinity::with_most_keys`]).

mod affinity;
mod session;
mod worker;

pub use affinity::CacheAffinity;
pub use session::with_cache_affinity;
pub use worker::{worker, worker_with};

pub use headstart_scan_affinity::headstart_affinity;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
