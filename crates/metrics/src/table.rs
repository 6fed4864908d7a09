//! All metrics: names, units, labels, help texts, and where each value is found. `docs/observability.md` shows them.

use metrics::Unit;

use crate::family::{FamilySeries, MetricFamily};
use crate::figures::LayerFigures;

/// The series of one count of each layer or tier: `[label values] => where`.
macro_rules! counters {
    ($($values:expr => $count:expr),+ $(,)?) => { FamilySeries::Counters(&[$((&$values, $count)),+]) };
}

macro_rules! gauges {
    ($($values:expr => $level:expr),+ $(,)?) => { FamilySeries::Gauges(&[$((&$values, $level)),+]) };
}

/// The five outcomes of the requests of each kind and intent.
macro_rules! outcomes {
    ($($kind:literal, $intent:literal, $purpose:ident);+) => {
        FamilySeries::Counters(&[$(
            (&[$kind, $intent, "answered"], |f| Some(f.fetch.as_ref()?.outcomes.$purpose.answered)),
            (&[$kind, $intent, "refused"], |f| Some(f.fetch.as_ref()?.outcomes.$purpose.refused)),
            (&[$kind, $intent, "throttled"], |f| Some(f.fetch.as_ref()?.outcomes.$purpose.throttled)),
            (&[$kind, $intent, "failed"], |f| Some(f.fetch.as_ref()?.outcomes.$purpose.failed)),
            (&[$kind, $intent, "cancelled"], |f| Some(f.fetch.as_ref()?.outcomes.$purpose.cancelled)),
        )+])
    };
}

