//! `TopScrape`: the samples of Headstart's metrics at one time, by stack.

use std::collections::BTreeMap;

use headstart::metrics::{METRICS, MetricFamily, MetricKind};

use crate::policy::exposition::{self, ScrapedSample};

/// The labels of a stack: all that the metrics themselves do not have. A process may export several stacks.
pub(crate) type StackLabels = Vec<(String, String)>;

/// Values of series.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SeriesValues(BTreeMap<SeriesKey, f64>);

/// A metric, and the values of its labels in the order of [`METRICS`]; of a histogram the upper bound of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey {
    pub(crate) metric: &'static str,
    values: Vec<String>,
}

/// All of Headstart's samples that one answer has.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TopScrape {
    pub(crate) stacks: BTreeMap<StackLabels, SeriesValues>,
}

impl TopScrape {
    /// Reads an answer.
    ///
    /// # Errors
    /// The text is not in Prometheus' format, or has no metric of Headstart: a sentence without its full stop.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let samples = exposition::parse(text);
        let samples = samples.map_err(|error| format!("The answer is no text of Prometheus: {error}"))?;
        let mut stacks: BTreeMap<StackLabels, SeriesValues> = BTreeMap::new();
        for (key, labels, value) in samples.into_iter().filter_map(own) {
            *stacks.entry(labels).or_default().0.entry(key).or_default() += value;
        }
        match stacks.is_empty() {
            true => Err("The answer has no metrics of Headstart".to_owned()),
            false => Ok(Self { stacks }),
        }
    }
}

/// The key of a sample of a metric that Headstart exports, the labels of its stack, and its value.
fn own(mut sample: ScrapedSample) -> Option<(SeriesKey, StackLabels, f64)> {
    let (family, labels) = family(&sample.name)?;
    if sample.value.is_nan() {
        return None;
    }
    let mut value_of = |label: &&str| {
        let at = sample.labels.iter().position(|(name, _)| name == label)?;
        Some(sample.labels.remove(at).1)
    };
    let values = labels.iter().map(&mut value_of).collect::<Option<Vec<_>>>()?;
    sample.labels.sort();
    Some((SeriesKey { metric: family.name, values }, sample.labels, sample.value))
}

/// The metric of a name in the text, and its own labels. Of histograms, the buckets are all that is wanted.
fn family(name: &str) -> Option<(&'static MetricFamily, &'static [&'static str])> {
    let of = |name: &str| METRICS.iter().find(|family| family.name == name);
    match name.strip_suffix("_bucket").and_then(of) {
        Some(family) => Some((family, &["le"])),
        None => of(name).filter(|family| family.kind() != MetricKind::Histogram).map(|family| (family, family.labels)),
    }
}

impl SeriesKey {
    /// Whether its value never falls while the process lives.
    pub(crate) fn is_counter(&self) -> bool {
        let kind = METRICS.iter().find(|family| family.name == self.metric).map(MetricFamily::kind);
        matches!(kind, Some(MetricKind::Counter | MetricKind::Histogram))
    }
}

impl SeriesValues {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SeriesKey, f64)> {
        self.0.iter().map(|(key, value)| (key, *value))
    }

    pub(crate) fn get(&self, key: &SeriesKey) -> Option<f64> {
        self.0.get(key).copied()
    }

    /// Combines two values of a series, where there are two.
    pub(crate) fn add(&mut self, key: &SeriesKey, value: f64, combine: fn(f64, f64) -> f64) {
        let known = self.0.get(key).copied();
        self.0.insert(key.clone(), known.map_or(value, |known| combine(known, value)));
    }

    /// The sum of the series of a metric whose labels have these values: `*` stands for all. `None` where there is no
    /// such series.
    pub(crate) fn sum(&self, metric: &str, wanted: &[&str]) -> Option<f64> {
        let fits = |key: &SeriesKey| {
            key.metric == metric
                && key.values.iter().zip(wanted).all(|(value, wanted)| *wanted == "*" || value == wanted)
        };
        let mut found = self.iter().filter(|(key, _)| fits(key)).map(|(_, value)| value).peekable();
        found.peek()?;
        Some(found.sum())
    }

    /// The upper bounds of a histogram's buckets and how many values are within each, in ascending order.
    pub(crate) fn buckets(&self, metric: &str) -> Vec<(f64, f64)> {
        let buckets = self.iter().filter(|(key, _)| key.metric == metric);
        let mut buckets: Vec<(f64, f64)> =
            buckets.filter_map(|(key, count)| Some((key.values.first()?.parse().ok()?, count))).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_told_by_the_labels_that_metrics_do_not_have() {
        let scrape = TopScrape::parse(
            "headstart_fetched_bytes_total{store=\"a\",layer=\"fetch\"} 10\n\
             headstart_fetched_bytes_total{layer=\"cache\",store=\"a\"} 4\n\
             headstart_fetched_bytes_total{layer=\"fetch\",store=\"b\"} 1\n\
             headstart_fetched_bytes_total{layer=\"fetch\"} 7\n\
             headstart_retries_total{store=\"a\"} NaN\n\
             headstart_hedges_total 2\n\
             other_total{layer=\"fetch\"} 100\n",
        );
        let scrape = scrape.unwrap();
        let sums: Vec<_> = scrape
            .stacks
            .iter()
            .map(|(labels, values)| {
                let fetched = |layer| values.sum("headstart_fetched_bytes_total", &[layer]);
                (labels.first().map(|(_, value)| value.as_str()), fetched("fetch"), fetched("cache"), fetched("*"))
            })
            .collect();
        assert_eq!(
            sums,
            [
                (None, Some(7.0), None, Some(7.0)),
                (Some("a"), Some(10.0), Some(4.0), Some(14.0)),
                (Some("b"), Some(1.0), None, Some(1.0))
            ]
        );
        let unnamed = &scrape.stacks[&Vec::new()];
        assert_eq!(
            (unnamed.sum("headstart_hedges_total", &[]), unnamed.sum("headstart_retries_total", &[])),
            (Some(2.0), None)
        );
    }

    #[test]
    fn buckets_are_in_order_and_sums_of_histograms_are_left_out() {
        let scrape = TopScrape::parse(
            "headstart_body_seconds_bucket{le=\"+Inf\"} 5\nheadstart_body_seconds_bucket{le=\"10\"} 4\n\
             headstart_body_seconds_bucket{le=\"0.5\"} 1\nheadstart_body_seconds_sum 9\n\
             headstart_body_seconds_count 5\n",
        );
        let values = &scrape.unwrap().stacks[&Vec::new()];
        assert_eq!(values.buckets("headstart_body_seconds"), [(0.5, 1.0), (10.0, 4.0), (f64::INFINITY, 5.0)]);
        assert_eq!(values.iter().count(), 3);
    }

    #[test]
    fn texts_without_our_metrics_are_refused() {
        for (text, says) in
            [("", "no metrics of Headstart"), ("a 1\n", "no metrics of Headstart"), ("<html>", "line 1")]
        {
            let error = TopScrape::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        // Labels are missing, and so is the series.
        assert!(TopScrape::parse("headstart_fetched_bytes_total 1").is_err());
    }
}
