//! Readers of stores that break rules, or fail: bytes stay right, and read-ahead stays on. In virtual time.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

use crate::odd::*;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use headstart_fetch_core::internal::RangeOrigin;
use headstart_fetch_core::*;
use headstart_prefetch::*;
use object_store::path::Path;
use object_store::*;
use std::io::SeekFrom;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt};
use tokio::time::timeout;

const BIG: usize = 16 << 20;
fn p(k: &str) -> Path {
    Path::from(k)
}
fn store(odd: &Arc<Odd>) -> PrefetchStore {
    PrefetchStore::new(odd.clone(), PrefetchConfig::default()).expect("valid settings")
}
fn no_ahead(odd: &Arc<Odd>) -> PrefetchStore {
    PrefetchStore::new(odd.clone(), PrefetchConfig { max_prefetch_bytes: 0, ..PrefetchConfig::default() })
        .expect("valid settings")
}
fn over_fetch(odd: &Arc<Odd>) -> PrefetchStore {
    PrefetchStore::new(
        Arc::new(
            FetchStore::new(odd.clone(), FetchConfig { jitter_seed: Some(1), ..FetchConfig::default() })
                .expect("valid settings"),
        ),
        PrefetchConfig::default(),
    )
    .expect("valid settings")
}
fn gets(odd: &Odd) -> usize {
    odd.requests().iter().filter(|(_, o)| !o.head).count()
}
fn asked(odd: &Odd) -> usize {
    odd.requests().iter().filter(|(_, o)| o.extensions.get() == Some(&RangeOrigin::Asked)).count()
}

async fn stream_requests(odd: &Odd, s: &PrefetchStore, key: &str) -> (usize, usize) {
    odd.clear();
    let r = s.reader(&p(key)).unwrap();
    let all: Vec<Bytes> = r.stream().try_collect().await.unwrap();
    assert_eq!(all.concat().len(), BIG);
    (gets(odd), asked(odd))
}

/// Reading past the end of a small object of a correct store.
#[tokio::test(start_paused = true)]
async fn a_read_past_the_end_does_not_turn_read_ahead_off() {
    let odd = Odd::correct();
    for k in ["b1", "b2", "b3"] {
        odd.set(k, pattern(BIG, 1), Some("\"1\""));
    }
    odd.set("small", pattern(1000, 1), Some("\"1\""));
    let s = store(&odd);
    let before = stream_requests(&odd, &s, "b1").await;
    let r = s.reader(&p("small")).unwrap();
    assert!(r.read_at(5000..6000).await.unwrap().is_empty());
    let after = stream_requests(&odd, &s, "b2").await;
    let later = stream_requests(&odd, &s, "b3").await;
    let r = s.reader(&p("b3")).unwrap();
    odd.clear();
    for n in 0..20u64 {
        r.read_at(n * 100_000..(n + 1) * 100_000).await.unwrap();
    }
    println!(
        "before {before:?} after {after:?} later {later:?}; 20 reads of a known object: {} {}",
        gets(&odd),
        asked(&odd)
    );
    assert_eq!((after.1, later.1, asked(&odd)), (0, 0, 0));
}

/// The same by `AsyncRead` after a seek past the end.
#[tokio::test(start_paused = true)]
async fn a_seek_past_the_end_does_not_turn_read_ahead_off() {
    let odd = Odd::correct();
    for k in ["b1", "b2", "b3"] {
        odd.set(k, pattern(BIG, 1), Some("\"1\""));
    }
    odd.set("small", pattern(1000, 1), Some("\"1\""));
    let s = over_fetch(&odd);
    let mut r = s.reader(&p("small")).unwrap();
    r.seek(SeekFrom::Start(5000)).await.unwrap();
    assert_eq!(r.read(&mut [0; 100]).await.unwrap(), 0);
    let after = stream_requests(&odd, &s, "b2").await;
    let later = stream_requests(&odd, &s, "b3").await;
    assert_eq!((after.1, later.1), (0, 0));
}

