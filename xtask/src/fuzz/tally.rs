//! Counts what was generated. The counts show when the generator no longer generates something.

use std::fmt::Write;

use headstart_cache::Freshness;

use super::{Case, Layer, RequestFault, Tally, Turns};

/// Counts the features of `case`.
pub(crate) fn count_case(tally: &mut Tally, case: &Case) {
    let mut count = |name: String| *tally.entry(name).or_default() += 1;
    count("cases".into());
    count(format!("stack: {}", case.order()));
    count(format!("tokens: {:?}", case.cloud.tokens));
    count(format!("pin: {:?}{}", case.pin, if case.cloud.honours_pins { "" } else { ", ignored" }));
    count(format!("budget: {}", case.budget_bytes));
    count(match case.turns {
        Turns::One => "runtimes: one".into(),
        Turns::Handover { .. } => "runtimes: one after the other".into(),
        Turns::Alternate { .. } => "runtimes: by turns".into(),
    });
    for layer in &case.layers {
        if let Layer::Cache(spec) = layer {
            count(match spec.freshness {
                Freshness::Ttl(ttl) => format!("freshness: {ttl:?}"),
                other => format!("freshness: {other:?}"),
            });
        }
    }
    for (_, fault) in &case.faults {
        count(match fault {
            RequestFault::Reset => "fault: reset".into(),
            RequestFault::Throttled { .. } => "fault: throttled".into(),
            RequestFault::Late { .. } => "fault: late".into(),
            RequestFault::Cut { .. } => "fault: cut".into(),
            RequestFault::Short { .. } => "fault: short".into(),
            RequestFault::Long => "fault: long".into(),
            RequestFault::Stall { .. } => "fault: stall".into(),
        });
    }
    if !case.outages.is_empty() {
        count("fault: outage".into());
    }
    if !case.write_faults.is_empty() {
        count("fault: write".into());
    }
    if !case.events.is_empty() {
        count("changes behind".into());
    }
}

/// The counts as text, one line a dimension.
pub(crate) fn show(tally: &Tally) -> String {
    let mut lines = String::new();
    let mut last = "";
    for (name, n) in tally {
        let (dimension, value) = name.split_once(": ").unwrap_or(("", name));
        if dimension == last && !lines.is_empty() {
            let _ = write!(lines, ", {value} {n}");
        } else {
            let _ = write!(lines, "\n{dimension}: {value} {n}");
        }
        last = dimension;
    }
    lines
}
