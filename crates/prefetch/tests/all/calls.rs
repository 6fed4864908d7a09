//! Calls without a reader, as query engines make them: sequential calls are faster, and none is older than `max_age`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Bench, KEY, KIB, MIB, check, sequential};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use headstart_fetch_core::{AccessHint, MemoryBudget, PinBy};
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use headstart_sim::{Altered, LinkProfile, SimStore};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, ObjectStoreExt};

fn path() -> Path {
    Path::from(KEY)
}

#[tokio::test(start_paused = true)]
async fn get_range_in_a_row_is_read_ahead() {
    let bench = Bench::new(256 * MIB);
    for range in sequential(256 * MIB, MIB) {
        let bytes = bench.store.get_range(&path(), range.clone()).await.unwrap();
        bench.check(&range, &[bytes]);
    }
    println!("256 × get_range of 1 MiB: {:?}, {:?}", bench.sim.elapsed(), bench.counts());
    assert!(bench.sim.elapsed() < Duration::from_millis(600), "raw takes 12 s: {:?}", bench.sim.elapsed());
    assert_eq!(bench.counts().bytes_sent, 256 * MIB);
}

#[tokio::test(start_paused = true)]
async fn random_calls_are_the_raw_stores() {
    let bench = Bench::new(256 * MIB);
    for n in [70_u64, 3, 200, 121, 9, 250] {
        let range = n * MIB + 17..n * MIB + 64 * KIB;
        let bytes = bench.store.get_range(&path(), range.clone()).await.unwrap();
        bench.check(&range, &[bytes]);
    }
    let counts = bench.counts();
    assert_eq!((counts.gets, counts.heads, counts.bytes_sent), (6, 0, 6 * (64 * KIB - 17)));
}

#[tokio::test(start_paused = true)]
async fn many_ranges_in_one_call() {
    let bench = Bench::new(256 * MIB);
    let ranges: Vec<_> = (0..20).map(|n| n * 8 * MIB..n * 8 * MIB + MIB).collect();
    let answers = bench.store.get_ranges(&path(), &ranges).await.unwrap();
    for (range, bytes) in ranges.iter().zip(answers) {
        bench.check(range, &[bytes]);
    }
    assert!(bench.sim.elapsed() < Duration::from_millis(150), "{:?}", bench.sim.elapsed());
    assert_eq!(bench.store.get_ranges(&path(), &[]).await.unwrap().len(), 0);
    assert!(bench.store.get_ranges(&path(), &[0..10, 300 * MIB..301 * MIB]).await.is_err());
}