/// One failure that is no refusal of the range, at the first read of a reader.
#[tokio::test(start_paused = true)]
async fn one_odd_error_does_not_turn_read_ahead_off() {
    let fail = Arc::new(AtomicBool::new(false));
    let f = fail.clone();
    let odd =
        Odd::new(move |_, _, _, a| if f.swap(false, Ordering::SeqCst) { Err(status("400 Bad Request")) } else { a });
    for k in ["b1", "b2", "b3"] {
        odd.set(k, pattern(BIG, 1), Some("\"1\""));
    }
    let s = store(&odd);
    let (_, asked) = stream_requests(&odd, &s, "b1").await;
    assert_eq!(asked, 0);
    fail.store(true, Ordering::SeqCst);
    let _ = stream_requests(&odd, &s, "b2").await;
    let (all, asked) = stream_requests(&odd, &s, "b3").await;
    assert_eq!(asked, 0, "{all} requests");
}

/// No read-ahead: after the first chunk the rest comes as one answer, which fails in the middle. The next read must not
/// report the end of the object.
#[tokio::test(start_paused = true)]
async fn after_an_error_of_the_body_the_next_read_is_no_end() {
    let odd = Odd::new(|_, n, o, a| {
        if matches!(o.range, Some(GetRange::Offset(_))) && n == 1 {
            a.map(|mut a| {
                let GetResultPayload::Stream(b) = a.payload else { panic!() };
                a.payload = GetResultPayload::Stream(
                    b.take(3)
                        .chain(stream::iter([Err(Error::Generic { store: "odd", source: "reset".into() })]))
                        .boxed(),
                );
                a
            })
        } else {
            a
        }
    });
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = no_ahead(&odd);
    let mut r = s.reader(&p("a")).unwrap();
    let (mut got, mut errors) = (Vec::new(), 0);
    let mut buf = vec![0; 50_000];
    loop {
        match r.read(&mut buf).await {
            Ok(0) => break,
            Ok(n) => got.extend_from_slice(&buf[..n]),
            Err(_) => errors += 1,
        }
    }
    assert_eq!((got.len(), errors), (BIG, 1));
}

/// A body that is too short is an error, not the end of the object.
#[tokio::test(start_paused = true)]
async fn a_short_body_is_no_end() {
    let odd = Odd::new(|_, _n, o, a| {
        if matches!(o.range, Some(GetRange::Offset(_))) {
            a.map(|mut a| {
                let GetResultPayload::Stream(b) = a.payload else { panic!() };
                a.payload = GetResultPayload::Stream(b.take(3).boxed());
                a
            })
        } else {
            a
        }
    });
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = no_ahead(&odd);
    let mut r = s.reader(&p("a")).unwrap();
    let mut got = Vec::new();
    let read = r.read_to_end(&mut got).await;
    assert!(read.is_err(), "{} bytes of {BIG} and {read:?}", got.len());
}

/// An answer with another range than the requested one.
#[tokio::test(start_paused = true)]
async fn another_range_is_an_error() {
    let odd = Odd::new(|odd, _n, o, a| {
        if matches!(o.range, Some(GetRange::Offset(_))) {
            odd.answer(&p("a"), &GetOptions { range: None, ..o.clone() })
        } else {
            a
        }
    });
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = no_ahead(&odd);
    let mut r = s.reader(&p("a")).unwrap();
    let mut got = Vec::new();
    let read = r.read_to_end(&mut got).await;
    assert!(read.is_err() || got == pattern(BIG, 1), "{} bytes of {BIG} and {read:?}", got.len());
}

/// Nothing identifies the version, and between the first chunk and the rest the object is overwritten with the same
/// size.
#[tokio::test(start_paused = true)]
async fn async_read_of_an_unprovable_object_is_of_one_version() {
    let odd = Odd::correct();
    let (one, two) = (pattern(BIG, 1), pattern(BIG, 0xfe));
    odd.set_at("a", one.clone(), None, chrono::DateTime::UNIX_EPOCH);
    let s = store(&odd);
    let mut r = s.reader(&p("a")).unwrap();
    let mut got = vec![0; 1000];
    r.read_exact(&mut got).await.unwrap();
    odd.set_at("a", two.clone(), None, chrono::DateTime::UNIX_EPOCH);
    let read = r.read_to_end(&mut got).await;
    assert!(read.is_err() || got == one || got == two, "torn");
}

