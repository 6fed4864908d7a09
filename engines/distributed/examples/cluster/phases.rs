//! The phases, their promises and figures.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use headstart_datafusion::HeadstartRegistry;
use headstart_distributed::CacheAffinity;
use headstart_distributed::headstart_affinity::FileKey;
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{EPOCH, RequestKind, WriteCondition};
use tokio::time::Instant;

use crate::coordinator::{self, BUCKET, Members, rows, sorted};
use crate::data::{self, ALL_ROWS, QUERIES};
use crate::process::{Counts, WorkerProcess};
use crate::worker::registry;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// No worker reads more than this times the mean.
const STRAGGLER: f64 = 1.5;

/// A worker that joins causes at most its share of the bytes of the cold run, and this part of them. Of a hundred
/// files, the files that rank a worker first are its share with a standard deviation of 4 % of all.
const MORE_THAN_SHARE: f64 = 0.1;

struct Cluster {
    server: SimServerHandle,
    keys: Vec<String>,
    disk: Option<String>,
    members: Members,
    workers: Vec<WorkerProcess>,
    registry: Arc<HeadstartRegistry>,
    context: SessionContext,
    affinity: Arc<CacheAffinity>,
    /// What the coordinator itself had fetched before a phase.
    before: Counts,
    expected: Vec<String>,
}

/// What a phase did.
struct Phase {
    workers: Vec<(String, Counts)>,
    /// Paths that were fetched.
    fetched: BTreeSet<String>,
    gets: u64,
    store_bytes: u64,
}

