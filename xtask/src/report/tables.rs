//! The numbers themselves: which columns there are, and tables of them in HTML.

use headstart_bench::results::{Row, Spread};
use maud::{Markup, html};

use super::cost::{fetched_per_delivered, gets_per_tb};
use super::findings::Work;
use super::text::{count, megabytes, number, percent, slug};
use super::theme::Palette;

/// A column of numbers.
pub(super) struct Column {
    /// What stands above it.
    pub(super) head: &'static str,
    /// What it means, where the head does not say so.
    pub(super) about: &'static str,
    /// Its cell in a row; nothing where there is no number.
    pub(super) cell: fn(&Row) -> Option<String>,
    /// Whether it has its place in every table, or only where somebody has a number in it.
    is_always: bool,
}

const fn always(head: &'static str, about: &'static str, cell: fn(&Row) -> Option<String>) -> Column {
    Column { head, about, cell, is_always: true }
}

const fn known(head: &'static str, about: &'static str, cell: fn(&Row) -> Option<String>) -> Column {
    Column { head, about, cell, is_always: false }
}

/// All columns but the system's name.
pub(super) const COLUMNS: [Column; 25] = [
    known("WRONG BYTES", "bytes that were not the object's, all runs together", |row| above_zero(row.wrong_bytes)),
    always("MB/s", "median of the runs", |row| some(row.mb_per_s.median)),
    known("min–max", "of the runs", min_max),
    known("runs", "", |row| Some(row.runs.to_string())),
    known("× raw", "rate as a multiple of raw's", |row| row.x_raw.and_then(some)),
    known("× ideal", "rate as a multiple of ideal's", |row| row.x_ideal.and_then(some)),
    known("of limit", "rate as a share of the computed limit", |row| row.x_limit.map(|x| percent(Some(x)))),
    known("first byte ms", "from the start to the first byte a reader held", |row| row.first_byte_ms.and_then(some)),
    known("p50 ms", "half of the reads took no longer", |row| row.latency_at(50.0).and_then(some)),
    known("p90 ms", "", |row| row.latency_at(90.0).and_then(some)),
    known("p99 ms", "", |row| row.latency_at(99.0).and_then(some)),
    known("slowest ms", "the slowest read", |row| row.latency_at(100.0).and_then(some)),
    always("GETs", "of the run with the median rate", |row| Some(count(row.gets))),
    known("HEADs", "", |row| above_zero(row.heads)),
    known("GETs/TB", "per 10¹² bytes delivered", |row| gets_per_tb(row).and_then(some)),
    known("$/TB", "for requests, per 10¹² bytes delivered", |row| row.usd_per_tb.and_then(some)),
    always("fetched MB", "bodies that the store sent", |row| some(megabytes(row.fetched_bytes))),
    always("delivered MB", "what readers got", |row| some(megabytes(row.delivered_bytes))),
    known("fetched ÷ delivered", "", |row| fetched_per_delivered(row).map(|ratio| format!("{ratio:.3}"))),
    always("elapsed ms", "to the end of the last read", |row| some(row.elapsed_ms)),
    always("stalled ms", "readers waited, all together", |row| some(row.stalled_ms)),
    known("peak MB", "memory beyond what was held before", |row| {
        row.peak_memory_bytes.and_then(|b| some(megabytes(b)))
    }),
    known("CPU s/GB", "the check of every byte included", |row| row.cpu_s_per_gb.and_then(some)),
    known("changes told", "handles that found the object changed, and said so", |row| above_zero(row.changes_told)),
    known("changes MIXED", "handles that gave bytes of two versions without a word", |row| {
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

/// The columns in which a workload has anything to say.
pub(super) fn columns(work: &Work<'_>) -> Vec<&'static Column> {
    let columns = COLUMNS.iter();
    columns.filter(|column| column.is_always || work.rows.iter().any(|row| (column.cell)(row).is_some())).collect()
}

/// What is said of a row besides its numbers.
pub(super) fn remark(work: &Work<'_>, row: &Row) -> Option<&'static str> {
    if row.wrong_bytes > 0 {
        Some("⚠ WRONG BYTES")
    } else if row.changes_mixed > 0 {
        Some("⚠ mixed two versions")
    } else if work.is_faster(row) {
        Some("▲ faster than headstart")
    } else {
        None
    }
}

/// A workload's table, in a container of its own that scrolls.
pub(super) fn table(work: &Work<'_>, palette: &Palette) -> Markup {
    let columns = columns(work);
    html! {
        div.scroll tabindex="0" role="region" aria-label={ "All numbers of " (work.note.name) } {
            table {
                thead {
                    tr {
                        th scope="col" { "system" }
                        @for column in &columns { th scope="col" title=[about(column)] { (column.head) } }
                    }
                }
                tbody {
                    @for row in &work.rows {
                        tr class=[class(work, row)] {
                            th scope="row" {
                                (swatch(&palette.ink(&row.system).class()))
                                (row.system)
                                @if let Some(remark) = remark(work, row) { span.mark { (remark) } }
                            }
                            @for column in &columns { td { ((column.cell)(row).unwrap_or_else(|| "–".into())) } }
                        }
                    }
                }
            }
        }
    }
}

fn about(column: &Column) -> Option<&'static str> {
    (!column.about.is_empty()).then_some(column.about)
}

fn class(work: &Work<'_>, row: &Row) -> Option<&'static str> {
    if row.wrong_bytes > 0 || row.changes_mixed > 0 {
        Some("wrong")
    } else if work.is_faster(row) {
        Some("faster")
    } else if work.ours().is_some_and(|ours| std::ptr::eq(ours, row)) {
        Some("ours")
    } else {
        None
    }
}

/// A little square in a system's colour.
fn swatch(class: &str) -> Markup {
    html! { svg.swatch viewBox="0 0 10 10" aria-hidden="true" { rect width="10" height="10" rx="2" class=(class) {} } }
}

/// Where a workload's table is found in the page.
pub(super) fn anchor(work: &Work<'_>) -> String {
    format!("table-{}", slug(&work.note.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::findings::works;
    use crate::report::sample::results;

    #[test]
    fn only_columns_that_say_something_are_shown() {
        let mut results = results();
        let heads = |results: &_| columns(&works(results)[0]).iter().map(|column| column.head).collect::<Vec<_>>();
        let shown = heads(&results);
        for head in ["CPU s/GB", "WRONG BYTES", "HEADs", "changes told"] {
            assert!(!shown.contains(&head), "{head}");
        }
        assert!(shown.contains(&"p99 ms") && shown.contains(&"min–max"));
        results.rows[2].wrong_bytes = 5;
        assert_eq!(heads(&results)[0], "WRONG BYTES", "first of all");
    }

    #[test]
    fn a_row_that_is_faster_or_wrong_is_marked() {
        let mut results = results();
        let palette = Palette::of(&results);
        let html = table(&works(&results)[0], &palette).into_string();
        assert_eq!(html.matches("faster than headstart").count(), 1, "{html}");
        assert!(html.contains("<tr class=\"faster\">") && html.contains("<tr class=\"ours\">"));
        results.rows[5].wrong_bytes = 4096;
        let html = table(&works(&results)[0], &palette).into_string();
        assert!(html.contains("<tr class=\"wrong\">") && html.contains("<td>4,096</td>"), "{html}");
    }
}
