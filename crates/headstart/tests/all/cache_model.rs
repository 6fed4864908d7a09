//! Random operations through and behind the cache, alone, above and below read-ahead, against the history of every
//! object.
//!
//! The oracle remembers each version an object ever had and when it began. A read is right if one version explains all
//! of it, and that version was the present one at some moment of the read's window: `EveryRead` has none but the read
//! itself.

use crate::cache_common as common;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Double, content};
use futures::StreamExt;
use headstart_cache::{CacheConfig, CacheStore, DiskConfig, Freshness};
use headstart_fetch_core::PinBy;
use headstart_prefetch::{PrefetchConfig, PrefetchStore};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload};
use proptest::prelude::*;

/// A size that ends in a page, between two, and on an edge.
const SIZES: [usize; 6] = [0, 1, 16_384, 40_000, 98_304, 100_001];
const NAMES: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone)]
enum Op {
    Put {
        name: usize,
        size: usize,
        behind: bool,
    },
    Multipart {
        name: usize,
        size: usize,
    },
    Delete {
        name: usize,
        behind: bool,
    },
    Copy {
        name: usize,
        behind: bool,
    },
    Rename {
        name: usize,
        behind: bool,
    },
    Read {
        name: usize,
        range: Option<GetRange>,
        condition: u8,
    },
    Ranges {
        name: usize,
        ranges: Vec<Range<u64>>,
    },
    Head {
        name: usize,
    },
    /// Reads in a row: read-ahead wakes up.
    Walk {
        name: usize,
        step: u64,
        backward: bool,
        pause_ms: u64,
    },
    /// Begins a read and drops it after so many polls.
    GiveUp {
        name: usize,
        polls: usize,
    },
    Sleep {
        ms: u64,
    },
    /// The cache is opened anew, on what the one before has left on disk, if there is a disk tier.
    Restart {
        closed: bool,
    },
}

fn range() -> impl Strategy<Value = Range<u64>> {
    (0_u64..110_000, prop_oneof![Just(0_u64), 1_u64..100, 1_u64..120_000]).prop_map(|(start, len)| start..start + len)
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES.len();
    let form = prop_oneof![
        Just(None),
        range().prop_map(|range| Some(GetRange::Bounded(range))),
        (0_u64..110_000).prop_map(|start| Some(GetRange::Offset(start))),
        (0_u64..110_000).prop_map(|n| Some(GetRange::Suffix(n))),
    ];
    prop_oneof![
        3 => (name.clone(), 0..SIZES.len(), any::<bool>())
            .prop_map(|(name, size, behind)| Op::Put { name, size: SIZES[size], behind }),
        1 => (name.clone(), 0..SIZES.len()).prop_map(|(name, size)| Op::Multipart { name, size: SIZES[size] }),
        1 => (name.clone(), any::<bool>()).prop_map(|(name, behind)| Op::Delete { name, behind }),
        1 => (name.clone(), any::<bool>()).prop_map(|(name, behind)| Op::Copy { name, behind }),
        1 => (name.clone(), any::<bool>()).prop_map(|(name, behind)| Op::Rename { name, behind }),
        9 => (name.clone(), form, 0_u8..5).prop_map(|(name, range, condition)| Op::Read { name, range, condition }),
        4 => (name.clone(), prop::collection::vec(range(), 1..4))
            .prop_map(|(name, ranges)| Op::Ranges { name, ranges }),
        2 => name.clone().prop_map(|name| Op::Head { name }),
        2 => (name.clone(), 5_000_u64..30_000, any::<bool>(), prop_oneof![Just(0_u64), 1_u64..900])
            .prop_map(|(name, step, backward, pause_ms)| Op::Walk { name, step, backward, pause_ms }),
        2 => (name, 0_usize..12).prop_map(|(name, polls)| Op::GiveUp { name, polls }),
        1 => (0_u64..2_000).prop_map(|ms| Op::Sleep { ms }),
        1 => any::<bool>().prop_map(|closed| Op::Restart { closed }),
    ]
}

/// An object at some time: its bytes, or `None` where there was none.
#[derive(Clone)]
struct Moment {
    since: Duration,
    bytes: Option<Bytes>,
    e_tag: Option<String>,
}

/// What stands on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stack {
    Cache,
    CacheOverPrefetch,
    PrefetchOverCache,
}

