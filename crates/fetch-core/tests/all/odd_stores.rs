//! Stores that behave oddly or fail: bytes stay right, nothing hangs, and no feature stays off for ever. In virtual
//! time.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

use crate::odd::*;
use bytes::Bytes;
use futures::StreamExt;
use headstart_fetch_core::*;
use object_store::path::Path;
use object_store::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const BIG: usize = 32 << 20;
fn p() -> Path {
    Path::from("a")
}

fn store(odd: &Arc<Odd>) -> FetchStore {
    let config = FetchConfig { jitter_seed: Some(1), ..FetchConfig::default() };
    FetchStore::new(odd.clone(), config).expect("valid settings")
}

fn gets(odd: &Odd) -> usize {
    odd.requests().iter().filter(|(_, o)| !o.head).count()
}

/// A single 400 of a store that has answered ranges before must not turn splitting off.
#[tokio::test(start_paused = true)]
async fn one_400_in_the_life_of_a_correct_store_does_not_turn_splitting_off() {
    let fail = Arc::new(AtomicBool::new(false));
    let f = fail.clone();
    let odd =
        Odd::new(move |_, _, _, a| if f.swap(false, Ordering::SeqCst) { Err(status("400 Bad Request")) } else { a });
    odd.set("a", pattern(BIG, 0), Some("\"1\""));
    let s = store(&odd);
    for _ in 0..3 {
        odd.clear();
        s.get(&p()).await.unwrap().bytes().await.unwrap();
        assert!(gets(&odd) > 3, "split before: {}", gets(&odd));
    }
    fail.store(true, Ordering::SeqCst); // e.g. 400 ExpiredToken, 400 RequestTimeout of S3
    s.get_range(&p(), 0..(BIG as u64 - 1)).await.unwrap();
    odd.clear();
    s.get(&p()).await.unwrap().bytes().await.unwrap();
    assert!(gets(&odd) > 3, "split after one 400: {} requests", gets(&odd));
}

/// A body falls silent, and the body of the second request does too.
#[tokio::test(start_paused = true)]
async fn two_silent_bodies_do_not_hang() {
    let n = Arc::new(AtomicUsize::new(0));
    let odd = Odd::new(move |_, _, _, a| {
        let n = n.fetch_add(1, Ordering::SeqCst);
        if n < 2 { a.map(|a| silent_after(a, if n == 0 { 1000 } else { 0 })) } else { a }
    });
    odd.set("a", pattern(100_000, 0), Some("\"1\""));
    let s = store(&odd);
    let read = async { s.get(&p()).await.unwrap().bytes().await };
    let got = timeout(Duration::from_secs(600), read).await;
    assert_eq!(got.expect("hangs").unwrap(), pattern(100_000, 0));
}

