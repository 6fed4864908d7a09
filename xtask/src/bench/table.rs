//! The table people read. It is Markdown, so that it can be pasted.

use comfy_table::{CellAlignment, Table, presets};

use headstart_bench::meter::megabytes;
use headstart_bench::results::{Results, Row};
use headstart_bench::system::System;

/// The table with a line above that says where it comes from, and notes below.
pub(crate) fn render(results: &Results) -> String {
    let rows = &results.rows;
    let mut text = format!(
        "{} · profile {} · {} · {}\n`{}`\n\n{}\n\n",
        results.machine,
        results.profile,
        results.commit,
        results.date,
        results.command,
        table(rows)
    );
    let notes = [
        (
            true,
            "fetched ÷ delivered: what the store sent for each byte the reader got, up to the moment the run ended.",
        ),
        (
            has_cpu(rows),
            "peak MB: of the reading processes, beyond what they held before the first read. CPU: theirs, the check of every byte included.",
        ),
        (has(rows, System::Stream), "stream: one GET cannot jump, so it has no row where reads do."),
        (
            has(rows, System::Opendal4),
            "opendal: a thousand of its readers need more memory than the machine has, so it has no row there.",
        ),
        (
            has(rows, System::GcsfsAdaptive),
            "gcsfs: its question for the kind of bucket, which needs gRPC, is switched off.",
        ),
        (
            has(rows, System::Ideal),
            "ideal: ranges in flight without any logic, knowing every read. Whole objects are parts to it, in any order, measured once.",
        ),
    ];
    for (_, note) in notes.iter().filter(|(applies, _)| *applies) {
        text += note;
        text += "\n";
    }
    let wrong = rows.iter().filter(|row| row.wrong_bytes > 0);
    text.extend(wrong.map(|row| format!("WRONG: {} bytes of {} {}\n", row.wrong_bytes, row.workload, row.system)));
    text
}

fn has(rows: &[Row], system: System) -> bool {
    rows.iter().any(|row| row.system == system.to_string())
}

fn has_cpu(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.cpu_s_per_gb.is_some())
}

fn table(rows: &[Row]) -> Table {
    let (repeated, measured) = (rows.iter().any(|row| row.runs > 1), has_cpu(rows));
    let mut header = vec!["workload", "system", "MB/s"];
    header.extend(repeated.then_some("min–max"));
    header.extend(["× raw", "× ideal", "× limit", "first byte ms", "p50 ms", "p99 ms", "GETs", "fetched ÷ delivered"]);
    header.extend(measured.then_some(["peak MB", "CPU s/GB"]).into_iter().flatten());
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(&header);
    for row in rows {
        let rate = &row.mb_per_s;
        let mut cells = vec![row.workload.clone(), row.system.clone(), number(Some(rate.median))];
        cells.extend(repeated.then(|| format!("{}–{}", number(Some(rate.min)), number(Some(rate.max)))));
        cells.extend([row.x_raw, row.x_ideal, row.x_limit, row.first_byte_ms].map(number));
        cells.extend([50.0, 99.0].map(|percent| number(row.latency_at(percent))));
        cells.extend([requests(row), ratio(row.fetched_bytes, row.delivered_bytes)]);
        if measured {
            cells.extend([row.peak_memory_bytes.map(megabytes), row.cpu_s_per_gb].map(number));
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn requests(row: &Row) -> String {
    if row.heads == 0 { row.gets.to_string() } else { format!("{} + {} HEAD", row.gets, row.heads) }
}

fn ratio(bytes: u64, of: u64) -> String {
    if of == 0 { "–".into() } else { format!("{:.3}", megabytes(bytes) / megabytes(of)) }
}

/// Three digits that matter.
fn number(value: Option<f64>) -> String {
    match value {
        None => "–".into(),
        Some(0.0) => "0".into(),
        Some(value) if value >= 99.95 => format!("{value:.0}"),
        Some(value) if value >= 9.995 => format!("{value:.1}"),
        Some(value) if value >= 0.0995 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, shown) in [
            (1234.4, "1234"),
            (99.96, "100"),
            (12.34, "12.3"),
            (9.999, "10.0"),
            (1.234, "1.23"),
            (0.0123, "0.012"),
            (0.0, "0"),
        ] {
            assert_eq!(number(Some(value)), shown);
        }
        assert_eq!((number(None), ratio(1, 0), ratio(3, 2)), ("–".into(), "–".into(), "1.500".into()));
    }
}
