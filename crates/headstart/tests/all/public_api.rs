//! What a user of the published crate alone can name and call.

#![cfg(all(feature = "gcp", feature = "aws", feature = "download"))]

use std::sync::Arc;

use headstart::object_store::memory::InMemory;
use headstart::object_store::path::Path;
use headstart::object_store::{ObjectStore, ObjectStoreExt};
use headstart::{CacheConfig, FetchConfig, Headstart, Mode, PrefetchConfig};

/// Every type of a public signature or field can be a field of a user's struct.
#[expect(dead_code, reason = "this compiles or not")]
struct Nameable {
    access_hint: headstart::AccessHint,
    backend_profile: headstart::BackendProfile,
    blocking_reader: headstart::BlockingReader,
    budget_stats: headstart::BudgetStats,
    cache_config: headstart::CacheConfig,
    cache_directory: headstart::CacheDirectory,
    cache_error: headstart::CacheError,
    cache_hint: headstart::CacheHint,
    cache_stats: headstart::CacheStats,
    cache_store: headstart::CacheStore,
    config_error: headstart::ConfigError,
    download: headstart::Download,
    download_error: headstart::DownloadError,
    downloaded: headstart::Downloaded,
    download_progress: headstart::DownloadProgress,
    error: headstart::Error,
    fetch_config: headstart::FetchConfig,
    fetch_error: headstart::FetchError,
    fetch_stats: headstart::FetchStats,
    fetch_store: headstart::FetchStore,
    freshness: headstart::Freshness,
    gcs_error: headstart::GcsError,
    headstart: headstart::Headstart,
    builder: headstart::HeadstartBuilder,
    intent: headstart::Intent,
    link: headstart::Link,
    link_estimate: headstart::LinkEstimate,
    memory_budget: headstart::MemoryBudget,
    mode: headstart::Mode,
    object_bodies: headstart::ObjectBodies,
    object_body: headstart::ObjectBody,
    object_changed: headstart::ObjectChanged,
    object_error: headstart::ObjectError,
    object_version: headstart::ObjectVersion,
    objects: headstart::Objects,
    option_spec: headstart::OptionSpec,
    outcome_counts: headstart::OutcomeCounts,
    pin_by: headstart::PinBy,
    prefetch_config: headstart::PrefetchConfig,
    prefetch_stats: headstart::PrefetchStats,
    prefetch_store: headstart::PrefetchStore,
    prices: headstart::Prices,
    reader: headstart::Reader,
    request_outcomes: headstart::RequestOutcomes,
    s3_error: headstart::S3Error,
    setting: headstart::Setting,
    source: headstart::Source,
    stats: headstart::Stats,
    time_bucket: headstart::TimeBucket,
    time_histogram: headstart::TimeHistogram,
    store: Arc<dyn headstart::object_store::ObjectStore>,
}

async fn with_object(mode: Mode) -> (Headstart, Path) {
    let store = Arc::new(InMemory::new());
    let path = Path::from("key");
    store.put(&path, vec![7; 3 << 20].into()).await.unwrap();
    (Headstart::builder().store(store).environment([]).mode(mode).build().await.unwrap(), path)
}

#[tokio::test]
async fn every_mode_reads_and_downloads() {
    for mode in [Mode::None, Mode::Fetch, Mode::Adaptive, Mode::Cached] {
        let (store, path) = with_object(mode).await;
        let is_on = |key: &str| store.effective_config().iter().any(|s| s.key == key && s.value == "on");
        let expected = match mode {
            Mode::None => [false; 3],
            Mode::Fetch => [true, false, false],
            Mode::Adaptive => [true, true, false],
            _ => [true; 3],
        };
        assert_eq!(["fetch", "prefetch", "cache"].map(is_on), expected, "{mode}");
        assert_eq!(store.get_range(&path, 1..3).await.unwrap()[..], [7; 2]);
        assert_eq!(store.reader(&path).unwrap().read_at(0..9).await.unwrap()[..], [7; 9]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert_eq!(store.download(&path, &file).await.unwrap().version.size, 3 << 20);
        assert_eq!(std::fs::read(file).unwrap(), vec![7; 3 << 20]);
    }
}

/// An explicit mode or switch decides which layers work. Structs set their settings, which options refine.
#[tokio::test]
async fn modes_and_options_go_before_structs() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let builder = || Headstart::builder().store(Arc::clone(&store)).environment([]);
    let value = |built: &Headstart, key: &str| {
        built.effective_config().iter().find(|setting| setting.key == key).unwrap().value.clone()
    };
    let built = builder().cache(CacheConfig::default()).build().await.unwrap();
    assert_eq!(value(&built, "cache"), "on");
    let built = builder().mode(Mode::None).cache(CacheConfig::default()).build().await.unwrap();
    assert_eq!((value(&built, "cache"), value(&built, "fetch")), ("off".into(), "off".into()));
    let built = builder().cache(CacheConfig::default()).option("cache", "off").build().await.unwrap();
    assert_eq!(value(&built, "cache"), "off");
    let fetch = FetchConfig { concurrency: 7, ..FetchConfig::default() };
    let built = builder().fetch(fetch).option("fetch.concurrency", "8").build().await.unwrap();
    assert_eq!(value(&built, "fetch.concurrency"), "8");
    let built = builder().mode(Mode::Fetch).prefetch(PrefetchConfig::default()).build().await.unwrap();
    assert_eq!((value(&built, "prefetch"), value(&built, "fetch")), ("off".into(), "on".into()));
}

#[test]
fn configs_are_written_as_options_are() {
    let written = serde_json::to_value(FetchConfig::default()).unwrap();
    assert_eq!(written["retry_timeout"], "180s");
    let read: FetchConfig = serde_json::from_str(r#"{ "retry_timeout": "1500ms" }"#).unwrap();
    assert_eq!(read.retry_timeout, std::time::Duration::from_millis(1500));
    let error = serde_json::from_str::<PrefetchConfig>(r#"{ "max_age": "soon" }"#).unwrap_err().to_string();
    assert!(error.contains("expected a time, such as 500ms, 10s or 5m"), "{error}");
}