/// The end is read twice.
#[tokio::test(start_paused = true)]
async fn the_end_can_be_read_again() {
    // A stream that panics where it is polled after its end, as `stream::unfold` does.
    let odd = Odd::new(|_, _n, _o, a| {
        a.map(|mut a| {
            let GetResultPayload::Stream(b) = a.payload else { panic!() };
            a.payload =
                GetResultPayload::Stream(stream::unfold(b, |mut b| async move { Some((b.next().await?, b)) }).boxed());
            a
        })
    });
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = no_ahead(&odd);
    let mut r = s.reader(&p("a")).unwrap();
    let mut got = Vec::new();
    r.read_to_end(&mut got).await.unwrap();
    assert_eq!(r.read(&mut [0; 10]).await.unwrap(), 0);
    assert_eq!(got.len(), BIG);
}

/// A store that refuses ranges which reach the end: read by 32 KiB after a seek, as `tokio::io::copy` does.
#[tokio::test(start_paused = true)]
async fn requests_do_not_multiply_where_ranges_are_refused() {
    let odd = Odd::new(|_, _n, o, a| match (&o.range, o.extensions.get::<RangeOrigin>()) {
        (Some(GetRange::Bounded(_)), Some(RangeOrigin::Chosen)) | (Some(GetRange::Bounded(_)), None) => {
            Err(status("400 Bad Request"))
        }
        _ => a,
    });
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = store(&odd);
    let mut r = s.reader(&p("a")).unwrap();
    let mut sink = tokio::io::sink();
    let mut first = [0; 10];
    r.read_exact(&mut first).await.unwrap();
    r.seek(SeekFrom::Start(1 << 20)).await.unwrap();
    odd.clear();
    let _n = tokio::io::copy(&mut r, &mut sink).await;
    assert!(gets(&odd) < 100, "{}", gets(&odd));
}

/// Random seeks, reads and consumes compared with a slice, over odd and correct stores.
#[tokio::test(start_paused = true)]
async fn positions_model() {
    for (seed, ahead) in (0..60u64).flat_map(|s| [(s, None), (s, Some(0u64))]) {
        let kind = seed % 4;
        let odd = Odd::new(move |_, _n, o, a| match &o.range {
            Some(GetRange::Bounded(_)) if kind == 1 && o.extensions.get() == Some(&RangeOrigin::Chosen) => {
                Err(status("400 Bad Request"))
            }
            Some(GetRange::Bounded(r)) if kind == 2 && a.as_ref().is_ok_and(|a| r.end > a.meta.size) => {
                Err(status("416 Range Not Satisfiable"))
            }
            _ => a,
        });
        let size = [0usize, 1, 1000, 65536, 300_000, 3_000_000][(seed as usize / 4) % 6];
        let data = pattern(size, 7);
        let date = if kind == 3 { chrono::DateTime::UNIX_EPOCH } else { old() };
        odd.set_at("a", data.clone(), (kind != 3).then_some("\"1\""), date);
        let s = if ahead.is_none() { store(&odd) } else { no_ahead(&odd) };
        let mut r = s.reader(&p("a")).unwrap();
        let mut x = seed.wrapping_mul(0x9E3779B97F4A7C15) | 1;
        let mut rnd = |n: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x % n
        };
        let mut pos = 0u64;
        for step in 0..40 {
            let what = rnd(5);
            match what {
                0 => {
                    pos = rnd(size as u64 + 100_000);
                    r.seek(SeekFrom::Start(pos)).await.unwrap();
                }
                1 => {
                    let back = rnd(1000).min(pos) as i64;
                    pos -= back as u64;
                    assert_eq!(r.seek(SeekFrom::Current(-back)).await.unwrap(), pos);
                }
                2 => {
                    let n = rnd(size as u64 + 1);
                    pos = size as u64 - n;
                    let at = r.seek(SeekFrom::End(-(n as i64))).await;
                    assert_eq!(at.unwrap_or_else(|e| panic!("seed {seed} {ahead:?} {e:?}")), pos);
                }
                3 => {
                    let got = r
                        .fill_buf()
                        .await
                        .unwrap_or_else(|e| panic!("seed {seed} {ahead:?} step {step} pos {pos} size {size} {e:?}"))
                        .to_vec();
                    let rest = &data[(pos as usize).min(size)..];
                    assert!(rest.starts_with(&got), "seed {seed}");
                    assert_eq!(
                        got.is_empty(),
                        rest.is_empty(),
                        "seed {seed} kind {kind} {ahead:?} step {step} pos {pos} size {size}"
                    );
                    let n = rnd(got.len() as u64 + 1);
                    r.consume(n as usize);
                    pos += n;
                }
                _ => {
                    let mut buf = vec![0; rnd(200_000) as usize + 1];
                    // Drops the read now and then.
                    if rnd(3) == 0 {
                        let _ = timeout(Duration::from_millis(rnd(12)), r.read(&mut [0; 0])).await;
                    }
                    let n = r
                        .read(&mut buf)
                        .await
                        .unwrap_or_else(|e| panic!("seed {seed} {ahead:?} step {step} pos {pos} size {size} {e:?}"));
                    let rest = &data[(pos as usize).min(size)..];
                    assert!(rest.starts_with(&buf[..n]), "seed {seed}");
                    assert_eq!(n == 0, rest.is_empty(), "seed {seed} {ahead:?} step {step} pos {pos} size {size}");
                    pos += n as u64;
                }
            }
        }
    }
}

