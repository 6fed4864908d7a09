//! Sends the scans of Ballista 55 to the executors that have the files in Headstart's caches.
//!
//! ```text
//!  scheduler   scheduler(…)    ScanAffinity: which executor holds which file (headstart-affinity)
//!      │                       first task of a stage: its files are divided among its partitions
//!      │                       each partition: bound to the executor that holds most of its bytes
//!      ▼ plans (gRPC)
//!  executors   executor(…)     HeadstartRegistry: opens stores on first use, with a cache for all queries
//!                              scans of Parquet files: row groups ahead, of the version that was planned
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use ballista_core::error::Result;
//! use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
//! use ballista_scheduler::config::SchedulerConfig;
//! use ballista_scheduler::scheduler_process::start_server;
//! use headstart_ballista::{ScanAffinity, executor, scheduler};
//! use headstart_datafusion::HeadstartRegistry;
//!
//! # async fn in_the_scheduler() -> Result<()> {
//! let registry = Arc::new(HeadstartRegistry::new());
//! let affinity = Arc::new(ScanAffinity::new());
//! let (cluster, config) = scheduler(SchedulerConfig::default(), &registry, &affinity).await?;
//! start_server(cluster, "0.0.0.0:50050".parse().expect("an address"), config).await
//! # }
//! # async fn in_an_executor() -> Result<()> {
//! let registry = Arc::new(HeadstartRegistry::new().with_option("mode", "cached")?);
//! let config = ExecutorProcessConfig { executor_id: "executor-7".into(), ..Default::default() };
//! start_executor_process(Arc::new(executor(config, &registry)?)).await
//! # }
//! ```
//!
//! # What goes where
//! The key of a file is its store, path and version. Of a file larger than [`ScanAffinity::with_block_bytes`], each
//! block has a key. A key belongs to one executor until this executor leaves, or another joins and takes its share.
//! Executors are told apart by `executor_id`. Ballista makes a new one at each start; set one that outlives the
//! process, so that an executor with a cache on disk gets its files again.
//!
//! Ballista gives partitions to executors, and its adaptive planner ignores rules of the session's optimizer. So the
//! files of a scan are divided anew among its partitions when the first task of its stage is bound: each partition has
//! the files of one executor. The number of partitions does not change, because later stages count on it.
//!
//! A partition waits for the executor that holds its files while that one is busy, and goes elsewhere when the
//! scheduler no longer knows it. Ballista then runs the lost tasks again, and the query succeeds.
//!
//! # What it does not do
//! * With fewer partitions (`datafusion.execution.target_partitions`, 16 by default) than executors, a partition has
//!   files of several executors, and is read by the one that holds most bytes of it. The same holds for scans whose
//!   order of rows matters, and for what is left of a stage when executors join or leave while it runs.
//! * A scan that every task of a stage reads as a whole, as the small side of a join may be, is read by each executor
//!   that runs such a task.
//! * Stages without scans run where most virtual cores are free.
//! * Executors that fetch their tasks (`TaskSchedulingPolicy::PullStaged`) are not tested.
//! * Options of stores do not travel: scheduler and executors open stores with the options of their own registries.
//!
//! # Memory
//! An entry in three tables for each key that was used lately ([`ScanAffinity::with_most_keys`]), in the scheduler.

mod codec;
mod distribution;
mod policy;
mod processes;
mod stage;

pub use processes::{executor, scheduler};

pub use headstart_scan_affinity::{ScanAffinity, headstart_affinity};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
