//! Writes the results as one HTML page with every number and the timelines. The page loads nothing.

use headstart_bench::results::{Results, Row};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    WorkloadRows, columns::columns, comparison::alarms, comparison::facts, comparison::object_changes,
    comparison::summary, comparison::workloads, markdown::MEANINGS, timeline::caption, timeline::timeline,
};
use crate::numbers::number;

const STYLE: &str = "
body { margin: 0 auto; max-width: 1200px; padding: 20px; color: #1f2328; font: 16px/1.5 system-ui, sans-serif; }
h2 { margin-top: 48px; border-top: 1px solid #dfe3e8; padding-top: 12px; }
pre { background: #f3f4f6; padding: 10px; white-space: pre-wrap; }
dt { font-weight: 600; }
.alarm { border: 2px solid #d55e00; padding: 0 16px; }
summary { cursor: pointer; padding: 8px 0; font-weight: 600; }
summary small { font-weight: 400; color: #59616b; margin-left: 8px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid #dfe3e8; font-weight: 400; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tr.ours > * { font-weight: 700; }
tr.faster > * { background: #fbe9dd; }
tr.wrong > * { background: #f4b183; font-weight: 700; }
svg { max-width: 100%; height: auto; }
";

pub(super) fn page(results: &Results) -> String {
    let workloads = workloads(results);
    let alarms = alarms(results);
    let slower: Vec<String> = workloads.iter().filter_map(WorkloadRows::why_slower).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="icon" href="data:,";
                title { "Headstart: benchmarks, " (results.date) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Headstart: benchmarks" }
                @if !alarms.is_empty() { div.alarm role="alert" { (list(&alarms)) } }
                (list(&facts(results).map(|(name, fact)| format!("{name}: {fact}"))))
                pre aria-label="The command to repeat it" { (results.command) }
                (list(&summary(results, &workloads)))
                dl { @for (word, meaning) in MEANINGS { dt { (word) } dd { (meaning) } } }
                @if !slower.is_empty() { h2 { "Where headstart is slower, and why" } (list(&slower)) }
                @let changes = object_changes(results);
                @if !changes.is_empty() { h2 { "Objects that changed while they were read" } (list(&changes)) }
                h2 { "All numbers" }
                @for workload in &workloads {
                    details {
                        summary {
                            (workload.note.name)
                            @if workload.why_slower().is_some() { " ▲" }
                            small { "headstart " (number(workload.ours().map(|row| row.mb_per_s.median))) " MB/s" }
                        }
                        p {
                            (workload.note.about)
                            @if let Some(link) = results.own_link(workload.note) { ", over " (link) }
                            "; limit " (number(workload.note.limit_mb_per_s)) " MB/s"
                        }
                        (table(workload))
                    }
                }
                @if !results.timelines.is_empty() {
                    h2 { "Read-ahead over time" }
                    p { "Single runs in virtual time. Boxes are GETs, their time and bytes. The line is the reader." }
                    @for run in &results.timelines { p { (caption(run)) } (PreEscaped(timeline(run))) }
                }
                h2 { "Versions" }
                (list(&results.versions.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>()))
            }
        }
    };
    page.into_string()
}

fn list(items: &[String]) -> Markup {
    html! { ul { @for item in items { li { (item) } } } }
}

/// All numbers of a workload. The rate of each system is a bar behind its name.
fn table(workload: &WorkloadRows<'_>) -> Markup {
    let columns = columns(&workload.rows, false);
    let fastest = workload.rows.iter().map(|row| row.mb_per_s.median).fold(0.0, f64::max);
    let bar = |row: &Row| {
        let percent = row.mb_per_s.median / fastest * 100.0;
        format!("background: linear-gradient(90deg, #cfe6f5 {percent:.0}%, #fff {percent:.0}%)")
    };
    let class = |row: &Row| match row {
        row if row.wrong_bytes > 0 || row.changes_mixed > 0 => "wrong",
        row if workload.is_faster(row) => "faster",
        row if workload.ours().is_some_and(|ours| std::ptr::eq(ours, row)) => "ours",
        _ => "",
    };
    html! {
        div.scroll tabindex="0" role="region" aria-label={ "All numbers of " (workload.note.name) } {
            table {
                thead {
                    tr {
                        th scope="col" { "system" }
                        @for column in &columns { th scope="col" title=(column.about) { (column.head) } }
                    }
                }
                tbody {
                    @for row in &workload.rows {
                        tr class=(class(row)) {
                            th scope="row" style=(bar(row)) { (row.system) }
                            @for column in &columns { td { ((column.cell)(row).unwrap_or_else(|| "–".into())) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::results;

    #[test]
    fn the_page_loads_nothing() {
        let html = page(&results());
        let attributes = [" src=\"", " href=\"", "srcset=\"", "data=\"", "action=\"", "url("];
        for reference in attributes.iter().flat_map(|opening| html.split(opening).skip(1)) {
            assert!(reference.starts_with("data:,"), "{reference}");
        }
        for word in ["<script", "@import", "https://", "<iframe", "<object"] {
            assert!(!html.contains(word), "{word}");
        }
    }

    #[test]
    fn text_is_escaped() {
        let html = page(&results());
        assert!(html.contains("two &lt;cores&gt;") && html.contains("seq: &lt;one&gt; reader | &amp; another"));
        for raw in ["<cores>", "<one>", "<learn>"] {
            assert!(!html.contains(raw), "{raw}");
        }
    }

    #[test]
    fn wrong_bytes_and_faster_peers_are_marked() {
        let mut results = results();
        let html = page(&results);
        assert!(html.contains("hare 750 (1.07 ×)") && !html.contains("WRONG"));
        assert!(html.contains("<tr class=\"faster\">") && html.contains("<tr class=\"ours\">"));
        results.rows[5].wrong_bytes = 4096;
        let html = page(&results);
        assert!(html.contains("WRONG: seq by hare: 4,096 bytes"));
        assert!(html.contains("<tr class=\"wrong\">") && html.contains("<td>4,096</td>"), "{html}");
    }
}
