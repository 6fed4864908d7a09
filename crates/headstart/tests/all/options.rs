//! Whose word counts: explicit call, option string, environment, file, default; and what bad input is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headstart::{CacheConfig, Error, FetchConfig, Freshness, Headstart, HeadstartBuilder, PrefetchConfig, Source};
use object_store::memory::InMemory;

/// A builder over an empty store that sees these variables only.
fn builder(environment: &[(&str, &str)]) -> HeadstartBuilder {
    Headstart::builder().store(Arc::new(InMemory::new())).environment(owned(environment))
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The value of `key` in `headstart`, and where it came from.
#[track_caller]
fn effective(headstart: &Headstart, key: &str) -> (String, Source) {
    let found = headstart.effective_config().iter().find(|setting| setting.key == key);
    let setting = found.unwrap_or_else(|| panic!("no option {key}"));
    (setting.value.clone(), setting.source)
}

async fn error(builder: HeadstartBuilder) -> String {
    match builder.build().await {
        Ok(headstart) => panic!("{headstart} was built"),
        Err(error) => error.to_string(),
    }
}

/// Every option of the stack, two values it takes that are not its default, and one that it does not take.
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("mode", "fetch", "cached", "fast"),
    ("memory_bytes", "1GiB", "2GiB", "0"),
    ("fetch", "off", "off", "perhaps"),
    ("prefetch", "off", "off", "perhaps"),
    ("cache", "on", "on", "perhaps"),
    ("ca_certificate", "one.pem", "two.pem", "-----BEGIN CERTIFICATE-----"),
    ("fetch.concurrency", "7", "8", "0"),
    ("fetch.retries", "7", "8", "101"),
    ("fetch.retry_timeout", "7s", "8s", "soon"),
    ("fetch.hedge", "off", "on", "maybe"),
    ("fetch.immutable", "on", "off", "maybe"),
    ("prefetch.start_after", "5", "6", "0"),
    ("prefetch.max_prefetch_bytes", "64MiB", "32MiB", "much"),
    ("prefetch.concurrency", "7", "8", "0"),
    ("prefetch.max_bytes_per_s", "100MiB", "200MiB", "fast"),
    ("prefetch.max_age", "1s", "2s", "-1s"),
    ("prefetch.immutable", "on", "off", "maybe"),
    ("cache.memory_bytes", "64MiB", "32MiB", "0"),
    ("cache.page_bytes", "1MiB", "128KiB", "100"),
    ("cache.edge_bytes", "1MiB", "2MiB", "some"),
    ("cache.freshness", "immutable", "every-read", "stale"),
    ("cache.pin", "version", "unpinned", "needle"),
    ("cache.stall_timeout", "5s", "6s", "0s"),
    // Not opened, because the mode has no cache.
    ("cache.disk_directory", "one", "two", TAKES_ALL),
    ("cache.disk_bytes", "1GiB", "2GiB", "1000"),
    ("cache.disk_floor_bytes", "7GiB", "8GiB", "much"),
    ("cache.disk_name", "one", "two", TAKES_ALL),
];

/// In place of a bad value: the option takes any text.
const TAKES_ALL: &str = "";

fn variable(key: &str) -> String {
    format!("HEADSTART_{}", key.to_uppercase().replace('.', "_"))
}

#[tokio::test]
async fn every_option_at_every_level() {
    for (key, one, two, _) in TABLE {
        let variable = variable(key);
        let environment = [(variable.as_str(), *one)];
        let default = builder(&[]).build().await.unwrap();
        assert_eq!(effective(&default, key).1, Source::Default, "{key}");
        assert_ne!(effective(&default, key).0, *one, "{key}: a value that is not the default");

        let from_environment = builder(&environment).build().await.unwrap();
        assert_eq!(effective(&from_environment, key), ((*one).to_owned(), Source::Environment));

        let file = || builder(&[]).file_options("config.toml", owned(&[(key, two)]));
        assert_eq!(effective(&file().build().await.unwrap(), key), ((*two).to_owned(), Source::File));
        let overridden = file().environment(owned(&environment)).build().await.unwrap();
        assert_eq!(effective(&overridden, key), ((*one).to_owned(), Source::Environment));

        let from_string = builder(&environment).options_str(format!("{key}={two}")).build().await.unwrap();
        assert_eq!(effective(&from_string, key), ((*two).to_owned(), Source::Url));

        let explicit =
            builder(&environment).option(*key, *one).options_str(format!("{key}={two}")).build().await.unwrap();
        assert_eq!(effective(&explicit, key), ((*one).to_owned(), Source::Explicit));
    }
}

