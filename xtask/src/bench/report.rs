//! What a bench found: rows of medians, and the JSON they are kept in.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::measure::Run;
use super::system::System;
use super::workload::Workload;

/// A bench, as it is written to a file.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Processor, memory and kernel.
    pub(crate) machine: String,
    /// When, in RFC 3339.
    pub(crate) date: String,
    /// The commit measured; ends in `-dirty` where files had been changed.
    pub(crate) commit: String,
    /// The command that does it again.
    pub(crate) command: String,
    /// The simulated store's profile, or the URL of a real one.
    pub(crate) profile: String,
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// One row for each workload and system.
    pub(crate) rows: Vec<Row>,
}

/// What the store's side saw of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wire {
    /// GETs.
    pub(crate) gets: u64,
    /// HEADs.
    pub(crate) heads: u64,
    /// Bytes of bodies sent.
    pub(crate) bytes_fetched: u64,
}

/// A workload read in one way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) system: System,
    pub(crate) workload: Workload,
    pub(crate) runs: usize,
    pub(crate) mb_per_s: Spread,
    pub(crate) x_raw: Option<f64>,
    pub(crate) x_ideal: Option<f64>,
    pub(crate) first_byte_ms: Option<f64>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    // The counts are those of the run with the median rate, so that they belong together.
    pub(crate) gets: u64,
    pub(crate) heads: u64,
    pub(crate) bytes_fetched: u64,
    pub(crate) bytes_delivered: u64,
    pub(crate) stalled_ms: f64,
    /// Of the same run as the counts.
    #[serde(skip)]
    pub(crate) elapsed_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peak_memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_s_per_gb: Option<f64>,
    /// Of all runs together.
    pub(crate) wrong_bytes: u64,
}

/// A number that was measured several times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Row {
    /// Sums up `runs`; `None` where there is none.
    pub(crate) fn of(system: System, workload: Workload, runs: &[(Run, Wire)]) -> Option<Self> {
        let mut by_rate: Vec<&(Run, Wire)> = runs.iter().collect();
        by_rate.sort_by(|(a, _), (b, _)| a.mb_per_s().total_cmp(&b.mb_per_s()));
        let (typical, wire) = by_rate.get(middle(by_rate.len())?)?;
        let median_of =
            |value: fn(&Run) -> Option<f64>| median(runs.iter().filter_map(|(run, _)| value(run)).collect());
        Some(Self {
            system,
            workload,
            runs: runs.len(),
            mb_per_s: Spread {
                median: typical.mb_per_s(),
                min: by_rate.first()?.0.mb_per_s(),
                max: by_rate.last()?.0.mb_per_s(),
            },
            x_raw: None,
            x_ideal: None,
            first_byte_ms: median_of(|run| run.first_byte_ms),
            p50_ms: median_of(|run| run.p50_ms),
            p99_ms: median_of(|run| run.p99_ms),
            gets: wire.gets,
            heads: wire.heads,
            bytes_fetched: wire.bytes_fetched,
            bytes_delivered: typical.bytes_delivered,
            stalled_ms: median_of(|run| Some(run.stalled_ms)).unwrap_or_default(),
            elapsed_ms: typical.elapsed_ms,
            peak_memory_bytes: runs.iter().filter_map(|(run, _)| run.peak_memory_bytes).max(),
            cpu_s_per_gb: median_of(Run::cpu_s_per_gb),
            wrong_bytes: runs.iter().map(|(run, _)| run.wrong_bytes).sum(),
        })
    }
}

/// Fills in how each row compares with the raw and the ideal one of its workload, and sorts for reading.
pub(crate) fn compare(rows: &mut [Row]) {
    let rates: Vec<_> = rows.iter().map(|row| (row.system, row.workload, row.mb_per_s.median)).collect();
    let rate = |system, workload| {
        rates.iter().find(|(s, w, _)| (*s, *w) == (system, workload)).map(|(.., rate)| *rate).filter(|rate| *rate > 0.0)
    };
    for row in &mut *rows {
        row.x_raw = rate(System::Raw, row.workload).map(|raw| row.mb_per_s.median / raw);
        row.x_ideal = rate(System::Ideal, row.workload).map(|ideal| row.mb_per_s.median / ideal);
    }
    rows.sort_by_key(|row| (row.workload, row.system));
}

