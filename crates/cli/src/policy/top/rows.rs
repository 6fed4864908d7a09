//! Figures as rows of text, by section, for a terminal and for `--once`.

use std::time::Duration;

use super::figures::{FoundPages, OUTCOMES, PLACES, PURPOSES, RatedCount, RatedShare, TopFigures};
use super::model::TopState;
use super::scrape::StackLabels;
use crate::policy::text;

/// Where rows belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopSection {
    Throughput,
    Requests,
    Cache,
    ReadAhead,
    /// What went wrong at the store, and what was done against it.
    Trouble,
}

impl TopSection {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Throughput => "Throughput",
            Self::Requests => "Requests",
            Self::Cache => "Cache",
            Self::ReadAhead => "Read-ahead",
            Self::Trouble => "Trouble",
        }
    }
}

/// A name and what it has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopRow {
    pub(crate) section: TopSection,
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// Whether the user should look at it.
    pub(crate) is_alarming: bool,
}

/// What stands for a figure that is not known, or of nothing.
const UNKNOWN: &str = "–";

/// All rows of figures, by section, the most important ones of each first.
pub(crate) fn rows(figures: &TopFigures) -> Vec<TopRow> {
    let mut rows = Vec::new();
    throughput(figures, &mut rows);
    requests(figures, &mut rows);
    cache(figures, &mut rows);
    read_ahead(figures, &mut rows);
    trouble(figures, &mut rows);
    rows
}

/// Adds a row, where its layer is on.
fn push(rows: &mut Vec<TopRow>, section: TopSection, name: &'static str, value: Option<String>) {
    rows.extend(value.map(|value| TopRow { section, name, value, is_alarming: false }));
}

fn throughput(figures: &TopFigures, rows: &mut Vec<TopRow>) {
    let mut row = |name, value| push(rows, TopSection::Throughput, name, value);
    row("delivered", figures.delivered_bytes.map(bytes));
    row("from store", figures.fetched_bytes.map(bytes));
}

fn requests(figures: &TopFigures, rows: &mut Vec<TopRow>) {
    let mut row = |name, value| push(rows, TopSection::Requests, name, value);
    let limit = figures.in_flight_limit.map(|limit| format!(" of {}", whole(limit))).unwrap_or_default();
    let waiting = figures.waiting.map(|waiting| format!(", {} wait", whole(waiting))).unwrap_or_default();
    row("in flight", figures.in_flight.map(|count| format!("{}{limit}{waiting}", whole(count))));
    let time = |seconds: f64| text::time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let times = figures.first_byte.map(|times| format!("p50 {}, p95 {}", time(times.p50_s), time(times.p95_s)));
    row("first byte", figures.in_flight.map(|_| times.unwrap_or_else(|| UNKNOWN.to_owned())));
    for (purpose, _) in PURPOSES {
        let outcomes = figures.requests.get(purpose);
        row(
            purpose,
            outcomes.map(|outcomes| by_outcome(OUTCOMES.map(|outcome| (outcome, outcomes.get(outcome).copied())))),
        );
    }
    row("cost", figures.cost_dollars.map(|cost| format!("{} so far", text::dollars(cost))));
}

/// Rates of answered requests, and of those of other outcomes that there are now.
fn by_outcome(outcomes: [(&str, Option<RatedCount>); 5]) -> String {
    let rate = |count: Option<RatedCount>| count.and_then(|count| count.per_s);
    let [(_, answered), others @ ..] = outcomes;
    let mut said = rate(answered).map_or_else(|| UNKNOWN.to_owned(), |rate| format!("{}/s", decimal(rate)));
    for (outcome, count) in others {
        if let Some(rate) = rate(count).filter(|rate| *rate > 0.0) {
            said.push_str(&format!(", {}/s {outcome}", decimal(rate)));
        }
    }
    said
}

fn cache(figures: &TopFigures, rows: &mut Vec<TopRow>) {
    let mut row = |name, value| push(rows, TopSection::Cache, name, value);
    row("served", sum(figures.pages.values().filter_map(|pages| pages.bytes)).map(bytes));
    row("hit ratio", figures.hits.map(share));
    for (place, name) in PLACES.into_iter().zip(["in memory", "on disk", "joined", "missed"]) {
        row(name, figures.pages.get(place).map(found));
    }
}

fn found(pages: &FoundPages) -> String {
    let share = pages.share.now.map_or_else(|| UNKNOWN.to_owned(), percent);
    match pages.held_bytes {
        Some(held) => format!("{share}, holds {}", size(held)),
        None => share,
    }
}

fn read_ahead(figures: &TopFigures, rows: &mut Vec<TopRow>) {
    let mut row = |name, value| push(rows, TopSection::ReadAhead, name, value);
    let wanted = figures.window_wanted_bytes.filter(|wanted| Some(*wanted) > figures.window_bytes);
    let wanted = wanted.map(|wanted| format!(", {} wanted", size(wanted))).unwrap_or_default();
    row("window", figures.window_bytes.map(|window| size(window) + &wanted));
    row("ahead", figures.outstanding_bytes.map(size));
    row("reads", figures.reads.map(per_second));
    row("new streams", sum(figures.streams.values().copied()).map(per_second));
    row("waste", figures.waste.get("prefetch").map(|waste| share(*waste)));
    row("fetch waste", figures.waste.get("fetch").map(|waste| share(*waste)));
    let limit = figures.budget_limit_bytes.map(|limit| format!(" of {}", size(limit))).unwrap_or_default();
    row("budget", figures.budget_used_bytes.map(|used| size(used) + &limit));
}

