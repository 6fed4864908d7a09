//! The phases of this engine.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use headstart_distributed::CacheAffinity;
use tokio::time::Instant;

use crate::bucket::sorted;
use crate::cluster::{Cluster, Result};
use crate::coordinator::{self, Members};
use crate::data::ALL_ROWS;
use crate::process::WorkerProcess;

struct Engine {
    cluster: Cluster,
    disk: Option<String>,
    members: Members,
    context: SessionContext,
    affinity: Arc<CacheAffinity>,
}

/// Runs all phases with `workers` workers and `files` files.
pub(crate) async fn run(workers: usize, files: usize, disk: Option<&str>) -> Result<()> {
    let started = Instant::now();
    let (cluster, expected_rows) = Cluster::start(files).await?;
    let members = Members::default();
    let (context, affinity) = coordinator::session(&cluster.registry, &members).await?;
    let mut engine = Engine { cluster, disk: disk.map(str::to_owned), members, context, affinity };
    (0..workers).try_for_each(|number| engine.add_worker(number))?;
    engine.cluster.begin()?;
    println!("{workers} workers, {files} files, ready after {:.1} s", started.elapsed().as_secs_f64());

    let cold_bytes = engine.cluster.check_again(&engine.context).await?;
    engine.add_worker(workers)?;
    engine.cluster.check_joined(&engine.context, cold_bytes).await?;

    // The second of them, in the order of their ids.
    let killed = engine.cluster.workers[1].id.clone();
    let held = engine.cluster.held_by(&killed, |key| engine.affinity.worker(key));
    engine.kill_in_query(&killed, &expected_rows).await?;
    engine.cluster.check_killed(&engine.context, &held).await?;
    println!("all promises hold; {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

impl Engine {
    fn add_worker(&mut self, number: usize) -> Result<()> {
        let endpoint = self.cluster.server.url();
        let worker = WorkerProcess::start(&format!("worker-{number}"), endpoint, self.disk.as_deref(), &[])?;
        self.members.add(&worker.id, &worker.url);
        self.cluster.workers.push(worker);
        Ok(())
    }

    /// Sends a query for all rows, kills a worker when the first rows have arrived, and sends the query again when the
    /// worker is known to be dead: the engine does not do so.
    async fn kill_in_query(&mut self, id: &str, expected: &[String]) -> Result<()> {
        let at = self.cluster.workers.iter().position(|worker| worker.id == id).ok_or("no such worker")?;
        let mut stream = self.context.sql(ALL_ROWS).await?.execute_stream().await?;
        let mut batches: Vec<RecordBatch> = vec![stream.next().await.ok_or("no rows")??];
        self.cluster.workers.remove(at).kill();
        let mut failure = None;
        while failure.is_none()
            && let Some(batch) = stream.next().await
        {
            match batch {
                Ok(batch) => batches.push(batch),
                Err(error) => failure = Some(error),
            }
        }
        let arrived: usize = batches.iter().map(RecordBatch::num_rows).sum();
        println!("\n{id} was killed in the middle of a query, which had sent {arrived} rows");
        let Some(failure) = failure else {
            return Err("the query ended before the worker was killed".into());
        };
        println!("    it failed: {}", failure.to_string().lines().next().unwrap_or_default());
        assert_eq!(self.members.remove_dead(), [id], "the others live");
        let batches = self.context.sql(ALL_ROWS).await?.collect().await?;
        assert!(sorted(&batches)? == expected, "the rows of the second try");
        println!("    it succeeded when it was sent again");
        Ok(())
    }
}
