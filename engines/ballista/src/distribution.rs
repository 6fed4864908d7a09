//! `AffinityPolicy`: binds the partitions of scans to the executors that hold their files.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::config::BallistaConfig;
use ballista_core::execution_plans::{RangeShuffleReaderExec, ShuffleReaderExec};
use ballista_core::serde::protobuf::executor_status::Status as ExecutorStatus;
use ballista_core::serde::protobuf::{AvailableVcores, job_status};
use ballista_core::serde::scheduler::TaskKey;
use ballista_scheduler::cluster::{BoundTask, ClusterState, DistributionPolicy};
use ballista_scheduler::state::execution_graph::{TaskDescription, create_task_info};
use ballista_scheduler::state::execution_stage::RunningStage;
use ballista_scheduler::state::task_manager::JobInfoCache;
use datafusion::error::Result;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use headstart_scan_affinity::ScanAffinity;

use crate::policy::{Slice, bind, bind_all};
use crate::stage::{divided, holder, holders, versioned};

/// Binds a partition that reads files to the executor that holds them, and waits for this executor while it is busy.
/// Other partitions go to whichever executor has most free virtual cores.
pub(crate) struct AffinityPolicy {
    affinity: Arc<ScanAffinity>,
    /// Knows busy executors, too, which are not among those that Ballista offers.
    cluster: OnceLock<Arc<dyn ClusterState>>,
}

impl AffinityPolicy {
    pub(crate) fn new(affinity: Arc<ScanAffinity>) -> Self {
        Self { affinity, cluster: OnceLock::new() }
    }

    /// Tells the policy which cluster it works for. Only the first call has an effect.
    pub(crate) fn set_cluster(&self, cluster: Arc<dyn ClusterState>) {
        let _ = self.cluster.set(cluster);
    }

    /// The ids of the executors that live, sorted.
    fn live(&self, offered: &[&mut AvailableVcores]) -> Vec<String> {
        let mut ids: BTreeSet<String> = offered.iter().map(|offer| offer.executor_id.clone()).collect();
        let heartbeats = self.cluster.get().map(|cluster| cluster.executor_heartbeats()).unwrap_or_default();
        for (id, heartbeat) in heartbeats {
            match heartbeat.status.and_then(|status| status.status) {
                Some(ExecutorStatus::Dead(_) | ExecutorStatus::Terminating(_)) => {}
                _ => {
                    ids.insert(id);
                }
            }
        }
        ids.into_iter().collect()
    }
}

impl fmt::Debug for AffinityPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AffinityPolicy").field("affinity", &self.affinity).finish_non_exhaustive()
    }
}

