//! Summarises runs: one row of medians for each workload and system, and where and when they were measured.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use headstart_bench::meter::{Outcome, megabytes};
use headstart_bench::results::{QUANTILES, Results, Row, SCHEMA, Spread, WorkloadNote};
use headstart_bench::system::System;
use headstart_fetch_core::Prices;

use super::MeasuredRun;
use crate::numbers::{median, quantile, to_float};

/// The row of `runs`; `None` if there are none.
pub(crate) fn row(workload: &str, system: System, runs: &[MeasuredRun], prices: &Prices) -> Option<Row> {
    let mut by_rate: Vec<&MeasuredRun> = runs.iter().collect();
    by_rate.sort_by(|(a, _), (b, _)| a.mb_per_s().total_cmp(&b.mb_per_s()));
    let (typical, wire) = quantile(&by_rate, 50.0)?;
    let ((slowest, _), (fastest, _)) = (by_rate.first()?, by_rate.last()?);
    let median_of =
        |value: fn(&Outcome) -> Option<f64>| median(runs.iter().filter_map(|(run, _)| value(run)).collect());
    let mut latencies: Vec<u64> = runs.iter().flat_map(|(run, _)| run.latencies_us.iter().copied()).collect();
    latencies.sort_unstable();
    let sum = |value: fn(&Outcome) -> u64| runs.iter().map(|(run, _)| value(run)).sum();
    let usd = prices.cost(wire.gets + wire.heads, wire.fetched_bytes);
    Some(Row {
        workload: workload.to_owned(),
        system: system.to_string(),
        group: system.group(),
        runs: runs.len(),
        mb_per_s: Spread { median: typical.mb_per_s(), min: slowest.mb_per_s(), max: fastest.mb_per_s() },
        start_mb_per_s: median_of(Outcome::start_mb_per_s),
        x_raw: None,
        x_ideal: None,
        x_limit: None,
        first_byte_ms: median_of(|run| run.first_byte_ms),
        latency_ms: QUANTILES.iter().filter_map(|percent| quantile_ms(&latencies, *percent)).collect(),
        gets: wire.gets,
        heads: wire.heads,
        fetched_bytes: wire.fetched_bytes,
        delivered_bytes: typical.delivered_bytes,
        elapsed_ms: typical.elapsed_ms,
        stalled_ms: median_of(|run| Some(run.stalled_ms)).unwrap_or_default(),
        peak_memory_bytes: runs.iter().filter_map(|(run, _)| run.memory_bytes()).max(),
        cpu_s_per_gb: median_of(Outcome::cpu_s_per_gb),
        usd_per_tb: (typical.delivered_bytes > 0).then(|| usd / (megabytes(typical.delivered_bytes) / 1e6)),
        wrong_bytes: sum(|run| run.wrong_bytes),
        changes_told: sum(|run| run.changes_told),
        changes_mixed: sum(|run| run.changes_mixed),
        measured: None,
    })
}

/// Fills in how each row compares with raw, ideal and the limit of its workload.
pub(crate) fn compare(rows: &mut [Row], workloads: &[WorkloadNote]) {
    let rates: Vec<_> =
        rows.iter().map(|row| (row.system.clone(), row.workload.clone(), row.mb_per_s.median)).collect();
    let rate = |system: System, workload: &str| {
        let found = rates.iter().find(|(s, w, _)| *s == system.to_string() && w == workload);
        found.map(|(.., rate)| *rate).filter(|rate| *rate > 0.0)
    };
    for row in &mut *rows {
        let own = row.mb_per_s.median;
        let limit = workloads.iter().find(|note| note.name == row.workload).and_then(|note| note.limit_mb_per_s);
        row.x_raw = rate(System::Raw, &row.workload).map(|raw| own / raw);
        row.x_ideal = rate(System::Ideal, &row.workload).map(|ideal| own / ideal);
        row.x_limit = limit.filter(|limit| *limit > 0.0).map(|limit| own / limit);
    }
}

/// The results of a bench that begins now, without rows.
pub(crate) fn begin(is_virtual: bool, seed: u64) -> Results {
    // Options that name files are left out of the command.
    let mut words = Vec::new();
    let mut said = std::env::args().skip(1);
    while let Some(word) = said.next() {
        match word.as_str() {
            "--json" | "--update" | "--compare" => drop(said.next()),
            _ => words.push(word),
        }
    }
    Results {
        schema: SCHEMA,
        machine: if is_virtual { "virtual time: any machine".to_owned() } else { machine() },
        date: chrono::Local::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, false),
        commit: commit(),
        command: format!("cargo xtask {}", words.join(" ")),
        profile: String::new(),
        is_virtual,
        is_tls: false,
        seed,
        cut_s: None,
        versions: BTreeMap::new(),
        workloads: Vec::new(),
        rows: Vec::new(),
        failures: Vec::new(),
        timelines: Vec::new(),
    }
}

/// Replaces rows of older results by new ones, which record when they were measured.
pub(crate) fn update(old: Results, new: Results) -> Result<Results> {
    ensure!(
        (old.is_virtual, old.store(), old.seed) == (new.is_virtual, new.store(), new.seed),
        "what was measured over another store, with another seed or in another time cannot be put among these results"
    );
    let is_as_long = old.cut_s.is_none() || old.cut_s == new.cut_s;
    ensure!(is_as_long, "the old runs were ended after another time: say --seconds as then");
    ensure!(old.machine == new.machine, "the old results are another machine's: {}", old.machine);
    let measured = format!("{} at {}", new.date, new.commit);
    let mut all = old;
    for note in new.workloads {
        match all.workloads.iter_mut().find(|known| known.name == note.name) {
            Some(known) => {
                let has_other_link = known.link.as_ref().is_some_and(|link| Some(link) != note.link.as_ref());
                if has_other_link || known.about != note.about {
                    // The workload has changed; rows of other systems no longer belong to it.
                    all.rows.retain(|row| row.workload != note.name);
                }
                *known = note;
            }
            None => all.workloads.push(note),
        }
    }
    for row in new.rows {
        let row = Row { measured: Some(measured.clone()), ..row };
        match all.rows.iter_mut().find(|known| (&known.workload, &known.system) == (&row.workload, &row.system)) {
            Some(known) => *known = row,
            None => all.rows.push(row),
        }
    }
    all.failures.extend(new.failures);
    all.versions.extend(new.versions);
    all.timelines = new.timelines;
    all.cut_s = new.cut_s;
    compare(&mut all.rows, &all.workloads);
    Ok(all)
}

pub(crate) fn write(results: &Results, file: &Path) -> Result<()> {
    // One row a line, so that a diff of two files shows the rows that differ.
    let text = compact_rows(&serde_json::to_value(results)?)?;
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn compact_rows(results: &serde_json::Value) -> Result<String> {
    let fields = results.as_object().context("results are an object")?;
    let mut lines = Vec::new();
    for (name, value) in fields {
        let text = match value.as_array() {
            Some(items) if !items.is_empty() => {
                let items = items.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
                format!("[\n    {}\n  ]", items.join(",\n    "))
            }
            _ => serde_json::to_string(value)?,
        };
        lines.push(format!("  {}: {text}", serde_json::to_string(name)?));
    }
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

fn quantile_ms(sorted_us: &[u64], percent: f64) -> Option<f64> {
    quantile(sorted_us, percent).map(|us| to_float(us) / 1000.0)
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
#[path = "summary_tests.rs"]
mod tests;
