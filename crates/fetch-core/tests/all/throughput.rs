//! Throughput as a share of what the link can carry. Exact figures in virtual time.

use std::time::Duration;

use crate::common::{Bench, MIB, Setup, path};
use headstart_fetch_core::BackendProfile;
use headstart_sim::LinkProfile;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use tokio::time::Instant;

const CONCURRENCY: u32 = 32;
const BUDGET_BYTES: usize = 512 << 20;

fn bench(link: LinkProfile, size: u64, seed: u64) -> Bench {
    let profile = BackendProfile::default();
    Setup {
        link,
        size,
        seed,
        profile,
        concurrency: CONCURRENCY as usize,
        budget_bytes: BUDGET_BYTES,
        ..Setup::default()
    }
    .build()
}

/// The shortest time in which `link` can answer a read of `bytes`.
#[expect(clippy::cast_precision_loss, reason = "a time")]
fn limit(link: &LinkProfile, bytes: u64) -> Duration {
    let rate = link.nic_bytes_per_s.min(f64::from(CONCURRENCY) * link.stream_bytes_per_s);
    link.ttfb + Duration::from_secs_f64(bytes as f64 / rate)
}

/// Reads once. Returns the shortest possible time divided by the time taken, after checking counts and memory.
async fn efficiency(link: &LinkProfile, seed: u64, size: u64, options: GetOptions) -> f64 {
    let bench = bench(link.clone(), size, seed);
    let start = Instant::now();
    let read = bench.read(options).await.expect("nothing goes wrong");
    let efficiency = limit(link, read).as_secs_f64() / start.elapsed().as_secs_f64();
    let (counts, stats) = (bench.sim.log().counts(), bench.store.stats());
    let gets_per_gib = counts.gets * 1024 * MIB / read;
    eprintln!(
        "{} {:?} seed {seed}: {} MiB: {efficiency:.4} of the limit, \
         {} GETs ({gets_per_gib} per GiB), peak {} in flight, {} MiB held",
        link.name,
        link.spread,
        read / MIB,
        counts.gets,
        counts.peak_live,
        bench.budget.peak_bytes() >> 20,
    );
    assert!(gets_per_gib <= 360, "{gets_per_gib} GETs per GiB");
    assert!(counts.peak_live <= u64::from(CONCURRENCY));
    assert!(bench.budget.peak_bytes() <= BUDGET_BYTES);
    assert_eq!((stats.gets(), stats.fetched_bytes), (counts.gets, counts.bytes_sent));
    assert_eq!((stats.delivered_bytes, stats.wasted_bytes, stats.retries), (read, 0, 0));
    assert_eq!((stats.cancels, counts.aborted), (stats.hedges, stats.hedges), "all that is given up");
    bench.assert_nothing_left("after the read");
    efficiency
}

async fn get_and_get_range(link: LinkProfile, at_least: f64, seed: u64) {
    let whole = efficiency(&link, seed, 1024 * MIB, GetOptions::new()).await;
    assert!(whole >= at_least, "get of 1 GiB, {} seed {seed}: {whole:.4}", link.name);
    let range = GetOptions::new().with_range(Some(100 * MIB..356 * MIB));
    let range = efficiency(&link, seed, 1024 * MIB, range).await;
    assert!(range >= at_least, "get_range of 256 MiB, {} seed {seed}: {range:.4}", link.name);
}

#[tokio::test(start_paused = true)]
async fn gcs_is_used_to_its_limit() {
    get_and_get_range(LinkProfile::gcs(), 0.93, 0).await;
}

#[tokio::test(start_paused = true)]
async fn s3_is_used_to_its_limit() {
    get_and_get_range(LinkProfile::s3(), 0.93, 0).await;
}

#[tokio::test(start_paused = true)]
async fn near_is_used_to_its_limit() {
    get_and_get_range(LinkProfile::near(), 0.93, 0).await;
}

#[tokio::test(start_paused = true)]
async fn wan_is_used_to_its_limit() {
    get_and_get_range(LinkProfile::wan(), 0.93, 0).await;
}

#[tokio::test(start_paused = true)]
async fn varying_first_bytes_cost_little() {
    for link in [LinkProfile::gcs(), LinkProfile::s3(), LinkProfile::near(), LinkProfile::wan()] {
        get_and_get_range(link.lognormal(), 0.88, 1).await;
    }
}

