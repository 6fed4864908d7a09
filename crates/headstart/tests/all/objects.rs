//! Lists of whole objects through the whole stack: speed, order, memory, errors and cancellation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FusedStream;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use headstart::{
    AccessHint, FetchError, Headstart, HeadstartBuilder, MemoryBudget, ObjectError, PrefetchConfig, PrefetchStore,
};
use headstart_sim::{Altered, Content, FaultPlan, LinkProfile, SimStore};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};
use tokio::runtime::Builder;
use tokio::time::Instant;

const MIB: u64 = 1 << 20;

/// More than any list has in flight, so that no run pays for new connections.
const WARM_CONNECTIONS: usize = 2048;

fn key(n: usize) -> Path {
    Path::from(format!("objects/{n}"))
}

fn paths(count: usize) -> Vec<Path> {
    (0..count).map(key).collect()
}

/// A bucket with objects of `sizes` behind `link`.
fn bucket(link: LinkProfile, sizes: &[u64]) -> SimStore {
    let sim = SimStore::builder().profile(link).warm_connections(WARM_CONNECTIONS).build();
    for (n, size) in sizes.iter().enumerate() {
        sim.catalog().add_synthetic(key(n).as_ref(), *size);
    }
    sim
}

fn builder(sim: &SimStore) -> HeadstartBuilder {
    let store = Arc::new(sim.clone());
    Headstart::builder().store(store).environment([])
}

/// Fails unless `bytes` are the whole live version of the object at `path`.
#[track_caller]
fn check(sim: &SimStore, path: &Path, bytes: &[u8]) {
    let live = sim.catalog().get(path.as_ref(), None).unwrap();
    Content::new(path.as_ref(), live.number).check(0, bytes).unwrap_or_else(|wrong| panic!("{path}: {wrong:?}"));
    assert_eq!(bytes.len() as u64, live.size, "{path}");
}

/// Checks every object, and returns their paths and the time it took.
async fn read_all(
    sim: &SimStore,
    objects: impl Stream<Item = Result<(Path, Bytes), ObjectError>>,
) -> (Vec<Path>, Duration) {
    let began = Instant::now();
    let check = |(path, bytes): (Path, Bytes)| {
        check(sim, &path, &bytes);
        path
    };
    let paths = objects.map_ok(check).try_collect().await.unwrap();
    (paths, began.elapsed())
}

/// The plain client with `in_flight` GETs at once.
async fn oracle(sim: &SimStore, count: usize, in_flight: usize) -> Duration {
    let began = Instant::now();
    let gets = paths(count).into_iter().map(|path| async move {
        let bytes = sim.get(&path).await.unwrap().bytes().await.unwrap();
        check(sim, &path, &bytes);
    });
    stream::iter(gets).buffered(in_flight).collect::<Vec<_>>().await;
    began.elapsed()
}

/// Nothing of a list is left: no memory, no request.
async fn check_idle(sim: &SimStore, store: &Headstart) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.stats().budget.used_bytes, 0);
    assert_eq!(sim.log().counts().live, 0);
}

/// 10,000 in the promise; fewer here, as a debug build takes 10 s for them. `HEADSTART_OBJECTS=10000` measures all.
fn count() -> usize {
    option_env!("HEADSTART_OBJECTS").map_or(3_000, |count| count.parse().unwrap())
}

/// 100 KB at 30 ms and 1,000 MB/s: as fast as the plain client with as many GETs in flight, one GET each.
#[tokio::test(start_paused = true)]
async fn small_objects_fill_the_link() {
    let count = count();
    for (mode, is_ordered) in [("none", true), ("none", false), ("adaptive", true)] {
        let sim = bucket(LinkProfile::gcs(), &vec![100_000; count]);
        let store = builder(&sim).option("mode", mode).build().await.unwrap();
        let objects = store.objects(stream::iter(paths(count)));
        let objects = if is_ordered { objects } else { objects.unordered() };
        let (mut found, took) = read_all(&sim, objects).await;
        let (log, budget) = (sim.log().counts(), store.stats().budget);
        if !is_ordered {
            found.sort_by_key(|path| path.as_ref()["objects/".len()..].parse::<usize>().unwrap());
        }
        assert_eq!(found, paths(count), "{mode}");
        check_idle(&sim, &store).await;
        let in_flight = log.peak_live;
        let plain = bucket(LinkProfile::gcs(), &vec![100_000; count]);
        let at_best = oracle(&plain, count, usize::try_from(in_flight).unwrap()).await;
        let (times, mb_per_s) = (at_best.as_secs_f64() / took.as_secs_f64(), count as f64 * 0.1 / took.as_secs_f64());
        println!(
            "{count} objects of 100 KB, mode {mode}, {}: {mb_per_s:.0} MB/s with {in_flight} GETs in flight and \
             {:.0} MiB, {times:.2} x the plain client with as many (at least 0.9)",
            if is_ordered { "in order" } else { "as they come" },
            budget.peak_bytes as f64 / MIB as f64,
        );
        assert!(times >= 0.9, "{mode}: {took:?}, the plain client {at_best:?}");
        assert_eq!(log.gets, count as u64, "{mode}: one GET each");
        assert!(budget.peak_bytes <= budget.limit_bytes);
    }
}

