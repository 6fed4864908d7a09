//! Counts what was generated. The counts show when the generator no longer generates something.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};

use headstart_cache::Freshness;

use super::{Case, Layer};

/// Counts by name.
pub(crate) type Tally = BTreeMap<String, u64>;

pub(crate) fn count_case(tally: &mut Tally, case: &Case) {
    let mut count = |name: String| *tally.entry(name).or_default() += 1;
    count("cases".into());
    count(format!("stack: {}", case.order()));
    count(format!("tokens: {:?}", case.cloud.tokens));
    count(format!("pin: {:?}{}", case.pin, if case.cloud.honours_pins { "" } else { ", ignored" }));
    count(format!("budget: {}", case.budget_bytes));
    count(format!("runtimes: {}", variant(&case.turns)));
    for layer in &case.layers {
        if let Layer::Cache(spec) = layer {
            count(match spec.freshness {
                Freshness::Ttl(ttl) => format!("freshness: {ttl:?}"),
                other => format!("freshness: {other:?}"),
            });
        }
    }
    for (_, fault) in &case.faults {
        count(format!("fault: {}", variant(fault)));
    }
    let others = [
        ("fault: outage", case.outages.is_empty()),
        ("fault: write", case.write_faults.is_empty()),
        ("changes behind", case.events.is_empty()),
    ];
    others.iter().filter(|(_, has_none)| !has_none).for_each(|(name, _)| count((*name).to_owned()));
}

/// The name of a value's variant, under which it is counted.
pub(crate) fn variant(value: &impl Debug) -> String {
    format!("{value:?}").chars().take_while(|letter| letter.is_alphanumeric()).collect()
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
