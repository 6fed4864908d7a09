//! The page: one HTML file that needs nothing besides.

use anyhow::Result;
use headstart_bench::results::{Results, Timeline};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::cost::{COSTS, is_known, strips};
use super::findings::{self, Reference, Work, systems, works};
use super::latency::{has_latencies, latencies};
use super::legend::{dashes, dot, line, ring, tick};
use super::overview::overview;
use super::tables::{anchor, table};
use super::text::number;
use super::theme::{self, Ink, Palette};
use super::throughput::throughput;
use super::timeline::{caption, timeline};
use super::words;

/// What stands around the pictures.
const STYLE: &str = include_str!("page.css");
/// Widths of pictures that are drawn twice: for a desk and for a phone.
const WIDE: f64 = 1120.0;
const NARROW: f64 = 360.0;
/// Workloads whose latencies are shown at once; the rest is one click away.
const SHOWN_AT_ONCE: [&str; 6] = ["seq-1m", "rand-64k", "interleaved-4", "parquet", "threads-32", "epochs-2"];

/// The whole page.
pub(super) fn page(results: &Results) -> Result<String> {
    let works = works(results);
    let palette = Palette::of(results);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { "Headstart: benchmarks, " (results.date) }
                style { (PreEscaped(theme::css(":root"))) (PreEscaped(STYLE)) }
            }
            body {
                (header(results))
                main {
                    (alarm(results))
                    (in_short(results, &works))
                    (how_to_read())
                    (overview_section(&works)?)
                    (throughput_section(&works, &palette)?)
                    (latency_section(results, &works, &palette)?)
                    (timeline_section(results)?)
                    (cost_section(results, &palette)?)
                    (tables_section(&works, &palette))
                    (versions(results))
                }
                footer { p { "Made by " code { "cargo xtask report" } " from the results of one bench. Nothing here is loaded from anywhere." } }
            }
        }
    };
    Ok(page.into_string())
}

fn header(results: &Results) -> Markup {
    html! {
        header {
            h1 { "Headstart: benchmarks" }
            p.lead { "How fast objects of an object store are read: by the bare client, by Headstart, by others, and at best." }
            dl.facts {
                @for (name, fact) in words::facts(results) { div { dt { (name) } dd { (fact) } } }
            }
            pre aria-label="The command that does it again" { (results.command) }
        }
    }
}

/// What must not be overlooked.
fn alarm(results: &Results) -> Markup {
    let (wrong, failures) = (findings::wrong(results), &results.failures);
    html! {
        @if !wrong.is_empty() {
            div.alarm role="alert" {
                h2 { "Wrong bytes" }
                p { "These gave bytes that were not the object's. Their rates mean nothing." }
                ul { @for row in wrong { li { (words::wrong(row)) } } }
            }
        }
        @if !failures.is_empty() {
            div.alarm role="alert" {
                h2 { "Failed" }
                p { "These runs are missing." }
                ul { @for failure in failures { li { (failure) } } }
            }
        }
    }
}

