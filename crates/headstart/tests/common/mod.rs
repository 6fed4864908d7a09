//! Pages of `docs/` with tables that are made from the code.

use std::collections::BTreeMap;
use std::path::Path;

/// Checks that `docs/{page}` has each table between its markers, which name the file that `made` it.
///
/// # Panics
/// If the page differs. The right page is written to the target folder, and the message says how to copy it.
pub(crate) fn check_page(page: &str, made: &str, tables: &BTreeMap<&'static str, String>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let written = std::fs::read_to_string(&file).expect("the page exists");
    let right = tables.iter().fold(written.clone(), |text, (name, table)| {
        let (begin, end) = (format!("<!-- {name}: made by {made} -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
        format!("{before}{begin}{table}{end}{after}")
    });
    if written != right {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join(page);
        std::fs::write(&new, right).expect("the target folder accepts writes");
        panic!("docs/{page} is out of date; after a look at the difference: cp {} {}", new.display(), file.display());
    }
}
