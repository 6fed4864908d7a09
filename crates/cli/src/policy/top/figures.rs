//! `TopFigures`: rates, shares and levels of a stack, as `top` shows them and prints them with `--json`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::change::StackChange;
use super::scrape::SeriesValues;

/// A count: how fast it grows now, and what it is. Both since the process began, where it began after the last poll.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct RatedCount {
    /// `None` until there are two polls.
    pub(crate) per_s: Option<f64>,
    pub(crate) total: f64,
}

/// A share between 0 and 1: of what happened between the last two polls, and of all. `None` where nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct RatedShare {
    pub(crate) now: Option<f64>,
    pub(crate) total: Option<f64>,
}

/// Within which time half of the answers began, and 95 of 100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct FirstByteQuantiles {
    pub(crate) p50_s: f64,
    pub(crate) p95_s: f64,
}

/// Pages that the cache was asked for and that were found in one place.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct FoundPages {
    /// Of all pages that were asked for.
    pub(crate) share: RatedShare,
    /// Bytes of these pages; `None` for those that the store had.
    pub(crate) bytes: Option<RatedCount>,
    /// Bytes that the cache holds there.
    pub(crate) held_bytes: Option<f64>,
}

/// What `top` shows of a stack. What a layer counts is missing where the layer is off.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct TopFigures {
    /// Bytes that the application asked for.
    pub(crate) delivered_bytes: Option<RatedCount>,
    /// Bytes that came from the store.
    pub(crate) fetched_bytes: Option<RatedCount>,
    pub(crate) reads: Option<RatedCount>,
    /// Requests that have ended, by purpose (`demand`, `speculative`, `hedge`, `head`) and outcome.
    pub(crate) requests: BTreeMap<&'static str, BTreeMap<&'static str, RatedCount>>,
    pub(crate) in_flight: Option<f64>,
    pub(crate) in_flight_limit: Option<f64>,
    pub(crate) waiting: Option<f64>,
    /// Between the last two polls.
    pub(crate) first_byte: Option<FirstByteQuantiles>,
    /// Of the pages that the cache was asked for, those that it had or that were in flight.
    pub(crate) hits: Option<RatedShare>,
    /// By place: `memory`, `disk`, `joined`, `store`.
    pub(crate) pages: BTreeMap<&'static str, FoundPages>,
    /// Of the bytes that a layer (`fetch`, `prefetch`) got, those that nobody read.
    pub(crate) waste: BTreeMap<&'static str, RatedShare>,
    pub(crate) wasted_bytes: BTreeMap<&'static str, RatedCount>,
    pub(crate) window_bytes: Option<f64>,
    /// The window without limits.
    pub(crate) window_wanted_bytes: Option<f64>,
    pub(crate) outstanding_bytes: Option<f64>,
    /// Streams that read-ahead found, by shape.
    pub(crate) streams: BTreeMap<&'static str, RatedCount>,
    pub(crate) budget_used_bytes: Option<f64>,
    pub(crate) budget_peak_bytes: Option<f64>,
    pub(crate) budget_limit_bytes: Option<f64>,
    pub(crate) retries: Option<RatedCount>,
    pub(crate) hedges: Option<RatedCount>,
    pub(crate) hedges_won: Option<RatedCount>,
    pub(crate) throttled: Option<RatedCount>,
    /// Times that a layer found an object changed.
    pub(crate) object_changes: Option<RatedCount>,
    pub(crate) disk_failures: Option<RatedCount>,
    pub(crate) cost_dollars: Option<f64>,
}

/// Purposes of requests: a name, and the labels `kind` and `intent`.
pub(crate) const PURPOSES: [(&str, [&str; 2]); 4] = [
    ("demand", ["get", "demand"]),
    ("speculative", ["get", "speculative"]),
    ("hedge", ["get", "hedge"]),
    ("head", ["head", "demand"]),
];
pub(crate) const OUTCOMES: [&str; 5] = ["answered", "refused", "throttled", "failed", "cancelled"];
pub(crate) const PLACES: [&str; 4] = ["memory", "disk", "joined", "store"];
const SHAPES: [&str; 3] = ["forward", "backward", "strided"];
const WASTING: [&str; 2] = ["fetch", "prefetch"];

