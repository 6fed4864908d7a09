//! Scans of files: what they read, and their division among tasks.

use std::sync::Arc;

use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use headstart_affinity::FileKey;

use crate::policy::blocks::{FileBlock, cut};
use crate::policy::holdings::Holdings;
use crate::policy::routes::{balance, task_of};

/// The scan of files that `plan` is, if the affinity decides about it.
#[must_use]
pub fn scan_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    let config = plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()?;
    // Of partitions that are divided by value, the engine knows what may be moved.
    config.output_partitioning.is_none().then_some(config)
}

/// What one worker reads of a file.
#[derive(Debug)]
pub struct ScanPart {
    /// The number of the worker that holds it; `None` without workers.
    pub worker: Option<usize>,
    /// What is read, in bytes.
    pub bytes: u64,
    /// The partition that it was planned for.
    pub partition: usize,
    file: PartitionedFile,
}

/// What a scan reads, in the order of its partitions. Counts as a use of the files: those that nobody holds are placed.
#[must_use]
pub fn parts(config: &FileScanConfig, block_bytes: u64, holdings: &mut Holdings) -> Vec<ScanPart> {
    let store = config.object_store_url.as_str().trim_end_matches('/');
    // Only row groups belong to the range in which they begin.
    let block_bytes = if config.file_source.is::<ParquetSource>() { block_bytes } else { 0 };
    let mut parts = Vec::new();
    for (partition, files) in config.file_groups.iter().enumerate() {
        for file in files.files() {
            let meta = &file.object_meta;
            let range = file.range.as_ref().map(|range| range.start.cast_unsigned()..range.end.cast_unsigned());
            let range = range.unwrap_or(0..meta.size);
            let version = meta.version.as_deref().or(meta.e_tag.as_deref()).unwrap_or_default();
            for block in cut(meta.size, range.clone(), block_bytes) {
                let key = FileKey { store, path: meta.location.as_ref(), version, start: block.start }.hash();
                let worker = holdings.use_key(key, block.bytes);
                let bytes = block.range.end.saturating_sub(block.range.start);
                let file = if block.range == range { file.clone() } else { part_of(file, &block) };
                parts.push(ScanPart { worker, bytes, partition, file });
            }
        }
    }
    parts
}

fn part_of(file: &PartitionedFile, block: &FileBlock) -> PartitionedFile {
    let (start, end) = (block.range.start.cast_signed(), block.range.end.cast_signed());
    PartitionedFile { range: Some(FileRange { start, end }), ..file.clone() }
}

/// The scan of each task: the parts that its workers hold.
pub fn divide(config: &FileScanConfig, block_bytes: u64, tasks: usize, holdings: &mut Holdings) -> Vec<FileScanConfig> {
    let mut of_task: Vec<Vec<ScanPart>> = (0..tasks).map(|_| Vec::new()).collect();
    for part in parts(config, block_bytes, holdings) {
        of_task[task_of(part.worker.unwrap_or_default(), tasks)].push(part);
    }
    let scan = |parts: Vec<ScanPart>| {
        let partitions = config.file_groups.len().max(1);
        let chosen: Vec<usize> = if keeps_order(config) {
            parts.iter().map(|part| part.partition).collect()
        } else {
            balance(parts.iter().map(|part| part.bytes), partitions)
        };
        with_parts(config, parts, &chosen)
    };
    of_task.into_iter().map(scan).collect()
}

/// Whether the order of rows matters. Each partition then keeps its own files in their order.
#[must_use]
pub fn keeps_order(config: &FileScanConfig) -> bool {
    config.preserve_order || !config.output_ordering.is_empty()
}

/// `config` with these parts, each in the partition that is `chosen` for it, and with as many partitions as before.
#[must_use]
pub fn with_parts(config: &FileScanConfig, parts: Vec<ScanPart>, chosen: &[usize]) -> FileScanConfig {
    let mut groups: Vec<Vec<PartitionedFile>> = vec![Vec::new(); config.file_groups.len().max(1)];
    parts.into_iter().zip(chosen).for_each(|(part, partition)| groups[*partition].push(part.file));
    let mut config = config.clone();
    config.file_groups = groups.into_iter().map(FileGroup::new).collect();
    config
}
