//! `docs/observability.md` has the table of metrics.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

const BEGIN: &str = "<!-- metrics: made by crates/metrics/tests/page.rs -->\n";
const END: &str = "<!-- end of metrics -->";

#[test]
fn the_page_has_the_table_of_metrics() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/observability.md");
    let written = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = written.split_once(BEGIN).expect("the page marks where the table begins");
    let (_, after) = rest.split_once(END).expect("the page marks where the table ends");
    let right = format!("{before}{BEGIN}{}{END}{after}", headstart_metrics::markdown());
    if written != right {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("observability.md");
        std::fs::write(&new, right).unwrap();
        let (new, file) = (new.display(), file.display());
        panic!("docs/observability.md is out of date; after a look at the difference: cp {new} {file}");
    }
}
