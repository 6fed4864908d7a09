//! The dashboard for Grafana asks for metrics and labels that are exported.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use headstart_metrics::{METRICS, MetricFamily, MetricKind};
use serde_json::Value;

/// Labels that Prometheus adds, and that of buckets.
const OTHER_LABELS: [&str; 3] = ["job", "instance", "le"];

/// Words of queries that are no labels: functions, keywords, durations and variables.
const SYNTAX: [&str; 15] = [
    "sum",
    "max",
    "avg",
    "by",
    "on",
    "rate",
    "delta",
    "histogram_quantile",
    "group_left",
    "label_values",
    "h",
    "1h",
    "__rate_interval",
    "job",
    "le",
];

fn dashboard() -> Value {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/grafana/headstart.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// All queries of panels and variables.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut queries: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    queries.extend(variables.filter_map(|variable| Some(variable["query"]["query"].as_str()?.to_owned())));
    queries
}

/// The words of a text: names, keywords, numbers.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The family that a name of a series belongs to.
fn family(name: &str) -> Option<&'static MetricFamily> {
    let is_named = |family: &&MetricFamily| match family.kind() {
        MetricKind::Histogram => {
            ["_bucket", "_sum", "_count"].iter().any(|suffix| name.strip_suffix(suffix) == Some(family.name))
        }
        _ => name == family.name,
    };
    METRICS.iter().find(is_named)
}

/// What is wrong with a query.
fn problem(query: &str) -> Option<String> {
    let names: Vec<&str> = words(query).filter(|word| word.starts_with("headstart_")).collect();
    let mut families = Vec::new();
    for name in &names {
        match family(name) {
            Some(family) => families.push(family),
            None => return Some(format!("{name} is not exported")),
        }
    }
    if families.is_empty() {
        return Some("it asks for none of our metrics".to_owned());
    }
    // Labels that are compared with a value have it.
    for (before, after) in query.match_indices("=\"").map(|(at, _)| (&query[..at], &query[at + 2..])) {
        let label = words(before).last().unwrap();
        let value = after.split('"').next().unwrap();
        let has_it = |family: &&MetricFamily| family.values_of(label).contains(&value);
        if !OTHER_LABELS.contains(&label) && !families.iter().any(has_it) {
            return Some(format!("no {label} is \"{value}\""));
        }
    }
    // All other words are labels.
    let unquoted: String = query.split('"').step_by(2).collect();
    let is_label = |word: &str| families.iter().any(|family| family.labels.contains(&word));
    let unknown = words(&unquoted).find(|word| {
        !names.contains(word) && !SYNTAX.contains(word) && !is_label(word) && word.parse::<f64>().is_err()
    });
    unknown.map(|word| format!("{word} is no label"))
}

#[test]
fn every_query_asks_for_metrics_and_labels_that_are_exported() {
    let queries = queries(&dashboard());
    assert!(queries.len() > 30, "{}", queries.len());
    for query in &queries {
        assert_eq!(problem(query), None, "{query}");
    }
}

#[test]
fn every_metric_of_an_operators_interest_has_a_panel() {
    let queries = queries(&dashboard());
    let shown: BTreeSet<&str> =
        queries.iter().flat_map(|query| words(query)).filter_map(family).map(|family| family.name).collect();
    let hidden: Vec<&str> = METRICS.iter().map(|family| family.name).filter(|name| !shown.contains(name)).collect();
    // Parts of what is shown.
    let parts = [
        "headstart_permit_waits_total",
        "headstart_ahead_bytes_total",
        "headstart_cache_requests_total",
        "headstart_cache_held_pages",
    ];
    assert_eq!(hidden, parts);
}

#[test]
fn legends_name_labels_that_their_queries_keep() {
    for panel in dashboard()["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let (query, legend) = (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
            for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
                let kept =
                    query.split(" by (").skip(1).any(|rest| words(rest.split(')').next().unwrap()).any(|l| l == label));
                assert!(kept, "{label} in '{legend}': {query}");
            }
        }
    }
}

#[test]
fn wrong_queries_are_found() {
    for (query, says) in [
        ("sum (headstart_retries)", "headstart_retries is not exported"),
        ("headstart_first_byte_seconds", "headstart_first_byte_seconds is not exported"),
        ("rate(headstart_retries_total_count[1h])", "headstart_retries_total_count is not exported"),
        ("sum by (leyer) (headstart_cancels_total)", "leyer is no label"),
        ("headstart_cancels_total{layer=\"fetsch\"}", "no layer is \"fetsch\""),
        ("up", "it asks for none of our metrics"),
    ] {
        assert_eq!(problem(query).as_deref(), Some(says), "{query}");
    }
    assert_eq!(problem("sum by (layer) (rate(headstart_cancels_total{layer=\"fetch\"}[1h]))"), None);
}