/// Every metric that is exported.
pub static METRICS: &[MetricFamily] = &[
    MetricFamily {
        name: "headstart_requests_total",
        unit: Unit::Count,
        labels: &["kind", "intent", "outcome"],
        help: "Requests to the store that have ended, each try by itself. `answered`: an answer began; `refused`: no \
               such object, a condition not met, no access; `throttled` and `failed`: tried again; `cancelled`: given \
               up before an answer.",
        series: outcomes!(
            "get", "demand", demand; "get", "speculative", speculative; "get", "hedge", hedge; "head", "demand", head
        ),
    },
    MetricFamily {
        name: "headstart_first_byte_seconds",
        unit: Unit::Seconds,
        labels: &[],
        help: "Time from a GET to the first byte of its answer.",
        series: FamilySeries::Histogram(|f| Some(&f.fetch.as_ref()?.first_byte)),
    },
    MetricFamily {
        name: "headstart_body_seconds",
        unit: Unit::Seconds,
        labels: &[],
        help: "Time from the first byte of a body to its last, as its reader took it.",
        series: FamilySeries::Histogram(|f| Some(&f.fetch.as_ref()?.body)),
    },
    MetricFamily {
        name: "headstart_retries_total",
        unit: Unit::Count,
        labels: &[],
        help: "Requests sent again after a failure, and bodies resumed.",
        series: counters!([] => |f| Some(f.fetch.as_ref()?.retries)),
    },
    MetricFamily {
        name: "headstart_hedges_total",
        unit: Unit::Count,
        labels: &[],
        help: "Second GETs sent because the first answer was late.",
        series: counters!([] => |f| Some(f.fetch.as_ref()?.hedges)),
    },
    MetricFamily {
        name: "headstart_hedges_won_total",
        unit: Unit::Count,
        labels: &[],
        help: "Hedges that were answered first.",
        series: counters!([] => |f| Some(f.fetch.as_ref()?.hedges_won)),
    },
    MetricFamily {
        name: "headstart_cancels_total",
        unit: Unit::Count,
        labels: &["layer"],
        help: "Requests given up before the end of their body.",
        series: counters!(
            ["fetch"] => |f| Some(f.fetch.as_ref()?.cancels),
            ["prefetch"] => |f| Some(f.prefetch.as_ref()?.cancels),
        ),
    },
    MetricFamily {
        name: "headstart_object_changes_total",
        unit: Unit::Count,
        labels: &["layer"],
        help: "Times that a layer found an object changed while it was read: `ObjectChanged`. The cache looks anew.",
        series: counters!(
            ["fetch"] => |f| Some(f.fetch.as_ref()?.object_changes),
            ["cache"] => |f| Some(f.cache.as_ref()?.object_changes),
            ["prefetch"] => |f| Some(f.prefetch.as_ref()?.object_changes),
        ),
    },
    MetricFamily {
        name: "headstart_restarts_total",
        unit: Unit::Count,
        labels: &[],
        help: "Reads begun anew because the object changed before their first byte was handed on.",
        series: counters!([] => |f| Some(f.fetch.as_ref()?.restarts)),
    },
    MetricFamily {
        name: "headstart_requests_in_flight",
        unit: Unit::Count,
        labels: &[],
        help: "GETs in flight.",
        series: gauges!([] => |f| Some(f.fetch.as_ref()?.in_flight as f64)),
    },
    MetricFamily {
        name: "headstart_requests_in_flight_limit",
        unit: Unit::Count,
        labels: &[],
        help: "The limit on GETs in flight: `fetch.concurrency`, or fewer while the store throttles.",
        series: gauges!([] => |f| Some(f.fetch.as_ref()?.limit_in_flight as f64)),
    },
    MetricFamily {
        name: "headstart_permit_waits_total",
        unit: Unit::Count,
        labels: &[],
        help: "GETs that found no permit free and waited for one.",
        series: counters!([] => |f| Some(f.fetch.as_ref()?.permit_waits)),
    },
    MetricFamily {
        name: "headstart_permit_waited_microseconds_total",
        unit: Unit::Microseconds,
        labels: &[],
        help: "How long GETs waited for permits.",
        series: counters!([] => |f| Some(f.fetch.as_ref()?.permit_waited_us)),
    },
    MetricFamily {
        name: "headstart_permit_waiters",
        unit: Unit::Count,
        labels: &[],
        help: "GETs that wait for a permit.",
        series: gauges!([] => |f| Some(f.fetch.as_ref()?.waiting as f64)),
    },
    MetricFamily {
        name: "headstart_demanded_bytes_total",
        unit: Unit::Bytes,
        labels: &[],
        help: "Bytes that the application's reads asked for. Without read-ahead (modes `none` and `fetch`), those of \
               readers only.",
        series: counters!([] => |f| Some(f.prefetch.as_ref()?.demanded_bytes)),
    },
    MetricFamily {
        name: "headstart_ahead_bytes_total",
        unit: Unit::Bytes,
        labels: &[],
        help: "Of the demanded bytes, those that read-ahead held or had in flight by then.",
        series: counters!([] => |f| Some(f.prefetch.as_ref()?.ahead_bytes)),
    },
    MetricFamily {
        name: "headstart_fetched_bytes_total",
        unit: Unit::Bytes,
        labels: &["layer"],
        help: "Bytes that a layer got from the one below; `fetch`: from the store.",
        series: counters!(
            ["fetch"] => |f| Some(f.fetch.as_ref()?.fetched_bytes),
            ["cache"] => |f| Some(f.cache.as_ref()?.fetched_bytes),
            ["prefetch"] => |f| Some(f.prefetch.as_ref()?.fetched_bytes),
        ),
    },
    MetricFamily {
        name: "headstart_delivered_bytes_total",
        unit: Unit::Bytes,
        labels: &[],
        help: "Bytes that the layer `fetch` handed on: to the application, or to the layer above.",
        series: counters!([] => |f| Some(f.fetch.as_ref()?.delivered_bytes)),
    },
    MetricFamily {
        name: "headstart_wasted_bytes_total",
        unit: Unit::Bytes,
        labels: &["layer"],
        help: "Bytes that a layer got and nobody read.",
        series: counters!(
            ["fetch"] => |f| Some(f.fetch.as_ref()?.wasted_bytes),
            ["prefetch"] => |f| Some(f.prefetch.as_ref()?.wasted_bytes),
        ),
    },
    MetricFamily {
        name: "headstart_reads_total",
        unit: Unit::Count,
        labels: &[],
        help: "Reads of the application.",
        series: counters!([] => |f| Some(f.prefetch.as_ref()?.reads)),
    },
    MetricFamily {
        name: "headstart_read_waited_microseconds_total",
        unit: Unit::Microseconds,
        labels: &[],
        help: "How long reads waited for bytes.",
        series: counters!([] => |f| Some(f.prefetch.as_ref()?.waited_us)),
    },
    MetricFamily {
        name: "headstart_prefetch_requests_total",
        unit: Unit::Count,
        labels: &["intent"],
        help: "Requests of read-ahead to the layer below.",
        series: counters!(
            ["demand"] => |f| Some(f.prefetch.as_ref()?.demand_requests),
            ["speculative"] => |f| Some(f.prefetch.as_ref()?.speculative_requests),
        ),
    },
    MetricFamily {
        name: "headstart_prefetch_budget_waits_total",
        unit: Unit::Count,
        labels: &[],
        help: "Requests ahead that were not sent because memory was short.",
        series: counters!([] => |f| Some(f.prefetch.as_ref()?.budget_waits)),
    },
    MetricFamily {
        name: "headstart_streams_total",
        unit: Unit::Count,
        labels: &["shape"],
        help: "Streams that read-ahead found.",
        series: counters!(
            ["forward"] => |f| Some(f.prefetch.as_ref()?.streams_forward),
            ["backward"] => |f| Some(f.prefetch.as_ref()?.streams_backward),
            ["strided"] => |f| Some(f.prefetch.as_ref()?.streams_strided),
        ),
    },
    MetricFamily {
        name: "headstart_window_bytes",
        unit: Unit::Bytes,
        labels: &["limit"],
        help: "The window of the latest read of a stream; `none`: as if memory and settings did not limit it.",
        series: gauges!(
            ["applied"] => |f| Some(f.prefetch.as_ref()?.window_bytes as f64),
            ["none"] => |f| Some(f.prefetch.as_ref()?.window_wanted_bytes as f64),
        ),
    },
    MetricFamily {
        name: "headstart_outstanding_bytes",
        unit: Unit::Bytes,
        labels: &[],
        help: "Bytes requested ahead, in flight or held, that no read has asked for yet.",
        series: gauges!([] => |f| Some(f.prefetch.as_ref()?.outstanding_bytes as f64)),
    },
    MetricFamily {
        name: "headstart_budget_bytes",
        unit: Unit::Bytes,
        labels: &["state"],
        help: "Memory for bytes in flight and ahead of readers: the limit, in use, and the most in use at once.",
        series: gauges!(
            ["limit"] => |f| Some(f.budget.as_ref()?.limit_bytes as f64),
            ["used"] => |f| Some(f.budget.as_ref()?.used_bytes as f64),
            ["peak"] => |f| Some(f.budget.as_ref()?.peak_bytes as f64),
        ),
    },
    MetricFamily {
        name: "headstart_cache_pages_total",
        unit: Unit::Count,
        labels: &["source"],
        help: "Pages that were asked for, by where they were found: in memory, on disk, in flight for another call \
               (`joined`), or not (`store`).",
        series: counters!(
            ["memory"] => |f| Some(f.cache.as_ref()?.hits),
            ["disk"] => |f| Some(f.disk()?.hits),
            ["joined"] => |f| Some(f.cache.as_ref()?.joins),
            ["store"] => |f| Some(f.cache.as_ref()?.misses),
        ),
    },
    MetricFamily {
        name: "headstart_cache_hit_bytes_total",
        unit: Unit::Bytes,
        labels: &["source"],
        help: "Bytes that the cache served without a request of the call.",
        series: counters!(
            ["memory"] => |f| Some(f.cache.as_ref()?.hit_bytes),
            ["disk"] => |f| Some(f.disk()?.hit_bytes),
            ["joined"] => |f| Some(f.cache.as_ref()?.joined_bytes),
        ),
    },
    MetricFamily {
        name: "headstart_cache_requests_total",
        unit: Unit::Count,
        labels: &["kind"],
        help: "Requests of the cache to the layer below; `bypass`: calls that it handed on.",
        series: counters!(
            ["get"] => |f| Some(f.cache.as_ref()?.fills),
            ["head"] => |f| Some(f.cache.as_ref()?.validations),
            ["bypass"] => |f| Some(f.cache.as_ref()?.bypasses),
        ),
    },
    MetricFamily {
        name: "headstart_cache_evictions_total",
        unit: Unit::Count,
        labels: &["tier"],
        help: "Pages evicted to make room; on disk, those of segments that this process deleted.",
        series: counters!(
            ["memory"] => |f| Some(f.cache.as_ref()?.evictions),
            ["disk"] => |f| Some(f.disk()?.evictions),
        ),
    },
    MetricFamily {
        name: "headstart_cache_evicted_unread_total",
        unit: Unit::Count,
        labels: &[],
        help: "Pages evicted from memory that were fetched ahead or warmed, and never read from here.",
        series: counters!([] => |f| Some(f.cache.as_ref()?.evicted_unread)),
    },
    MetricFamily {
        name: "headstart_cache_held_bytes",
        unit: Unit::Bytes,
        labels: &["tier"],
        help: "Bytes in the cache; on disk, those of all processes that share the directory.",
        series: gauges!(
            ["memory"] => |f| Some(f.cache.as_ref()?.held_bytes as f64),
            ["disk"] => |f| Some(f.disk()?.held_bytes as f64),
        ),
    },
    MetricFamily {
        name: "headstart_cache_held_pages",
        unit: Unit::Count,
        labels: &["tier"],
        help: "Pages in the cache.",
        series: gauges!(
            ["memory"] => |f| Some(f.cache.as_ref()?.held_pages as f64),
            ["disk"] => |f| Some(f.disk()?.held_pages as f64),
        ),
    },
    MetricFamily {
        name: "headstart_cache_disk_writes_total",
        unit: Unit::Count,
        labels: &["outcome"],
        help: "Pages for the disk: `dropped`: too many waited, or no room; `not_admitted`: not used often enough.",
        series: counters!(
            ["written"] => |f| Some(f.disk()?.writes),
            ["dropped"] => |f| Some(f.disk()?.dropped),
            ["not_admitted"] => |f| Some(f.disk()?.not_admitted),
        ),
    },
    MetricFamily {
        name: "headstart_cache_disk_failures_total",
        unit: Unit::Count,
        labels: &[],
        help: "Reads and writes of the disk that failed.",
        series: counters!([] => |f| Some(f.disk()?.failures)),
    },
    MetricFamily {
        name: "headstart_cache_disk_state",
        unit: Unit::Count,
        labels: &[],
        help: "How well the disk works: 0 normal, 1 unstable, 2 down.",
        series: gauges!([] => LayerFigures::disk_state),
    },
    MetricFamily {
        name: "headstart_link_first_byte_seconds",
        unit: Unit::Seconds,
        labels: &["percentile"],
        help: "The estimate of the link: the time within which so many answers begin.",
        series: gauges!(
            ["50"] => |f| Some(f.link.as_ref()?.ttfb_p50.as_secs_f64()),
            ["95"] => |f| Some(f.link.as_ref()?.ttfb_p95.as_secs_f64()),
        ),
    },
    MetricFamily {
        name: "headstart_link_bytes_per_second",
        unit: Unit::Bytes,
        labels: &["streams"],
        help: "The estimate of the link: the rate of one stream, and of all together.",
        series: gauges!(
            ["one"] => |f| Some(f.link.as_ref()?.stream_bytes_per_s),
            ["all"] => |f| Some(f.link.as_ref()?.aggregate_bytes_per_s),
        ),
    },
    MetricFamily {
        name: "headstart_cost_dollars",
        unit: Unit::Count,
        labels: &[],
        help: "What requests and bytes cost so far, at the prices of the store's profile. Only grows.",
        series: gauges!([] => |f| Some(f.fetch.as_ref()?.cost_usd)),
    },
];