/// A closed reader returns no more bytes.
#[tokio::test(start_paused = true)]
async fn a_closed_reader_reads_no_more() {
    let odd = Odd::correct();
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = no_ahead(&odd);
    let mut r = s.reader(&p("a")).unwrap();
    r.read_exact(&mut [0; 1000]).await.unwrap();
    r.close();
    odd.clear();
    let mut got = vec![0; 400_000];
    let read = r.read_exact(&mut got).await;
    assert!(read.is_err() && gets(&odd) == 0);
}

/// The reader is closed while the body arrives.
#[tokio::test(start_paused = true)]
async fn closing_ends_a_body() {
    let odd = Odd::correct();
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = no_ahead(&odd);
    let mut r = s.reader(&p("a")).unwrap();
    r.read_exact(&mut vec![0; 400_000]).await.unwrap();
    r.close();
    let mut got = Vec::new();
    assert!(r.read_to_end(&mut got).await.is_err(), "{} bytes after close", got.len());
    assert!(r.read(&mut [0; 10]).await.is_err(), "nor what had arrived");
    // Streams end, too, and there are no new ones.
    let r = s.reader(&p("a")).unwrap();
    let mut stream = r.stream();
    stream.next().await.unwrap().unwrap();
    r.close();
    assert!(stream.next().await.unwrap().is_err());
    assert!(stream.next().await.is_none());
    // But a stream outlives its reader.
    let other = s.reader(&p("a")).unwrap();
    let rest = other.stream();
    drop(other);
    assert_eq!(rest.map_ok(|chunk| chunk.len()).try_fold(0, async |all, len| Ok(all + len)).await.unwrap(), BIG);
    let requests = odd.requests().len();
    assert!(r.stream().next().await.unwrap().is_err());
    assert_eq!(odd.requests().len(), requests);
}

/// A server that rejects ranges without an end is not asked for one again and again.
#[tokio::test(start_paused = true)]
async fn open_ranges_that_are_refused_are_not_asked_for_again() {
    let odd = Odd::new(
        |_, _, o, a| if matches!(o.range, Some(GetRange::Offset(_))) { Err(status("400 Bad Request")) } else { a },
    );
    odd.set("a", pattern(BIG, 1), Some("\"1\""));
    let s = no_ahead(&odd);
    let mut r = s.reader(&p("a")).unwrap();
    let mut got = Vec::new();
    r.read_to_end(&mut got).await.unwrap();
    let refused = odd.requests().iter().filter(|(_, o)| matches!(o.range, Some(GetRange::Offset(_)))).count();
    // With a pin, and without.
    assert!(refused <= 2);
}

