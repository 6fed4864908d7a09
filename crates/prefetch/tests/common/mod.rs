//! A simulated GCS bucket, a reader of it, and reads with a check of every byte.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headstart_fetch_core::{FetchConfig, FetchStore, MemoryBudget};
use headstart_prefetch::{PrefetchConfig, PrefetchStore, Reader};
use headstart_sim::{Content, LinkProfile, RequestCounts, SimStore};
use object_store::path::Path;

pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;
pub(crate) const KEY: &str = "object";

/// One object in a simulated bucket, and a stack to read it through.
pub(crate) struct Bench {
    pub(crate) sim: SimStore,
    pub(crate) store: PrefetchStore,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) size: u64,
}

impl Bench {
    /// Prefetch over fetch over `gcs`, warm connections, an object of `size` bytes.
    pub(crate) fn new(size: u64) -> Self {
        Self::with(size, PrefetchConfig::default())
    }

    pub(crate) fn with(size: u64, config: PrefetchConfig) -> Self {
        Self::on(LinkProfile::gcs(), size, 512 << 20, config)
    }

    /// The same on another link, with another budget of memory.
    pub(crate) fn on(link: LinkProfile, size: u64, budget_bytes: usize, config: PrefetchConfig) -> Self {
        Self::stacked(link, size, budget_bytes, config, true)
    }

    /// The same without `PrefetchConfig::link`, as a stack made by hand often is.
    pub(crate) fn without_link(size: u64) -> Self {
        Self::stacked(LinkProfile::gcs(), size, 512 << 20, PrefetchConfig::default(), false)
    }

    fn stacked(link: LinkProfile, size: u64, budget_bytes: usize, config: PrefetchConfig, gives_link: bool) -> Self {
        let sim = SimStore::builder().profile(link).warm_connections(256).build();
        sim.catalog().add_synthetic(KEY, size);
        let budget = MemoryBudget::new(budget_bytes);
        let fetch_config = FetchConfig { budget: Some(Arc::clone(&budget)), ..FetchConfig::default() };
        let fetch = FetchStore::new(Arc::new(sim.clone()), fetch_config).expect("valid settings");
        let link = gives_link.then(|| fetch.link());
        let config = PrefetchConfig { link, budget: Some(Arc::clone(&budget)), ..config };
        Self { store: PrefetchStore::new(Arc::new(fetch), config).expect("valid settings"), sim, budget, size }
    }

    pub(crate) fn reader(&self) -> Reader {
        self.store.reader(&Path::from(KEY)).unwrap()
    }

    pub(crate) fn counts(&self) -> RequestCounts {
        self.sim.log().counts()
    }

    /// Fails unless `chunks` are the bytes of `range` of the live version.
    #[track_caller]
    pub(crate) fn check(&self, range: &Range<u64>, chunks: &[Bytes]) {
        let generation = self.sim.catalog().get(KEY, None).unwrap().number;
        check(generation, range, chunks);
    }

    /// The store below, without read-ahead, in a bucket like this one.
    pub(crate) fn fetch_alone(&self) -> FetchStore {
        FetchStore::new(Arc::new(self.sim.clone()), FetchConfig::default()).expect("valid settings")
    }

    /// Makes `reads` one after the other through `reader`, and returns how long they took in all.
    pub(crate) async fn read_all(&self, reader: &Reader, reads: impl IntoIterator<Item = Range<u64>>) -> Duration {
        let began = self.sim.elapsed();
        for range in reads {
            self.read(reader, range).await;
        }
        self.sim.elapsed() - began
    }

    /// Reads `range`, checks every byte, and returns how long it took.
    pub(crate) async fn read(&self, reader: &Reader, range: Range<u64>) -> Duration {
        let began = self.sim.elapsed();
        let chunks = reader.chunks_at(range.clone()).await.unwrap();
        self.check(&range, &chunks);
        self.sim.elapsed() - began
    }
}

#[track_caller]
pub(crate) fn check(generation: u64, range: &Range<u64>, chunks: &[Bytes]) {
    let content = Content::new(KEY, generation);
    let mut at = range.start;
    for chunk in chunks {
        if let Err(wrong) = content.check(at, chunk) {
            panic!("{wrong:?}");
        }
        at += chunk.len() as u64;
    }
    assert_eq!(at, range.end, "as long as asked for");
}

/// Ranges of `len` bytes from the start of an object of `size` bytes to its end.
pub(crate) fn sequential(size: u64, len: u64) -> impl Iterator<Item = Range<u64>> {
    (0..size).step_by(usize::try_from(len).unwrap()).map(move |at| at..(at + len).min(size))
}

/// The time that `reads` take one after the other by plain `get_range`: each 30 ms, plus its bytes at 60 MB/s, rounded
/// up to a millisecond of the timer.
pub(crate) fn raw(reads: &[Range<u64>]) -> Duration {
    let one = |read: &Range<u64>| (Duration::from_millis(30) + at_rate(read.end - read.start, 60e6)).as_nanos();
    reads.iter().map(|read| Duration::from_millis(u64::try_from(one(read).div_ceil(1_000_000)).unwrap())).sum()
}

/// The time of a perfect reader: one round trip, then the rate of the link.
pub(crate) fn limit(bytes: u64) -> Duration {
    Duration::from_millis(30) + at_rate(bytes, 1e9)
}

#[expect(clippy::cast_precision_loss, reason = "a time")]
fn at_rate(bytes: u64, bytes_per_s: f64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / bytes_per_s)
}

/// How many times `a` is `b`.
pub(crate) fn times(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// Bytes of all `reads` together.
pub(crate) fn bytes_of(reads: &[Range<u64>]) -> u64 {
    reads.iter().map(|read| read.end - read.start).sum()
}

/// The reads of the workload `name`.
pub(crate) fn workload(name: &str, size: u64, seed: u64) -> Vec<Range<u64>> {
    let trace = headstart_sim::ReadPattern::named(name, size, seed).unwrap();
    trace.reads.into_iter().map(|read| read.offset..read.offset + read.len).collect()
}

/// Lets the tasks of aborted requests end.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
