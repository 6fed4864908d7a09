//! Sentences that the page and the Markdown share: what the numbers mean, and what they come to.

use std::collections::BTreeMap;

use headstart_bench::results::{Group, Results, Row};

use super::findings::{Reference, Work, median};
use super::text::{count, number, percent};

/// How to read it: a word and what it means.
pub(super) const MEANINGS: [(&str, &str); 7] = [
    (
        "Limit",
        "What the link would give somebody who knew every read beforehand: one first byte, then its full rate, or the readers' own if that is lower. It is computed, not measured.",
    ),
    (
        "Ideal",
        "No system at all: requests in flight without any logic, knowing what will be read. It is measured, on the same machine, so what the machine costs is in it.",
    ),
    (
        "Raw",
        "The bare client: a loop of its get_range (raw), one streaming GET (stream), or its buffered reader (bufreader).",
    ),
    (
        "Headstart, layer by layer",
        "fetch is FetchStore alone (parallel ranges, no guessing), fetch-stream the same as one stream; headstart adds read-ahead; headstart+cache adds the cache. Each line beneath raw shows what one more layer brings.",
    ),
    ("Peers", "Other people's libraries, in the versions named here and the settings their names say."),
    (
        "Rates",
        "Megabytes (10⁶ bytes) delivered per second: the median of the runs, with the range of all runs beside it. Counts belong to the run with the median rate.",
    ),
    ("Faster", "A peer counts as faster (▲) where its slowest run beats the fastest of headstart."),
];

/// The facts of a bench, in the order of the header.
pub(super) fn facts(results: &Results) -> Vec<(&'static str, String)> {
    let time = if results.is_virtual { "virtual: counted, not measured" } else { "measured" };
    vec![
        ("Machine", results.machine.clone()),
        ("Date", results.date.clone()),
        ("Commit", results.commit.clone()),
        ("Store", results.profile.clone()),
        ("Time", time.into()),
        ("Seed", results.seed.to_string()),
    ]
}

/// What the numbers come to.
pub(super) fn sums(works: &[Work<'_>]) -> Vec<String> {
    let mut sums = Vec::new();
    let ours: Vec<(&Work<'_>, &Row)> = works.iter().filter_map(|work| Some((work, work.ours()?))).collect();
    let multiples: Vec<f64> = ours.iter().filter_map(|(_, row)| row.x_raw).collect();
    let compared = multiples.len();
    let (least, most) = (fold(&multiples, f64::min), fold(&multiples, f64::max));
    if let (Some(middle), Some(least), Some(most)) = (median(multiples), least, most) {
        let (middle, least, most) = (number(Some(middle)), number(Some(least)), number(Some(most)));
        sums.push(format!(
            "Against raw: {middle} times as fast in the middle of {} workloads; {least} times at the least, {most} times at the most.",
            compared
        ));
    }
    let share = |(work, row): &(&Work<'_>, &Row)| match work.reference()? {
        Reference::Limit(limit) => Some(row.mb_per_s.median / limit),
        _ => None,
    };
    if let Some(middle) = median(ours.iter().filter_map(share).collect()) {
        sums.push(format!("Against the limit: {} in the middle of them.", percent(Some(middle))));
    }
    let against: Vec<&Work<'_>> =
        works.iter().filter(|work| work.ours().is_some() && work.best_peer().is_some()).collect();
    if !against.is_empty() {
        let ahead = |work: &&&Work<'_>| {
            let best = work.rows.iter().filter(|row| row.group == Group::Peer).map(|row| row.mb_per_s.max);
            work.ours().zip(best.max_by(f64::total_cmp)).is_some_and(|(ours, best)| ours.mb_per_s.min > best)
        };
        let (all, ahead) = (against.len(), against.iter().filter(ahead).count());
        let behind = against.iter().filter(|work| !work.faster().is_empty()).count();
        sums.push(format!(
            "Against peers: of {all} workloads headstart is faster than all of them in {ahead}, slower than at least one in {behind}, \
             and within the spread of the best in {}.",
            all.saturating_sub(ahead + behind)
        ));
    }
    sums
}

fn fold(values: &[f64], which: fn(f64, f64) -> f64) -> Option<f64> {
    values.iter().copied().reduce(which)
}

/// Who is faster than ours in a workload, and by how much; nothing where nobody is.
pub(super) fn faster(work: &Work<'_>) -> Option<String> {
    let ours = work.ours()?;
    let peer = |row: &&Row| {
        let rate = row.mb_per_s.median;
        let factor = number(Some(rate / ours.mb_per_s.median));
        let wrong = if row.wrong_bytes > 0 { ", wrong bytes" } else { "" };
        format!("{} {} ({factor} ×{wrong})", row.system, number(Some(rate)))
    };
    let peers: Vec<String> = work.faster().iter().map(peer).collect();
    let ours: Vec<String> = [Some(ours), work.cached()]
        .into_iter()
        .flatten()
        .map(|row| format!("{} {}", row.system, number(Some(row.mb_per_s.median))))
        .collect();
    (!peers.is_empty()).then(|| format!("{}; {} MB/s", peers.join(", "), ours.join(", ")))
}

/// What to say where nobody is.
pub(super) fn nobody_is_faster(results: &Results) -> &'static str {
    if results.rows.iter().any(|row| row.group == Group::Peer) {
        "No peer is faster than headstart beyond the spread of the runs, in any workload."
    } else {
        "No peer took part, so nothing can be said of them."
    }
}