struct World {
    double: Arc<Double>,
    store: Arc<dyn ObjectStore>,
    cache: CacheStore,
    stack: Stack,
    config: CacheConfig,
    ahead: PrefetchConfig,
    /// Where the disk tier is, if there is one.
    _directory: Option<tempfile::TempDir>,
    /// How long read-ahead serves what it has to calls without a handle.
    max_age: Duration,
    freshness: Freshness,
    start: tokio::time::Instant,
    version: u8,
    history: HashMap<&'static str, Vec<Moment>>,
}

/// What a read said: bytes, or the kind of error.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Bytes(Range<u64>, Bytes),
    NotFound,
    Precondition,
    NotModified,
    Refused,
}

fn kind(error: &Error) -> Said {
    match error {
        Error::NotFound { .. } => Said::NotFound,
        Error::Precondition { .. } => Said::Precondition,
        Error::NotModified { .. } => Said::NotModified,
        _ => Said::Refused,
    }
}

async fn ask(store: &dyn ObjectStore, path: &Path, options: GetOptions) -> Said {
    match store.get_opts(path, options).await {
        Err(error) => kind(&error),
        Ok(result) => {
            let range = result.range.clone();
            match result.bytes().await {
                Ok(bytes) => Said::Bytes(range, bytes),
                Err(error) => kind(&error),
            }
        }
    }
}

impl World {
    fn new(stack: Stack, has_disk: bool, freshness: Freshness, pin: PinBy, memory_bytes: usize) -> Self {
        let double = Double::new();
        let directory = has_disk.then(|| tempfile::tempdir().expect("a directory"));
        let disk = match &directory {
            Some(directory) => {
                DiskConfig { bytes: 16 << 20, floor_bytes: 0, ..DiskConfig::new(directory.path(), "double") }
            }
            None => DiskConfig::default(),
        };
        let page_bytes = 16 << 10;
        let config =
            CacheConfig { freshness, pin: Some(pin), memory_bytes, page_bytes, disk, ..CacheConfig::default() };
        // As the facade does: bytes read ahead are no older than the cache would allow.
        let max_age = match freshness {
            Freshness::Ttl(ttl) => ttl.min(Duration::from_secs(10)),
            Freshness::EveryRead => Duration::ZERO,
            Freshness::Immutable | Freshness::OnOpen => Duration::from_secs(10),
        };
        let ahead =
            PrefetchConfig { max_age, pin: Some(pin), min_part_bytes: Some(16 << 10), ..PrefetchConfig::default() };
        let (store, cache) = Self::open(&double, stack, &config, &ahead);
        let absent = || vec![Moment { since: Duration::ZERO, bytes: None, e_tag: None }];
        let history = NAMES.into_iter().map(|name| (name, absent())).collect();
        let max_age = if stack == Stack::CacheOverPrefetch { max_age } else { Duration::ZERO };
        let start = tokio::time::Instant::now();
        let (version, _directory) = (0, directory);
        Self { double, store, cache, stack, config, ahead, _directory, max_age, freshness, start, version, history }
    }

    /// The stack over `double`, and its cache.
    fn open(
        double: &Arc<Double>,
        stack: Stack,
        config: &CacheConfig,
        ahead: &PrefetchConfig,
    ) -> (Arc<dyn ObjectStore>, CacheStore) {
        let mut store = Arc::clone(double) as Arc<dyn ObjectStore>;
        let over = |store| PrefetchStore::new(store, ahead.clone()).expect("a good config");
        if stack == Stack::CacheOverPrefetch {
            store = Arc::new(over(store));
        }
        let cache = CacheStore::new(store, config.clone()).expect("a good config");
        store = Arc::new(cache.clone());
        if stack == Stack::PrefetchOverCache {
            store = Arc::new(over(store));
        }
        (store, cache)
    }

    fn writer(&self, behind: bool) -> &dyn ObjectStore {
        if behind { &self.double.inner } else { &*self.store }
    }

    fn fresh_bytes(&mut self, size: usize) -> Bytes {
        self.version = self.version.wrapping_add(1);
        content(self.version, size)
    }

    /// Notes what has become of `name`. Through the cache, everything before is history for good.
    async fn note(&mut self, name: &'static str, behind: bool) {
        let now = self.start.elapsed();
        let result = self.double.inner.get(&name.into()).await;
        let (bytes, e_tag) = match result {
            Ok(result) => {
                let e_tag = result.meta.e_tag.clone();
                (Some(result.bytes().await.expect("memory")), e_tag)
            }
            Err(_) => (None, None),
        };
        let moments = self.history.get_mut(name).expect("all names are known");
        if !behind {
            moments.clear();
        }
        moments.push(Moment { since: now, bytes, e_tag });
    }

