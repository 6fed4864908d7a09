//! An `InMemory` that counts, waits, fails and panics on demand.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use headstart_cache::{CacheConfig, CacheStore, Freshness};
use headstart_fetch_core::ConnectionFault;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: usize = 1 << 20;

/// What happens to the next requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Answers 503. Deletions are done nevertheless; their errors name no path.
    Fail,
    /// Deletions are done, and reported as errors that name the path.
    RefuseDelete,
    Panic,
    /// Holds each answer back until [`Double::gate`] permits it.
    Wait,
    /// Holds each write back until [`Double::gate`] permits it.
    HoldPut,
    /// Writes are done, but never return.
    HangAfterPut,
    /// The body ends one byte early.
    Truncate,
    /// The body has one byte too many.
    Lengthen,
    /// Answers have no entity tag.
    NoToken,
}

/// The test double.
#[derive(Debug)]
pub(crate) struct Double {
    pub(crate) inner: InMemory,
    pub(crate) requests: Mutex<Vec<GetOptions>>,
    pub(crate) mood: Mutex<Mood>,
    pub(crate) gate: Semaphore,
    /// GETs whose future or body is alive.
    pub(crate) open: Arc<AtomicUsize>,
    /// Of a hundred requests, the first number fails and the second has a body that is one byte short.
    pub(crate) faults: Mutex<(u64, u64)>,
    dice: AtomicU64,
    /// The next request panics.
    pub(crate) panic_once: AtomicBool,
    /// Changes the metadata of answers.
    pub(crate) meta: Mutex<Option<fn(&mut ObjectMeta)>>,
    /// How long each answer takes.
    pub(crate) delay: Mutex<Duration>,
    /// The most GETs that were open at once.
    pub(crate) peak_open: AtomicUsize,
    /// Bytes of answers that are still held.
    pub(crate) alive_bytes: Arc<AtomicUsize>,
}

/// Bytes of an answer, counted until they are dropped.
struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl Counted {
    fn bytes(chunk: &[u8], alive_bytes: &Arc<AtomicUsize>) -> Bytes {
        alive_bytes.fetch_add(chunk.len(), Ordering::SeqCst);
        Bytes::from_owner(Self(chunk.to_vec(), Arc::clone(alive_bytes)))
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len(), Ordering::SeqCst);
    }
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Double {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            requests: Mutex::default(),
            mood: Mutex::new(Mood::Well),
            gate: Semaphore::new(0),
            open: Arc::default(),
            faults: Mutex::default(),
            dice: AtomicU64::new(1),
            panic_once: AtomicBool::new(false),
            meta: Mutex::default(),
            delay: Mutex::default(),
            peak_open: AtomicUsize::new(0),
            alive_bytes: Arc::default(),
        })
    }

    /// Writes behind the cache.
    pub(crate) async fn write(&self, path: &str, bytes: impl Into<Bytes>) {
        let payload = PutPayload::from(bytes.into());
        self.inner.put_opts(&path.into(), payload, PutOptions::default()).await.expect("memory");
    }

    pub(crate) fn gets(&self) -> usize {
        self.requests.lock().iter().filter(|options| !options.head).count()
    }

    pub(crate) fn heads(&self) -> usize {
        self.requests.lock().iter().filter(|options| options.head).count()
    }

    pub(crate) fn forget_requests(&self) {
        self.requests.lock().clear();
    }

    pub(crate) fn ranges(&self) -> Vec<Option<GetRange>> {
        self.requests.lock().iter().map(|options| options.range.clone()).collect()
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// The mood that applies to this request.
    fn mood(&self) -> Mood {
        let (fail, truncate) = *self.faults.lock();
        let rolled = roll(&mut self.dice.fetch_add(1, Ordering::Relaxed), 100);
        match *self.mood.lock() {
            Mood::Well if rolled < fail => Mood::Fail,
            Mood::Well if rolled < fail + truncate => Mood::Truncate,
            mood => mood,
        }
    }

    pub(crate) fn feel(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }
}

