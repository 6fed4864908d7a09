//! `MetricFamily`: one row of the table of metrics.

use headstart_fetch_core::{TIME_BOUNDS_US, TimeHistogram};
use metrics::Unit;

use crate::figures::LayerFigures;

/// Metrics of one name, which differ by their labels.
#[derive(Debug)]
#[non_exhaustive]
pub struct MetricFamily {
    /// The name, as Prometheus writes it: the unit is its suffix.
    pub name: &'static str,
    /// The unit.
    pub unit: Unit,
    /// The labels, beside those of the exporter.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
    pub(crate) series: FamilySeries,
}

/// What a value does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// A present value.
    Gauge,
    /// Times, by length.
    Histogram,
}

/// Where a count is found; `None` where its layer is off.
pub(crate) type CountOf = fn(&LayerFigures) -> Option<u64>;
/// The same for a level.
pub(crate) type LevelOf = fn(&LayerFigures) -> Option<f64>;
/// The same for times.
pub(crate) type TimesOf = fn(&LayerFigures) -> Option<&TimeHistogram>;

/// The metrics of a family: the values of their labels, and where their value is found.
#[derive(Debug)]
pub(crate) enum FamilySeries {
    Counters(&'static [(&'static [&'static str], CountOf)]),
    Gauges(&'static [(&'static [&'static str], LevelOf)]),
    Histogram(TimesOf),
}

impl MetricFamily {
    /// What its values do over time.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        match self.series {
            FamilySeries::Counters(_) => MetricKind::Counter,
            FamilySeries::Gauges(_) => MetricKind::Gauge,
            FamilySeries::Histogram(_) => MetricKind::Histogram,
        }
    }

    /// The values that a label has, in order; empty for a label that the family lacks.
    #[must_use]
    pub fn values_of(&self, label: &str) -> Vec<&'static str> {
        let Some(at) = self.labels.iter().position(|own| *own == label) else { return Vec::new() };
        let all: Vec<&'static str> = match self.series {
            FamilySeries::Counters(counters) => counters.iter().map(|(values, _)| values[at]).collect(),
            FamilySeries::Gauges(gauges) => gauges.iter().map(|(values, _)| values[at]).collect(),
            FamilySeries::Histogram(_) => Vec::new(),
        };
        let mut values: Vec<&'static str> = Vec::new();
        all.into_iter().for_each(|value| {
            if !values.contains(&value) {
                values.push(value);
            }
        });
        values
    }
}

/// The upper bounds of the histograms' buckets in seconds, to configure recorders with.
#[must_use]
pub fn time_bounds() -> [f64; TIME_BOUNDS_US.len()] {
    TIME_BOUNDS_US.map(|us| us as f64 / 1e6)
}
