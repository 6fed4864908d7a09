//! A small run of the whole stack with a recorder at every boundary: who asks whom for what.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use headstart_bench::file::Sheet;
use headstart_bench::meter::ms;
use headstart_bench::simulate::paused;
use headstart_cache::{CacheConfig, CacheStore};
use headstart_fetch_core::{FetchConfig, FetchStore};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use headstart_sim::{LinkProfile, SimStore};
use headstart_trace::{TraceCall, TraceRecorder};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::time::Instant;

const OBJECT: &str = "synthetic/48MiB/tapped";
const MIB: u64 = 1 << 20;
/// Reads of a first reader, in order, of 1 MiB each.
const READS: u64 = 48;
/// Reads of a second one, who comes when the first has gone, and finds what it reads in the cache.
const AGAIN: u64 = 16;

/// Something asked for, and when.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) start_ms: f64,
    pub(super) end_ms: f64,
    pub(super) range: Range<u64>,
}

/// What was asked at one boundary.
#[derive(Debug)]
pub(super) struct Level {
    /// Who asks.
    pub(super) asker: &'static str,
    /// What one thing asked for is called there.
    pub(super) what: &'static str,
    pub(super) asked: Vec<Asked>,
}

impl Level {
    pub(super) fn bytes(&self) -> u64 {
        self.asked.iter().map(|one| one.range.end - one.range.start).sum()
    }
}

/// A recorder and its file.
struct Tap(TraceRecorder, Sheet);

impl Tap {
    fn on(store: impl ObjectStore) -> io::Result<Self> {
        let sheet = Sheet::default();
        Ok(Self(TraceRecorder::new(Arc::new(store), sheet.clone())?, sheet))
    }

    fn asked(&self) -> Result<Vec<Asked>> {
        self.0.finish()?;
        Ok(self.1.trace()?.calls.iter().map(asked).collect())
    }
}

/// Parts of a millisecond are all that is lost.
#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn asked(call: &TraceCall) -> Asked {
    let start = call.ranges.first().map(|[start, _]| *start).or(call.offset).unwrap_or(0);
    Asked {
        start_ms: call.at_us as f64 / 1000.0,
        end_ms: (call.at_us + call.took_us) as f64 / 1000.0,
        range: start..start + call.bytes,
    }
}

/// Reads, and says what was asked at each boundary, from the top down.
pub(super) fn record() -> Result<Vec<Level>> {
    paused()?.block_on(async {
        let cloud = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(256).build();
        let below_fetch = Tap::on(cloud)?;
        let fetch = FetchStore::new(Arc::new(below_fetch.0.clone()), FetchConfig::default());
        let link = fetch.link();
        let below_cache = Tap::on(fetch)?;
        let cache = CacheConfig { link: Some(Arc::clone(&link)), ..CacheConfig::default() };
        let below_prefetch = Tap::on(CacheStore::new(Arc::new(below_cache.0.clone()), cache)?)?;
        let prefetch = PrefetchConfig { link: Some(link), ..PrefetchConfig::default() };
        let prefetch = PrefetchStore::try_new(Arc::new(below_prefetch.0.clone()), prefetch)?;
        let began = Instant::now();
        let mut reads = Vec::new();
        for count in [READS, AGAIN] {
            let reader = prefetch.reader(&Path::from(OBJECT))?;
            for range in (0..count).map(|n| n * MIB..(n + 1) * MIB) {
                let start_ms = ms(began.elapsed());
                reader.chunks_at(range.clone()).await?;
                reads.push(Asked { start_ms, end_ms: ms(began.elapsed()), range });
            }
            reader.close();
            drop(reader);
            // Long enough that what was ahead for the first reader is forgotten, or given up.
            tokio::time::sleep(std::time::Duration::from_secs(11)).await;
        }
        Ok(vec![
            Level { asker: "application", what: "reads", asked: reads },
            Level { asker: "PrefetchStore", what: "requests", asked: below_prefetch.asked()? },
            Level { asker: "CacheStore", what: "fills", asked: below_cache.asked()? },
            Level { asker: "FetchStore", what: "GETs", asked: below_fetch.asked()? },
        ])
    })
}
