//! The gates: exact counts of the virtual-time bench, compared with those in `xtask/gates.json`.
//!
//! Virtual time has no noise: a different count is a mistake, or a change that `--bless-gates` records for review.

use std::fmt::Write as _;
use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gate {
    pub(crate) gets: u64,
    pub(crate) heads: u64,
    pub(crate) fetched_bytes: u64,
    pub(crate) virtual_ms: f64,
    /// Handles that reported that their object changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) changes_told: u64,
    /// Handles that mixed two versions: of the bare client and of `fetch`, which do not promise one version.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) changes_mixed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Gates by `workload/system`.
pub(crate) type Gates = BTreeMap<String, Gate>;

fn file() -> PathBuf {
    crate::workspace_root().join("xtask/gates.json")
}

pub(crate) fn check(found: &Gates) -> Result<()> {
    let text = std::fs::read_to_string(file()).context("cannot read xtask/gates.json")?;
    let agreed: Gates = serde_json::from_str(&text).context("xtask/gates.json is not as expected")?;
    let differences = differences(&agreed, found);
    if differences.is_empty() {
        println!("gates: {} counts are as agreed", found.len());
        return Ok(());
    }
    differences.iter().for_each(|difference| eprintln!("{difference}"));
    bail!(
        "{} of {} rows differ from xtask/gates.json; if the change is intended, run `cargo xtask ci --bless-gates` and \
         have the difference reviewed",
        differences.len(),
        found.len().max(agreed.len())
    )
}

pub(crate) fn bless(found: &Gates) -> Result<()> {
    std::fs::write(file(), render(found)?).context("cannot write xtask/gates.json")?;
    println!("wrote {} rows to xtask/gates.json; look at the difference before you commit it", found.len());
    Ok(())
}

/// JSON with one row a line, so that one changed count changes one line.
fn render(gates: &Gates) -> Result<String> {
    let mut text = String::from("{\n");
    for (index, (name, gate)) in gates.iter().enumerate() {
        let comma = if index + 1 < gates.len() { "," } else { "" };
        let _ = writeln!(text, "  {}: {}{comma}", serde_json::to_string(name)?, serde_json::to_string(gate)?);
    }
    Ok(text + "}\n")
}

fn differences(agreed: &Gates, found: &Gates) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, gate) in agreed {
        let Some(now) = found.get(name) else {
            lines.push(format!("{name}: has a gate and was not run"));
            continue;
        };
        let parts = [
            ("GETs", gate.gets.to_string(), now.gets.to_string()),
            ("HEADs", gate.heads.to_string(), now.heads.to_string()),
            ("bytes fetched", gate.fetched_bytes.to_string(), now.fetched_bytes.to_string()),
            ("virtual ms", gate.virtual_ms.to_string(), now.virtual_ms.to_string()),
            ("changes told", gate.changes_told.to_string(), now.changes_told.to_string()),
            ("changes mixed", gate.changes_mixed.to_string(), now.changes_mixed.to_string()),
        ];
        let changed = parts.iter().filter(|(_, old, new)| old != new);
        let changed: Vec<String> = changed.map(|(what, old, new)| format!("{new} {what} instead of {old}")).collect();
        if !changed.is_empty() {
            lines.push(format!("{name}: {}", changed.join(", ")));
        }
    }
    let ungated = found.keys().filter(|name| !agreed.contains_key(*name));
    lines.extend(ungated.map(|name| format!("{name}: has no gate yet")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(rows: &[(&str, u64, f64)]) -> Gates {
        let gate = |gets, virtual_ms| Gate { gets, fetched_bytes: 9, virtual_ms, ..Gate::default() };
        rows.iter().map(|(name, gets, virtual_ms)| ((*name).to_owned(), gate(*gets, *virtual_ms))).collect()
    }

    #[test]
    fn every_difference_is_named() {
        let agreed = gates(&[("a", 1, 1.5), ("b", 2, 2.0), ("c", 3, 3.0)]);
        assert_eq!(differences(&agreed, &agreed), [""; 0]);
        let found = gates(&[("a", 1, 1.501), ("b", 4, 2.0), ("d", 3, 3.0)]);
        let changed = ["a: 1.501 virtual ms instead of 1.5", "b: 4 GETs instead of 2"];
        let unpaired = ["c: has a gate and was not run", "d: has no gate yet"];
        assert_eq!(differences(&agreed, &found), [changed, unpaired].concat());
    }

    #[test]
    fn the_file_reads_back_and_has_a_row_a_line() {
        let written = gates(&[("a", 1, 1.5), ("b", 2, 1234.567)]);
        let text = render(&written).expect("plain data");
        assert_eq!(serde_json::from_str::<Gates>(&text).expect("our own JSON"), written);
        assert_eq!(text.lines().count(), 4);
    }
}