/// The tenth read, from measurements, is as fast as the first, from the profile.
#[tokio::test(start_paused = true)]
async fn a_measured_link_is_used_as_well() {
    for link in [LinkProfile::gcs(), LinkProfile::s3(), LinkProfile::near(), LinkProfile::wan()] {
        let bench = bench(link.clone(), 1024 * MIB, 0);
        for n in 0..5 {
            let (start, gets) = (Instant::now(), bench.store.stats().gets());
            let read = bench.read(GetOptions::new().with_range(Some(0..256 * MIB))).await.unwrap();
            let efficiency = limit(&link, read).as_secs_f64() / start.elapsed().as_secs_f64();
            eprintln!(
                "{} read {n}: {efficiency:.4}, {} GETs, {:?}",
                link.name,
                bench.store.stats().gets() - gets,
                bench.store.link().link()
            );
            assert!(efficiency >= 0.93, "{} read {n}: {efficiency:.4}", link.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_of_one_part_is_one_get_at_raw_latency() {
    for bytes in [1, 64 * 1024, MIB, 4 * MIB] {
        let bench = bench(LinkProfile::gcs(), 64 * MIB, 0);
        let range = 12_345..12_345 + bytes;
        let start = Instant::now();
        bench.sim.get_range(&path(), range.clone()).await.unwrap();
        let raw = start.elapsed();
        bench.sim.log().clear();
        let start = Instant::now();
        assert_eq!(bench.store.get_range(&path(), range).await.unwrap().len() as u64, bytes);
        assert_eq!(start.elapsed(), raw, "{bytes} bytes");
        assert_eq!(bench.sim.log().counts().gets, 1, "{bytes} bytes");
        assert_eq!(bench.budget.peak_bytes(), 0, "its bytes go straight to the caller");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_one_part_is_one_request() {
    for bytes in [1, 64 * 1024, MIB, 4 * MIB] {
        let bench = bench(LinkProfile::gcs(), bytes, 0);
        assert_eq!(bench.read(GetOptions::new()).await.unwrap(), bytes);
        let counts = bench.sim.log().counts();
        assert_eq!((counts.gets, counts.heads, counts.others), (1, 0, 0), "{bytes} bytes");
    }
}

/// The reader of a part's first bytes does not wait for its last ones.
#[tokio::test(start_paused = true)]
async fn bytes_are_handed_on_as_they_arrive() {
    use futures::StreamExt;
    let bench = bench(LinkProfile::gcs(), 1024 * MIB, 0);
    let start = Instant::now();
    let result = bench.store.get_opts(&path(), GetOptions::new().with_range(Some(0..256 * MIB))).await.unwrap();
    let mut body = result.into_stream();
    let mut arrived = 0;
    while arrived < 64 * 1024 {
        arrived += body.next().await.unwrap().unwrap().len();
    }
    // 32 parts share the link: 64 KiB of each have arrived by now.
    let due = Duration::from_millis(30) + Duration::from_secs_f64(32.0 * 65_536.0 / 1e9);
    assert!(start.elapsed() <= due + Duration::from_millis(2), "{:?}", start.elapsed());
}

/// The rate that is estimated for a stream after eight bodies of 1 MiB over streams at half of the expected rate, whose
/// reader takes `pause` before it asks for bytes, and is away again for `away` after the first half of a body.
async fn estimated_stream(pause: Duration, away: Duration, drops_the_rest: bool) -> f64 {
    use futures::StreamExt;
    let bench = bench(LinkProfile { stream_bytes_per_s: 30e6, ..LinkProfile::gcs() }, 64 * MIB, 0);
    for n in 0..8 {
        let range = n * MIB..(n + 1) * MIB;
        let result = bench.store.get_opts(&path(), GetOptions::new().with_range(Some(range))).await.unwrap();
        tokio::time::sleep(pause).await;
        let (mut body, mut bytes) = (result.into_stream(), 0);
        while let Some(chunk) = body.next().await {
            let is_half = bytes < MIB / 2;
            bytes += chunk.unwrap().len() as u64;
            if is_half && bytes >= MIB / 2 {
                tokio::time::sleep(away).await;
                if drops_the_rest {
                    break;
                }
            }
        }
    }
    bench.store.link().link().stream_bytes_per_s
}

/// A reader never asks for bytes at the very moment when the answer is there. Only one that is away for long says
/// nothing about the link.
#[tokio::test(start_paused = true)]
async fn bodies_are_measured_unless_their_reader_is_away_for_long() {
    let (short, long) = (Duration::from_millis(1), Duration::from_millis(30));
    for (pause, away, drops_the_rest) in [(short, short, false), (Duration::ZERO, short, true)] {
        let stream = estimated_stream(pause, away, drops_the_rest).await;
        assert!((stream - 30e6).abs() < 3e6, "{pause:?} {away:?} {drops_the_rest}: {stream}");
    }
    for (pause, away, drops_the_rest) in [(short, long, false), (long, short, false), (short, long, true)] {
        let stream = estimated_stream(pause, away, drops_the_rest).await;
        assert!((stream - 60e6).abs() < 1.0, "{pause:?} {away:?} {drops_the_rest}: {stream}");
    }
}

/// So does one that was woken, and is not polled for longer than a busy runtime takes.
#[tokio::test(start_paused = true)]
async fn bodies_that_are_left_alone_do_not_count() {
    use futures::{StreamExt, poll};
    for (pause, expected) in [(Duration::from_millis(20), 30e6), (Duration::from_millis(200), 60e6)] {
        let bench = bench(LinkProfile { stream_bytes_per_s: 30e6, ..LinkProfile::gcs() }, 64 * MIB, 0);
        for n in 0..8 {
            let range = n * MIB..(n + 1) * MIB;
            let result = bench.store.get_opts(&path(), GetOptions::new().with_range(Some(range))).await.unwrap();
            let mut body = result.into_stream();
            while poll!(body.next()).is_ready() {}
            tokio::time::sleep(pause).await;
            while body.next().await.is_some() {}
        }
        let stream = bench.store.link().link().stream_bytes_per_s;
        assert!((stream - expected).abs() < 0.1 * expected, "{pause:?}: {stream}");
    }
}