/// Two replicas with different entity tags, which honour pins: a reader over fetch over them.
#[tokio::test(start_paused = true)]
async fn a_reader_over_replicas_with_tags_of_their_own() {
    for over in [false, true] {
        let odd = Odd::new(|odd, n, o, _| {
            let tag = if (n / 2) % 2 == 1 { "\"B\"" } else { "\"A\"" };
            odd.objects.lock().get_mut("a").unwrap().e_tag = Some(tag.into());
            odd.answer(&p("a"), o)
        });
        odd.set("a", pattern(BIG, 1), Some("\"A\""));
        let s = if over { over_fetch(&odd) } else { store(&odd) };
        let r = s.reader(&p("a")).unwrap();
        for n in 0..30u64 {
            let range = n * 500_000..n * 500_000 + 1000;
            r.read_at(range).await.unwrap_or_else(|e| panic!("over fetch {over} read {n}: {e}"));
        }
    }
}

/// The same with a dated file that is overwritten, without a new date.
#[tokio::test(start_paused = true)]
async fn a_reader_never_mixes_strong_tags() {
    let odd = Odd::correct();
    let (one, two) = (pattern(BIG, 1), pattern(BIG, 0xfe));
    odd.set("a", one.clone(), Some("\"1\""));
    let s = store(&odd);
    let r = s.reader(&p("a")).unwrap();
    let _a = r.read_at(0..1000).await.unwrap();
    odd.set("a", two.clone(), Some("\"2\""));
    let b = r.read_at(9_000_000..9_001_000).await;
    assert!(b.is_err() || b.as_ref().unwrap() == &one.slice(9_000_000..9_001_000), "of the second version");
}

/// The rest as one answer is of the version of the first chunk, or an error.
#[tokio::test(start_paused = true)]
async fn the_rest_as_one_answer_is_of_the_same_version() {
    for pins in [true, false] {
        let odd = Odd::new(
            move |odd, _, o, a| if pins { a } else { odd.answer(&p("a"), &GetOptions { if_match: None, ..o.clone() }) },
        );
        let one = pattern(BIG, 1);
        odd.set("a", one.clone(), Some("\"1\""));
        let s = no_ahead(&odd);
        let mut r = s.reader(&p("a")).unwrap();
        let mut got = vec![0; 1000];
        r.read_exact(&mut got).await.unwrap();
        odd.set_at("a", pattern(BIG, 0xfe), Some("\"2\""), old() + Duration::from_secs(100));
        let read = r.read_to_end(&mut got).await;
        assert!(read.is_err() && one.starts_with(&got), "pins {pins}");
    }
}

/// A store that refuses only ranges past the end: known objects are still read ahead.
#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_ends_alone_is_read_ahead() {
    let odd = Odd::new(|_, _, o, a| match &o.range {
        Some(GetRange::Bounded(r)) if a.as_ref().is_ok_and(|a| r.end > a.meta.size) => {
            Err(status("416 Range Not Satisfiable"))
        }
        _ => a,
    });
    odd.set("small", pattern(100_000, 1), Some("\"1\""));
    for k in ["b1", "b2"] {
        odd.set(k, pattern(BIG, 1), Some("\"1\""));
    }
    let s = store(&odd);
    let mut all = Vec::new();
    s.reader(&p("small")).unwrap().read_to_end(&mut all).await.unwrap();
    let _first = stream_requests(&odd, &s, "b1").await;
    let r = s.reader(&p("b2")).unwrap();
    r.size().await.unwrap();
    odd.clear();
    for n in 0..40u64 {
        r.read_at(n * 100_000..(n + 1) * 100_000).await.unwrap();
    }
    assert_eq!(asked(&odd), 0);
}