fn trouble(figures: &TopFigures, rows: &mut Vec<TopRow>) {
    let mut row = |name, count: Option<RatedCount>, more: &str, is_alarming: bool| {
        let Some(count) = count else { return };
        let is_alarming = is_alarming && count.per_s > Some(0.0);
        let value = per_second(count) + more;
        rows.push(TopRow { section: TopSection::Trouble, name, value, is_alarming });
    };
    row("retries", figures.retries, "", true);
    row("throttled", figures.throttled, "", true);
    let won = figures.hedges_won.map(|won| format!(", {} won", whole(won.total))).unwrap_or_default();
    row("hedges", figures.hedges, &won, false);
    row("changed", figures.object_changes, "", true);
    row("disk fails", figures.disk_failures, "", true);
}

fn sum(counts: impl Iterator<Item = RatedCount>) -> Option<RatedCount> {
    counts.reduce(|a, b| RatedCount { per_s: a.per_s.zip(b.per_s).map(|(a, b)| a + b), total: a.total + b.total })
}

/// A rate, and the sum of all bytes.
fn bytes(count: RatedCount) -> String {
    let rate = count.per_s.map_or_else(|| UNKNOWN.to_owned(), rate);
    format!("{rate}, {} in all", size(count.total))
}

/// A rate, and the count of all.
fn per_second(count: RatedCount) -> String {
    let rate = count.per_s.map_or_else(|| UNKNOWN.to_owned(), |rate| format!("{}/s", decimal(rate)));
    format!("{rate}, {} in all", whole(count.total))
}

fn share(share: RatedShare) -> String {
    let shown = |share: Option<f64>| share.map_or_else(|| UNKNOWN.to_owned(), percent);
    format!("{}, {} in all", shown(share.now), shown(share.total))
}

/// A rate of bytes. Those that MB/s would round to nothing are in kB/s.
pub(crate) fn rate(bytes_per_s: f64) -> String {
    match bytes_per_s {
        _ if bytes_per_s > 0.0 && bytes_per_s < 0.1e6 => format!("{} kB/s", text::digits(bytes_per_s / 1e3)),
        _ => text::rate(bytes_per_s),
    }
}

pub(crate) fn percent(share: f64) -> String {
    // 100 % only where nothing is missing.
    let percent = share * 100.0;
    if percent > 99.0 && percent < 100.0 {
        format!("{:.1} %", percent.min(99.9))
    } else {
        format!("{} %", text::digits(percent))
    }
}

/// A rate of events. Those below one in a hundred seconds are shown as one.
fn decimal(rate: f64) -> String {
    if rate > 0.0 && rate < 0.01 {
        "0.01".to_owned()
    } else if rate >= 1000.0 {
        whole(rate)
    } else {
        text::digits(rate)
    }
}

fn size(bytes: f64) -> String {
    text::size(integer(bytes))
}

fn whole(count: f64) -> String {
    text::count(integer(count))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` stops at the bounds")]
fn integer(value: f64) -> u64 {
    value.round() as u64
}

/// The columns of [`stack_row`].
pub(crate) const STACK_COLUMNS: [&str; 6] = ["stack", "delivered", "from store", "hits", "in flight", "window"];

/// A stack in one row, beside others.
pub(crate) fn stack_row(labels: &StackLabels, figures: &TopFigures) -> [String; 6] {
    let rate = |count: Option<RatedCount>| count.and_then(|count| count.per_s).map_or_else(|| UNKNOWN.to_owned(), rate);
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
    [
        stack_name(labels),
        rate(figures.delivered_bytes),
        rate(figures.fetched_bytes),
        or_unknown(figures.hits.and_then(|hits| hits.now).map(percent)),
        or_unknown(figures.in_flight.map(whole)),
        or_unknown(figures.window_bytes.map(size)),
    ]
}

/// The labels of a stack: their values alone where that is one.
pub(crate) fn stack_name(labels: &StackLabels) -> String {
    match &labels[..] {
        [] => "(no labels)".to_owned(),
        [(_, value)] => text::name(value),
        labels => {
            let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={}", text::name(value))).collect();
            pairs.join(" ")
        }
    }
}

/// Rows of which a small terminal shows the first ones.
const FIRST: [&str; 8] =
    ["delivered", "from store", "hit ratio", "in flight", "first byte", "window", "waste", "throttled"];

/// All rows, the most important ones first, for a terminal that has no room for sections.
pub(crate) fn by_importance(figures: &TopFigures) -> Vec<TopRow> {
    let mut rows = rows(figures);
    rows.sort_by_key(|row| FIRST.iter().position(|name| *name == row.name).unwrap_or(FIRST.len()));
    rows
}

/// All rows as text, under the titles of their sections.
pub(crate) fn page(figures: &TopFigures) -> String {
    let rows = rows(figures);
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let sections = rows.chunk_by(|a, b| a.section == b.section).map(|rows| {
        let lines = rows.iter().map(|row| format!("  {:<width$}  {}", row.name, row.value));
        format!("{}\n{}", rows[0].section.title(), lines.collect::<Vec<_>>().join("\n"))
    });
    sections.collect::<Vec<_>>().join("\n")
}

/// What to say about a state, and whether it is bad.
pub(crate) fn state_line(state: &TopState) -> (String, bool) {
    match state {
        TopState::Waiting => ("waiting for two answers".to_owned(), false),
        TopState::Answers => (String::new(), false),
        TopState::Restarted(time) => (format!("the process began anew {} s ago", time.as_secs()), true),
        TopState::Silent(time, why) => (format!("no answer since {} s: {}", time.as_secs(), text::name(why)), true),
    }
}

#[cfg(test)]
mod tests;
