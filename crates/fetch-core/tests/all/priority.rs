//! Priority: demand beside speculation, and promotion. Exact figures in virtual time.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Bench, KIB, MIB, Setup, check_body, path};
use futures::StreamExt;
use headstart_fetch_core::internal::{Promotion, ask};
use headstart_fetch_core::{BackendProfile, Intent};
use headstart_sim::{LinkProfile, SeededRng};
use object_store::ObjectStore;
use tokio::time::Instant;

/// Times of `reads` demanded reads of 1 MiB, `in_flight` at a time, in ascending order.
async fn demand(bench: &Bench, reads: usize, in_flight: usize) -> Vec<Duration> {
    let mut dice = SeededRng::new(11);
    let starts: Vec<u64> = (0..reads).map(|_| dice.below(bench.size - MIB)).collect();
    let mut times: Vec<Duration> = futures::stream::iter(starts)
        .map(async |start| {
            let began = Instant::now();
            bench.read(ask(start..start + MIB, Intent::Demand)).await.unwrap();
            began.elapsed()
        })
        .buffer_unordered(in_flight)
        .collect()
        .await;
    times.sort_unstable();
    times
}

#[tokio::test(start_paused = true)]
async fn demand_is_not_slowed_by_unlimited_speculation() {
    for link in [LinkProfile::gcs(), LinkProfile::gcs().lognormal()] {
        let setup = || Setup {
            link: link.clone(),
            profile: BackendProfile::default(),
            size: 1024 * MIB,
            concurrency: 32,
            ..Setup::default()
        };
        let alone = demand(&setup().build(), 10_000, 100).await;
        let bench = Arc::new(setup().build());
        let speculation: Vec<_> = (0..500)
            .map(|n| {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move {
                    loop {
                        let start = n * 2 * MIB;
                        bench.read(ask(start..start + 4 * MIB, Intent::Speculative)).await.unwrap();
                    }
                })
            })
            .collect();
        // Speculation has all the permits it can get when demand begins.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = bench.store.stats();
        let beside = demand(&bench, 10_000, 100).await;
        let stats = bench.store.stats();
        assert!(before.speculative_gets > 28 && stats.speculative_gets > before.speculative_gets);
        assert_eq!(stats.peak_in_flight, 32);
        speculation.iter().for_each(tokio::task::JoinHandle::abort);
        for per_mille in [500, 990, 999] {
            let [alone, beside] = [&alone, &beside].map(|times| times[times.len() * per_mille / 1000].as_secs_f64());
            eprintln!(
                "{link}: {per_mille} of 1,000 reads within {alone:.3} s alone, \
                 {beside:.3} s beside speculation: {:.3} ×",
                beside / alone
            );
            assert!(per_mille == 999 || beside <= 1.1 * alone);
        }
    }
}

/// A single demand finds a permit at once, although speculation would take all.
#[tokio::test(start_paused = true)]
async fn a_single_demand_does_not_wait_for_speculation() {
    let bench = Setup { concurrency: 4, ..Setup::default() }.build();
    let speculation = bench.read(ask(0..bench.size, Intent::Speculative));
    let demand = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let start = Instant::now();
        bench.read(ask(0..KIB, Intent::Demand)).await.unwrap();
        start.elapsed()
    };
    let (_, waited) = futures::join!(speculation, demand);
    // 10 ms for the first byte, and 1 KiB at 200 kB/s.
    assert!(waited <= Duration::from_millis(17), "{waited:?}");
    assert_eq!(bench.sim.log().counts().peak_live, 4, "three of them speculative");
}

#[tokio::test(start_paused = true)]
async fn a_promoted_read_overtakes_speculation() {
    let bench = Arc::new(Setup { concurrency: 1, ..Setup::default() }.build());
    let speculate = |promotion: Option<&Promotion>| {
        let mut options = ask(0..4 * KIB, Intent::Speculative);
        promotion.map(|promotion| options.extensions.insert(promotion.clone()));
        let bench = Arc::clone(&bench);
        tokio::spawn(async move {
            check_body(bench.store.get_opts(&path(), options).await.unwrap()).await.unwrap();
            bench.sim.elapsed()
        })
    };
    let mut others: Vec<_> = (0..10).map(|_| speculate(None)).collect();
    let promotion = Promotion::default();
    let promoted = speculate(Some(&promotion));
    tokio::time::sleep(Duration::from_millis(5)).await;
    promotion.promote();
    let promoted = promoted.await.unwrap();
    let first = others.remove(0).await.unwrap();
    assert!(promoted > first, "the request in flight ends first");
    for other in others {
        assert!(other.await.unwrap() > promoted, "waiting speculation does not");
    }
    assert_eq!((bench.store.stats().speculative_gets, bench.store.stats().demand_gets), (10, 1));
    bench.assert_nothing_left("at the end");
}
