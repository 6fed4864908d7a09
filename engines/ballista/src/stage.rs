//! Stages of a job: their scans, divided by who holds which file, and the executor of each partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use headstart_scan_affinity::{Holdings, VersionedScan, keeps_order, most_held, parts, scan_of, spread, with_parts};

/// The plan with scans whose partitions each contain the files of one worker, as far as there are enough partitions.
///
/// The number of partitions stays, because the stages that read this one count on it.
pub(crate) fn divided(
    plan: &Arc<dyn ExecutionPlan>,
    block_bytes: u64,
    holdings: &mut Holdings,
) -> Result<Arc<dyn ExecutionPlan>> {
    rewrite_scans(plan, |_, config| {
        if keeps_order(config) {
            return None;
        }
        let parts = parts(config, block_bytes, holdings);
        let held: Vec<_> = parts.iter().map(|part| (part.worker.unwrap_or_default(), part.bytes)).collect();
        let chosen = spread(&held, holdings.workers().len(), config.file_groups.len());
        Some(DataSourceExec::from_data_source(with_parts(config, parts, &chosen)))
    })
}

/// The plan as it is sent: with the versions of the files.
pub(crate) fn versioned(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    rewrite_scans(plan, |scan, _| Some(VersionedScan::over(Arc::clone(scan))))
}

fn rewrite_scans(
    plan: &Arc<dyn ExecutionPlan>,
    mut rewritten: impl FnMut(&Arc<dyn ExecutionPlan>, &FileScanConfig) -> Option<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let rewritten = |node: Arc<dyn ExecutionPlan>| {
        let scan = scan_of(&node).and_then(|config| rewritten(&node, config));
        Ok(scan.map_or_else(|| Transformed::no(node), Transformed::yes))
    };
    Arc::clone(plan).transform_up(rewritten).data()
}

/// The worker that holds most of each partition of a stage, by its number; `None` for a partition that reads no files.
pub(crate) fn holders(
    stage: &Arc<dyn ExecutionPlan>,
    partitions: usize,
    block_bytes: u64,
    holdings: &mut Holdings,
) -> Vec<Option<usize>> {
    let mut held = vec![BTreeMap::new(); partitions];
    // The node that writes the stage's output; its own partitions are those of the output.
    for input in stage.children() {
        visit_scans(input, 0, &mut |first, config| {
            for part in parts(config, block_bytes, holdings) {
                if let (Some(held), Some(worker)) = (held.get_mut(first + part.partition), part.worker) {
                    *held.entry(worker).or_insert(0) += part.bytes;
                }
            }
        });
    }
    held.iter().map(most_held).collect()
}

/// The worker that holds most of what a stage reads, if it reads files.
pub(crate) fn holder(
    stage: &Arc<dyn ExecutionPlan>,
    block_bytes: u64,
    holdings: &mut Holdings,
) -> Result<Option<usize>> {
    let mut held = BTreeMap::new();
    stage.apply(|node| {
        for part in scan_of(node).into_iter().flat_map(|config| parts(config, block_bytes, holdings)) {
            if let Some(worker) = part.worker {
                *held.entry(worker).or_insert(0) += part.bytes;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(most_held(&held))
}

/// Visits the scans whose partitions are those of `plan`, from the partition `first` of the stage on. A scan that each
/// task reads as a whole (one side of a join, for example) is not visited.
fn visit_scans(plan: &Arc<dyn ExecutionPlan>, first: usize, visit: &mut impl FnMut(usize, &FileScanConfig)) {
    if let Some(config) = scan_of(plan) {
        return visit(first, config);
    }
    let partitions = partitions_of(plan);
    let mut first = first;
    for child in plan.children() {
        if plan.is::<UnionExec>() {
            visit_scans(child, first, visit);
            first += partitions_of(child);
        } else if partitions_of(child) == partitions {
            visit_scans(child, first, visit);
        }
    }
}

fn partitions_of(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.output_partitioning().partition_count()
}

#[cfg(test)]
pub(crate) mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::listing::PartitionedFile;
    use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
    use datafusion::execution::object_store::ObjectStoreUrl;
    use datafusion::physical_plan::coop::CooperativeExec;
    use headstart_scan_affinity::ScanAffinity;

    use super::*;

    pub(crate) const FILES: usize = 24;
    pub(crate) const PARTITIONS: usize = 8;

    pub(crate) fn path_of(table: usize, file: usize) -> String {
        format!("{table}/{file:02}.parquet")
    }

    /// A scan as DataFusion plans it: the files of a table in their order, as many in each partition.
    pub(crate) fn scan(table: usize) -> Arc<dyn ExecutionPlan> {
        let files: Vec<_> = (0..FILES).map(|file| PartitionedFile::new(path_of(table, file), 1000)).collect();
        let groups = files.chunks(FILES / PARTITIONS).map(|files| FileGroup::new(files.to_vec())).collect();
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let source = Arc::new(ParquetSource::new(schema));
        let store = ObjectStoreUrl::local_filesystem();
        DataSourceExec::from_data_source(FileScanConfigBuilder::new(store, source).with_file_groups(groups).build())
    }

    #[test]
    fn partitions_of_a_union_are_those_of_its_scans() {
        let affinity = ScanAffinity::new();
        let ids: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        let mut holdings = affinity.set_workers(&ids);
        let union = UnionExec::try_new(vec![scan(0), scan(1)]).unwrap();
        let stage: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(union));
        let stage = divided(&stage, affinity.block_bytes(), &mut holdings).unwrap();
        let holders = holders(&stage, 2 * PARTITIONS, affinity.block_bytes(), &mut holdings);
        let expected = (0..2 * PARTITIONS).map(|partition| Some(partition % PARTITIONS % ids.len()));
        assert_eq!(holders, expected.collect::<Vec<_>>(), "partitions are dealt out in turn");
        assert_eq!(
            holder(&scan(0), affinity.block_bytes(), &mut holdings).unwrap().map(|worker| worker < 3),
            Some(true)
        );
    }

    #[test]
    fn dividing_again_changes_nothing() {
        let affinity = ScanAffinity::new();
        let ids: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        let mut holdings = affinity.set_workers(&ids);
        let mut files = |plan: &Arc<dyn ExecutionPlan>| -> Vec<Vec<String>> {
            let plan = divided(plan, affinity.block_bytes(), &mut holdings).unwrap();
            let groups = &scan_of(&plan).unwrap().file_groups;
            groups.iter().map(|group| group.iter().map(|file| file.path().to_string()).collect()).collect()
        };
        let once = files(&scan(0));
        assert_eq!(once, files(&scan(0)));
        let mut all = once.concat();
        all.sort();
        assert_eq!(all, (0..FILES).map(|file| path_of(0, file)).collect::<Vec<_>>());
        assert_eq!(once.len(), PARTITIONS);
    }
}