#[tokio::test]
async fn every_option_refuses_nonsense_by_its_name() {
    for (key, _, _, bad) in TABLE.iter().filter(|(.., bad)| *bad != TAKES_ALL) {
        // What stands in place of a file's path is not repeated.
        let shown = if *key == "ca_certificate" { "***" } else { bad };
        let explicit = error(builder(&[]).option(*key, *bad)).await;
        assert!(explicit.starts_with(&format!("option '{key}' is '{shown}': ")), "{explicit}");
        let variable = variable(key);
        let environment = error(builder(&[(&variable, bad)])).await;
        assert!(environment.starts_with(&format!("option '{variable}' is '{shown}': ")), "{environment}");
        let file = error(builder(&[]).file_options("a/config.toml", owned(&[(key, bad)]))).await;
        assert!(file.starts_with(&format!("a/config.toml: option '{key}' is '{shown}': ")), "{file}");
    }
}

#[test]
fn the_table_lists_every_option_of_the_stack() {
    let known: Vec<_> = headstart::options().into_iter().map(|(key, _)| key).collect();
    let stack: Vec<_> = known.iter().filter(|key| !key.starts_with("gcs.") && !key.starts_with("s3.")).collect();
    assert_eq!(stack, TABLE.iter().map(|(key, ..)| key).collect::<Vec<_>>());
}

#[tokio::test]
async fn unknown_names_are_told_the_nearest() {
    assert_eq!(
        error(builder(&[]).option("fetch.concurency", "1")).await,
        "unknown option 'fetch.concurency'; did you mean 'fetch.concurrency'?"
    );
    assert_eq!(
        error(builder(&[("HEADSTART_MEMORY_BYTE", "1GiB")])).await,
        "unknown option 'HEADSTART_MEMORY_BYTE'; did you mean 'HEADSTART_MEMORY_BYTES'?"
    );
    assert_eq!(
        error(builder(&[]).options_str("mode")).await,
        "piece 1 of the option string has no '=': expected key=value,key=value; \
         give a value that has a comma with .option(key, value)"
    );
    builder(&[("HEADSTAR", "1"), ("PATH", "/")]).build().await.unwrap();
}

/// Kubernetes sets these beside services called `headstart` and `headstart-cache`.
#[tokio::test]
async fn variables_of_services_and_empty_ones_set_nothing() {
    let variables = [
        ("HEADSTART_SERVICE_HOST", "10.0.0.1"),
        ("HEADSTART_SERVICE_PORT", "443"),
        ("HEADSTART_SERVICE_PORT_HTTPS", "443"),
        ("HEADSTART_PORT", "tcp://10.0.0.1:443"),
        ("HEADSTART_PORT_443_TCP", "tcp://10.0.0.1:443"),
        ("HEADSTART_PORT_443_TCP_PROTO", "tcp"),
        ("HEADSTART_PORT_443_TCP_PORT", "443"),
        ("HEADSTART_PORT_443_TCP_ADDR", "10.0.0.1"),
        ("HEADSTART_CACHE_SERVICE_HOST", "10.0.0.1"),
        ("HEADSTART_CACHE_PORT_53_UDP_ADDR", "10.0.0.1"),
        ("HEADSTART_MODE", ""),
        ("HEADSTART_MEMORY_BYTE", ""),
    ];
    let headstart = builder(&variables).build().await.unwrap();
    assert!(headstart.effective_config().iter().all(|setting| setting.source == Source::Default));
    for unknown in
        ["HEADSTART_PORTS", "HEADSTART_PORT_HTTP", "HEADSTART_PORT_443_HTTP", "HEADSTART_SERVICE", "HEADSTART_"]
    {
        let said = error(builder(&[(unknown, "1")])).await;
        assert!(said.starts_with(&format!("unknown option '{unknown}'")), "{said}");
    }
}

#[tokio::test]
async fn structs_are_explicit_and_an_option_refines_them() {
    let headstart = builder(&[("HEADSTART_FETCH_CONCURRENCY", "3"), ("HEADSTART_CACHE", "off")])
        .fetch(FetchConfig { concurrency: 5, ..FetchConfig::default() })
        .cache(CacheConfig { freshness: Freshness::Immutable, ..CacheConfig::default() })
        .prefetch(PrefetchConfig::default())
        .option("prefetch.start_after", "9")
        .build()
        .await
        .unwrap();
    let explicit = |value: &str| (value.to_owned(), Source::Explicit);
    assert_eq!(effective(&headstart, "fetch.concurrency"), explicit("5"));
    assert_eq!(effective(&headstart, "cache"), explicit("on"));
    assert_eq!(effective(&headstart, "cache.freshness"), explicit("immutable"));
    assert_eq!(effective(&headstart, "prefetch.start_after"), explicit("9"));
    let broken = FetchConfig { concurrency: 0, ..FetchConfig::default() };
    assert_eq!(error(builder(&[]).fetch(broken)).await, "option 'fetch.concurrency' is '0': expected 1 to 4096");
}

