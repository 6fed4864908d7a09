//! Compares the systems of each workload, and says in sentences what the numbers come to.

use std::collections::BTreeMap;

use headstart_bench::results::{Group, Results, Row, WorkloadNote};

use crate::numbers::{count, median, number, percent};

/// The system that all others are compared with.
const OURS: &str = "headstart";
/// Our layers, each adding one to those before it.
const LAYERS: [&str; 4] = ["fetch", "fetch-stream", OURS, "headstart+cache"];

/// Rates that differ by less are listed as equal, even if no run of one is within the spread of the other.
const LEAST_FACTOR: f64 = 1.02;

const STREAMS_FILL_THE_LINK: &str = "as many plain streams fill the link by themselves; windows take time to grow, and \
                                     what is in flight at the end of the run is lost";

const WORK_OF_A_READ: &str = "a store without delay leaves nothing to hide, and deciding what to read ahead takes some \
                              microseconds a read; decisions.md has the figures";

/// Why headstart is slower than the bare client or a peer in these workloads.
const REASONS: [(&str, &str); 11] = [
    ("seq-64k-x16", STREAMS_FILL_THE_LINK),
    ("seq-1m-x16", STREAMS_FILL_THE_LINK),
    ("seq-16m-x16", STREAMS_FILL_THE_LINK),
    ("processes-16", STREAMS_FILL_THE_LINK),
    ("processes-48", STREAMS_FILL_THE_LINK),
    ("slow-20", "one stream waits for one first byte, the first reads of read-ahead for two"),
    ("rand-4k-loopback", WORK_OF_A_READ),
    ("rand-64k-calls-loopback", WORK_OF_A_READ),
    ("parquet", "chunks with gaps show no pattern, so each is one GET; foyer fetches the pages of a chunk at once"),
    (
        "small",
        "objects are read one after the other, as by raw; obstore-pool reads 16 at once, headstart-py-objects all",
    ),
    ("local-seq-64k", "BufReader reads a file 1 MiB at a time, headstart the 64 KiB that are asked for"),
];

/// One workload and its rows, in the order in which they are shown.
#[derive(Debug)]
pub(super) struct WorkloadRows<'a> {
    pub(super) note: &'a WorkloadNote,
    /// Raw, then ours layer by layer, then the peers, then ideal.
    pub(super) rows: Vec<&'a Row>,
}

pub(super) fn workloads(results: &Results) -> Vec<WorkloadRows<'_>> {
    let all = results.workloads.iter().map(|note| WorkloadRows { note, rows: in_order(results.rows_of(&note.name)) });
    all.filter(|workload| !workload.rows.is_empty()).collect()
}

/// Every system's name once, in the order of the tables.
pub(super) fn systems(results: &Results) -> Vec<&str> {
    let mut systems: Vec<&str> = Vec::new();
    for row in in_order(results.rows.iter()) {
        if !systems.contains(&row.system.as_str()) {
            systems.push(&row.system);
        }
    }
    systems
}

/// Whether a system is one of ours. The Python package runs with the peers.
fn is_ours(row: &Row) -> bool {
    row.system.starts_with(OURS)
}

fn in_order<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<&'a Row> {
    let mut rows: Vec<&Row> = rows.collect();
    rows.sort_by_key(|row| (row.group, LAYERS.iter().position(|name| *name == row.system)));
    rows
}