impl Report {
    /// Notes where and when `rows` were measured.
    pub(crate) fn new(profile: String, seed: u64, mut rows: Vec<Row>) -> Self {
        compare(&mut rows);
        let words: Vec<String> = std::env::args().skip(1).collect();
        Self {
            machine: machine(),
            date: chrono::Local::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, false),
            commit: commit(),
            command: format!("cargo xtask {}", words.join(" ")),
            profile,
            seed,
            rows,
        }
    }

    /// Writes it to `file`.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// The middle one of `count`; of an even number the lower.
fn middle(count: usize) -> Option<usize> {
    Some(count.checked_sub(1)? / 2)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(middle(values.len())?).copied()
}

fn machine() -> String {
    let field = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut machine =
        format!("{cores} × {}", field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into()));
    if let Some(kib) = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok()) {
        machine += &format!(", {} GiB", kib.div_ceil(1024 * 1024));
    }
    machine += &format!(", {}", std::env::consts::OS);
    if let Ok(release) = std::fs::read_to_string("/proc/sys/kernel/osrelease") {
        machine += &format!(" {}", release.trim());
    }
    machine
}

fn commit() -> String {
    Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .current_dir(crate::workspace_root())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(|| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::verdict;
    use super::*;

    fn run(elapsed_ms: f64, wrong_bytes: u64) -> Run {
        Run {
            elapsed_ms,
            first_byte_ms: Some(elapsed_ms / 10.0),
            p50_ms: None,
            p99_ms: Some(2.0),
            stalled_ms: elapsed_ms,
            bytes_delivered: 1_000_000,
            wrong_bytes,
            peak_memory_bytes: None,
            cpu_s: Some(0.5),
        }
    }

    fn row(system: System, elapsed_ms: f64) -> Row {
        Row::of(system, Workload::Seq1m, &[(run(elapsed_ms, 0), Wire::default())]).expect("there is a run")
    }

    #[test]
    fn a_row_is_the_median_and_hides_no_wrong_byte() {
        let wire = |gets| Wire { gets, heads: 0, bytes_fetched: gets };
        let runs = [(run(500.0, 0), wire(1)), (run(100.0, 7), wire(2)), (run(200.0, 0), wire(3))];
        let row = Row::of(System::Raw, Workload::Seq1m, &runs).expect("there are runs");
        assert_eq!(row.mb_per_s, Spread { median: 5.0, min: 2.0, max: 10.0 });
        assert_eq!((row.first_byte_ms, row.p50_ms, row.gets), (Some(20.0), None, 3));
        assert_eq!((row.wrong_bytes, row.cpu_s_per_gb), (7, Some(500.0)));
        assert!(verdict(&[], &[row]).is_err(), "one wrong byte fails the bench");
        assert_eq!(Row::of(System::Raw, Workload::Seq1m, &[]), None);
    }

    #[test]
    fn rows_are_compared_within_their_workload() {
        let mut rows = [row(System::Headstart, 100.0), row(System::Raw, 1000.0), row(System::Ideal, 50.0)];
        compare(&mut rows);
        assert!(verdict(&[], &rows).is_ok() && verdict(&["no route".into()], &rows).is_err());
        assert_eq!(rows.each_ref().map(|row| row.system), [System::Raw, System::Headstart, System::Ideal]);
        assert_eq!((rows[1].x_raw, rows[1].x_ideal), (Some(10.0), Some(0.5)));
        let mut alone = [row(System::Headstart, 100.0)];
        compare(&mut alone);
        assert_eq!((alone[0].x_raw, alone[0].x_ideal), (None, None));
    }

    #[test]
    fn the_json_is_the_one_promised() {
        let json = serde_json::to_value(row(System::HeadstartCache, 100.0)).expect("plain data");
        let mut keys: Vec<&str> = json.as_object().expect("a row is an object").keys().map(String::as_str).collect();
        keys.sort_unstable();
        let mut promised = [
            "system",
            "workload",
            "runs",
            "mb_per_s",
            "x_raw",
            "x_ideal",
            "first_byte_ms",
            "p50_ms",
            "p99_ms",
            "gets",
            "heads",
            "bytes_fetched",
            "bytes_delivered",
            "stalled_ms",
            "cpu_s_per_gb",
            "wrong_bytes",
        ];
        promised.sort_unstable();
        assert_eq!(keys, promised, "and peak_memory_bytes where it is known");
        assert_eq!((&json["system"], &json["workload"]), (&"headstart+cache".into(), &"seq-1m".into()));
    }
}
