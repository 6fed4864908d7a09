//! The coordinator's side: three handlers that the engine asks about each scan.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::config::SessionConfig;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedExt, DistributedLeafExec, RouteTasksEvent,
    RouteTasksEventResponse, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse, WorkerResolver,
    get_distributed_worker_resolver,
};
use headstart_scan_affinity::{VersionCodec, VersionedScan, divide, parts, route, scan_of, unversioned};
use url::Url;

use crate::affinity::CacheAffinity;

/// Makes a session send each scan's files to the workers that hold them.
///
/// The session has got its `WorkerResolver` and the engine's planner before (`with_distributed_worker_resolver`,
/// `with_distributed_planner`), and codecs of your own in the same order as on the workers. All workers are made by
/// [`worker`](crate::worker()) or [`worker_with`](crate::worker_with), which understand the versions of files in plans.
///
/// # Errors
/// [`DataFusionError::Plan`](datafusion::error::DataFusionError::Plan): the session has no resolver and no planner yet.
pub fn with_cache_affinity(builder: SessionStateBuilder, affinity: &Arc<CacheAffinity>) -> Result<SessionStateBuilder> {
    let (counts, scales, routes) = (Arc::clone(affinity), Arc::clone(affinity), Arc::clone(affinity));
    builder
        .with_distributed_user_codec(VersionCodec)
        .with_distributed_desired_task_count_handler(move |event: DesiredTaskCountEvent<'_>| {
            desired_tasks(&counts, event.plan, event.session_config)
        })
        .with_distributed_scale_up_leaf_node_handler(move |event: ScaleUpLeafNodeEvent<'_>| scale_up(&scales, event))
        .with_distributed_route_tasks_handler(move |event: RouteTasksEvent<'_>| {
            route_tasks(&routes, &event).transpose()
        })
        .with_distributed_children_isolator_unions(false)
}

/// The workers that live now.
fn live_workers(config: &SessionConfig) -> Result<Vec<Url>> {
    get_distributed_worker_resolver(config)?.get_urls()
}

/// A task for every worker: with fewer, files would be read where they are not cached.
fn desired_tasks(
    affinity: &CacheAffinity,
    plan: &Arc<dyn ExecutionPlan>,
    config: &SessionConfig,
) -> Option<Result<DesiredTaskCountEventResponse>> {
    scan_of(plan)?;
    let workers = live_workers(config).map(|urls| affinity.set_workers(urls).0.len());
    match workers {
        Ok(0) => None,
        workers => Some(workers.map(DesiredTaskCountEventResponse::desired)),
    }
}

/// Divides a scan among the tasks.
fn scale_up(affinity: &CacheAffinity, event: ScaleUpLeafNodeEvent<'_>) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let config = scan_of(event.plan)?;
    let scale_up = |urls: Vec<Url>| {
        let (_, mut holdings) = affinity.set_workers(urls);
        let scans = divide(config, affinity.block_bytes(), event.task_count, &mut holdings);
        let scans = scans.into_iter().map(|scan| VersionedScan::over(DataSourceExec::from_data_source(scan)));
        let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), scans)?;
        Ok(ScaleUpLeafNodeEventResponse::new(Arc::new(leaf)))
    };
    match live_workers(event.session_config) {
        Ok(urls) if urls.is_empty() => None,
        urls => Some(urls.and_then(scale_up)),
    }
}

/// The workers for the tasks of a stage with scans; `None` for another stage, and without workers.
fn route_tasks(affinity: &CacheAffinity, event: &RouteTasksEvent<'_>) -> Result<Option<RouteTasksEventResponse>> {
    let (urls, mut holdings) = affinity.set_workers(live_workers(event.task_ctx.session_config())?);
    let mut held = vec![BTreeMap::new(); event.task_count];
    let mut has_scans = false;
    // The stages below have been sent already: their plans are no longer below this one.
    event.plan.apply(|node| {
        let leaf = node.downcast_ref::<DistributedLeafExec>().filter(|leaf| leaf.variants().len() == held.len());
        for (task, variant) in leaf.iter().flat_map(|leaf| leaf.variants().iter().enumerate()) {
            let Some(scan) = scan_of(unversioned(variant)) else { continue };
            has_scans = true;
            for part in parts(scan, affinity.block_bytes(), &mut holdings) {
                if let Some(worker) = part.worker {
                    *held[task].entry(worker).or_insert(0) += part.bytes;
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !has_scans || urls.is_empty() {
        return Ok(None);
    }
    let routed = route(&held, urls.len()).into_iter().map(|worker| urls[worker].clone());
    Ok(Some(RouteTasksEventResponse::new(routed.collect())))
}
