//! `MetricsExporter`: hands the figures of a stack to a recorder of the `metrics` crate.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use headstart_fetch_core::{TIME_BOUNDS_US, TimeBucket, TimeHistogram};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};

use crate::family::{CountOf, FamilySeries, LevelOf, MetricFamily, MetricKind, TimesOf};
use crate::figures::{ExportedLayers, LayerFigures};
use crate::table::METRICS;

/// Where the metrics come from, for recorders that filter.
const METADATA: Metadata<'static> = Metadata::new("headstart", Level::INFO, Some(module_path!()));

/// Exports the figures of one stack to the recorder that was current when it was made.
///
/// That is the recorder of [`metrics::with_local_recorder`], or else the global one. Without a recorder the exporter
/// does nothing.
pub struct MetricsExporter {
    layers: ExportedLayers,
    series: Vec<ExportedSeries>,
}

/// One metric with one set of labels.
enum ExportedSeries {
    Counter(Counter, CountOf),
    Gauge(Gauge, LevelOf),
    /// With what has been exported so far.
    Histogram(Histogram, TimesOf, Box<TimeHistogram>),
}

impl MetricsExporter {
    /// Describes and registers the metrics of these layers. All have the `labels`, beside their own.
    pub fn new<K: Into<String>, V: Into<String>>(
        layers: ExportedLayers,
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let labels: Vec<Label> = labels.into_iter().map(|(key, value)| Label::new(key.into(), value.into())).collect();
        let figures = layers.figures();
        let series = metrics::with_recorder(|recorder| register(recorder, &figures, &labels));
        Self { layers, series }
    }

    /// Exports the present figures. For recorders that are asked for their values, such as Prometheus', before each
    /// answer.
    pub fn export(&mut self) {
        let figures = self.layers.figures();
        for series in &mut self.series {
            series.export(&figures);
        }
    }

    /// Exports now and then `every` so often, for recorders that send by themselves, such as OpenTelemetry's. Needs a
    /// runtime with timers.
    ///
    /// # Cancel safety
    /// Never ends. Dropping the future ends the export.
    pub async fn run(mut self, every: Duration) -> Infallible {
        loop {
            self.export();
            tokio::time::sleep(every).await;
        }
    }
}

impl fmt::Debug for MetricsExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsExporter").field("layers", &self.layers).finish_non_exhaustive()
    }
}

/// Registers all series that have a value in `figures`; the layers of a stack do not change.
fn register(recorder: &dyn Recorder, figures: &LayerFigures, labels: &[Label]) -> Vec<ExportedSeries> {
    let mut registered = Vec::new();
    for family in METRICS {
        let key = |values: &[&'static str]| {
            // Before each series: some recorders forget a description when a series takes it.
            describe(recorder, family);
            let own = family.labels.iter().zip(values).map(|(label, value)| Label::from_static_parts(label, value));
            Key::from_parts(family.name, labels.iter().cloned().chain(own).collect::<Vec<_>>())
        };
        match &family.series {
            FamilySeries::Counters(counters) => {
                let present = counters.iter().filter(|(_, count)| count(figures).is_some());
                registered.extend(present.map(|(values, count)| {
                    ExportedSeries::Counter(recorder.register_counter(&key(values), &METADATA), *count)
                }));
            }
            FamilySeries::Gauges(gauges) => {
                let present = gauges.iter().filter(|(_, level)| level(figures).is_some());
                registered.extend(present.map(|(values, level)| {
                    ExportedSeries::Gauge(recorder.register_gauge(&key(values), &METADATA), *level)
                }));
            }
            FamilySeries::Histogram(times) if times(figures).is_some() => {
                let histogram = recorder.register_histogram(&key(&[]), &METADATA);
                registered.push(ExportedSeries::Histogram(histogram, *times, Box::default()));
            }
            FamilySeries::Histogram(_) => {}
        }
    }
    registered
}

fn describe(recorder: &dyn Recorder, family: &MetricFamily) {
    let (name, unit, help) = (family.name.into(), Some(family.unit), family.help.into());
    match family.kind() {
        MetricKind::Counter => recorder.describe_counter(name, unit, help),
        MetricKind::Gauge => recorder.describe_gauge(name, unit, help),
        MetricKind::Histogram => recorder.describe_histogram(name, unit, help),
    }
}

impl ExportedSeries {
    fn export(&mut self, figures: &LayerFigures) {
        match self {
            Self::Counter(counter, count) => {
                if let Some(count) = count(figures) {
                    counter.absolute(count);
                }
            }
            Self::Gauge(gauge, level) => {
                if let Some(level) = level(figures) {
                    gauge.set(level);
                }
            }
            Self::Histogram(histogram, times, exported) => {
                if let Some(times) = times(figures) {
                    for (at, (now, before)) in times.buckets.iter().zip(&mut exported.buckets).enumerate() {
                        if let Some((seconds, count)) = new_samples(at, *now, before) {
                            histogram.record_many(seconds, count);
                        }
                    }
                }
            }
        }
    }
}

/// The samples of bucket `at` since `before`, as their mean in seconds and their number. Their sum is then exact, and
/// they are in the bucket that they were measured in.
fn new_samples(at: usize, now: TimeBucket, before: &mut TimeBucket) -> Option<(f64, usize)> {
    let count = now.count.saturating_sub(before.count);
    if count == 0 {
        return None;
    }
    let mean_us = now.total_us.saturating_sub(before.total_us) as f64 / count as f64;
    *before = now;
    // A task may have added its count and not yet its time, or the other way round.
    let least = at.checked_sub(1).map_or(0, |below| TIME_BOUNDS_US[below] + 1);
    let most = TIME_BOUNDS_US.get(at).copied().unwrap_or(u64::MAX);
    Some((mean_us.clamp(least as f64, most as f64) / 1e6, usize::try_from(count).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_samples_have_the_mean_of_those_that_were_added() {
        let bucket = |count, total_us| TimeBucket { count, total_us };
        let mut before = bucket(0, 0);
        assert_eq!(new_samples(2, bucket(0, 0), &mut before), None);
        assert_eq!(new_samples(2, bucket(2, 700), &mut before), Some((350e-6, 2)));
        assert_eq!(new_samples(2, bucket(2, 700), &mut before), None);
        assert_eq!(new_samples(2, bucket(3, 1150), &mut before), Some((450e-6, 1)));
        // The time of the fourth is not there yet, and comes with the fifth.
        assert_eq!(new_samples(2, bucket(4, 1150), &mut before), Some((251e-6, 1)));
        assert_eq!(new_samples(2, bucket(5, 2050), &mut before), Some((500e-6, 1)));
        // The first and the last bucket.
        assert_eq!(new_samples(0, bucket(1, 0), &mut bucket(0, 0)), Some((0.0, 1)));
        assert_eq!(new_samples(17, bucket(2, 80_000_000), &mut bucket(0, 0)), Some((40.0, 2)));
    }
}
