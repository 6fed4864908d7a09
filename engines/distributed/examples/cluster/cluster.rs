//! A bucket, the worker processes over it, and what both count in a phase.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use headstart_affinity::FileKey;
use headstart_datafusion::HeadstartRegistry;
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{EPOCH, RequestKind, WriteCondition};
use tokio::time::Instant;

use crate::bucket::{self, BUCKET, rows, sorted};
use crate::data::{self, ALL_ROWS, QUERIES};
use crate::process::{Counts, WorkerProcess};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// No worker reads more than this times the mean.
const STRAGGLER: f64 = 1.5;

/// A worker that joins causes at most its share of the bytes of the cold run, and a tenth of the share more…
const MORE_THAN_SHARE: f64 = 0.1;

/// …where there are so many files. Of a hundred, the files that rank a worker first are its share with a standard
/// deviation of 4 % of all: a tenth of all more is allowed.
const MANY_FILES: usize = 400;

/// A bucket, and the processes that read it.
pub(crate) struct Cluster {
    pub(crate) server: SimServerHandle,
    keys: Vec<String>,
    pub(crate) workers: Vec<WorkerProcess>,
    /// What opens the bucket in this process.
    pub(crate) registry: Arc<HeadstartRegistry>,
    /// What this process itself had fetched before a phase.
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

/// Checks that no worker read much more than the others.
fn check_stragglers(phase: &Phase) {
    let read = || phase.workers.iter().map(|(_, counts)| counts.read_bytes);
    let mean = read().sum::<u64>() as f64 / phase.workers.len() as f64;
    let most = read().max().unwrap_or_default() as f64;
    println!("    the busiest worker read {:.2} times the mean", most / mean);
    assert!(most <= STRAGGLER * mean, "a straggler");
}

impl Cluster {
    /// Starts the bucket, without workers. Returns the rows of [`ALL_ROWS`], too.
    pub(crate) async fn start(files: usize) -> Result<(Self, Vec<String>)> {
        let objects = data::objects(files)?;
        let config = SimServerConfig { dialect: Dialect::S3, versioned: false, ..SimServerConfig::default() };
        let server = SimServer::start(config)?;
        for (key, bytes) in &objects {
            let bytes = bytes.clone().into();
            server.catalog().put(key, bytes, Default::default(), &WriteCondition::Always, EPOCH).unwrap();
        }
        let plain = bucket::plain(&objects).await?;
        let mut expected = Vec::new();
        for sql in QUERIES {
            expected.push(rows(&plain, sql).await?);
        }
        let expected_rows = sorted(&plain.sql(ALL_ROWS).await?.collect().await?)?;
        let registry = Arc::new(bucket::registry(server.url(), None)?);
        let keys = objects.into_iter().map(|(key, _)| key).collect();
        let cluster = Self { server, keys, workers: Vec::new(), registry, before: Counts::default(), expected };
        Ok((cluster, expected_rows))
    }

    /// Counts from here on.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.before = self.own_counts()?;
        self.take_gets();
        Ok(())
    }

    /// Runs the queries with empty caches, and again. Returns the bytes that workers fetched at first.
    pub(crate) async fn check_again(&mut self, context: &SessionContext) -> Result<u64> {
        let cold = self.phase(context, "cold").await?;
        check_stragglers(&cold);
        self.check_cached(context).await?;
        Ok(cold.workers.iter().map(|(_, counts)| counts.fetched_bytes).sum())
    }

    /// Runs the queries after a worker has joined. `cold_bytes` were fetched when all caches were empty.
    pub(crate) async fn check_joined(&mut self, context: &SessionContext, cold_bytes: u64) -> Result<()> {
        let joined = self.phase(context, "a worker more").await?;
        let share = joined.store_bytes as f64 / cold_bytes as f64;
        let fair = 1.0 / self.workers.len() as f64;
        let more = MORE_THAN_SHARE * if self.keys.len() < MANY_FILES { 1.0 } else { fair };
        println!("    fetched {share:.3} of the bytes of the cold run; allowed are {:.3}", fair + more);
        assert!(share <= fair + more, "{share:.3} of the bytes were fetched again");
        check_stragglers(&joined);
        Ok(())
    }

    /// Runs the queries after a worker that `held` these files was killed, and again.
    pub(crate) async fn check_killed(&mut self, context: &SessionContext, held: &BTreeSet<String>) -> Result<()> {
        let after = self.phase(context, "after the kill").await?;
        println!("    fetched {} files; the killed worker held {}", after.fetched.len(), held.len());
        assert_eq!(&after.fetched, held, "the files of the killed worker are fetched again, and no others");
        check_stragglers(&after);
        self.check_cached(context).await
    }

    async fn check_cached(&mut self, context: &SessionContext) -> Result<()> {
        let again = self.phase(context, "again").await?;
        assert_eq!((again.gets, again.store_bytes), (0, 0), "all bytes are in caches");
        check_stragglers(&again);
        Ok(())
    }

    fn own_counts(&self) -> Result<Counts> {
        Ok(Counts::of(&self.registry.headstart(&BUCKET.parse()?)?))
    }

    /// Runs all queries, checks their results, and shows what was read since the phase before.
    async fn phase(&mut self, context: &SessionContext, name: &str) -> Result<Phase> {
        let started = Instant::now();
        for (sql, expected) in QUERIES.iter().zip(&self.expected) {
            assert_eq!(&rows(context, sql).await?, expected, "{sql}");
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
        let counted = workers.iter().map(|(_, counts)| counts.gets).sum::<u64>() + own.gets;
        assert_eq!(counted, gets, "processes and the store count the same requests");
        Ok(Phase { workers, fetched, gets, store_bytes })
    }

    /// The paths of the files that a worker holds, as `worker` says.
    pub(crate) fn held_by(&self, id: &str, worker: impl Fn(FileKey<'_>) -> Option<String>) -> BTreeSet<String> {
        let catalog = self.server.catalog();
        let held = |path: &&String| {
            let version = catalog.get(path, None).map(|object| object.e_tag.clone()).unwrap_or_default();
            let key = FileKey { store: BUCKET, path, version: &version, start: 0 };
            worker(key).is_some_and(|worker| worker == id)
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