    /// The versions that a read which begins now may be answered from.
    fn allowed(&self, name: &str) -> Vec<Moment> {
        let moments = &self.history[name];
        let now = self.start.elapsed();
        let window = match self.freshness {
            Freshness::EveryRead => return moments.last().cloned().into_iter().collect(),
            // What stands below a cache may have been of some age when the cache got it.
            Freshness::Ttl(ttl) => ttl + self.max_age,
            Freshness::Immutable | Freshness::OnOpen => return moments.clone(),
        };
        // What was known before a version's end was asked for before it, and is used for less than the window.
        let usable = |at: &usize| moments.get(at + 1).is_none_or(|next| now - next.since < window);
        (0..moments.len()).filter(usable).map(|at| moments[at].clone()).collect()
    }

    /// Checks that some allowed version explains what was said.
    async fn check(&self, name: &str, options: &GetOptions, said: &Said) {
        let mut expected = Vec::new();
        for moment in self.allowed(name) {
            // The inner store itself is asked, with that version in it.
            let model = object_store::memory::InMemory::new();
            let mut options = options.clone();
            if let Some(bytes) = &moment.bytes {
                model.put(&name.into(), PutPayload::from(bytes.clone())).await.expect("memory");
                let tag = model.head(&name.into()).await.expect("memory").e_tag;
                let translate = |asked: &mut Option<String>| {
                    if asked.is_some() && *asked == moment.e_tag {
                        asked.clone_from(&tag);
                    } else if asked.is_some() {
                        *asked = Some("\"none\"".into());
                    }
                };
                translate(&mut options.if_match);
                translate(&mut options.if_none_match);
            }
            expected.push(ask(&model, &name.into(), options).await);
        }
        assert!(
            expected.contains(said),
            "{name} {options:?}: {} of {} allowed",
            brief(said),
            expected.iter().map(brief).collect::<Vec<_>>().join(", ")
        );
    }

