//! The configurations of Ballista's two kinds of processes.

use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use ballista_core::utils::default_session_builder;
use ballista_executor::executor_process::ExecutorProcessConfig;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use headstart_datafusion::{HeadstartRegistry, HeadstartScans};
use headstart_scan_affinity::ScanAffinity;

use crate::codec::HeadstartCodec;
use crate::distribution::AffinityPolicy;

/// Makes a scheduler send each scan's files to the executors that hold them, and open the stores that it lists by
/// `registry`. Returns what `start_server` and `create_scheduler` of Ballista take.
///
/// A session builder and a codec of your own are kept; a distribution policy is replaced. All executors are made by
/// [`executor`](crate::executor()), which understands the versions of files in plans.
///
/// # Errors
/// Those of [`BallistaCluster::new_from_config`].
pub async fn scheduler(
    mut config: SchedulerConfig,
    registry: &Arc<HeadstartRegistry>,
    affinity: &Arc<ScanAffinity>,
) -> ballista_core::error::Result<(BallistaCluster, Arc<SchedulerConfig>)> {
    let policy = Arc::new(AffinityPolicy::new(Arc::clone(affinity)));
    config.task_distribution = TaskDistributionPolicy::Custom(Arc::clone(&policy) as _);
    let codec = config.override_physical_codec.take();
    let codec = codec.unwrap_or_else(|| Arc::new(BallistaPhysicalExtensionCodec::default()));
    config.override_physical_codec = Some(Arc::new(HeadstartCodec::new(codec, HeadstartScans::default())));
    let builder = config.override_session_builder.take().unwrap_or_else(|| Arc::new(default_session_builder));
    let registry = Arc::clone(registry);
    config.override_session_builder = Some(Arc::new(move |config: SessionConfig| {
        let state = builder(config)?;
        let runtime = RuntimeEnvBuilder::from_runtime_env(state.runtime_env());
        let runtime = runtime.with_object_store_registry(Arc::clone(&registry) as _).build_arc()?;
        Ok(SessionStateBuilder::new_from_existing(state).with_runtime_env(runtime).build())
    }));
    let cluster = BallistaCluster::new_from_config(&config).await?;
    policy.set_cluster(cluster.cluster_state());
    Ok((cluster, Arc::new(config)))
}

/// Makes an executor open stores by `registry`, with its options, and read Parquet files by Headstart.
///
/// All sessions and queries share the registry's stores, and so their caches (`mode=cached`). A codec of your own is
/// kept; a runtime producer of your own is still called, and its runtimes get the registry.
///
/// # Errors
/// Those of [`RuntimeEnvBuilder::build`].
pub fn executor(
    mut config: ExecutorProcessConfig,
    registry: &Arc<HeadstartRegistry>,
) -> datafusion::error::Result<ExecutorProcessConfig> {
    let codec = config.override_physical_codec.take();
    let codec = codec.unwrap_or_else(|| Arc::new(BallistaPhysicalExtensionCodec::default()));
    config.override_physical_codec = Some(Arc::new(HeadstartCodec::new(codec, registry.scans())));
    let registry = Arc::clone(registry);
    config.override_runtime_producer = Some(match config.override_runtime_producer.take() {
        Some(producer) => Arc::new(move |session: &SessionConfig| {
            let runtime = RuntimeEnvBuilder::from_runtime_env(producer(session)?.as_ref());
            runtime.with_object_store_registry(Arc::clone(&registry) as _).build_arc()
        }),
        None => {
            let runtime = RuntimeEnvBuilder::new().with_object_store_registry(registry);
            let runtime = match &config.work_dir {
                Some(folder) => runtime.with_temp_file_path(folder.clone()).build_arc()?,
                None => runtime.build_arc()?,
            };
            // One for all tasks: plans are decoded with a runtime of their own, whose metadata cache they keep.
            Arc::new(move |_: &SessionConfig| Ok(Arc::clone(&runtime)))
        }
    });
    Ok(config)
}
