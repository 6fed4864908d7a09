//! All functions of `object_store::integration` that take a `dyn ObjectStore`, and one of ours for read-only stores.

use std::sync::{Mutex, PoisonError};
use std::{any::Any, collections::BTreeMap, panic, thread, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, integration, path::Path};

use super::{Backend, BackendServer, StackKind, Store};

/// A function of the suite: its name, whether its objects are large, and its code.
type Function = (&'static str, bool, fn(Store, Backend) -> BoxFuture<'static, ()>);

macro_rules! functions {
    ($($name:ident $large:literal |$store:ident, $backend:ident| $call:expr;)*) => {
        &[$((stringify!($name), $large, |$store: Store, $backend: Backend| {
            async move { let $store = &*$store; $call; let _ = $backend; }.boxed()
        })),*]
    };
}

pub(super) const SUITE: &[Function] = functions! {
    put_get_delete_list false |store, backend| integration::put_get_delete_list(store).await;
    put_get_attributes false |store, backend| integration::put_get_attributes(store).await;
    get_opts false |store, backend| integration::get_opts(store).await;
    // Local files have no condition on a version.
    put_opts false |store, backend| integration::put_opts(store, backend != Backend::Local).await;
    stream_get true |store, backend| integration::stream_get(store).await;
    list_uses_directories_correctly false |store, backend| integration::list_uses_directories_correctly(store).await;
    list_with_delimiter false |store, backend| integration::list_with_delimiter(store).await;
    get_nonexistent_object false |store, backend| {
        let error = integration::get_nonexistent_object(store, None).await.expect_err("there is none");
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    };
    rename_and_copy false |store, backend| integration::rename_and_copy(store).await;
    copy_if_not_exists false |store, backend| integration::copy_if_not_exists(store).await;
    copy_rename_nonexistent_object false |store, backend| integration::copy_rename_nonexistent_object(store).await;
    multipart_race_condition true |store, backend| {
        // Azure stores parts by path: the upload that completes first, not last, wins and removes the other's parts.
        integration::multipart_race_condition(store, backend != Backend::Azurite).await;
    };
    multipart_out_of_order true |store, backend| integration::multipart_out_of_order(store).await;
    list_with_offset_exclusivity false |store, backend| integration::list_with_offset_exclusivity(store).await;
    reads true |store, backend| reads(store, backend.has_suffixes()).await;
};

/// Every form of a read, also past the end. A client without suffix ranges may answer them with `NotSupported`; layers
/// that know the object's size may serve them.
async fn reads(store: &dyn ObjectStore, has_suffixes: bool) {
    let data: Bytes = (0..100_000_u32).flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>().into();
    let (path, size) = (Path::from("dir/object"), data.len());
    store.put(&path, data.clone().into()).await.expect("written");
    let meta = store.head(&path).await.expect("there");
    assert_eq!((meta.size, &meta.location), (size as u64, &path));
    for _ in 0..2 {
        for (range, expected) in [
            (None, 0..size),
            (Some(GetRange::Bounded(0..1)), 0..1),
            (Some(GetRange::Bounded(1000..70_000)), 1000..70_000),
            (Some(GetRange::Bounded(399_990..1 << 40)), 399_990..size),
            (Some(GetRange::Offset(390_000)), 390_000..size),
            (Some(GetRange::Suffix(10)), size - 10..size),
            (Some(GetRange::Suffix(1 << 40)), 0..size),
        ] {
            let options = GetOptions::new().with_range(range.clone());
            let answer = store.get_opts(&path, options).await;
            if !has_suffixes
                && matches!((&range, &answer), (Some(GetRange::Suffix(_)), Err(Error::NotSupported { .. })))
            {
                continue;
            }
            let answer = answer.expect("there");
            assert_eq!(answer.range, expected.start as u64..expected.end as u64, "{range:?}");
            assert_eq!(answer.meta.size, size as u64, "{range:?}");
            assert_eq!(answer.meta.e_tag, meta.e_tag, "{range:?}");
            assert!(answer.bytes().await.expect("read") == data[expected], "{range:?}");
        }
        let ranges = [5..10, 200_000..200_001, 7..300_000, 399_999..400_000];
        let parts = store.get_ranges(&path, &ranges).await.expect("there");
        for (range, part) in ranges.into_iter().zip(parts) {
            let at = |offset: u64| usize::try_from(offset).expect("small");
            assert!(part == data[at(range.start)..at(range.end)], "{range:?}");
        }
        store.get_range(&path, 400_000..400_001).await.expect_err("past the end");
    }
    let missing = store.get_range(&"dir/nothing".into(), 0..1).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

#[derive(Debug, Clone)]
pub(super) struct SuiteFailure {
    pub(super) said: String,
    /// The files and lines of its panics.
    pub(super) at: Vec<(String, u32)>,
}

pub(super) type Failures = BTreeMap<&'static str, SuiteFailure>;

/// The places of panics since the last function, by the name of the thread.
static PANICS: Mutex<BTreeMap<String, Vec<(String, u32)>>> = Mutex::new(BTreeMap::new());

/// Records panics instead of printing them, until it is dropped. Functions of the suite fail by panicking.
pub(super) struct Quiet;

impl Quiet {
    pub(super) fn new() -> Self {
        panic::set_hook(Box::new(|panic| {
            let at = panic.location().map_or(("nowhere".into(), 0), |at| (at.file().to_owned(), at.line()));
            PANICS.lock().unwrap_or_else(PoisonError::into_inner).entry(thread_name()).or_default().push(at);
        }));
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        drop(panic::take_hook());
    }
}

/// The name that all threads of one backend have, those of its runtime included.
pub(super) fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// A function that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs every function on a bucket of its own, and returns the failures. A function that passes also fails if anything
/// panicked meanwhile.
pub(super) async fn failures(server: &BackendServer, stack: StackKind) -> Result<Failures> {
    let mut failed = BTreeMap::new();
    for (name, large, function) in SUITE {
        let outcome = one(server, stack, *large, *function).await;
        let at = PANICS.lock().unwrap_or_else(PoisonError::into_inner).remove(&thread_name()).unwrap_or_default();
        let outcome = outcome.with_context(|| format!("{} {stack} {name}", server.backend))?;
        let said = match outcome {
            Ok(()) if at.is_empty() => continue,
            Ok(()) => "it passes, and something panics".to_owned(),
            Err(said) => said,
        };
        failed.insert(*name, SuiteFailure { said, at });
    }
    Ok(failed)
}

async fn one(
    server: &BackendServer,
    stack: StackKind,
    large: bool,
    function: fn(Store, Backend) -> BoxFuture<'static, ()>,
) -> Result<Result<(), String>> {
    let bucket = server.bucket().await.context("no bucket")?;
    let store = stack.over(&bucket, large).await?;
    let mut running = tokio::spawn(function(store, server.backend));
    let Ok(ended) = tokio::time::timeout(PATIENCE, &mut running).await else {
        running.abort();
        return Ok(Err(format!("it hangs for {PATIENCE:?}")));
    };
    Ok(ended.map_err(|error| match error.try_into_panic() {
        Ok(panic) => said(&*panic).lines().take(3).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something that is no text")
}