impl<'a> WorkloadRows<'a> {
    pub(super) fn named(&self, system: &str) -> Option<&'a Row> {
        self.rows.iter().copied().find(|row| row.system == system)
    }

    pub(super) fn ours(&self) -> Option<&'a Row> {
        self.named(OURS)
    }

    fn peers(&self) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().copied().filter(|row| row.group == Group::Peer && !is_ours(row))
    }

    /// The bare client's and the peers' rows that are faster than ours beyond the spreads: their slowest run beats our
    /// fastest, and their median ours by 2 %. The fastest comes first.
    pub(super) fn faster(&self) -> Vec<&'a Row> {
        let Some(ours) = self.ours().map(|row| row.mb_per_s) else { return Vec::new() };
        let is_faster = |row: &&Row| {
            let rate = row.mb_per_s;
            let is_rival = matches!(row.group, Group::Raw | Group::Peer) && !is_ours(row);
            is_rival && rate.min > ours.max && rate.median > ours.median * LEAST_FACTOR
        };
        let mut faster: Vec<&Row> = self.rows.iter().copied().filter(is_faster).collect();
        faster.sort_by(|a, b| b.mb_per_s.median.total_cmp(&a.mb_per_s.median));
        faster
    }

    pub(super) fn is_faster(&self, row: &Row) -> bool {
        self.faster().iter().any(|peer| std::ptr::eq(*peer, row))
    }

    /// Which systems are faster than ours, by how much, and why; `None` where none is.
    pub(super) fn why_slower(&self) -> Option<String> {
        let ours = self.ours()?;
        let rival = |row: &&Row| {
            let rate = row.mb_per_s.median;
            let wrong = if row.wrong_bytes > 0 { ", wrong bytes" } else { "" };
            let factor = number(Some(rate / ours.mb_per_s.median));
            format!("{} {} ({factor} ×{wrong})", row.system, number(Some(rate)))
        };
        let rivals: Vec<String> = self.faster().iter().map(rival).collect();
        let (name, rate) = (&self.note.name, number(Some(ours.mb_per_s.median)));
        let reason =
            REASONS.iter().find(|(workload, _)| workload == name).map_or("not yet explained", |reason| reason.1);
        (!rivals.is_empty()).then(|| format!("{name}: headstart {rate} MB/s, {}. Why: {reason}.", rivals.join(", ")))
    }
}