/// Which rows were measured anew, after the others: when, and which.
pub(super) fn anew(results: &Results) -> Vec<String> {
    let mut by_time: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for row in &results.rows {
        let Some(measured) = &row.measured else { continue };
        let (workloads, systems) = by_time.entry(measured).or_default();
        for (all, one) in [(workloads, row.workload.as_str()), (systems, row.system.as_str())] {
            if !all.contains(&one) {
                all.push(one);
            }
        }
    }
    let line = |(measured, (workloads, systems)): (&str, (Vec<&str>, Vec<&str>))| {
        let every = results.rows.iter().filter(|row| workloads.contains(&row.workload.as_str()));
        let every = every.filter(|row| row.measured.as_deref() != Some(measured)).count() == 0;
        let by = if every { "all systems".to_owned() } else { systems.join(", ") };
        format!("Measured anew on {measured}: {}, by {by}.", workloads.join(", "))
    };
    by_time.into_iter().map(line).collect()
}

/// What was wrong with a row's bytes.
pub(super) fn wrong(row: &Row) -> String {
    format!("{} by {}: {} wrong bytes", row.workload, row.system, count(row.wrong_bytes))
}

/// What became of objects that changed while they were read; nothing where none did.
pub(super) fn changes(row: &Row) -> Option<String> {
    let told = (row.changes_told > 0).then(|| format!("{} handles said so", count(row.changes_told)));
    let mixed = (row.changes_mixed > 0)
        .then(|| format!("{} gave bytes of two versions without a word", count(row.changes_mixed)));
    let said: Vec<String> = [told, mixed].into_iter().flatten().collect();
    (!said.is_empty()).then(|| format!("{} by {}: {}", row.workload, row.system, said.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::findings::works;
    use crate::report::sample::results;

    #[test]
    fn sums_are_of_what_is_there() {
        let results = results();
        let sums = sums(&works(&results));
        assert_eq!(
            sums,
            [
                "Against raw: 0.10 times as fast in the middle of 2 workloads; 0.10 times at the least, 35.0 times at the most.",
                "Against the limit: 74.7 % in the middle of them.",
                "Against peers: of 1 workloads headstart is faster than all of them in 0, slower than at least one in 1, and within the \
                 spread of the best in 0.",
            ]
        );
        assert!(super::sums(&[]).is_empty());
    }

    #[test]
    fn who_is_faster_is_named_with_both_rates() {
        let results = results();
        let works = works(&results);
        let expected = "hare 750 (1.07 ×); headstart 700, headstart+cache 690 MB/s";
        assert_eq!((faster(&works[0]).as_deref(), faster(&works[1])), (Some(expected), None));
    }

    #[test]
    fn changes_are_told_where_there_were_any() {
        let mut results = results();
        assert_eq!(changes(&results.rows[0]), None);
        (results.rows[0].changes_told, results.rows[0].changes_mixed) = (3, 2);
        assert_eq!(
            changes(&results.rows[0]).unwrap(),
            "seq by raw: 3 handles said so, 2 gave bytes of two versions without a word"
        );
    }
}