/// Objects of every kind: empty, tiny, of a few MB, larger than a split read, each whole and by its body.
const MIXED: [u64; 9] = [100_000, 0, 1, 3_000_000, 17, 40_000_000, 1_800_000, 131_072, 9_000_001];

#[tokio::test(start_paused = true)]
async fn every_size_in_every_mode() {
    for mode in ["none", "fetch", "adaptive", "cached"] {
        for memory in ["512MiB", "64MiB"] {
            let sim = bucket(LinkProfile::gcs().lognormal(), &MIXED.repeat(2));
            let store = builder(&sim).option("mode", mode).option("memory_bytes", memory).build().await.unwrap();
            let all = paths(MIXED.len() * 2);
            let (found, _) = read_all(&sim, store.objects(stream::iter(all.clone()))).await;
            assert_eq!(found, all, "{mode}");
            let (found, _) = read_all(&sim, store.objects(stream::iter(all.clone())).unordered()).await;
            assert_eq!(found.iter().collect::<BTreeSet<_>>(), all.iter().collect(), "{mode}");
            let mut bodies = store.objects(stream::iter(all.clone())).bodies();
            for path in &all {
                let body = bodies.try_next().await.unwrap().unwrap();
                assert_eq!((body.path(), &body.meta().location), (path, path));
                check(&sim, path, &body.bytes().await.unwrap());
            }
            assert!(bodies.try_next().await.unwrap().is_none() && bodies.is_terminated());
            check_idle(&sim, &store).await;
            let budget = store.stats().budget;
            assert!(budget.peak_bytes <= budget.limit_bytes, "{mode} with {memory}");
        }
    }
}

/// Objects of 100 MB, by their bodies: nearly as fast as one after the other through the same stack with little memory,
/// faster with enough, and never beyond it.
#[tokio::test(start_paused = true)]
async fn large_objects_by_their_bodies() {
    for (memory, least) in [(32 * MIB, 0.8), (512 * MIB, 1.1)] {
        let sim = bucket(LinkProfile::gcs(), &[100_000_000; 8]);
        let store = builder(&sim).memory_bytes(memory).build().await.unwrap();
        let began = Instant::now();
        for path in paths(8) {
            store.get(&path).await.unwrap().into_stream().try_for_each(async |_| Ok(())).await.unwrap();
        }
        let (alone, began) = (began.elapsed(), Instant::now());
        let mut bodies = store.objects(stream::iter(paths(8))).bodies();
        let mut total = 0;
        while let Some(mut body) = bodies.try_next().await.unwrap() {
            let live = sim.catalog().get(body.path().as_ref(), None).unwrap();
            let content = Content::new(body.path().as_ref(), live.number);
            let mut at = 0;
            while let Some(chunk) = body.try_next().await.unwrap() {
                content.check(at, &chunk).unwrap();
                at += chunk.len() as u64;
            }
            assert_eq!(at, live.size);
            total += at;
        }
        assert_eq!(total, 800_000_000);
        let (mb_per_s, times) =
            (800.0 / began.elapsed().as_secs_f64(), alone.as_secs_f64() / began.elapsed().as_secs_f64());
        let budget = store.stats().budget;
        println!(
            "8 objects of 100 MB with {} MiB: {mb_per_s:.0} MB/s, {times:.2} x one after the other (at least {least})",
            memory / MIB
        );
        assert!(times >= least, "{memory}: {times}");
        assert!(budget.peak_bytes <= budget.limit_bytes);
        // Collected, an object is the consumer's as soon as it waits for it.
        let (found, _) = read_all(&sim, store.objects(stream::iter(paths(2)))).await;
        assert_eq!(found, paths(2));
        check_idle(&sim, &store).await;
    }
}

/// Without any memory a list goes on, one object at a time, whether the consumer waits before a request is sent or
/// after.
#[tokio::test(start_paused = true)]
async fn lists_without_memory_go_on() {
    let sim = bucket(LinkProfile::gcs(), &[65_536; 4]);
    let budget = Some(MemoryBudget::new(1));
    let config = PrefetchConfig { budget, ..PrefetchConfig::default() };
    let store = PrefetchStore::new(Arc::new(sim.clone()), config).unwrap();
    let (found, _) = read_all(&sim, store.objects(stream::iter(paths(4)))).await;
    assert_eq!(found, paths(4));
    let (found, _) = read_all(&sim, store.objects(stream::iter(paths(4))).unordered()).await;
    assert_eq!(found.len(), 4);
}