/// The caller is away while a second request is in flight. Its absence must not count as a usual pause of the
/// store.
#[tokio::test(start_paused = true)]
async fn the_callers_absence_does_not_count_as_a_pause() {
    let phase = Arc::new(AtomicUsize::new(0));
    let ph = phase.clone();
    let odd = Odd::new(move |_, _, _o, a| {
        match ph.fetch_add(1, Ordering::SeqCst) {
            // Silent for 3 s after 1000 bytes, then continues.
            0 => a.map(|mut a| {
                let GetResultPayload::Stream(body) = a.payload else { panic!() };
                let body = body.then(|c| async move { c }).enumerate().then(|(n, c)| async move {
                    if n == 1 {
                        tokio::time::sleep(Duration::from_secs(3)).await;
                    }
                    c
                });
                a.payload = GetResultPayload::Stream(body.boxed());
                a
            }),
            // The second request is silent, too.
            1 => a.map(|a| silent_after(a, 0)),
            // Later another body falls silent.
            2 => a.map(|a| silent_after(a, 1000)),
            _ => a,
        }
    });
    odd.set("a", pattern(200_000, 0), Some("\"1\""));
    let s = store(&odd);
    let mut body = s.get(&p()).await.unwrap().into_stream();
    assert!(body.next().await.is_some());
    // Waits until the second request is in flight, then is away for an hour.
    assert!(timeout(Duration::from_millis(2500), body.next()).await.is_err());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    while let Some(c) = body.next().await {
        c.unwrap();
    }
    phase.store(2, Ordering::SeqCst);
    let began = Instant::now();
    let got = timeout(Duration::from_secs(36000), async { s.get(&p()).await.unwrap().bytes().await }).await;
    assert_eq!(got.expect("hangs").unwrap(), pattern(200_000, 0));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

/// A correct server with strong tags, whose files all have one date (SOURCE_DATE_EPOCH, Nix, `cp -p`, `rsync -t`).
/// A file is overwritten by one of the same size while it is read.
#[tokio::test(start_paused = true)]
async fn a_strong_tag_that_changes_is_another_version_though_the_date_is_the_same() {
    let odd = Odd::correct();
    let (one, two) = (pattern(BIG, 0), pattern(BIG, 0xff));
    odd.set("a", one.clone(), Some("\"one\""));
    let s = store(&odd);
    let mut body = s.get(&p()).await.unwrap().into_stream();
    let mut got = body.next().await.unwrap().unwrap().to_vec();
    odd.set("a", two.clone(), Some("\"two\""));
    let mut error = None;
    while let Some(c) = body.next().await {
        match c {
            Ok(c) => got.extend_from_slice(&c),
            Err(e) => {
                error = Some(e);
                break;
            }
        }
    }
    assert!(
        error.is_some() || got == one || got == two,
        "torn: {} bytes of which {} are of the second version",
        got.len(),
        got.iter().zip(&two).filter(|(a, b)| a == b).count()
    );
}

/// Two replicas with different tags, both of which honour If-Match, answer in turn.
#[tokio::test(start_paused = true)]
async fn replicas_with_tags_of_their_own_that_honour_pins() {
    let odd = Odd::new(|odd, n, o, _| {
        let tag = if n % 3 == 2 { "\"B\"" } else { "\"A\"" };
        odd.objects.lock().get_mut("a").unwrap().e_tag = Some(tag.into());
        odd.answer(&p(), o)
    });
    odd.set("a", pattern(BIG, 0), Some("\"A\""));
    let s = store(&odd);
    for n in 0..5 {
        let got = s.get(&p()).await.unwrap().bytes().await;
        assert_eq!(got.unwrap_or_else(|e| panic!("read {n}: {e}")), pattern(BIG, 0));
    }
}

/// A body whose end is late is complete: nothing more is requested.
#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_after_the_last_byte() {
    let odd = Odd::new(|_, n, _, a| if n == 0 { a.map(|a| silent_after(a, usize::MAX)) } else { a });
    odd.set("a", pattern(1000, 0), Some("\"1\""));
    let s = store(&odd);
    let _began = Instant::now();
    assert_eq!(s.get(&p()).await.unwrap().bytes().await.unwrap(), pattern(1000, 0));
    assert_eq!(gets(&odd), 1);
}