#[tokio::test]
async fn modes_and_switches_build_the_stack_they_name() {
    for (options, stack) in [
        ("mode=none", "Headstart(InMemory)"),
        ("mode=fetch", "Headstart(FetchStore(InMemory))"),
        ("", "Headstart(PrefetchStore(FetchStore(InMemory)))"),
        ("mode=adaptive", "Headstart(PrefetchStore(FetchStore(InMemory)))"),
        ("mode=cached", "Headstart(PrefetchStore(CacheStore(FetchStore(InMemory))))"),
        ("cache=on,mode=none", "Headstart(CacheStore(InMemory))"),
        ("prefetch=0,fetch=false", "Headstart(InMemory)"),
        ("mode=cached,fetch=off", "Headstart(PrefetchStore(CacheStore(InMemory)))"),
    ] {
        assert_eq!(builder(&[]).options_str(options).build().await.unwrap().to_string(), stack, "{options}");
    }
    // A stronger level's mode is not undone by a weaker level's switch.
    let headstart = builder(&[("HEADSTART_CACHE", "on")]).option("mode", "none").build().await.unwrap();
    assert_eq!(headstart.to_string(), "Headstart(InMemory)");
}

#[tokio::test]
async fn cache_and_bytes_on_their_way_share_the_memory() {
    for (options, budget, cache) in [
        ("", Ok(512 << 20), "256MiB"),
        ("cache=on", Ok(256 << 20), "256MiB"),
        ("cache=on,memory_bytes=100MiB", Ok(50 << 20), "50MiB"),
        ("cache=on,cache.memory_bytes=84MiB,memory_bytes=100MiB", Ok(16 << 20), "84MiB"),
        (
            "cache=on,cache.memory_bytes=85MiB,memory_bytes=100MiB",
            Err("option 'memory_bytes' is '100MiB': expected at least 101MiB: cache.memory_bytes and 16MiB"),
            "",
        ),
        ("memory_bytes=15MiB", Err("option 'memory_bytes' is '15MiB': expected 16MiB to 16TiB"), ""),
        ("memory_bytes=17592186044417", Err("option 'memory_bytes' is '17592186044417': expected 16MiB to 16TiB"), ""),
    ] {
        let built = builder(&[]).options_str(options).build().await;
        match (built, budget) {
            (Ok(headstart), Ok(bytes)) => {
                assert_eq!(headstart.stats().budget.limit_bytes, bytes, "{options}");
                assert_eq!(effective(&headstart, "cache.memory_bytes").0, cache, "{options}");
            }
            (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
            (built, _) => panic!("{options}: {built:?}"),
        }
    }
}

#[tokio::test]
async fn bytes_ahead_are_no_older_than_the_cache_allows() {
    for (options, max_age) in [
        ("cache=on", Duration::from_secs(10)),
        ("cache=on,cache.freshness=3s", Duration::from_secs(3)),
        ("cache=on,cache.freshness=every-read", Duration::ZERO),
        ("cache=on,cache.freshness=immutable", Duration::from_secs(10)),
        ("cache=off,cache.freshness=3s", Duration::from_secs(10)),
    ] {
        let headstart = builder(&[]).options_str(options).build().await.unwrap();
        assert_eq!(effective(&headstart, "prefetch.max_age").0, format!("{}s", max_age.as_secs()), "{options}");
    }
}

#[tokio::test]
async fn the_effective_configuration_and_the_statistics_are_data() {
    let headstart = builder(&[]).option("mode", "cached").build().await.unwrap();
    let shown =
        headstart.effective_config().iter().map(|setting| (setting.key.as_str(), setting)).collect::<BTreeMap<_, _>>();
    assert_eq!(shown["mode"].to_string(), "mode = cached (Explicit)");
    assert_eq!(shown["prefetch"].to_string(), "prefetch = on (Explicit)");
    let stats = headstart.stats();
    assert!(stats.fetch.is_some() && stats.cache.is_some());
    assert!(builder(&[]).option("mode", "none").build().await.unwrap().stats().fetch.is_none());
}

#[tokio::test]
async fn a_url_or_a_store() {
    let neither = Headstart::builder().environment([]).build().await;
    assert!(matches!(neither, Err(Error::NoSource)));
    let both = error(builder(&[]).url("memory:///")).await;
    assert_eq!(
        both,
        "both a URL and a store were given: call only one of HeadstartBuilder::url and HeadstartBuilder::store"
    );
}