impl TopFigures {
    /// The figures of a stack, or of several together.
    pub(crate) fn of(change: &StackChange) -> Self {
        let count = |metric, labels: &[&str]| change.count(metric, labels);
        let level = |metric, labels: &[&str]| change.present.sum(metric, labels);
        let fetched = |layer| change.count("headstart_fetched_bytes_total", &[layer]);
        let wasted = |layer| change.count("headstart_wasted_bytes_total", &[layer]);
        let requests = PURPOSES.into_iter().map(|(purpose, [kind, intent])| {
            let of = |outcome| count("headstart_requests_total", &[kind, intent, outcome]);
            (purpose, by(OUTCOMES, of))
        });
        let found = |place| count("headstart_cache_pages_total", &[place]);
        let share_of_pages = |count: RatedCount| share(Some(count), found("*"));
        let missed = found("store");
        let pages = |place| {
            Some(FoundPages {
                share: share_of_pages(found(place)?)?,
                bytes: count("headstart_cache_hit_bytes_total", &[place]),
                held_bytes: level("headstart_cache_held_bytes", &[place]),
            })
        };
        Self {
            delivered_bytes: count("headstart_demanded_bytes_total", &[]),
            fetched_bytes: fetched("fetch"),
            reads: count("headstart_reads_total", &[]),
            requests: requests.filter(|(_, outcomes)| !outcomes.is_empty()).collect(),
            in_flight: level("headstart_requests_in_flight", &[]),
            in_flight_limit: level("headstart_requests_in_flight_limit", &[]),
            waiting: level("headstart_permit_waiters", &[]),
            first_byte: first_byte(&change.gained),
            hits: missed.and_then(share_of_pages).map(|missed| RatedShare {
                now: missed.now.map(|share| 1.0 - share),
                total: missed.total.map(|share| 1.0 - share),
            }),
            pages: by(PLACES, pages),
            waste: by(WASTING, |layer| share(wasted(layer), fetched(layer))),
            wasted_bytes: by(WASTING, wasted),
            window_bytes: level("headstart_window_bytes", &["applied"]),
            window_wanted_bytes: level("headstart_window_bytes", &["none"]),
            outstanding_bytes: level("headstart_outstanding_bytes", &[]),
            streams: by(SHAPES, |shape| count("headstart_streams_total", &[shape])),
            budget_used_bytes: level("headstart_budget_bytes", &["used"]),
            budget_peak_bytes: level("headstart_budget_bytes", &["peak"]),
            budget_limit_bytes: level("headstart_budget_bytes", &["limit"]),
            retries: count("headstart_retries_total", &[]),
            hedges: count("headstart_hedges_total", &[]),
            hedges_won: count("headstart_hedges_won_total", &[]),
            throttled: count("headstart_requests_total", &["*", "*", "throttled"]),
            object_changes: count("headstart_object_changes_total", &["*"]),
            disk_failures: count("headstart_cache_disk_failures_total", &[]),
            cost_dollars: level("headstart_cost_dollars", &[]),
        }
    }
}

impl StackChange {
    /// A counter, with the values of its labels or `*`.
    fn count(&self, metric: &str, labels: &[&str]) -> Option<RatedCount> {
        let total = self.present.sum(metric, labels)?;
        let gained = self.gained.sum(metric, labels);
        Some(RatedCount { per_s: gained.map(|gained| gained / self.elapsed.as_secs_f64()), total })
    }
}

/// What there is for each of some names.
fn by<T, const N: usize>(
    names: [&'static str; N],
    of: impl Fn(&'static str) -> Option<T>,
) -> BTreeMap<&'static str, T> {
    names.into_iter().filter_map(|name| Some((name, of(name)?))).collect()
}

/// The share of `part` in `whole`.
fn share(part: Option<RatedCount>, whole: Option<RatedCount>) -> Option<RatedShare> {
    let (part, whole) = (part?, whole?);
    // A scrape does not stop the layers, so a part may be counted before its whole.
    let of = |part: f64, whole: f64| (whole > 0.0).then(|| (part / whole).clamp(0.0, 1.0));
    let now = part.per_s.zip(whole.per_s).and_then(|(part, whole)| of(part, whole));
    Some(RatedShare { now, total: of(part.total, whole.total) })
}

fn first_byte(gained: &SeriesValues) -> Option<FirstByteQuantiles> {
    let buckets = gained.buckets("headstart_first_byte_seconds");
    Some(FirstByteQuantiles { p50_s: quantile(&buckets, 0.5)?, p95_s: quantile(&buckets, 0.95)? })
}

/// A quantile of a histogram, as `histogram_quantile` of Prometheus estimates it: values are spread evenly in a bucket.
/// The buckets are upper bounds, ascending, and how many values are below each. `None` without values.
fn quantile(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let (_, all) = *buckets.last()?;
    let rank = quantile * all;
    let at = buckets.iter().position(|(_, below)| *below >= rank).filter(|_| all > 0.0)?;
    let (bound, below) = buckets[at];
    let (from, before) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    if !bound.is_finite() {
        return (at > 0).then_some(from);
    }
    let inside = below - before;
    Some(if inside > 0.0 { from + (bound - from) * (rank - before) / inside } else { bound })
}

#[cfg(test)]
mod tests;
