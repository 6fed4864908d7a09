//! The scheduler, which runs in the process of the program, and its client.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::{SessionConfigExt, SessionStateExt};
use ballista_scheduler::cluster::ClusterState;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use headstart_ballista::{ScanAffinity, scheduler};
use headstart_datafusion::HeadstartRegistry;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::bucket::create_tables;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often an executor says that it lives.
pub(crate) const HEARTBEAT_SECONDS: u64 = 1;

/// An executor that has said nothing for so long is dead. Long enough for a busy machine.
const TIMEOUT_SECONDS: u64 = 20;

/// Partitions of a scan: enough for every executor to have some.
const PARTITIONS: usize = 16;

/// A running scheduler.
pub(crate) struct Scheduler {
    pub(crate) port: u16,
    pub(crate) affinity: Arc<ScanAffinity>,
    state: Arc<dyn ClusterState>,
}

impl Scheduler {
    /// Starts it; it plans with the store that `registry` opens.
    pub(crate) async fn start(registry: &Arc<HeadstartRegistry>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let config = SchedulerConfig {
            external_host: "127.0.0.1".into(),
            bind_port: port,
            executor_timeout_seconds: TIMEOUT_SECONDS,
            expire_dead_executor_interval_seconds: 1,
            ..SchedulerConfig::default()
        };
        let affinity = Arc::new(ScanAffinity::new());
        let (cluster, config) = scheduler(config, registry, &affinity).await?;
        let state = cluster.cluster_state();
        let server = create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, config).await?;
        tokio::spawn(start_grpc_service_with_listener(listener, server));
        Ok(Self { port, affinity, state })
    }

    /// Waits until the executor has registered itself, or is no longer registered.
    pub(crate) async fn wait_for(&self, id: &str, registered: bool) -> Result<()> {
        let started = Instant::now();
        while self.state.get_executor_heartbeat(id).is_some() != registered {
            if started.elapsed() > Duration::from_secs(60) {
                return Err(format!("{id}: waited for a minute for registered={registered}").into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A session that runs its queries on the executors.
    pub(crate) async fn session(&self, registry: &Arc<HeadstartRegistry>) -> Result<SessionContext> {
        let runtime = RuntimeEnvBuilder::new().with_object_store_registry(Arc::clone(registry) as _).build_arc()?;
        let config = SessionConfig::new_with_ballista().with_target_partitions(PARTITIONS);
        let builder = SessionStateBuilder::new().with_default_features().with_config(config).with_runtime_env(runtime);
        let state = builder.build().upgrade_for_ballista(format!("http://127.0.0.1:{}", self.port))?;
        let context = SessionContext::new_with_state(state);
        create_tables(&context).await?;
        Ok(context)
    }
}