/// Of a consumer that takes an object every 10 ms, no more waits than covers four late answers.
#[tokio::test(start_paused = true)]
async fn a_slow_consumer_holds_a_window() {
    let sim = bucket(LinkProfile::gcs(), &[1_000_000; 400]);
    let store = builder(&sim).build().await.unwrap();
    let mut objects = store.objects(stream::iter(paths(400)));
    for n in 0..200 {
        let (path, bytes) = objects.try_next().await.unwrap().unwrap();
        check(&sim, &path, &bytes);
        assert_eq!(path, key(n));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let peak = store.stats().budget.peak_bytes;
    println!("a consumer of 100 MB/s: {:.0} MB of memory (at most 250)", peak as f64 / 1e6);
    assert!(peak < 250_000_000, "{peak}");
    drop(objects);
    check_idle(&sim, &store).await;
}

/// Answers of 503, broken bodies and late answers are the business of the layer below.
#[tokio::test(start_paused = true)]
async fn faults_are_retried_below() {
    let faults = FaultPlan { unavailable: 0.02, cut: 0.02, ..FaultPlan::default() };
    let sim = SimStore::builder().profile(LinkProfile::gcs().lognormal()).faults(faults).build();
    (0..500).for_each(|n| drop(sim.catalog().add_synthetic(key(n).as_ref(), 100_000)));
    let store = builder(&sim).build().await.unwrap();
    let (found, _) = read_all(&sim, store.objects(stream::iter(paths(500)))).await;
    assert_eq!(found, paths(500));
    assert!(store.stats().fetch.unwrap().retries > 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_error_ends_the_list_or_is_an_item() {
    let sim = bucket(LinkProfile::gcs(), &[100_000; 600]);
    let store = builder(&sim).build().await.unwrap();
    for n in [50, 60] {
        assert!(sim.catalog().delete(key(n).as_ref()));
    }
    let mut objects = store.objects(stream::iter(paths(600)));
    for n in 0..50 {
        assert_eq!(objects.try_next().await.unwrap().unwrap().0, key(n));
    }
    let error = objects.try_next().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read the object 'objects/50'");
    assert!(matches!(&error.source, Error::NotFound { .. }) && error.path == key(50));
    assert!(matches!(Error::from(error), Error::NotFound { .. }));
    assert!(objects.next().await.is_none() && objects.is_terminated());
    check_idle(&sim, &store).await;

    let all: Vec<_> = store.objects(stream::iter(paths(600))).continue_after_errors().collect().await;
    assert_eq!(all.len(), 600);
    for (n, object) in all.into_iter().enumerate() {
        match object {
            Ok((path, bytes)) => {
                assert_eq!(path, key(n));
                check(&sim, &path, &bytes);
            }
            Err(error) => assert!([50, 60].contains(&n) && error.path == key(n), "{error}"),
        }
    }
    check_idle(&sim, &store).await;
}

/// Dropping a list aborts what is in flight; nothing is requested afterwards.
#[tokio::test(start_paused = true)]
async fn dropping_a_list_aborts_its_requests() {
    for taken in [0, 1, 100] {
        let sim = bucket(LinkProfile::gcs(), &[100_000; 2000]);
        let store = builder(&sim).build().await.unwrap();
        let mut objects = store.objects(stream::iter(paths(2000)));
        assert!(objects.next().now_or_never().is_none());
        for _ in 0..taken {
            objects.try_next().await.unwrap().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(sim.log().counts().live > 0);
        drop(objects);
        check_idle(&sim, &store).await;
        let gets = sim.log().counts().gets;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(sim.log().counts().gets, gets, "after {taken}");
        assert!(sim.log().snapshot().iter().all(|request| request.end.is_some()));
    }
}

/// The paths may come slowly, from another task.
#[tokio::test(start_paused = true)]
async fn paths_may_be_a_stream() {
    let sim = bucket(LinkProfile::gcs(), &[100_000; 20]);
    let store = builder(&sim).build().await.unwrap();
    let slow = stream::iter(paths(20)).then(|path| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        path
    });
    let (found, took) = read_all(&sim, store.objects(slow)).await;
    assert_eq!(found, paths(20));
    assert!(took < Duration::from_millis(2100), "{took:?}");
    let (found, _) = read_all(&sim, store.objects(stream::empty())).await;
    assert!(found.is_empty());
    let (found, _) = read_all(&sim, store.objects(stream::iter(paths(20))).concurrency(3)).await;
    assert_eq!(found, paths(20));
}

/// A store without versions, and one that refuses ranges, get the requests that the plain client sends.
#[tokio::test(start_paused = true)]
async fn odd_stores() {
    for refuses_ranges in [false, true] {
        let sim = bucket(LinkProfile::gcs(), &MIXED);
        let odd = Altered::new(sim.clone(), move |options| match options.range {
            Some(_) if refuses_ranges => Err(Error::NotSupported { source: "no ranges".into() }),
            _ => Ok(options),
        });
        let odd = odd.answers(move |mut answer| {
            if !refuses_ranges {
                (answer.meta.e_tag, answer.meta.version) = (None, None);
                answer.meta.last_modified = std::time::UNIX_EPOCH.into();
            }
            answer
        });
        let store = Headstart::builder().store(Arc::new(odd)).environment([]).build().await.unwrap();
        for _ in 0..3 {
            let (found, _) = read_all(&sim, store.objects(stream::iter(paths(MIXED.len())))).await;
            assert_eq!(found, paths(MIXED.len()));
            let mut bodies = store.objects(stream::iter(paths(MIXED.len()))).bodies();
            while let Some(body) = bodies.try_next().await.unwrap() {
                let path = body.path().clone();
                check(&sim, &path, &body.bytes().await.unwrap());
            }
        }
        check_idle(&sim, &store).await;
    }
}

/// An object that is overwritten while it is fetched is of one version, or an error.
#[tokio::test(start_paused = true)]
async fn an_overwritten_object_is_of_one_version() {
    let sim = bucket(LinkProfile::gcs(), &[40_000_000; 4]);
    let number = |path: Path| (path.clone(), sim.catalog().get(path.as_ref(), None).unwrap().number);
    let generations: BTreeMap<_, _> = paths(4).into_iter().map(number).collect();
    let store = builder(&sim).build().await.unwrap();
    let mut objects = store.objects(stream::iter(paths(4)));
    let (objects, ()) = tokio::join!(
        async {
            let mut all = Vec::new();
            while let Some(object) = objects.try_next().await.unwrap() {
                all.push(object);
            }
            all
        },
        async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            (0..4).for_each(|n| drop(sim.overwrite(key(n).as_ref(), Some(30_000_000)).unwrap()));
        }
    );
    assert_eq!(objects.len(), 4);
    for (path, bytes) in objects {
        // Of the version at its first answer, or fetched again.
        let before = Content::new(path.as_ref(), generations[&path]);
        if bytes.len() != 40_000_000 || before.check(0, &bytes).is_err() {
            check(&sim, &path, &bytes);
        }
    }
}

/// Whole objects can be announced: they are fetched once, nothing is requested past their ends, and the calls that
/// follow find them in memory.
#[tokio::test(start_paused = true)]
async fn whole_objects_can_be_announced() {
    for size in [100_000, 30_000_000] {
        let sim = bucket(LinkProfile::gcs(), &[size; 10]);
        let store = builder(&sim).build().await.unwrap();
        paths(10).iter().for_each(|path| store.advise(path, AccessHint::WillNeed(vec![0..u64::MAX])));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let gets = sim.log().counts().gets;
        let most = size.div_ceil(4 << 20) * 10;
        println!("10 announced objects of {size} bytes: {gets} GETs (at most {most})");
        assert!((10..=most).contains(&gets), "{gets}");
        let began = Instant::now();
        for path in paths(10) {
            check(&sim, &path, &store.get_range(&path, 0..size).await.unwrap());
        }
        assert_eq!((began.elapsed(), sim.log().counts().gets), (Duration::ZERO, gets), "all from memory");
        check_idle(&sim, &store).await;
    }
}

/// A consumer on another runtime gets an error, not nothing for ever, when the runtime of the requests has stopped.
#[test]
fn a_list_whose_runtime_has_stopped_ends() {
    let runtime = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (mut objects, _store) = first.block_on(async {
        let sim = bucket(LinkProfile::gcs(), &[100_000; 2000]);
        let store = builder(&sim).build().await.unwrap();
        let mut objects = store.objects(stream::iter(paths(2000)));
        objects.try_next().await.unwrap().unwrap();
        (objects, store)
    });
    let error = second.block_on(async {
        loop {
            if let Err(error) = objects.try_next().await {
                return error;
            }
        }
    });
    assert_eq!(FetchError::find(&error.source), Some(&FetchError::RuntimeStopped));
    drop(first);
    let ended = second.block_on(objects.next());
    assert!(ended.is_none());
}