/// A random number less than `sides`; advances `dice` (splitmix64).
pub(crate) fn roll(dice: &mut u64, sides: u64) -> u64 {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *dice;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % sides
}

pub(crate) fn unavailable() -> object_store::Error {
    object_store::Error::Generic { store: "Double", source: ConnectionFault.into() }
}

pub(crate) fn refused(path: &Path) -> object_store::Error {
    object_store::Error::PermissionDenied { path: path.to_string(), source: "403".into() }
}

/// A cache over a double, with pages of 16 KiB.
pub(crate) fn cache(freshness: Freshness) -> (Arc<Double>, CacheStore) {
    cache_with(CacheConfig { freshness, page_bytes: 16 << 10, ..CacheConfig::default() })
}

pub(crate) fn cache_with(config: CacheConfig) -> (Arc<Double>, CacheStore) {
    let double = Double::new();
    let store = CacheStore::new(Arc::clone(&double) as Arc<dyn ObjectStore>, config).expect("a good config");
    (double, store)
}

/// Bytes that show their position and version.
pub(crate) fn content(version: u8, len: usize) -> Bytes {
    (0..len).map(|at| version ^ u8::try_from((at * 31 + at / 251) % 256).expect("a byte")).collect::<Vec<_>>().into()
}

impl fmt::Display for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Double")
    }
}

#[async_trait]
impl ObjectStore for Double {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if *self.mood.lock() == Mood::HoldPut {
            self.gate.acquire().await.expect("never closed").forget();
        }
        let done = self.inner.put_opts(location, payload, opts).await;
        if *self.mood.lock() == Mood::HangAfterPut {
            std::future::pending::<()>().await;
        }
        if *self.mood.lock() == Mood::Fail { Err(unavailable()) } else { done }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.requests.lock().push(options.clone());
        let open = 1 + self.open.fetch_add(1, Ordering::SeqCst);
        self.peak_open.fetch_max(open, Ordering::SeqCst);
        let alive = Alive(Arc::clone(&self.open));
        let mood = self.mood();
        match mood {
            _ if self.panic_once.swap(false, Ordering::SeqCst) => panic!("the double panics once"),
            Mood::Fail => return Err(unavailable()),
            Mood::Panic => panic!("the double panics"),
            _ => tokio::task::yield_now().await,
        }
        let delay = *self.delay.lock();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut result = self.inner.get_opts(location, options).await?;
        if mood == Mood::Wait {
            self.gate.acquire().await.expect("never closed").forget();
        }
        if mood == Mood::NoToken {
            result.meta.e_tag = None;
        }
        if let Some(change) = *self.meta.lock() {
            change(&mut result.meta);
        }
        let GetResultPayload::Stream(body) = result.payload else { unreachable!("memory is no file") };
        let bytes = body.map(|chunk| chunk.expect("memory").to_vec()).concat().await;
        let bytes = match mood {
            Mood::Truncate => bytes[..bytes.len().saturating_sub(1)].to_vec(),
            Mood::Lengthen => [&bytes[..], b"!"].concat(),
            _ => bytes,
        };
        // In chunks that do not match pages.
        let alive_bytes = Arc::clone(&self.alive_bytes);
        let chunks = (0..bytes.len().div_ceil(10_000)).map(move |n| {
            let _ = &alive;
            let chunk = &bytes[n * 10_000..((n + 1) * 10_000).min(bytes.len())];
            Ok(Counted::bytes(chunk, &alive_bytes))
        });
        let body = futures::stream::iter(chunks);
        result.payload = GetResultPayload::Stream(body.boxed());
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let deleted = self.inner.delete_stream(locations);
        match *self.mood.lock() {
            Mood::Fail => deleted.map(|_| Err(unavailable())).boxed(),
            Mood::RefuseDelete => deleted.map(|path| Err(refused(&path?))).boxed(),
            _ => deleted,
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
