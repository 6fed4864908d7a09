//! The columns of tables that show rows of a bench.

use headstart_bench::meter::megabytes;
use headstart_bench::results::{Row, Spread};

use crate::numbers::{count, number, percent, to_float};

pub(crate) struct Column {
    pub(crate) head: &'static str,
    /// Explains the head, where it needs an explanation.
    pub(crate) about: &'static str,
    /// The cell of a row, if the row has the number.
    pub(crate) cell: fn(&Row) -> Option<String>,
    /// Whether the terminal's table shows it too.
    is_brief: bool,
}

const fn brief(head: &'static str, about: &'static str, cell: fn(&Row) -> Option<String>) -> Column {
    Column { head, about, cell, is_brief: true }
}

const fn full(head: &'static str, about: &'static str, cell: fn(&Row) -> Option<String>) -> Column {
    Column { head, about, cell, is_brief: false }
}

/// All columns but the names of workload and system.
const COLUMNS: [Column; 25] = [
    brief("WRONG BYTES", "bytes that were not the object's, in all runs", |row| above_zero(row.wrong_bytes)),
    brief("MB/s", "median of the runs", |row| some(row.mb_per_s.median)),
    brief("min–max", "of the runs", min_max),
    brief("first 256 MiB", "MB/s of the first 256 MiB alone, which shows a cold start", |row| {
        row.start_mb_per_s.and_then(some)
    }),
    full("runs", "", |row| Some(row.runs.to_string())),
    brief("× raw", "rate as a multiple of raw's", |row| row.x_raw.and_then(some)),
    brief("× ideal", "rate as a multiple of ideal's", |row| row.x_ideal.and_then(some)),
    brief("of limit", "rate as a share of the computed limit", |row| row.x_limit.map(percent)),
    brief("first byte ms", "from the start to a reader's first byte", |row| row.first_byte_ms.and_then(some)),
    brief("p50 ms", "half of the reads took no longer", |row| row.latency_at(50.0).and_then(some)),
    full("p90 ms", "", |row| row.latency_at(90.0).and_then(some)),
    brief("p99 ms", "", |row| row.latency_at(99.0).and_then(some)),
    full("slowest ms", "the slowest read", |row| row.latency_at(100.0).and_then(some)),
    brief("GETs", "of the run with the median rate", |row| Some(count(row.gets))),
    brief("HEADs", "", |row| above_zero(row.heads)),
    full("$/TB", "for requests, per 10¹² bytes delivered", |row| row.usd_per_tb.and_then(some)),
    full("fetched MB", "bodies that the store sent", |row| some(megabytes(row.fetched_bytes))),
    full("delivered MB", "bytes that readers got", |row| some(megabytes(row.delivered_bytes))),
    brief("fetched ÷ delivered", "until the run ended", |row| {
        fetched_per_delivered(row).map(|ratio| format!("{ratio:.3}"))
    }),
    full("elapsed ms", "to the end of the last read", |row| some(row.elapsed_ms)),
    full("stalled ms", "time that readers waited, all together", |row| some(row.stalled_ms)),
    brief("peak MB", "memory of the reading processes beyond what they held before the first read", |row| {
        row.peak_memory_bytes.and_then(|bytes| some(megabytes(bytes)))
    }),
    brief("CPU s/GB", "including the check of every byte", |row| row.cpu_s_per_gb.and_then(some)),
    full("changes reported", "handles that reported that the object changed", |row| above_zero(row.changes_told)),
    full("changes MIXED", "handles that returned bytes of two versions without an error", |row| {
        above_zero(row.changes_mixed)
    }),
];

fn some(value: f64) -> Option<String> {
    Some(number(Some(value)))
}

fn above_zero(value: u64) -> Option<String> {
    (value > 0).then(|| count(value))
}

fn min_max(row: &Row) -> Option<String> {
    let Spread { min, max, .. } = row.mb_per_s;
    (row.runs > 1).then(|| format!("{}–{}", number(Some(min)), number(Some(max))))
}

/// Bytes that the store sent for each byte that a reader got.
pub(super) fn fetched_per_delivered(row: &Row) -> Option<f64> {
    (row.delivered_bytes > 0).then(|| to_float(row.fetched_bytes) / to_float(row.delivered_bytes))
}

/// The columns in which one of `rows` has a number; all of them, or those of the terminal's table.
pub(crate) fn columns(rows: &[&Row], is_brief: bool) -> Vec<&'static Column> {
    let wanted = COLUMNS.iter().filter(|column| column.is_brief || !is_brief);
    wanted.filter(|column| rows.iter().any(|row| (column.cell)(row).is_some())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::results;

    #[test]
    fn only_columns_with_numbers_are_shown() {
        let mut results = results();
        let heads = |rows: &[Row], is_brief| {
            let rows: Vec<&Row> = rows.iter().collect();
            columns(&rows, is_brief).iter().map(|column| column.head).collect::<Vec<_>>()
        };
        let shown = heads(&results.rows, false);
        for head in ["CPU s/GB", "WRONG BYTES", "HEADs", "changes reported"] {
            assert!(!shown.contains(&head), "{head}");
        }
        assert!(shown.contains(&"p90 ms") && shown.contains(&"min–max"));
        assert!(!heads(&results.rows, true).contains(&"p90 ms"));
        results.rows[2].wrong_bytes = 5;
        assert_eq!(heads(&results.rows, true)[0], "WRONG BYTES");
    }
}
