//! A simulated GCS bucket, a reader over it, and reads whose every byte is checked.
#![allow(dead_code, reason = "each test file uses some of it")]

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
        let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build();
        sim.catalog().add_synthetic(KEY, size);
        let budget = MemoryBudget::new(512 << 20);
        let fetch_config = FetchConfig { budget: Some(Arc::clone(&budget)), ..FetchConfig::default() };
        let fetch = FetchStore::new(Arc::new(sim.clone()), fetch_config);
        let link = fetch.link();
        let config = PrefetchConfig { link: Some(link), budget: Some(Arc::clone(&budget)), ..config };
        Self { store: PrefetchStore::new(Arc::new(fetch), config), sim, budget, size }
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