fn in_short(results: &Results, works: &[Work<'_>]) -> Markup {
    let changes: Vec<String> = results.rows.iter().filter_map(words::changes).collect();
    html! {
        section aria-labelledby="short" {
            h2 id="short" { "In short" }
            ul.sums { @for sum in words::sums(works).into_iter().chain(words::anew(results)) { li { (sum) } } }
            h3 id="faster" { "Where others are faster" }
            @if works.iter().all(|work| work.faster().is_empty()) {
                p { (words::nobody_is_faster(results)) }
            } @else {
                ul.faster {
                    @for (work, who) in works.iter().filter_map(|work| Some((work, words::faster(work)?))) {
                        li { a href={ "#" (anchor(work)) } { (work.note.name) } ": " (who) }
                    }
                }
            }
            @if !changes.is_empty() {
                h3 { "Objects that changed while they were read" }
                ul { @for change in changes { li { (change) } } }
            }
        }
    }
}

fn how_to_read() -> Markup {
    html! {
        section aria-labelledby="how" {
            h2 id="how" { "How to read it" }
            dl.meanings { @for (word, meaning) in words::MEANINGS { dt { (word) } dd { (meaning) } } }
        }
    }
}

fn overview_section(works: &[Work<'_>]) -> Result<Markup> {
    let without: Vec<&str> = works
        .iter()
        .filter(|work| !matches!(work.reference(), Some(Reference::Limit(_))))
        .map(|work| work.note.name.as_str())
        .collect();
    let keys = [
        (dot(Ink::RAW), "raw"),
        (dot(Ink::PEER), "fastest peer"),
        (dot(Ink::OURS), "headstart"),
        (ring(Ink::OURS), "headstart+cache"),
        (tick(Ink::IDEAL), "ideal"),
        (dashes(Ink::LIMIT), "the computed limit"),
    ];
    Ok(html! {
        section aria-labelledby="overview" {
            h2 id="overview" { "How much of the possible" }
            p { "Each line is a workload; farther right is faster. The bar from raw to headstart is what Headstart gains: one step of the grid is a factor of ten." }
            ul.legend { @for (sign, means) in &keys { li { (sign) (means) } } }
            (twice(&overview(works, WIDE)?, &overview(works, NARROW)?))
            @if !without.is_empty() {
                p.note { "No limit was computed for " (without.join(", ")) ": there it is the share of ideal's rate, or of the fastest system's." }
            }
        }
    })
}

/// A picture for wide pages and one for narrow ones.
fn twice(wide: &str, narrow: &str) -> Markup {
    html! { div.wide { (PreEscaped(wide)) } div.narrow { (PreEscaped(narrow)) } }
}

fn throughput_section(works: &[Work<'_>], palette: &Palette) -> Result<Markup> {
    let pictures = works.iter().map(|work| throughput(work, palette)).collect::<Result<Vec<_>>>()?;
    Ok(html! {
        section aria-labelledby="throughput" {
            h2 id="throughput" { "Throughput, system by system" }
            p { "Bars are medians, whiskers reach from the slowest run to the fastest. The green line is ideal, the dashed one the computed limit; an arrow says that it lies far outside. ▲ marks a peer that is faster than headstart." }
            details {
                summary { "All " (works.len()) " workloads" }
                div.grid { @for picture in pictures { (PreEscaped(picture)) } }
            }
        }
    })
}

fn latency_section(results: &Results, works: &[Work<'_>], palette: &Palette) -> Result<Markup> {
    let (mut shown, mut rest) = (Vec::new(), Vec::new());
    let mut timed: Vec<&Work<'_>> = works.iter().filter(|work| has_latencies(work)).collect();
    if timed.is_empty() {
        return Ok(html! {});
    }
    let is_chosen = |work: &&Work<'_>| SHOWN_AT_ONCE.contains(&work.note.name.as_str());
    let is_any_chosen = timed.iter().any(is_chosen);
    for (place, work) in timed.drain(..).enumerate() {
        let picture = latencies(work, palette)?;
        let is_shown = if is_any_chosen { is_chosen(&work) } else { place < SHOWN_AT_ONCE.len() };
        if is_shown { shown.push(picture) } else { rest.push(picture) }
    }
    let timed = |system: &str| results.rows.iter().any(|row| row.system == system && !row.latency_ms.is_empty());
    Ok(html! {
        section aria-labelledby="latency" {
            h2 id="latency" { "How long a read takes" }
            p { "The share of reads that were done within a time, on a logarithmic axis: higher and farther left is better. Systems whose reads cannot be told apart are left out." }
            ul.legend {
                @for (system, _) in systems(results) {
                    @if timed(system) { li { (line(palette.ink(system), system == "headstart")) (system) } }
                }
            }
            div.grid { @for picture in shown { (PreEscaped(picture)) } }
            @if !rest.is_empty() {
                details {
                    summary { "The other " (rest.len()) " workloads" }
                    div.grid { @for picture in rest { (PreEscaped(picture)) } }
                }
            }
        }
    })
}

fn timeline_section(results: &Results) -> Result<Markup> {
    let picture = |run: &Timeline| -> Result<Markup> {
        Ok(twice(&timeline(run, WIDE, false)?.0, &timeline(run, NARROW, false)?.0))
    };
    let pictures = results.timelines.iter().map(picture).collect::<Result<Vec<_>>>()?;
    Ok(html! {
        @if !pictures.is_empty() {
            section aria-labelledby="timelines" {
                h2 id="timelines" { "Watching read-ahead think" }
                p { "Single runs in virtual time. Each GET is a box: as wide as it took, as high as it has bytes. The line is the reader. Boxes that begin above the line were asked for before anybody needed them." }
                @for (run, picture) in results.timelines.iter().zip(&pictures) {
                    figure {
                        h3 { (run.workload) ", read by " (run.system) }
                        figcaption { (run.about) " " (caption(run)) }
                        (picture)
                    }
                }
            }
        }
    })
}

fn cost_section(results: &Results, palette: &Palette) -> Result<Markup> {
    let known = COSTS.iter().filter(|cost| is_known(results, cost));
    let pictures = known.map(|cost| strips(results, palette, cost)).collect::<Result<Vec<_>>>()?;
    Ok(html! {
        @if !pictures.is_empty() {
            section aria-labelledby="cost" {
                h2 id="cost" { "What it costs" }
                p { "Each dot is a workload, the mark is the median of those that the system took part in; farther left is cheaper. All axes are logarithmic." }
                div.grid { @for picture in pictures { (PreEscaped(picture)) } }
            }
        }
    })
}

fn tables_section(works: &[Work<'_>], palette: &Palette) -> Markup {
    html! {
        section aria-labelledby="tables" {
            h2 id="tables" { "All numbers" }
            p { "Raw, then Headstart layer by layer, then others, then ideal." }
            @for work in works {
                details {
                    summary {
                        (work.note.name)
                        @if work.rows.iter().any(|row| row.wrong_bytes > 0) { span.mark { "⚠ WRONG BYTES" } }
                        @if !work.faster().is_empty() { span.mark { "▲" } }
                        small { "headstart " (number(work.ours().map(|row| row.mb_per_s.median))) " MB/s" }
                    }
                    // Inside, so that a link to it opens it.
                    p id=(anchor(work)) {
                        (work.note.about)
                        @if let Some(limit) = work.note.limit_mb_per_s { " Limit: " (number(Some(limit))) " MB/s." }
                    }
                    (table(work, palette))
                }
            }
        }
    }
}

fn versions(results: &Results) -> Markup {
    html! {
        section aria-labelledby="versions" {
            h2 id="versions" { "Versions" }
            ul.versions { @for (name, version) in &results.versions { li { (name) " " (version) } } }
        }
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