/// Sequential calls with an overwrite before call `at`: each call is of one version, and never older than `max_age`
/// allows.
async fn versions_seen(at: usize, max_age: Duration, pause: Duration) {
    let bench = Bench::with(32 * MIB, PrefetchConfig { max_age, ..PrefetchConfig::default() });
    let before = bench.sim.catalog().get(KEY, None).unwrap().number;
    let mut overwritten_at = None;
    let mut newest = before;
    for (n, range) in sequential(32 * MIB, MIB).enumerate() {
        if n == at {
            bench.sim.overwrite(KEY, None).unwrap();
            overwritten_at = Some(bench.sim.elapsed());
        }
        let answer = bench.store.get_opts(&path(), GetOptions::new().with_range(Some(range.clone()))).await.unwrap();
        let generation: u64 = answer.meta.version.clone().unwrap().parse().unwrap();
        let began = bench.sim.elapsed();
        let bytes = answer.bytes().await.unwrap();
        check(generation, &range, &[bytes]);
        assert!(generation >= newest, "an old version after a newer one was seen");
        newest = generation;
        if let Some(at) = overwritten_at
            && began.saturating_sub(at) > max_age + Duration::from_millis(80)
        {
            assert_eq!(generation, before + 1, "read {n}: older than max_age");
        }
        tokio::time::sleep(pause).await;
    }
    // 32 pauses of 50 ms: at the end, an overwrite in the first half is older than 300 ms.
    if at < 16 && pause > Duration::ZERO {
        assert_eq!(newest, before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_overwrite_is_seen_within_max_age_and_never_unseen() {
    for at in 0..32 {
        versions_seen(at, Duration::from_secs(10), Duration::ZERO).await;
        versions_seen(at, Duration::from_millis(300), Duration::from_millis(50)).await;
    }
    versions_seen(5, Duration::ZERO, Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_ahead_are_served_once() {
    let bench = Bench::new(64 * MIB);
    for range in sequential(16 * MIB, MIB) {
        bench.store.get_range(&path(), range).await.unwrap();
    }
    bench.sim.overwrite(KEY, None).unwrap();
    // These bytes were served before, so a new request brings the new version, and all later bytes are of it.
    for range in [10 * MIB..11 * MIB, 16 * MIB..17 * MIB, 17 * MIB..18 * MIB] {
        let bytes = bench.store.get_range(&path(), range.clone()).await.unwrap();
        bench.check(&range, &[bytes]);
    }
}

/// Calls that keep returning to one range are served its bytes again, for a second. Then an overwrite is seen, and no
/// older bytes after it.
#[tokio::test(start_paused = true)]
async fn returns_to_a_range_are_served_again_for_a_second() {
    let bench = Bench::new(64 * MIB);
    let visit = async || bench.store.get_range(&path(), 0..MIB).await.unwrap();
    for n in 1..16 {
        visit().await;
        bench.store.get_range(&path(), n * MIB..(n + 1) * MIB).await.unwrap();
    }
    let before = bench.counts().gets;
    bench.check(&(0..MIB), &[visit().await]);
    assert_eq!(bench.counts().gets, before, "served again");
    bench.sim.overwrite(KEY, None).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.check(&(0..MIB), &[visit().await]);
    // A caller that polls one range gets the present bytes each time, also just after it has visited the range.
    for n in 20..24 {
        visit().await;
        bench.store.get_range(&path(), n * MIB..(n + 1) * MIB).await.unwrap();
    }
    visit().await;
    for _ in 0..8 {
        bench.sim.overwrite(KEY, None).unwrap();
        bench.check(&(0..MIB), &[visit().await]);
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!((bench.budget.used_bytes(), bench.counts().live), (0, 0), "nothing is kept");
}

/// 1, 2, 3, 4, 2, 5, 6, 7, 5: calls that went back twice are served what they read again, for a second. Then an
/// overwrite is seen, and no older bytes after it.
#[tokio::test(start_paused = true)]
async fn calls_that_go_back_are_served_again_for_a_second() {
    let bench = Bench::new(64 * MIB);
    let call = async |block: u64| {
        let range = block * MIB..(block + 1) * MIB;
        (range.clone(), [bench.store.get_range(&path(), range).await.unwrap()])
    };
    for block in (0..16).flat_map(|n| [3 * n, 3 * n + 1, 3 * n + 2]) {
        let (range, bytes) = call(block).await;
        bench.check(&range, &bytes);
        if block % 3 == 2 {
            let began = bench.sim.elapsed();
            let (range, bytes) = call(block - 2).await;
            bench.check(&range, &bytes);
            let waited = bench.sim.elapsed() > began;
            assert_eq!(waited, block < 6, "going back from block {block}");
        }
    }
    bench.sim.overwrite(KEY, None).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for block in [46, 48, 49, 50, 48, 51] {
        let (range, bytes) = call(block).await;
        bench.check(&range, &bytes);
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!((bench.budget.used_bytes(), bench.counts().live), (0, 0), "nothing is kept");
}

/// A request ahead learns of an overwrite before any call does: from then on no call gets older bytes.
#[tokio::test(start_paused = true)]
async fn what_a_request_ahead_has_learnt_holds_for_calls() {
    let bench = Bench::new(512 * MIB);
    let mut ranges = sequential(512 * MIB, MIB);
    for range in ranges.by_ref().take(64) {
        bench.store.get_range(&path(), range).await.unwrap();
    }
    bench.sim.overwrite(KEY, None).unwrap();
    let generation = bench.sim.catalog().get(KEY, None).unwrap().number;
    let mut served_before = 0;
    while bench.store.stats().object_changes == 0 {
        bench.store.get_range(&path(), ranges.next().unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
        served_before += 1;
    }
    assert!(served_before < 20, "a request ahead is sent soon");
    for range in ranges.take(8) {
        check(generation, &range, &[bench.store.get_range(&path(), range.clone()).await.unwrap()]);
    }
}

/// A versioned bucket still serves the old version to requests that name it.
#[tokio::test(start_paused = true)]
async fn a_pin_by_version_does_not_keep_an_old_version_alive() {
    let bench = Bench::with(64 * MIB, PrefetchConfig { pin: Some(PinBy::Version), ..PrefetchConfig::default() });
    for range in sequential(16 * MIB, MIB) {
        bench.store.get_range(&path(), range).await.unwrap();
    }
    bench.sim.overwrite(KEY, None).unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    for range in sequential(64 * MIB, MIB).skip(16) {
        let bytes = bench.store.get_range(&path(), range.clone()).await.unwrap();
        bench.check(&range, &[bytes]);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_ahead_of_an_abandoned_path_go_after_max_age() {
    let bench = Bench::new(256 * MIB);
    for range in sequential(32 * MIB, MIB) {
        bench.store.get_range(&path(), range).await.unwrap();
    }
    assert!(bench.budget.used_bytes() > 0);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!((bench.budget.used_bytes(), bench.counts().live), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn ranges_announced_beyond_the_end_are_no_answer() {
    let bench = Bench::new(10 * KIB);
    bench.store.advise(&path(), AccessHint::WillNeed(vec![0..MIB]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(bench.store.get_range(&path(), 20 * KIB..64 * KIB).await.is_err());
    let answer = bench.store.get_opts(&path(), GetOptions::new().with_range(Some(0..64 * KIB))).await.unwrap();
    assert_eq!(answer.range, 0..10 * KIB);
    bench.check(&(0..10 * KIB), &[answer.bytes().await.unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn a_write_through_the_store_is_seen_at_once() {
    let bench = Bench::new(64 * MIB);
    for range in sequential(16 * MIB, MIB) {
        bench.store.get_range(&path(), range).await.unwrap();
    }
    let new = vec![7_u8; 40 * 1024 * 1024];
    bench.store.put(&path(), new.clone().into()).await.unwrap();
    let bytes = bench.store.get_range(&path(), 16 * MIB..17 * MIB).await.unwrap();
    assert_eq!(bytes, new[..1024 * 1024]);
    bench.store.delete(&path()).await.unwrap();
    let gone = bench.store.get_range(&path(), 17 * MIB..18 * MIB).await;
    assert!(matches!(gone, Err(object_store::Error::NotFound { .. })));
    assert_eq!(bench.counts().live, 0);
}

#[tokio::test(start_paused = true)]
async fn conditions_are_the_raw_stores_to_judge() {
    let bench = Bench::new(64 * MIB);
    for range in sequential(16 * MIB, MIB) {
        bench.store.get_range(&path(), range).await.unwrap();
    }
    let meta = bench.store.head(&path()).await.unwrap();
    bench.sim.overwrite(KEY, None).unwrap();
    let range = Some(GetRange::Bounded(16 * MIB..17 * MIB));
    let old = GetOptions { if_match: meta.e_tag.clone(), range: range.clone(), ..GetOptions::default() };
    assert!(matches!(bench.store.get_opts(&path(), old).await, Err(object_store::Error::Precondition { .. })));
    let version = GetOptions { version: meta.version.clone(), range, ..GetOptions::default() };
    assert_eq!(bench.store.get_opts(&path(), version).await.unwrap().meta.version, meta.version);
}

#[tokio::test(start_paused = true)]
async fn hints_and_switches_are_obeyed() {
    for (config, hint) in [
        (PrefetchConfig { max_prefetch_bytes: 0, ..PrefetchConfig::default() }, AccessHint::Normal),
        (PrefetchConfig { max_prefetch_bytes: 0, ..PrefetchConfig::default() }, AccessHint::Sequential),
        (
            PrefetchConfig { max_prefetch_bytes: 0, ..PrefetchConfig::default() },
            AccessHint::WillNeed(vec![0..64 * MIB]),
        ),
        (PrefetchConfig::default(), AccessHint::Random),
    ] {
        let bench = Bench::with(64 * MIB, config);
        bench.store.advise(&path(), hint.clone());
        let reader = bench.reader();
        reader.advise(hint.clone());
        for range in sequential(8 * MIB, MIB) {
            bench.store.get_range(&path(), range.clone()).await.unwrap();
            bench.read(&reader, range).await;
        }
        assert_eq!(bench.counts().gets, 16, "{hint:?}");
    }
}

/// A chunk that counts as live until its last slice is dropped.
struct LiveChunk {
    bytes: Bytes,
    live_bytes: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for LiveChunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for LiveChunk {
    fn drop(&mut self) {
        self.live_bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// The read is longer than the memory, so its part is not charged. The task that has filled it still exists when the
/// read ends.
#[tokio::test(start_paused = true)]
async fn what_a_call_has_read_is_freed_when_the_call_ends() {
    let sim = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(256).build();
    sim.catalog().add_synthetic(KEY, 6 * MIB);
    let live_bytes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&live_bytes);
    let counting = Altered::new(sim.clone(), Ok).answers(move |answer| {
        let live_bytes = Arc::clone(&counted);
        let GetResultPayload::Stream(body) = answer.payload else { panic!("a stream") };
        let body = body.map_ok(move |bytes| {
            live_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
            Bytes::from_owner(LiveChunk { bytes, live_bytes: Arc::clone(&live_bytes) })
        });
        GetResult { payload: GetResultPayload::Stream(body.boxed()), ..answer }
    });
    let budget = MemoryBudget::new(1 << 20);
    let config = PrefetchConfig {
        budget: Some(Arc::clone(&budget)),
        min_part_bytes: Some(64 * KIB),
        max_part_bytes: Some(64 * KIB),
        ..PrefetchConfig::default()
    };
    let store = PrefetchStore::new(Arc::new(counting), config).expect("valid settings");
    store.get_range(&path(), 0..100).await.unwrap();
    store.advise(&path(), AccessHint::Sequential);
    store.get_range(&path(), 2 * MIB..2 * MIB + 100).await.unwrap();
    // Some of this is there already, the rest is one request.
    drop(store.get_range(&path(), 2 * MIB + 100..5 * MIB).await.unwrap());
    assert!(sim.log().snapshot().iter().any(|request| request.bytes_sent > 2 * MIB), "{:?}", sim.log().snapshot());
    let (live_bytes, used_bytes) = (live_bytes.load(Ordering::Relaxed), budget.used_bytes());
    assert!(live_bytes <= used_bytes, "{live_bytes} bytes are held, {used_bytes} are reserved");
}

/// Parts that nobody reads expire after `max_age`, and make room in the window for other ones.
#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_ahead_for_calls_that_ended_max_age_ago() {
    let link = LinkProfile { stream_bytes_per_s: 2e6, nic_bytes_per_s: 2e6, ..LinkProfile::gcs() };
    let config = PrefetchConfig { max_age: Duration::from_secs(1), ..PrefetchConfig::default() };
    let bench = Bench::on(link, 256 * MIB, 512 << 20, config);
    for range in sequential(4 * MIB, 64 * KIB) {
        bench.store.get_range(&path(), range).await.unwrap();
    }
    let ended_at = bench.sim.elapsed();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let latest = bench.sim.log().snapshot().iter().map(|request| request.at).max().unwrap();
    assert!(latest <= ended_at + Duration::from_secs(1), "sent {:?} after the last call", latest - ended_at);
}