/// Where and how the bench ran, in the order of the header.
pub(super) fn facts(results: &Results) -> [(&'static str, String); 6] {
    let time = if results.is_virtual { "virtual: counted, not measured" } else { "measured" };
    [
        ("Machine", results.machine.clone()),
        ("Date", results.date.clone()),
        ("Commit", results.commit.clone()),
        ("Store", results.store()),
        ("Time", time.into()),
        ("Seed", results.seed.to_string()),
    ]
}

/// Runs that failed and rows with wrong bytes: their rates mean nothing.
pub(super) fn alarms(results: &Results) -> Vec<String> {
    let wrong = results.rows.iter().filter(|row| row.wrong_bytes > 0);
    let wrong = wrong.map(|row| format!("WRONG: {} by {}: {} bytes", row.workload, row.system, count(row.wrong_bytes)));
    wrong.chain(results.failures.iter().map(|failure| format!("FAILED: {failure}"))).collect()
}

/// What the numbers come to: against raw, the limit and the peers, and which rows are of a later run.
pub(super) fn summary(results: &Results, workloads: &[WorkloadRows<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    let ours = || workloads.iter().filter_map(WorkloadRows::ours);
    let mut multiples: Vec<f64> = ours().filter_map(|row| row.x_raw).collect();
    multiples.sort_by(f64::total_cmp);
    if let (Some(middle), [least, .., most]) = (median(multiples.clone()), &multiples[..]) {
        let [middle, least, most] = [middle, *least, *most].map(|multiple| number(Some(multiple)));
        let compared = multiples.len();
        lines.push(format!(
            "Against raw: median {middle} × over {compared} workloads, least {least} ×, greatest {most} ×."
        ));
    }
    if let Some(middle) = median(ours().filter_map(|row| row.x_limit).collect()) {
        lines.push(format!("Against the computed limit: median {}.", percent(middle)));
    }
    let compared: Vec<_> = workloads.iter().filter(|work| work.ours().is_some() && work.peers().count() > 0).collect();
    if !compared.is_empty() {
        let is_fastest = |work: &&&WorkloadRows<'_>| {
            work.ours().is_some_and(|ours| work.peers().all(|peer| ours.mb_per_s.min > peer.mb_per_s.max))
        };
        let (all, fastest) = (compared.len(), compared.iter().filter(is_fastest).count());
        let slower = compared.iter().filter(|work| work.faster().iter().any(|row| row.group == Group::Peer)).count();
        lines.push(format!(
            "Against peers: in {all} workloads, faster than all of them in {fastest}, slower than at least one in \
             {slower}, within the spread of the fastest in {}.",
            all.saturating_sub(fastest + slower)
        ));
    }
    lines.extend(later_runs(results));
    lines
}

/// Which rows were measured later than the others, and when.
fn later_runs(results: &Results) -> Vec<String> {
    let mut by_time: BTreeMap<&str, [Vec<&str>; 2]> = BTreeMap::new();
    for row in &results.rows {
        let Some(measured) = &row.measured else { continue };
        let names = by_time.entry(measured).or_default();
        for (names, name) in names.iter_mut().zip([row.workload.as_str(), &row.system]) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let line = |(measured, [workloads, systems]): (&str, [Vec<&str>; 2])| {
        format!("Measured on {measured}: {}, by {}.", workloads.join(", "), systems.join(", "))
    };
    by_time.into_iter().map(line).collect()
}

/// Runs in which the object changed while it was read: who reported the change, and who mixed two versions.
pub(super) fn object_changes(results: &Results) -> Vec<String> {
    let mut systems: BTreeMap<(&str, u64, u64), Vec<&str>> = BTreeMap::new();
    for row in results.rows.iter().filter(|row| row.changes_told + row.changes_mixed > 0) {
        systems.entry((&row.workload, row.changes_told, row.changes_mixed)).or_default().push(&row.system);
    }
    let line = |((workload, reported, mixed), systems): ((&str, u64, u64), Vec<&str>)| {
        format!("{workload}: {reported} handles reported it, {mixed} mixed two versions, each: {}", systems.join(", "))
    };
    systems.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{results, row};

    #[test]
    fn rows_come_layer_by_layer() {
        let mut results = results();
        results.rows.reverse();
        let names: Vec<&str> = workloads(&results)[0].rows.iter().map(|row| row.system.as_str()).collect();
        assert_eq!(names, ["raw", "fetch", "headstart", "headstart+cache", "hare", "slowpoke", "ideal"]);
        assert_eq!(systems(&results).len(), names.len());
    }

    #[test]
    fn a_peer_is_faster_only_beyond_the_spreads() {
        let mut results = results();
        results.rows.push(row("seq", "close", Group::Peer, 701.0));
        results.rows.push(row("seq", "headstart-py", Group::Peer, 900.0));
        let workloads = workloads(&results);
        let faster: Vec<&str> = workloads[0].faster().iter().map(|row| row.system.as_str()).collect();
        assert_eq!(faster, ["hare"], "701 ± 1 % is no better than 700 ± 1 %");
        let why = "seq: headstart 700 MB/s, hare 750 (1.07 ×). Why: not yet explained.";
        assert_eq!((workloads[0].why_slower().as_deref(), workloads[1].why_slower()), (Some(why), None));
    }

    #[test]
    fn the_summary_is_of_the_rows_that_there_are() {
        let mut results = results();
        results.rows[2].x_limit = Some(0.747);
        results.rows[3].measured = Some("Monday".into());
        assert_eq!(
            summary(&results, &workloads(&results)),
            [
                "Against raw: median 0.10 × over 2 workloads, least 0.10 ×, greatest 35.0 ×.",
                "Against the computed limit: median 74.7 %.",
                "Against peers: in 1 workloads, faster than all of them in 0, slower than at least one in 1, within \
                 the spread of the fastest in 0.",
                "Measured on Monday: seq, by headstart+cache.",
            ]
        );
        results.rows.clear();
        assert!(summary(&results, &[]).is_empty());
    }

    #[test]
    fn wrong_bytes_failures_and_changed_objects_are_named() {
        let mut results = results();
        assert!(alarms(&results).is_empty() && object_changes(&results).is_empty());
        (results.rows[0].wrong_bytes, results.failures) = (4096, vec!["no route".into()]);
        assert_eq!(alarms(&results), ["WRONG: seq by raw: 4,096 bytes", "FAILED: no route"]);
        (results.rows[0].changes_told, results.rows[0].changes_mixed) = (3, 2);
        assert_eq!(object_changes(&results), ["seq: 3 handles reported it, 2 mixed two versions, each: raw"]);
    }
}