    async fn run(&mut self, op: Op) {
        match op {
            Op::Put { name, size, behind } => {
                let bytes = self.fresh_bytes(size);
                self.writer(behind).put(&NAMES[name].into(), PutPayload::from(bytes)).await.expect("memory");
                self.note(NAMES[name], behind).await;
            }
            Op::Multipart { name, size } => {
                let bytes = self.fresh_bytes(size);
                let mut upload = self.store.put_multipart(&NAMES[name].into()).await.expect("memory");
                upload.put_part(PutPayload::from(bytes)).await.expect("memory");
                upload.complete().await.expect("memory");
                self.note(NAMES[name], false).await;
            }
            Op::Delete { name, behind } => {
                self.writer(behind).delete(&NAMES[name].into()).await.expect("memory deletes what is not there");
                self.note(NAMES[name], behind).await;
            }
            Op::Copy { name, behind } => {
                let to = NAMES[1 - name];
                if self.writer(behind).copy(&NAMES[name].into(), &to.into()).await.is_ok() {
                    self.note(to, behind).await;
                }
            }
            Op::Rename { name, behind } => {
                let to = NAMES[1 - name];
                if self.writer(behind).rename(&NAMES[name].into(), &to.into()).await.is_ok() {
                    self.note(to, behind).await;
                    self.note(NAMES[name], behind).await;
                }
            }
            Op::Read { name, range, condition } => {
                let name = NAMES[name];
                let tags: Vec<_> = self.history[name].iter().filter_map(|moment| moment.e_tag.clone()).collect();
                let options = GetOptions { range, ..GetOptions::new() };
                let options = match (condition, tags.as_slice()) {
                    (1, [.., tag]) => options.with_if_match(Some(tag)),
                    (2, [tag, ..]) => options.with_if_match(Some(tag)),
                    (3, [.., tag]) => options.with_if_none_match(Some(tag)),
                    (4, [tag, ..]) => options.with_if_none_match(Some(tag)),
                    _ => options,
                };
                let said = ask(&*self.store, &name.into(), options.clone()).await;
                self.check(name, &options, &said).await;
            }
            Op::Ranges { name, ranges } => {
                let name = NAMES[name];
                let said = self.store.get_ranges(&name.into(), &ranges).await.map_err(|error| kind(&error));
                let mut explained = false;
                for moment in self.allowed(name) {
                    let model = object_store::memory::InMemory::new();
                    if let Some(bytes) = &moment.bytes {
                        model.put(&name.into(), PutPayload::from(bytes.clone())).await.expect("memory");
                    }
                    explained |= model.get_ranges(&name.into(), &ranges).await.map_err(|error| kind(&error)) == said;
                }
                assert!(explained, "{name} {ranges:?}: no version explains the answer");
            }
            Op::Head { name } => {
                let name = NAMES[name];
                let said = self.store.head(&name.into()).await.map(|meta| (meta.size, meta.e_tag)).ok();
                let mut allowed = self.allowed(name);
                if self.freshness == Freshness::OnOpen {
                    allowed = allowed.split_off(allowed.len() - 1);
                    let last = self.history.get_mut(name).expect("all names are known");
                    *last = allowed.clone(); // What a head has shown is settled.
                }
                let explained = allowed.iter().any(|moment| {
                    moment.bytes.as_ref().map(|bytes| (bytes.len() as u64, moment.e_tag.clone())) == said
                });
                assert!(explained, "{name}: {said:?}");
            }
            Op::GiveUp { name, polls } => {
                let path = NAMES[name].into();
                let mut read = Box::pin(async {
                    let mut body = self.store.get(&path).await?.into_stream();
                    while let Some(chunk) = body.next().await {
                        chunk?;
                    }
                    Ok::<_, Error>(())
                });
                for _ in 0..polls {
                    if futures::poll!(&mut read).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            Op::Walk { name, step, backward, pause_ms } => {
                let name = NAMES[name];
                for n in 0..5 {
                    let at = if backward { 4 - n } else { n } * step;
                    let options = GetOptions::new().with_range(Some(at..at + step));
                    let said = ask(&*self.store, &name.into(), options.clone()).await;
                    self.check(name, &options, &said).await;
                    if pause_ms > 0 && n == 2 {
                        // Behind the cache's back, once read-ahead is awake.
                        let bytes = self.fresh_bytes(100_001);
                        self.double.inner.put(&name.into(), PutPayload::from(bytes)).await.expect("memory");
                        self.note(name, true).await;
                    }
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                }
            }
            Op::Sleep { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
            Op::Restart { closed } => {
                if closed {
                    self.cache.close().await;
                }
                (self.store, self.cache) = Self::open(&self.double, self.stack, &self.config, &self.ahead);
            }
        }
    }
}

fn brief(said: &Said) -> String {
    match said {
        Said::Bytes(range, bytes) => format!("{range:?} ({} bytes, first {:?})", bytes.len(), bytes.first()),
        other => format!("{other:?}"),
    }
}

fn run(stack: Stack, has_disk: bool, (freshness, pin, memory_bytes, ops): Case) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(stack, has_disk, freshness, pin, memory_bytes);
        for op in ops {
            world.run(op).await;
        }
        // Nobody reads any more: what is under way ahead arrives, and waits for a reader.
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(world.cache.stats().in_flight, 0, "nothing is left in the air");
        assert_eq!(world.double.open(), 0, "nor any GET");
    });
}

/// Freshness, pinned or not, so much memory that it fits or not, and what happens.
type Case = (Freshness, PinBy, usize, Vec<Op>);

fn case() -> impl Strategy<Value = Case> {
    let pin = prop_oneof![Just(PinBy::ETag), Just(PinBy::Unpinned)];
    (freshness(), pin, prop_oneof![Just(64 << 10), Just(4 << 20)], prop::collection::vec(op(), 1..60))
}

fn freshness() -> impl Strategy<Value = Freshness> {
    prop_oneof![
        3 => Just(Freshness::EveryRead),
        1 => Just(Freshness::Ttl(Duration::ZERO)),
        2 => Just(Freshness::Ttl(Duration::from_secs(1))),
        1 => Just(Freshness::Ttl(Duration::from_secs(60))),
        1 => Just(Freshness::OnOpen),
        1 => Just(Freshness::Immutable),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_answer_is_one_version_and_not_older_than_promised(case in case()) {
        run(Stack::Cache, false, case);
    }

    #[test]
    fn so_it_is_above_read_ahead(case in case()) {
        run(Stack::CacheOverPrefetch, false, case);
    }

    #[test]
    fn so_it_is_below_read_ahead(case in case()) {
        run(Stack::PrefetchOverCache, false, case);
    }

    #[test]
    fn so_it_is_with_a_disk_tier_across_restarts(case in case()) {
        run(Stack::Cache, true, case);
    }

    #[test]
    fn so_it_is_with_a_disk_tier_below_read_ahead(case in case()) {
        run(Stack::PrefetchOverCache, true, case);
    }
}
