//! The phases of this engine.

use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::bucket::sorted;
use crate::cluster::{Cluster, Result};
use crate::process::WorkerProcess;
use crate::scheduler::Scheduler;

/// A query with several stages whose rows are those of [`ALL_ROWS`](crate::data::ALL_ROWS).
const SHUFFLED_ROWS: &str = "SELECT id, max(fare) AS fare, max(note) AS note FROM trips GROUP BY id";

struct Engine {
    cluster: Cluster,
    scheduler: Scheduler,
    context: SessionContext,
    disk: Option<String>,
    /// Where executors leave what they send to each other.
    folder: TempDir,
}

/// Runs all phases with `workers` executors and `files` files.
pub(crate) async fn run(workers: usize, files: usize, disk: Option<&str>) -> Result<()> {
    let started = Instant::now();
    let (cluster, expected_rows) = Cluster::start(files).await?;
    let scheduler = Scheduler::start(&cluster.registry).await?;
    let context = scheduler.session(&cluster.registry).await?;
    let mut engine = Engine { cluster, scheduler, context, disk: disk.map(str::to_owned), folder: TempDir::new()? };
    for number in 0..workers {
        engine.add_executor(number).await?;
    }
    engine.cluster.begin()?;
    println!("{workers} executors, {files} files, ready after {:.1} s", started.elapsed().as_secs_f64());

    let cold_bytes = engine.cluster.check_again(&engine.context).await?;
    engine.add_executor(workers).await?;
    engine.cluster.check_joined(&engine.context, cold_bytes).await?;

    // The second of them, in the order of their ids.
    let killed = engine.cluster.workers[1].id.clone();
    let held = engine.cluster.held_by(&killed, |key| engine.scheduler.affinity.worker(key));
    engine.kill_in_query(&killed, &expected_rows).await?;
    engine.cluster.check_killed(&engine.context, &held).await?;
    println!("all promises hold; {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

impl Engine {
    async fn add_executor(&mut self, number: usize) -> Result<()> {
        let id = format!("worker-{number}");
        let folder = self.folder.path().join(&id);
        std::fs::create_dir(&folder)?;
        let more = [
            ("id", id.clone()),
            ("scheduler", self.scheduler.port.to_string()),
            ("folder", folder.display().to_string()),
        ];
        let executor = WorkerProcess::start(&id, self.cluster.server.url(), self.disk.as_deref(), &more)?;
        self.scheduler.wait_for(&id, true).await?;
        println!("{id} at {}", executor.url);
        self.cluster.workers.push(executor);
        Ok(())
    }

    /// Sends a query, and kills an executor when it has begun to read for the query. Ballista runs its tasks again.
    async fn kill_in_query(&mut self, id: &str, expected: &[String]) -> Result<()> {
        let at = self.cluster.workers.iter().position(|worker| worker.id == id).ok_or("no such executor")?;
        let mut executor = self.cluster.workers.remove(at);
        let (context, started) = (self.context.clone(), Instant::now());
        let query = tokio::spawn(async move { context.sql(SHUFFLED_ROWS).await?.collect().await });
        while executor.take_counts()?.read_bytes == 0 && !query.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(!query.is_finished(), "the query ended before the executor was killed");
        executor.kill();
        println!("\n{id} was killed {:.1} s after a query was sent", started.elapsed().as_secs_f64());
        let batches: Vec<RecordBatch> = query.await??;
        println!("    it succeeded {:.1} s after it was sent", started.elapsed().as_secs_f64());
        assert!(sorted(&batches)? == expected, "the rows of the query");
        self.scheduler.wait_for(id, false).await
    }
}
