//! What is promised of large reads with the cache on, in virtual time: exact figures, printed.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::content::check_chunks;
use bytes::Bytes;
use headstart::Headstart;
use headstart_sim::{LinkProfile, ReadPattern, SimStore};
use object_store::ObjectStoreExt;
use object_store::path::Path;

const MIB: u64 = 1 << 20;
const KEY: &str = "object";
/// The seed of the gates. Random reads of 100 MiB overlap, so that the cache has fragments of what the later ones read.
const SEED: u64 = 1;

/// How a trace is read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Through {
    Reader,
    GetRange,
}

#[track_caller]
fn check(sim: &SimStore, range: &Range<u64>, chunks: &[Bytes]) {
    assert_eq!(check_chunks(sim, KEY, range.start, chunks), range.end);
}

/// How long the first `reads` of a trace take in `mode`, on an object that was never read before, and how many GETs.
async fn cold(mode: &str, trace: &str, reads: usize, through: Through) -> (Duration, u64) {
    let trace = ReadPattern::named(trace, 1024 * MIB, SEED).unwrap();
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(256).build();
    sim.catalog().add_synthetic(KEY, trace.object_bytes);
    let stack = Headstart::builder().environment([]).store(Arc::new(sim.clone())).option("mode", mode);
    let (store, path) = (stack.build().await.unwrap(), Path::from(KEY));
    let reader = store.reader(&path).unwrap();
    let began = sim.elapsed();
    for read in trace.reads.iter().take(reads) {
        let range = read.offset..read.offset + read.len;
        let chunks = match through {
            Through::Reader => reader.chunks_at(range.clone()).await.unwrap(),
            Through::GetRange => vec![store.get_range(&path, range.clone()).await.unwrap()],
        };
        check(&sim, &range, &chunks);
    }
    (sim.elapsed() - began, sim.log().counts().gets)
}

#[tokio::test(start_paused = true)]
async fn cold_large_reads_are_as_fast_with_the_cache() {
    for (trace, reads) in [("seq-16m", 24), ("seq-100m", 6), ("rand-16m", 12), ("rand-100m", 6)] {
        for through in [Through::Reader, Through::GetRange] {
            let (without, gets_without) = cold("adaptive", trace, reads, through).await;
            let (with, gets) = cold("cached", trace, reads, through).await;
            let rate = without.as_secs_f64() / with.as_secs_f64();
            println!(
                "{trace} by {through:?}: {rate:.2} × the rate without a cache (promised 0.95), {with:?} and \
                 {without:?}, {gets} GETs and {gets_without}"
            );
            assert!(rate >= 0.95, "{trace} by {through:?}");
        }
    }
}
