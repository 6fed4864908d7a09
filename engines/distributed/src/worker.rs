//! The workers' side: sessions that open and read stores by Headstart.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion_distributed::{
    DefaultSessionBuilder, DistributedExt, MappedWorkerSessionBuilderExt, Worker, WorkerPlanRewriteEvent,
    WorkerPlanRewriteEventResponse, WorkerSessionBuilder,
};
use headstart_datafusion::{HeadstartRegistry, HeadstartScans};
use headstart_scan_affinity::VersionCodec;

/// A worker that opens stores by `registry`, with its options, and reads Parquet files by Headstart.
///
/// All queries share the registry's stores, and so their caches (`mode=cached`).
///
/// All workers of a session with [`with_cache_affinity`](crate::with_cache_affinity) are made so: a plain
/// `Worker::default()` cannot decode the versions of files that its plans carry, and fails its tasks.
///
/// # Errors
/// Those of [`RuntimeEnvBuilder::build`].
pub fn worker(registry: &Arc<HeadstartRegistry>) -> Result<Worker> {
    worker_with(registry, DefaultSessionBuilder)
}

/// As [`worker`], with sessions that `sessions` builds: functions, codecs and rules of your own.
///
/// Functions that the coordinator has registered are registered here, too, because plans only name them.
///
/// A runtime that is set afterwards ([`Worker::with_runtime_env`]) must have the same registry.
///
/// # Errors
/// Those of [`RuntimeEnvBuilder::build`].
pub fn worker_with(
    registry: &Arc<HeadstartRegistry>,
    sessions: impl WorkerSessionBuilder + Send + Sync + 'static,
) -> Result<Worker> {
    // One for all queries: the engine keeps its connections to other workers by the address of the runtime.
    let runtime = RuntimeEnvBuilder::new().with_object_store_registry(Arc::clone(registry) as _).build_arc()?;
    let scans = Arc::new(registry.scans());
    let sessions = sessions.map(move |builder: SessionStateBuilder| {
        let scans = Arc::clone(&scans);
        let rewrite = move |event: WorkerPlanRewriteEvent<'_>| read_by_headstart(&scans, event);
        Ok(builder
            .with_distributed_user_codec(VersionCodec)
            .with_distributed_worker_plan_rewrite_handler(rewrite)
            .build())
    });
    Ok(Worker::from_session_builder(sessions).with_runtime_env(runtime))
}

/// Readers do not travel with a plan: the scans of a plan that has arrived get theirs here.
fn read_by_headstart(
    scans: &HeadstartScans,
    event: WorkerPlanRewriteEvent<'_>,
) -> Result<WorkerPlanRewriteEventResponse> {
    scans.optimize(event.plan, event.session_config.options()).map(WorkerPlanRewriteEventResponse::new)
}
