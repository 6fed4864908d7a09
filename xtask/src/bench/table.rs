//! The table of a bench as it is printed: Markdown, so that it can be pasted.

use comfy_table::{CellAlignment, Table, presets};
use headstart_bench::results::{Results, Row};
use headstart_bench::system::System;

use crate::report::columns::columns;

const MANY_READERS: &str = "no row for idle-1000: a thousand of its readers need more memory than the machine has";

/// Remarks on systems, shown where a system takes part.
const REMARKS: [(System, &str); 5] = [
    (System::Stream, "one GET cannot jump, so there is no row where reads do"),
    (System::Opendal4, MANY_READERS),
    (System::S3fs, MANY_READERS),
    (System::GcsfsAdaptive, "its request for the kind of bucket, which needs gRPC, is switched off"),
    (
        System::Ideal,
        "ranges in flight without any logic, knowing every read; whole objects are measured once, in parts",
    ),
];

/// Where and how the bench ran, the table, and remarks.
pub(crate) fn render(results: &Results) -> String {
    let Results { machine, commit, date, command, .. } = results;
    let store = results.store();
    let table = table(&results.rows);
    let mut text = format!("{machine} · {store} · {commit} · {date}\n`{command}`\n\n{table}\n\n");
    for note in &results.workloads {
        if let Some(link) = results.own_link(note) {
            text += &format!("{}: over {link}.\n", note.name);
        }
    }
    for (system, remark) in REMARKS {
        if results.rows.iter().any(|row| row.system == system.to_string()) {
            text += &format!("{system}: {remark}.\n");
        }
    }
    text
}

/// One line a row. Columns in which no row has a number are left out.
fn table(rows: &[Row]) -> Table {
    let columns = columns(&rows.iter().collect::<Vec<_>>(), true);
    let mut table = Table::new();
    let heads = ["workload", "system"].into_iter().chain(columns.iter().map(|column| column.head));
    table.load_style(presets::ASCII_MARKDOWN).set_header(heads);
    for row in rows {
        let cells = columns.iter().map(|column| (column.cell)(row).unwrap_or_else(|| "–".into()));
        table.add_row([row.workload.clone(), row.system.clone()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::results;

    #[test]
    fn the_table_has_remarks_on_the_systems_that_took_part() {
        let text = render(&results());
        assert!(text.contains("| workload | system ") && text.contains(" 700 |") && !text.contains("WRONG"), "{text}");
        assert!(text.contains("\nrand: over fast.\n") && !text.contains("seq: over"), "{text}");
        assert!(text.contains("ideal: ranges in flight") && !text.contains("stream: one GET"), "{text}");
    }
}
