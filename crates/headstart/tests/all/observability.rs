//! `docs/observability.md` has the tables of `trace_events.rs` of each layer, and these list what the code reports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::common;

const LAYERS: [&str; 3] = ["fetch-core", "cache", "prefetch"];

/// The table in the documentation of the module, and the code below it.
fn table_and_code(layer: &str) -> (String, String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../{layer}/src/trace_events.rs"));
    let source = std::fs::read_to_string(file).expect("each layer has this file");
    let rows = source.lines().filter_map(|line| line.strip_prefix("//! ")).filter(|line| line.starts_with('|'));
    let table = rows.map(|row| format!("{row}\n")).collect();
    let code = source.lines().skip_while(|line| line.starts_with("//!"));
    (table, code.take_while(|line| !line.starts_with("#[cfg(test)]")).collect::<Vec<_>>().join(" "))
}

/// The name of each span and event of `code`, with its fields.
fn reported(code: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for call in code.split("(target: TARGET,").flat_map(|piece| piece.split("target: TARGET,")).skip(1) {
        let arguments: String = call.chars().take(call.find(");").or(call.find(") }")).unwrap_or(call.len())).collect();
        let Some((before, rest)) = arguments.split_once('"') else { continue };
        let Some((name, after)) = rest.split_once('"') else { continue };
        let mut fields = BTreeSet::new();
        let mut depth = 0_i32;
        for argument in format!("{before},{after}").split(',') {
            if depth == 0 {
                let field = argument.split('=').next().unwrap_or_default().trim().trim_start_matches(['%', '?']);
                let field = if argument.contains('=') { field } else { field.rsplit('.').next().unwrap_or(field) };
                if !field.is_empty() && field.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c)) {
                    fields.insert(field.to_owned());
                }
            }
            depth += i32::try_from(argument.matches('(').count()).expect("few");
            depth -= i32::try_from(argument.matches(')').count()).expect("few");
        }
        all.insert(name.to_owned(), fields);
    }
    all
}

#[test]
fn the_tables_list_every_span_and_event_with_its_fields() {
    for layer in LAYERS {
        let (table, code) = table_and_code(layer);
        let reported = reported(&code);
        assert!(reported.len() >= 3, "{layer}: {reported:?}");
        for (name, fields) in &reported {
            let row = table.lines().find(|row| row.contains(&format!("`{name}`")));
            let row = row.unwrap_or_else(|| panic!("{layer}: the table lacks '{name}'"));
            for field in fields {
                let is_listed = row.contains(&format!("`{field}`"))
                    || field.split_once('.').is_some_and(|(group, _)| row.contains(&format!("`{group}.*`")));
                assert!(is_listed, "{layer}: the row of '{name}' lacks '{field}'");
            }
        }
        let rows = table.lines().skip(2).count();
        assert_eq!(rows, reported.len(), "{layer}: {reported:?}");
    }
}

#[test]
fn the_page_has_the_tables_of_the_code() {
    let tables = LAYERS.map(|layer| (layer, table_and_code(layer).0));
    common::check_page("observability.md", "crates/headstart/tests/all/observability.rs", &BTreeMap::from(tables));
}
