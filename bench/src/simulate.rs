//! Runs a trace in virtual time, over the simulated store and under a paused clock. All numbers are exact and
//! reproducible.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use headstart::Headstart;
use headstart_fetch_core::Intent;
use headstart_sim::{FaultPlan, LinkProfile, RequestEnd, RequestKind, SimStore};
use headstart_trace::Trace;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::check::Checker;
use crate::child::finish;
use crate::drive;
use crate::ideal::{self, IdealShape};
use crate::meter::{Meter, Outcome, ms};
use crate::ours::{self, Facade, StoreClient};
use crate::results::{Bar, Sample, WireCounts};
use crate::source::LocalOverwriter;
use crate::source::ReadSource;
use crate::system::System;

/// More than any system has in flight, so that no run pays for new connections: requests of 1,000 readers, each hedged.
pub const WARM_CONNECTIONS: usize = 4096;

/// The most samples of a timeline.
const SAMPLES: u32 = 400;

/// The settings of a simulated run.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The link.
    pub profile: LinkProfile,
    /// Seed of everything random.
    pub seed: u64,
    /// Faults of the store.
    pub faults: FaultPlan,
    /// Options of the facade.
    pub options: Vec<(String, String)>,
    /// Processes that share the link, each with a stack of its own.
    pub processes: usize,
    /// The shape of `ideal`.
    pub shape: IdealShape,
}

impl Simulation {
    /// One process without faults and options.
    #[must_use]
    pub fn new(profile: LinkProfile, seed: u64) -> Self {
        Self {
            profile,
            seed,
            faults: FaultPlan::default(),
            options: Vec::new(),
            processes: 1,
            shape: IdealShape::Reads(16),
        }
    }

    fn store(&self) -> SimStore {
        SimStore::builder()
            .profile(self.profile.clone())
            .seed(self.seed)
            .faults(self.faults.clone())
            .warm_connections(WARM_CONNECTIONS)
            .build()
    }

    fn client(&self, store: &SimStore) -> StoreClient {
        let shared = Arc::new(store.clone());
        let facade = Headstart::builder().environment([]).store(Arc::clone(&shared) as _);
        let facade = self.options.iter().fold(facade, |facade, (key, value)| facade.option(key, value));
        StoreClient { store: Arc::clone(&shared) as _, for_fetch: shared, facade }
    }

    /// Reads `trace` by `system`.
    ///
    /// # Errors
    /// If a read fails, or an option is invalid.
    pub fn run(&self, trace: &Arc<Trace>, system: System) -> Result<(Outcome, WireCounts)> {
        paused()?.block_on(async {
            let store = self.store();
            let meter = Arc::new(Meter::start(Checker::Simulated, None));
            if system == System::Ideal {
                ideal::run(trace, self.shape, &self.client(&store).store, &meter).await?;
            } else {
                let mut sources: Vec<Option<Arc<dyn ReadSource>>> = Vec::new();
                for _ in 0..self.processes {
                    sources.push(Some(ours::source(system, self.client(&store)).await?));
                }
                let overwriter = Arc::new(LocalOverwriter(store.clone()));
                drive::run(Arc::clone(trace), &sources, Some(overwriter), Arc::clone(&meter)).await?;
            }
            Ok((exact(finish(meter)?), wire(&store)))
        })
    }

    /// Reads `trace` by the facade's defaults, and records reads, GETs and samples.
    ///
    /// # Errors
    /// If a read fails.
    pub fn record_timeline(&self, trace: &Arc<Trace>) -> Result<(Vec<Bar>, Vec<Bar>, Vec<Sample>)> {
        // A first run tells how long the run takes, and so the distance of samples.
        let (outcome, _) = self.run(trace, System::Headstart)?;
        let every = Duration::from_secs_f64(outcome.elapsed_ms / 1000.0) / SAMPLES;
        paused()?.block_on(async {
            let store = self.store();
            let meter = Arc::new(Meter::start(Checker::Simulated, None).recording_reads());
            let headstart = self.client(&store).facade.build().await?;
            let sources: [Option<Arc<dyn ReadSource>>; 1] = [Some(Arc::new(Facade(headstart.clone())))];
            let samples = {
                let (store, meter) = (store.clone(), Arc::clone(&meter));
                tokio::spawn(async move {
                    let mut samples = Vec::new();
                    let started = Instant::now();
                    loop {
                        samples.push(sample(&store, &headstart, &meter, started.elapsed()));
                        tokio::time::sleep(every.max(Duration::from_millis(1))).await;
                        if Arc::strong_count(&meter) <= 2 {
                            return samples;
                        }
                    }
                })
            };
            drive::run(Arc::clone(trace), &sources, None, Arc::clone(&meter)).await?;
            drop(sources);
            let samples = samples.await?;
            Ok((meter.reads(), gets(&store), samples))
        })
    }
}

/// A runtime with virtual time.
///
/// # Errors
/// If the runtime cannot be built.
pub fn paused() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

/// The requests that the store saw.
fn wire(store: &SimStore) -> WireCounts {
    let counts = store.log().counts();
    WireCounts { gets: counts.gets, heads: counts.heads, fetched_bytes: counts.bytes_sent }
}

/// Removes the measurements of this process, which makes many runs.
fn exact(outcome: Outcome) -> Outcome {
    Outcome { started_us: 0, ended_us: 0, base_memory_bytes: None, peak_memory_bytes: None, cpu_s: None, ..outcome }
}

fn gets(store: &SimStore) -> Vec<Bar> {
    let end = store.elapsed();
    let records = store.log().snapshot().into_iter().filter(|record| record.kind == RequestKind::Get);
    let bar = |record: headstart_sim::RequestRecord| Bar {
        start_ms: ms(record.at),
        end_ms: ms(record.ended_at.unwrap_or(end)),
        offset: record.range.as_ref().map_or(0, |range| range.start),
        len: record.range.as_ref().map_or(record.bytes_sent, |range| range.end - range.start),
        is_ahead: record.intent == Some(Intent::Speculative),
        is_cancelled: record.end == Some(RequestEnd::Aborted),
    };
    records.map(bar).collect()
}

fn sample(store: &SimStore, headstart: &Headstart, meter: &Meter, at: Duration) -> Sample {
    let stats = headstart.stats();
    Sample {
        at_ms: ms(at),
        gets_in_flight: store.log().counts().live,
        window_bytes: stats.prefetch.window_bytes,
        ahead_bytes: stats.prefetch.outstanding_bytes,
        wasted_bytes: stats.prefetch.wasted_bytes,
        memory_bytes: stats.budget.used_bytes,
        read_bytes: meter.delivered_bytes(),
    }
}