/// Runs all phases with `workers` workers and `files` files.
pub(crate) async fn run(workers: usize, files: usize, disk: Option<&str>) -> Result<()> {
    let started = Instant::now();
    let (mut cluster, expected_rows) = Cluster::start(workers, files, disk).await?;
    println!("{workers} workers, {files} files, ready after {:.1} s", started.elapsed().as_secs_f64());

    let cold = cluster.phase("cold").await?;
    let fetched_bytes: u64 = cold.workers.iter().map(|(_, counts)| counts.fetched_bytes).sum();
    check_stragglers(&cold);

    let again = cluster.phase("again").await?;
    assert_eq!((again.gets, again.store_bytes), (0, 0), "all bytes are in caches");
    check_stragglers(&again);

    cluster.add_worker(workers)?;
    let joined = cluster.phase("a worker more").await?;
    let share = joined.store_bytes as f64 / fetched_bytes as f64;
    let fair = 1.0 / (workers + 1) as f64;
    println!("    fetched {share:.3} of the bytes of the cold run; a share is {fair:.3}");
    assert!(share <= fair + MORE_THAN_SHARE, "{share:.3} of the bytes were fetched again");
    check_stragglers(&joined);

    // The second of them, in the order of their ids.
    let killed = cluster.workers[1].id.clone();
    let held = cluster.held_by(&killed);
    cluster.kill_in_query(&killed, &expected_rows).await?;
    let after = cluster.phase("after the kill").await?;
    println!("    fetched {} files; the killed worker held {}", after.fetched.len(), held.len());
    assert_eq!(after.fetched, held, "the files of the killed worker are fetched again, and no others");
    check_stragglers(&after);

    let again = cluster.phase("again").await?;
    assert_eq!((again.gets, again.store_bytes), (0, 0), "all bytes are in caches");
    println!("all promises hold; {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn check_stragglers(phase: &Phase) {
    let read = || phase.workers.iter().map(|(_, counts)| counts.read_bytes);
    let mean = read().sum::<u64>() as f64 / phase.workers.len() as f64;
    let most = read().max().unwrap_or_default() as f64;
    println!("    the busiest worker read {:.2} times the mean", most / mean);
    assert!(most <= STRAGGLER * mean, "a straggler");
}

impl Cluster {
    /// Starts the bucket and the workers. Returns the rows of [`ALL_ROWS`], too.
    async fn start(workers: usize, files: usize, disk: Option<&str>) -> Result<(Self, Vec<String>)> {
        let objects = data::objects(files)?;
        let config = SimServerConfig { dialect: Dialect::S3, versioned: false, ..SimServerConfig::default() };
        let server = SimServer::start(config)?;
        for (key, bytes) in &objects {
            let bytes = bytes.clone().into();
            server.catalog().put(key, bytes, Default::default(), &WriteCondition::Always, EPOCH).unwrap();
        }
        let plain = coordinator::plain(&objects).await?;
        let mut expected = Vec::new();
        for sql in QUERIES {
            expected.push(rows(&plain, sql).await?);
        }
        let expected_rows = sorted(&plain.sql(ALL_ROWS).await?.collect().await?)?;
        let members = Members::default();
        let registry = Arc::new(registry(server.url(), None)?);
        let (context, affinity) = coordinator::session(&registry, &members).await?;
        let (keys, disk) = (objects.into_iter().map(|(key, _)| key).collect(), disk.map(str::to_owned));
        let before = Counts::default();
        let mut cluster =
            Self { server, keys, disk, members, workers: Vec::new(), registry, context, affinity, before, expected };
        (0..workers).try_for_each(|number| cluster.add_worker(number))?;
        cluster.before = cluster.own_counts()?;
        cluster.take_gets();
        Ok((cluster, expected_rows))
    }

    fn add_worker(&mut self, number: usize) -> Result<()> {
        let worker = WorkerProcess::start(&format!("worker-{number}"), self.server.url(), self.disk.as_deref())?;
        self.members.add(&worker.id, &worker.url);
        self.workers.push(worker);
        Ok(())
    }

    fn own_counts(&self) -> Result<Counts> {
        Ok(Counts::of(&self.registry.headstart(&BUCKET.parse()?)?))
    }

    /// Runs all queries, checks their results, and shows what was read since the phase before.
    async fn phase(&mut self, name: &str) -> Result<Phase> {
        let started = Instant::now();
        for (sql, expected) in QUERIES.iter().zip(&self.expected) {
            assert_eq!(&rows(&self.context, sql).await?, expected, "{sql}");
        }
        let took = started.elapsed();
        let mut workers = Vec::new();
        for worker in &mut self.workers {
            workers.push((worker.id.clone(), worker.take_counts()?));
        }
        let now = self.own_counts()?;
        let own = now.since(std::mem::replace(&mut self.before, now));
        let (fetched, gets, store_bytes) = self.take_gets();
        println!("\n{name}: {:.1} s, {gets} GETs, {store_bytes} bytes of the store", took.as_secs_f64());
        for (id, counts) in &workers {
            println!(
                "    {id}: fetched {} bytes in {} GETs, read {}",
                counts.fetched_bytes, counts.gets, counts.read_bytes
            );
        }
        let counted = workers.iter().map(|(_, counts)| counts.fetched_bytes).sum::<u64>() + own.fetched_bytes;
        assert_eq!(counted, store_bytes, "what processes and the store count is the same");
        Ok(Phase { workers, fetched, gets, store_bytes })
    }

    /// Sends a query for all rows, kills a worker when the first rows have arrived, and sends the query again when the
    /// worker is known to be dead: the engine does not do so.
    async fn kill_in_query(&mut self, id: &str, expected: &[String]) -> Result<()> {
        let at = self.workers.iter().position(|worker| worker.id == id).ok_or("no such worker")?;
        let mut stream = self.context.sql(ALL_ROWS).await?.execute_stream().await?;
        let mut batches: Vec<RecordBatch> = vec![stream.next().await.ok_or("no rows")??];
        self.workers.remove(at).kill();
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

    /// The paths of the files that a worker holds.
    fn held_by(&self, id: &str) -> BTreeSet<String> {
        let catalog = self.server.catalog();
        let held = |path: &&String| {
            let version = catalog.get(path, None).map(|object| object.e_tag.clone()).unwrap_or_default();
            let key = FileKey { store: BUCKET, path, version: &version, start: 0 };
            self.affinity.worker(key).is_some_and(|worker| worker == id)
        };
        self.keys.iter().filter(held).cloned().collect()
    }

    /// Paths, number and bytes of the GETs since the last call.
    fn take_gets(&self) -> (BTreeSet<String>, u64, u64) {
        let log = self.server.log();
        let gets: Vec<_> = log.snapshot().into_iter().filter(|get| get.kind == RequestKind::Get).collect();
        log.clear();
        let bytes = gets.iter().map(|get| get.bytes_sent).sum();
        (gets.iter().map(|get| get.key.clone()).collect(), gets.len() as u64, bytes)
    }
}