/// One part is throttled while the store answers other parts: a second part that failed once does not wait for the
/// first.
#[tokio::test(start_paused = true)]
async fn a_part_does_not_wait_for_the_pauses_of_another_while_the_store_answers() {
    let _n = Arc::new(AtomicUsize::new(0));
    let failed = Arc::new(parking_lot::Mutex::new((0u64, 0u64, None::<Instant>, None::<Instant>)));
    let f = failed.clone();
    let odd = Odd::new(move |_, n, o, a| {
        let Some(GetRange::Bounded(r)) = &o.range else { return a };
        let mut f = f.lock();
        if n == 2 {
            f.0 = r.start;
        }
        if n == 3 {
            f.1 = r.start;
            f.2 = Some(Instant::now());
            return Err(status("500 Internal Server Error"));
        }
        // Part 2 is throttled three times, with a Retry-After of 20 s.
        if f.0 > 0
            && r.start == f.0
            && n < 1000
            && Instant::now().duration_since(f.2.unwrap_or_else(Instant::now)) < Duration::from_secs(50)
        {
            return Err(Error::Generic {
                store: "odd",
                source: Box::new(Throttled { status: 503, retry_after: Some(Duration::from_secs(20)) }),
            });
        }
        if f.1 > 0 && r.start == f.1 && f.3.is_none() {
            f.3 = Some(Instant::now());
        }
        a
    });
    odd.set("a", pattern(BIG, 0), Some("\"1\""));
    let s = store(&odd);
    s.get_range(&p(), 0..BIG as u64).await.unwrap();
    let f = failed.lock();
    let waited = f.3.unwrap() - f.2.unwrap();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

/// A credential error at the first pinned request.
#[tokio::test(start_paused = true)]
async fn dropped_in_a_race_everything_is_released() {
    for polls in 0..40u64 {
        eprintln!("polls {polls}");
        let odd = Odd::new(move |_, n, _, a| {
            a.map(|a| {
                silent_after(
                    a,
                    if n == 0 {
                        1000
                    } else if n == 1 {
                        500
                    } else {
                        0
                    },
                )
            })
        });
        odd.set("a", pattern(100_000, 0), Some("\"1\""));
        let s = store(&odd);
        let mut body = s.get(&p()).await.unwrap().into_stream();
        let _ = timeout(Duration::from_millis(polls * 100), async {
            while let Some(c) = body.next().await {
                c.unwrap();
            }
        })
        .await;
        drop(body);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let st = s.stats();
        assert_eq!(st.in_flight, 0);
        assert_eq!(st.delivered_bytes + st.wasted_bytes, st.fetched_bytes, "{st:?}");
    }
}

/// A store that refuses ranges past the end. The object grows between the request that tells its end and the parts.
#[tokio::test(start_paused = true)]
async fn a_sized_read_of_an_object_that_grows_is_whole() {
    let longer = Arc::new(AtomicBool::new(false));
    let l = longer.clone();
    let odd = Odd::new(move |odd, _, o, a| match &o.range {
        Some(GetRange::Bounded(r)) if a.as_ref().is_ok_and(|a| r.end > a.meta.size) => {
            Err(status("416 Range Not Satisfiable"))
        }
        None if l.swap(false, Ordering::SeqCst) => {
            odd.set_at("a", pattern(40 << 20, 9), Some("\"2\""), old() + Duration::from_secs(5));
            a
        }
        _ => a,
    });
    odd.set("small", pattern(3 << 20, 0), Some("\"1\""));
    odd.set("a", pattern(30 << 20, 0), Some("\"1\""));
    let s = store(&odd);
    s.get(&Path::from("small")).await.unwrap().bytes().await.unwrap();
    longer.store(true, Ordering::SeqCst);
    odd.clear();
    let answer = s.get(&p()).await.unwrap();
    let (range, size) = (answer.range.clone(), answer.meta.size);
    let got = answer.bytes().await.unwrap();
    println!(
        "range {range:?} of {size}: {} bytes; {:?}",
        got.len(),
        odd.requests().iter().map(|r| r.1.range.clone()).take(3).collect::<Vec<_>>()
    );
    assert!(got == pattern(30 << 20, 0) || got == pattern(40 << 20, 9), "{} bytes of an object of {size}", got.len());
}

/// Bodies that pause, break off or fall silent: the bytes are right, and everything is released.
#[tokio::test(start_paused = true)]
async fn silent_and_broken_bodies_are_read_exactly() {
    for seed in 0..3000u64 {
        let odd = Odd::new(move |_, n, _o, a| {
            a.map(|mut a| {
                let mut x = (seed * 1000 + n as u64 + 1).wrapping_mul(0x9E3779B97F4A7C15) | 1;
                let mut rnd = move |n: u64| {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    x % n
                };
                for _ in 0..5 {
                    rnd(2);
                }
                if n > 4 {
                    return a;
                }
                let GetResultPayload::Stream(b) = a.payload else { panic!() };
                let cut = match rnd(4) {
                    0 => 1 + rnd(4) as usize,
                    _ => usize::MAX,
                };
                let kind = rnd(3);
                let b = b
                    .flat_map(|c| {
                        let c = c.unwrap();
                        let h = c.len() / 2;
                        futures::stream::iter([Ok(c.slice(..h)), Ok(Bytes::new()), Ok(c.slice(h..))])
                    })
                    .enumerate()
                    .then(move |(i, c)| {
                        let d = match rnd(4) {
                            0 => rnd(3000),
                            _ => 0,
                        };
                        async move {
                            tokio::time::sleep(Duration::from_millis(d)).await;
                            if i >= cut {
                                match kind {
                                    0 => Err(Error::Generic {
                                        store: "odd",
                                        source: Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
                                    }),
                                    1 => {
                                        tokio::time::sleep(Duration::from_secs(100)).await;
                                        c
                                    }
                                    _ => c,
                                }
                            } else {
                                c
                            }
                        }
                    });
                a.payload = GetResultPayload::Stream(b.boxed());
                a
            })
        });
        let data = pattern(400_000, 0);
        odd.set("a", data.clone(), Some("\"1\""));
        let s = store(&odd);
        let began = Instant::now();
        let mut body = s.get(&p()).await.unwrap().into_stream();
        let mut got = Vec::new();
        let _away = seed;
        let give_up = seed % 5 == 0;
        loop {
            let next = timeout(Duration::from_secs(300), body.next())
                .await
                .unwrap_or_else(|_| panic!("seed {seed} hangs at {}", got.len()));
            match next {
                Some(Ok(c)) => got.extend_from_slice(&c),
                Some(Err(e)) => panic!("seed {seed}: {e}"),
                None => break,
            }
            if give_up && got.len() > 200_000 {
                break;
            }
        }
        assert!(data.starts_with(&got), "seed {seed}: wrong bytes");
        if !give_up {
            assert_eq!(got.len(), data.len(), "seed {seed}");
        }
        drop(body);
        let st = s.stats();
        assert_eq!(st.in_flight, 0, "seed {seed}");
        assert_eq!(st.delivered_bytes + st.wasted_bytes, st.fetched_bytes, "seed {seed} {st:?}");
        assert!(gets(&odd) < 12, "seed {seed}: {} requests", gets(&odd));
        let _ = began;
    }
}

/// Every body pauses before each chunk, and every second request brings just one chunk: slow, but no failure.
#[tokio::test(start_paused = true)]
async fn a_store_that_pauses_in_every_body_is_slow_and_no_failure() {
    for pause_s in [1u64, 2, 5, 10, 20] {
        let odd = Odd::new(move |_, _, _, a| {
            a.map(|mut a| {
                let GetResultPayload::Stream(b) = a.payload else { panic!() };
                let b = b.enumerate().then(move |(n, c)| async move {
                    if n > 0 {
                        tokio::time::sleep(Duration::from_secs(pause_s)).await;
                    }
                    c
                });
                a.payload = GetResultPayload::Stream(b.boxed());
                a
            })
        });
        odd.set("a", pattern(2 << 20, 0), Some("\"1\""));
        let s = store(&odd);
        let began = Instant::now();
        let got = timeout(Duration::from_secs(36000), async { s.get(&p()).await.unwrap().bytes().await })
            .await
            .expect("hangs");
        println!(
            "pauses of {pause_s} s: {:?}, {} requests, {:?}",
            began.elapsed(),
            gets(&odd),
            got.as_ref().map(|b| b.len())
        );
        got.unwrap();
    }
}

/// Few permits, an outage of the store, several calls and readers: nothing gets stuck.
#[tokio::test(start_paused = true)]
async fn outages_with_few_permits_do_not_get_stuck() {
    for seed in 0..60u64 {
        let odd = Odd::new(move |_, n, _o, a| {
            let mut x = (seed * 1000 + n as u64 + 1).wrapping_mul(0x9E3779B97F4A7C15) | 1;
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            if x.is_multiple_of(3) && n < 200 {
                return Err(status("500 Internal Server Error"));
            }
            if x % 7 == 1 && n < 100 {
                return a.map(|a| silent_after(a, 70_000));
            }
            a
        });
        odd.set("a", pattern(24 << 20, 0), Some("\"1\""));
        let config = FetchConfig {
            jitter_seed: Some(seed),
            concurrency: 1 + (seed as usize % 4),
            budget: Some(MemoryBudget::new(4 << 20)),
            ..FetchConfig::default()
        };
        let s = Arc::new(FetchStore::new(odd.clone(), config).expect("valid settings"));
        let mut tasks = Vec::new();
        for k in 0..4u64 {
            let s = s.clone();
            tasks.push(tokio::spawn(async move {
                let r = k * 1_000_000..20_000_000;
                let mut body = match s.get_opts(&p(), GetOptions::new().with_range(Some(r))).await {
                    Ok(b) => b.into_stream(),
                    Err(_) => return,
                };
                let mut n = 0usize;
                while let Some(c) = body.next().await {
                    let Ok(c) = c else { return };
                    n += c.len();
                    if k == 3 && n > 5_000_000 {
                        tokio::time::sleep(Duration::from_secs(3)).await;
                    }
                }
                assert_eq!(n as u64, 20_000_000 - k * 1_000_000);
            }));
        }
        for t in tasks {
            timeout(Duration::from_secs(3600), t)
                .await
                .unwrap_or_else(|_| panic!("seed {seed} stands still {:?}", s.stats()))
                .unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let st = s.stats();
        assert_eq!(st.in_flight, 0, "seed {seed}");
        assert_eq!(st.delivered_bytes + st.wasted_bytes, st.fetched_bytes, "seed {seed} {st:?}");
    }
}

/// The second request for a silent body gets a Retry-After of a minute: it is not sent again before.
#[tokio::test(start_paused = true)]
async fn a_second_request_obeys_retry_after() {
    let began = Instant::now();
    let odd = Odd::new(move |_, n, _, a| match n {
        0 => a.map(|a| silent_after(a, 1000)),
        _ if began.elapsed() < Duration::from_secs(60) => Err(Error::Generic {
            store: "odd",
            source: Box::new(Throttled { status: 503, retry_after: Some(Duration::from_secs(60)) }),
        }),
        _ => a,
    });
    odd.set("a", pattern(100_000, 0), Some("\"1\""));
    let s = store(&odd);
    let got =
        timeout(Duration::from_secs(3600), async { s.get(&p()).await.unwrap().bytes().await }).await.expect("hangs");
    assert!(gets(&odd) <= 3, "{} requests", gets(&odd));
    got.unwrap();
}

/// A body pauses for ten seconds, and the second request is refused for good (overwritten meanwhile, or a
/// single-use token). The first body continues and is complete.
#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_is_not_given_up_because_a_second_request_is_refused() {
    let odd = Odd::new(move |_, n, _, a| match n {
        0 => a.map(|mut a| {
            let GetResultPayload::Stream(b) = a.payload else { panic!() };
            a.payload = GetResultPayload::Stream(
                b.enumerate()
                    .then(|(n, c)| async move {
                        if n == 1 {
                            tokio::time::sleep(Duration::from_secs(10)).await;
                        }
                        c
                    })
                    .boxed(),
            );
            a
        }),
        _ => Err(Error::PermissionDenied { path: "a".into(), source: "403".into() }),
    });
    odd.set("a", pattern(100_000, 0), Some("\"1\""));
    let s = store(&odd);
    let got =
        timeout(Duration::from_secs(3600), async { s.get(&p()).await.unwrap().bytes().await }).await.expect("hangs");
    got.unwrap();
}
