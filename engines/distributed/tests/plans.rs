//! What tasks read in plans that the engine makes, without running them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_distributed::{DistributedExt, DistributedLeafExec, SessionStateBuilderExt, WorkerResolver};
use headstart_datafusion::{HeadstartRegistry, with_headstart};
use headstart_distributed::{CacheAffinity, with_cache_affinity};
use url::Url;

const FILES: usize = 24;

/// The workers that live; nobody listens at their URLs.
#[derive(Clone)]
struct Workers(Arc<Mutex<Vec<usize>>>);

impl WorkerResolver for Workers {
    fn get_urls(&self) -> Result<Vec<Url>> {
        let url = |number: &usize| format!("http://worker-{number}:8080").parse().unwrap();
        Ok(self.0.lock().unwrap().iter().map(url).collect())
    }
}

/// A folder with the files of a table.
fn files(folder: &Path) {
    for file in 0..FILES as i64 {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(file * 100..(file + 1) * 100));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let target = std::fs::File::create(folder.join(format!("{file:02}.parquet"))).unwrap();
        let mut writer = ArrowWriter::try_new(target, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
}

async fn session(folder: &Path, workers: &Workers, affinity: CacheAffinity) -> SessionContext {
    let registry = Arc::new(HeadstartRegistry::new().with_environment([]));
    let config = SessionConfig::new().with_target_partitions(3);
    let builder = SessionStateBuilder::new().with_default_features().with_config(config);
    let builder = with_headstart(builder, &registry)
        .unwrap()
        .with_distributed_worker_resolver(workers.clone())
        .with_distributed_planner();
    let context = SessionContext::new_with_state(with_cache_affinity(builder, &Arc::new(affinity)).unwrap().build());
    let sql = format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'file://{}/'", folder.display());
    context.sql(&sql).await.unwrap().collect().await.unwrap();
    context
}

/// The ranges that each task of the query's scan reads, by file.
async fn tasks(context: &SessionContext, sql: &str) -> Vec<BTreeMap<String, Vec<(i64, i64)>>> {
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let mut tasks = Vec::new();
    plan.apply(|node| {
        for variant in node.downcast_ref::<DistributedLeafExec>().into_iter().flat_map(DistributedLeafExec::variants) {
            let scan = variant.children()[0].downcast_ref::<DataSourceExec>().unwrap();
            let config = scan.data_source().downcast_ref::<FileScanConfig>().unwrap();
            assert_eq!(config.file_groups.len(), 3, "all tasks have as many partitions");
            let mut read: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
            for file in config.file_groups.iter().flat_map(|group| group.files()) {
                let size = i64::try_from(file.object_meta.size).unwrap();
                let range = file.range.as_ref().map_or((0, size), |range| (range.start, range.end));
                let name = file.object_meta.location.filename().unwrap_or_default();
                read.entry(name.to_owned()).or_default().push(range);
            }
            tasks.push(read);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    tasks
}

/// The task of each file.
fn by_file(tasks: &[BTreeMap<String, Vec<(i64, i64)>>]) -> BTreeMap<String, usize> {
    let files =
        |(task, read): (usize, &BTreeMap<String, _>)| read.keys().map(|file| (file.clone(), task)).collect::<Vec<_>>();
    let found: Vec<_> = tasks.iter().enumerate().flat_map(files).collect();
    assert_eq!(found.len(), FILES, "every file is read once: {found:?}");
    found.into_iter().collect()
}

#[tokio::test]
async fn files_keep_their_workers() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let workers = Workers(Arc::new(Mutex::new(vec![0, 1, 2, 3])));
    let context = session(folder.path(), &workers, CacheAffinity::new()).await;
    let before = by_file(&tasks(&context, "SELECT sum(n) FROM t").await);
    let most = (0..4).map(|task| before.values().filter(|other| **other == task).count()).max();
    assert!(most <= Some(7), "1.15 times the mean, and one file: {before:?}");

    // Whatever reads the files, and in whichever order the resolver names the workers.
    workers.0.lock().unwrap().reverse();
    let filtered = tasks(&context, "SELECT n % 7, count(*) FROM t WHERE n > 5 GROUP BY n % 7").await;
    assert_eq!(by_file(&filtered), before);
    let union = tasks(&context, "SELECT n FROM t UNION ALL SELECT n + 1 FROM t").await;
    assert_eq!(union.len(), 8, "each of the two scans has all workers");
    assert_eq!((by_file(&union[..4]), by_file(&union[4..])), (before.clone(), before.clone()));

    // Worker 1 leaves: workers 2 and 3 have tasks 1 and 2 now.
    *workers.0.lock().unwrap() = vec![0, 2, 3];
    let after = by_file(&tasks(&context, "SELECT sum(n) FROM t").await);
    for (file, task) in &before {
        if *task != 1 {
            assert_eq!(after[file], task.saturating_sub(1), "{file}");
        }
    }
}

#[tokio::test]
async fn large_files_are_divided_into_blocks() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let workers = Workers(Arc::new(Mutex::new(vec![0, 1, 2])));
    let context = session(folder.path(), &workers, CacheAffinity::new().with_block_bytes(300)).await;
    let tasks = tasks(&context, "SELECT sum(n) FROM t").await;
    let mut ranges: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
    for (file, read) in tasks.iter().flatten() {
        ranges.entry(file).or_default().extend(read);
    }
    assert_eq!(ranges.len(), FILES);
    for (file, mut ranges) in ranges {
        ranges.sort_unstable();
        let size = std::fs::metadata(folder.path().join(file)).unwrap().len();
        assert!(ranges.len() > 1 && ranges.iter().all(|(start, _)| start % 300 == 0), "{file}: {ranges:?}");
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "{file}: {ranges:?}");
        assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, i64::try_from(size).unwrap()));
    }
}

#[tokio::test]
async fn without_workers_the_coordinator_reads() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let workers = Workers(Arc::new(Mutex::new(Vec::new())));
    let context = session(folder.path(), &workers, CacheAffinity::new()).await;
    assert!(tasks(&context, "SELECT sum(n) FROM t").await.is_empty());
    let found = context.sql("SELECT sum(n) FROM t").await.unwrap().collect().await.unwrap();
    let sum = found[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0);
    assert_eq!(sum, (0..FILES as i64 * 100).sum::<i64>());
}
