//! Figures of scrapes that are written out, and of all metrics that there are.

use std::time::Duration;

use headstart::metrics::METRICS;
use proptest::prelude::*;

use super::*;
use crate::policy::top::scrape::TopScrape;

/// The figures of one stack between two scrapes.
fn figures(before: &str, after: &str, seconds: u64) -> TopFigures {
    let values = |text| TopScrape::parse(text).unwrap().stacks.into_values().next().unwrap();
    TopFigures::of(&StackChange::between(Some(&values(before)), &values(after), Duration::from_secs(seconds)))
}

/// A scrape with every series of every metric at `value`, its buckets included.
fn everything(value: f64) -> String {
    let mut text = String::new();
    for family in METRICS {
        let mut series = vec![String::new()];
        for label in family.labels {
            let values = family.values_of(label);
            let with = |start: &String| -> Vec<String> {
                values.iter().map(|value| format!("{start}{label}=\"{value}\",")).collect()
            };
            series = series.iter().flat_map(with).collect();
        }
        let suffix = if family.name.ends_with("_byte_seconds") { "_bucket" } else { "" };
        for labels in series {
            let le = if suffix.is_empty() { "" } else { "le=\"+Inf\"" };
            text.push_str(&format!("{}{suffix}{{{labels}{le}}} {value}\n", family.name));
        }
    }
    text
}

#[test]
fn every_figure_is_found_in_the_metrics_that_are_exported() {
    let figures = serde_json::to_value(figures(&everything(1.0), &everything(3.0), 2)).unwrap();
    let mut missing = Vec::new();
    let fields = figures.as_object().unwrap();
    // The one bucket has no finite bound.
    for (name, value) in fields.iter().filter(|(name, _)| *name != "first_byte") {
        if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(fields["retries"], serde_json::json!({ "per_s": 1.0, "total": 3.0 }));
    assert_eq!(fields["requests"]["speculative"]["failed"]["per_s"], 1.0);
    let lengths = ["requests", "pages", "waste", "streams"].map(|name| fields[name].as_object().unwrap().len());
    assert_eq!(lengths, [4, 4, 2, 3]);
}

#[test]
fn rates_and_shares_are_those_between_the_scrapes() {
    let scrape = |memory: u64, disk: u64, store: u64, fetched: u64, wasted: u64| {
        format!(
            "headstart_cache_pages_total{{source=\"memory\"}} {memory}\n\
             headstart_cache_pages_total{{source=\"disk\"}} {disk}\n\
             headstart_cache_pages_total{{source=\"store\"}} {store}\n\
             headstart_fetched_bytes_total{{layer=\"fetch\"}} {fetched}\n\
             headstart_wasted_bytes_total{{layer=\"fetch\"}} {wasted}\n\
             headstart_demanded_bytes_total 5\n"
        )
    };
    let figures = figures(&scrape(0, 0, 100, 1000, 500), &scrape(30, 10, 110, 3000, 700), 4);
    assert_eq!(figures.fetched_bytes, Some(RatedCount { per_s: Some(500.0), total: 3000.0 }));
    assert_eq!(figures.hits, Some(RatedShare { now: Some(0.8), total: Some(1.0 - 110.0 / 150.0) }));
    assert_eq!(figures.pages["disk"].share, RatedShare { now: Some(0.2), total: Some(10.0 / 150.0) });
    assert!(!figures.pages.contains_key("joined"));
    assert_eq!(figures.waste["fetch"], RatedShare { now: Some(0.1), total: Some(700.0 / 3000.0) });
    assert_eq!(figures.first_byte, None);
}

#[test]
fn nothing_that_happened_is_no_share() {
    let scrape =
        |bytes| format!("headstart_cache_pages_total{{source=\"store\"}} {bytes}\nheadstart_demanded_bytes_total 0\n");
    let idle = figures(&scrape(7), &scrape(7), 1);
    assert_eq!(idle.hits, Some(RatedShare { now: None, total: Some(0.0) }));
    assert_eq!(figures(&scrape(0), &scrape(0), 1).hits, Some(RatedShare { now: None, total: None }));
}

#[test]
fn quantiles_are_those_of_prometheus() {
    let buckets = [(0.1, 0.0), (0.2, 50.0), (0.4, 90.0), (f64::INFINITY, 100.0)];
    for (wanted, expected) in [(0.5, 0.2), (0.25, 0.15), (0.9, 0.4), (0.95, 0.4), (0.7, 0.3)] {
        let found = quantile(&buckets, wanted).unwrap();
        assert!((found - expected).abs() < 1e-9, "{wanted}: {found}");
    }
    assert_eq!(quantile(&[(0.1, 4.0), (f64::INFINITY, 4.0)], 0.5), Some(0.05));
    for none in [&[][..], &[(0.1, 0.0), (f64::INFINITY, 0.0)], &[(f64::INFINITY, 3.0)]] {
        assert_eq!(quantile(none, 0.5), None);
    }
}

proptest! {
    #[test]
    fn a_quantile_lies_in_its_bucket(counts in prop::collection::vec(0..100_u32, 1..20), wanted in 0.01..1.0) {
        let mut below = 0.0;
        let bucket = |(at, count): (usize, &u32)| {
            below += f64::from(*count);
            ((at + 1) as f64, below)
        };
        let buckets: Vec<(f64, f64)> = counts.iter().enumerate().map(bucket).collect();
        let all = buckets.last().unwrap().1;
        match quantile(&buckets, wanted) {
            None => prop_assert_eq!(all, 0.0),
            Some(found) => {
                let bound = buckets.iter().find(|(_, below)| *below >= wanted * all).unwrap().0;
                prop_assert!(found >= bound - 1.0 && found <= bound, "{} of {:?}", found, buckets);
            }
        }
    }
}
