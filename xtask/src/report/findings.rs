//! What the numbers say: who is whom in a workload, what the best possible is, and where others are faster.

use headstart_bench::results::{Group, Results, Row, WorkloadNote};

pub(super) use crate::bench::median;

/// The system that all others are held against.
const OURS: &str = "headstart";
/// Ours with its cache on.
const CACHED: &str = "headstart+cache";
/// Our layers, each adding one to those before it.
const ABLATION: [&str; 4] = ["fetch", "fetch-stream", OURS, CACHED];

/// One workload and its rows, in the order in which they are shown.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) note: &'a WorkloadNote,
    /// Raw, then ours layer by layer, then the peers, then ideal.
    pub(super) rows: Vec<&'a Row>,
}

/// What rates of a workload are shares of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reference {
    /// The computed limit, in MB/s.
    Limit(f64),
    /// The rate of `ideal`, where no limit was computed.
    Ideal(f64),
    /// The fastest rate of all, where there is no `ideal` either.
    Fastest(f64),
}

impl Reference {
    pub(super) fn mb_per_s(self) -> f64 {
        match self {
            Self::Limit(rate) | Self::Ideal(rate) | Self::Fastest(rate) => rate,
        }
    }
}

/// All workloads that have rows.
pub(super) fn works(results: &Results) -> Vec<Work<'_>> {
    let works = results.workloads.iter().map(|note| Work { note, rows: in_order(results.rows_of(&note.name)) });
    works.filter(|work| !work.rows.is_empty()).collect()
}

/// Every system's name once, in the order of the tables, with its group.
pub(super) fn systems(results: &Results) -> Vec<(&str, Group)> {
    let mut systems: Vec<(&str, Group)> = Vec::new();
    for row in in_order(results.rows.iter()) {
        if !systems.iter().any(|(name, _)| *name == row.system) {
            systems.push((&row.system, row.group));
        }
    }
    systems
}

fn in_order<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<&'a Row> {
    let mut rows: Vec<&Row> = rows.collect();
    rows.sort_by_key(|row| (row.group, ABLATION.iter().position(|name| *name == row.system)));
    rows
}

impl<'a> Work<'a> {
    pub(super) fn named(&self, system: &str) -> Option<&'a Row> {
        self.rows.iter().copied().find(|row| row.system == system)
    }

    fn fastest(&self, group: Group) -> Option<&'a Row> {
        let rows = self.rows.iter().copied().filter(|row| row.group == group);
        rows.max_by(|a, b| a.mb_per_s.median.total_cmp(&b.mb_per_s.median))
    }

    /// The plain loop, or the fastest of the bare client's ways where it is missing.
    pub(super) fn raw(&self) -> Option<&'a Row> {
        self.named("raw").or_else(|| self.fastest(Group::Raw))
    }

    /// Headstart as it comes, or the fastest of our layers where it is missing.
    pub(super) fn ours(&self) -> Option<&'a Row> {
        self.named(OURS).or_else(|| self.fastest(Group::Headstart))
    }

    pub(super) fn cached(&self) -> Option<&'a Row> {
        self.named(CACHED)
    }

    pub(super) fn best_peer(&self) -> Option<&'a Row> {
        self.fastest(Group::Peer)
    }

    pub(super) fn ideal(&self) -> Option<&'a Row> {
        self.fastest(Group::Ideal)
    }

    /// What rates are shares of.
    pub(super) fn reference(&self) -> Option<Reference> {
        let fastest = || self.rows.iter().map(|row| row.mb_per_s.median).max_by(f64::total_cmp);
        let limit = self.note.limit_mb_per_s.map(Reference::Limit);
        let ideal = || self.ideal().map(|row| Reference::Ideal(row.mb_per_s.median));
        let found = limit.or_else(ideal).or_else(|| fastest().map(Reference::Fastest))?;
        (found.mb_per_s() > 0.0).then_some(found)
    }

    /// Peers that are faster than ours beyond the spreads: their slowest run beats our fastest. The fastest comes first.
    pub(super) fn faster(&self) -> Vec<&'a Row> {
        let Some(ours) = self.ours() else { return Vec::new() };
        let peers = self.rows.iter().copied().filter(|row| row.group == Group::Peer);
        let mut faster: Vec<&Row> = peers.filter(|peer| peer.mb_per_s.min > ours.mb_per_s.max).collect();
        faster.sort_by(|a, b| b.mb_per_s.median.total_cmp(&a.mb_per_s.median));
        faster
    }

    /// Whether `row` is a peer's that is faster than ours.
    pub(super) fn is_faster(&self, row: &Row) -> bool {
        self.faster().iter().any(|peer| std::ptr::eq(*peer, row))
    }
}

/// Rows that gave bytes which were not the object's.
pub(super) fn wrong(results: &Results) -> Vec<&Row> {
    results.rows.iter().filter(|row| row.wrong_bytes > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{results, row};

    #[test]
    fn rows_come_layer_by_layer() {
        let mut results = results();
        results.rows.reverse();
        let works = works(&results);
        let names: Vec<&str> = works[0].rows.iter().map(|row| row.system.as_str()).collect();
        assert_eq!(names, ["raw", "fetch", "headstart", "headstart+cache", "hare", "slowpoke", "ideal"]);
    }

    #[test]
    fn a_peer_is_faster_only_beyond_the_spreads() {
        let mut results = results();
        results.rows.push(row("seq", "close", Group::Peer, 701.0));
        let works = works(&results);
        let faster: Vec<&str> = works[0].faster().iter().map(|row| row.system.as_str()).collect();
        assert_eq!(faster, ["hare"], "701 ± 1 % is no better than 700 ± 1 %");
        assert!(works[0].is_faster(works[0].best_peer().unwrap()));
    }

    #[test]
    fn what_rates_are_shares_of_is_the_best_that_is_known() {
        let mut results = results();
        assert_eq!(works(&results)[0].reference(), Some(Reference::Limit(937.0)));
        results.workloads[0].limit_mb_per_s = None;
        assert_eq!(works(&results)[0].reference(), Some(Reference::Ideal(800.0)));
        results.rows.retain(|row| row.group != Group::Ideal);
        assert_eq!(works(&results)[0].reference(), Some(Reference::Fastest(750.0)));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_lower() {
        assert_eq!(median(vec![3.0, 1.0, 2.0, 4.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
