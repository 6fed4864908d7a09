//! The table of metrics as Markdown, for `docs/observability.md`.

use crate::table::METRICS;

/// All metrics as a table in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut table = "| metric | kind | unit | labels | what it says |\n|---|---|---|---|---|\n".to_owned();
    for family in METRICS {
        let kind = format!("{:?}", family.kind()).to_lowercase();
        let unit = family.unit.as_str().replace('_', " ");
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|label| {
                let values = family.values_of(label).iter().map(|value| format!("`{value}`")).collect::<Vec<_>>();
                format!("`{label}`: {}", values.join(", "))
            })
            .collect();
        table += &format!("| `{}` | {kind} | {unit} | {} | {} |\n", family.name, labels.join("; "), family.help);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::{FamilySeries, MetricFamily};
    use metrics::Unit;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_say_kind_and_unit() {
        let names: BTreeSet<&str> = METRICS.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for MetricFamily { name, unit, labels, help, series } in METRICS {
            assert!(name.starts_with("headstart_") && help.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), matches!(series, FamilySeries::Counters(_)), "{name}");
            let stem = name.trim_end_matches("_total");
            let says = match unit {
                Unit::Bytes => stem.ends_with("_bytes") || stem.ends_with("_bytes_per_second"),
                Unit::Seconds => stem.ends_with("_seconds"),
                Unit::Microseconds => stem.ends_with("_microseconds"),
                _ => !["_bytes", "seconds"].iter().any(|suffix| stem.ends_with(suffix)),
            };
            assert!(says, "{name} is in {unit:?}");
            let values: Vec<&[&str]> = match series {
                FamilySeries::Counters(counters) => counters.iter().map(|(values, _)| *values).collect(),
                FamilySeries::Gauges(gauges) => gauges.iter().map(|(values, _)| *values).collect(),
                FamilySeries::Histogram(_) => vec![&[]],
            };
            assert!(values.iter().all(|values| values.len() == labels.len()), "{name}");
            assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), values.len(), "{name}: the same labels twice");
        }
    }

    #[test]
    fn a_row_has_kind_unit_labels_with_their_values_and_help() {
        let page = markdown();
        assert_eq!(page.lines().count(), 2 + METRICS.len());
        let row = "| `headstart_wasted_bytes_total` | counter | bytes | `layer`: `fetch`, `prefetch` | \
                   Bytes that a layer got and nobody read. |";
        assert!(page.lines().any(|line| line == row), "{page}");
    }
}