#[async_trait]
impl DistributionPolicy for AffinityPolicy {
    async fn bind_tasks(
        &self,
        mut budgets: Vec<&mut AvailableVcores>,
        running_jobs: Arc<HashMap<JobId, JobInfoCache>>,
    ) -> Result<Vec<BoundTask>> {
        let ids = self.live(&budgets);
        let of_executor = |id: &String| budgets.iter().find(|budget| budget.executor_id == *id);
        let mut free: Vec<u32> = ids.iter().map(|id| of_executor(id).map_or(0, |budget| budget.vcores)).collect();
        let mut bound = Vec::new();
        if free.iter().all(|cores| *cores == 0) {
            return Ok(bound);
        }
        // A stage that cannot be bound must not take what others were given: they count as running.
        let mut failure = None;
        for (job_id, job) in running_jobs.iter() {
            if !matches!(job.status, Some(job_status::Status::Running(_))) {
                continue;
            }
            let mut graph = job.execution_graph.write().await;
            let session_id = graph.session_id().to_owned();
            let mut seen = Vec::new();
            while let Some(stage) = graph.fetch_running_stage(&seen) {
                seen.push(stage.stage_id);
                match bind_stage(&self.affinity, stage, &ids, &mut free) {
                    Ok(tasks) => bound.extend(tasks.into_iter().map(|(executor, task)| {
                        (ids[executor].clone(), describe(stage, &ids[executor], task, job_id, &session_id))
                    })),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
        }
        for budget in &mut budgets {
            let executor = ids.iter().position(|id| *id == budget.executor_id);
            budget.vcores = executor.map_or(budget.vcores, |executor| free[executor]);
        }
        match failure {
            Some(error) if bound.is_empty() => Err(error),
            _ => Ok(bound),
        }
    }

    fn name(&self) -> &'static str {
        "headstart"
    }
}

/// What a task runs.
struct Task {
    partitions: Vec<usize>,
    vcores: u32,
    plan: Arc<dyn ExecutionPlan>,
}

/// Takes what can run now from the partitions of a stage that wait.
///
/// # Errors
/// The stage's plan cannot be changed. Nothing was taken then.
fn bind_stage(
    affinity: &ScanAffinity,
    stage: &mut RunningStage,
    ids: &[String],
    free: &mut [u32],
) -> Result<Vec<(usize, Task)>> {
    let mut holdings = affinity.set_workers(ids);
    let total = stage.pending.total_partitions();
    // Only before the first task: later ones must have the same partitions.
    if stage.task_infos.is_empty() && stage.pending.remaining() == total {
        stage.plan = divided(&stage.plan, affinity.block_bytes(), &mut holdings)?;
    }
    let collapses = collapses(&stage.plan);
    let holders = if collapses {
        vec![holder(&stage.plan, affinity.block_bytes(), &mut holdings)?; total]
    } else {
        holders(&stage.plan, total, affinity.block_bytes(), &mut holdings)
    };
    let plan = versioned(&stage.plan)?;
    let waiting = stage.pending.next_slice(usize::MAX);
    let (slices, left) = if collapses {
        bind_all(waiting, holders.first().copied().flatten(), free)
    } else {
        bind(waiting, |partition| holders.get(partition).copied().flatten(), free, most_partitions(stage))
    };
    stage.pending.reschedule(left);
    let task = |slice: Slice| {
        let vcores = if collapses { 1 } else { u32::try_from(slice.partitions.len()).unwrap_or(u32::MAX) };
        (slice.executor, Task { partitions: slice.partitions, vcores, plan: Arc::clone(&plan) })
    };
    Ok(slices.into_iter().map(task).collect())
}

/// How many partitions a task of the stage has at most (`ballista.scheduler.max_partitions_per_task`).
fn most_partitions(stage: &RunningStage) -> usize {
    let config = stage.session_config.options().extensions.get::<BallistaConfig>();
    config.map(BallistaConfig::max_partitions_per_task).filter(|most| *most > 0).unwrap_or(usize::MAX)
}

/// Notes a task in its stage, and describes it: what Ballista's `bind_one` does, which is private.
fn describe(stage: &mut RunningStage, executor: &str, task: Task, job_id: &JobId, session_id: &str) -> TaskDescription {
    let task_id = stage.task_infos.len();
    let attempts = task.partitions.iter().map(|partition| stage.task_failure_numbers[*partition]);
    let task_attempt = attempts.max().unwrap_or(0);
    let mut info = create_task_info(executor.to_owned(), task_id);
    info.global_input_partition_ids.clone_from(&task.partitions);
    info.vcores_consumed = task.vcores;
    stage.task_infos.push(info);
    TaskDescription {
        session_id: session_id.to_owned(),
        key: TaskKey { job_id: job_id.clone(), stage_id: stage.stage_id, task_id },
        stage_attempt_num: stage.stage_attempt_num,
        task_attempt,
        global_input_partition_ids: task.partitions,
        vcores_consumed: task.vcores,
        plan: task.plan,
        session_config: Arc::clone(&stage.session_config),
    }
}

/// Whether a stage brings all its partitions together, so that one task must run them all: what Ballista's
/// `stage_has_input_collapse` says, which is private.
fn collapses(stage: &Arc<dyn ExecutionPlan>) -> bool {
    let children = stage.children();
    let [mut node] = children[..] else { return false };
    loop {
        if node.is::<ShuffleReaderExec>() || node.is::<RangeShuffleReaderExec>() {
            return false;
        }
        if node.output_partitioning().partition_count() == 1 {
            return true;
        }
        match node.children()[..] {
            [child] => node = child,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use ballista_core::execution_plans::ShuffleWriterExec;
    use ballista_core::extension::SessionConfigExt;
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
    use datafusion::prelude::SessionConfig;
    use headstart_scan_affinity::{VersionedScan, scan_of, unversioned};

    use super::*;
    use crate::stage::tests::{FILES, PARTITIONS, path_of, scan};

    fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
        numbers.into_iter().map(|number| format!("executor-{number}")).collect()
    }

    fn stage(plan: Arc<dyn ExecutionPlan>, partitions: usize) -> RunningStage {
        let plan = ShuffleWriterExec::try_new("job".into(), 1, plan, String::new()).unwrap();
        let config = Arc::new(SessionConfig::new_with_ballista());
        RunningStage::new(1, 0, Arc::new(plan), partitions, Vec::new(), HashMap::new(), config)
    }

    /// Binds what can be bound, and returns the files that each executor reads.
    fn bound(
        affinity: &ScanAffinity,
        stage: &mut RunningStage,
        ids: &[String],
        free: &mut [u32],
    ) -> Vec<(String, Vec<String>)> {
        let tasks = bind_stage(affinity, stage, ids, free).unwrap();
        let job = "job".into();
        let mut read = Vec::new();
        for (executor, task) in tasks {
            let task = describe(stage, &ids[executor], task, &job, "session");
            assert_eq!(task.key.task_id + 1, stage.task_infos.len());
            let mut files = Vec::new();
            let visit = |node: &Arc<dyn ExecutionPlan>| {
                let versioned = node.is::<VersionedScan>();
                if let Some(config) = scan_of(unversioned(node)).filter(|_| versioned) {
                    let groups =
                        task.global_input_partition_ids.iter().map(|partition| &config.file_groups[*partition]);
                    files.extend(groups.flat_map(|group| group.iter()).map(|file| file.path().to_string()));
                }
                Ok(TreeNodeRecursion::Continue)
            };
            task.plan.apply(visit).unwrap();
            read.push((ids[executor].clone(), files));
        }
        read
    }

    #[test]
    fn partitions_are_bound_where_their_files_are() {
        let (affinity, ids) = (ScanAffinity::new(), ids(0..4));
        let mut first = stage(scan(0), PARTITIONS);
        let before = bound(&affinity, &mut first, &ids, &mut [9; 4]);
        assert!(first.pending.is_empty());
        let mut files: Vec<_> = before.iter().flat_map(|(_, files)| files.clone()).collect();
        files.sort();
        assert_eq!(files, (0..FILES).map(|file| path_of(0, file)).collect::<Vec<_>>(), "every file is read once");
        assert_eq!(before.len(), 4, "one task for each executor");
        assert!(before.iter().all(|(_, files)| files.len() <= 7), "1.15 times the mean, and one file: {before:?}");

        // Another query; one executor is busy, so that its partitions wait.
        let mut second = stage(scan(0), PARTITIONS);
        let mut free = [9, 9, 0, 9];
        let others = bound(&affinity, &mut second, &ids, &mut free);
        assert_eq!(free, [7, 7, 0, 7]);
        assert_eq!(others, [&before[..2], &before[3..]].concat());
        assert_eq!(second.pending.remaining(), 2);
        assert_eq!(bound(&affinity, &mut second, &ids, &mut [1; 4])[0].0, ids[2], "one of two partitions");
        assert_eq!(bound(&affinity, &mut second, &ids, &mut [0, 0, 1, 0])[0].0, ids[2]);
        assert!(second.pending.is_empty());
    }

    #[test]
    fn partitions_of_an_executor_that_died_go_elsewhere() {
        let (affinity, all) = (ScanAffinity::new(), ids(0..4));
        let mut stage = stage(scan(0), PARTITIONS);
        let before = bound(&affinity, &mut stage, &all, &mut [9; 4]);
        let lost = stage.task_infos[2].global_input_partition_ids.clone();
        stage.pending.reschedule(lost);
        let rest = ids([0, 1, 3]);
        let after = bound(&affinity, &mut stage, &rest, &mut [9; 3]);
        let mut files: Vec<_> = after.iter().flat_map(|(_, files)| files.clone()).collect();
        let mut expected = before[2].1.clone();
        files.sort();
        expected.sort();
        assert_eq!(files, expected, "the files of the lost task, and no others");
        assert!(after.iter().all(|(id, _)| rest.contains(id)));
    }

    #[test]
    fn a_stage_that_collapses_is_one_task() {
        let (affinity, ids) = (ScanAffinity::new(), ids(0..4));
        let mut collapsing = stage(Arc::new(CoalescePartitionsExec::new(scan(0))), PARTITIONS);
        let mut free = [2; 4];
        let tasks = bind_stage(&affinity, &mut collapsing, &ids, &mut free).unwrap();
        assert_eq!(tasks.len(), 1);
        assert_eq!((tasks[0].1.partitions.len(), tasks[0].1.vcores, free.iter().sum::<u32>()), (PARTITIONS, 1, 7));
        assert!(collapsing.pending.is_empty());
    }
}
