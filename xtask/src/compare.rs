//! Compares the results of two benches, and reports changes beyond noise.

use anyhow::{Result, ensure};
use headstart_bench::results::{Results, Row, Spread};

use crate::numbers::{number, to_float};

/// Rates that differ by a smaller factor are equal, even if the spreads of their runs do not overlap.
const RATE_NOISE: f64 = 0.05;
/// The same for GETs and fetched bytes, which depend on the timing of a run.
const COUNT_NOISE: f64 = 0.02;
/// The same for memory, which depends on the allocator and the kernel.
const MEMORY_NOISE: f64 = 0.2;

/// The changes, one a line, in the order of the new rows.
///
/// Measured times differ by noise; in virtual time every difference counts.
///
/// # Errors
/// If the benches cannot be compared: other stores or seeds, or measured against virtual time.
pub(crate) fn changes(old: &Results, new: &Results) -> Result<Vec<String>> {
    let [before, now] = [old, new].map(|results| if results.is_virtual { "virtual" } else { "measured" });
    ensure!(before == now, "the old times are {before}, the new ones {now}: run both benches in the same way");
    let [before, now] = [old.store(), new.store()];
    ensure!(before == now, "the old bench read from {before}, the new one from {now}: run both against the same store");
    for note in &new.workloads {
        let earlier = old.workloads.iter().find(|known| known.name == note.name);
        if let Some((before, now)) = earlier.and_then(|known| known.link.as_ref().zip(note.link.as_ref())) {
            let name = &note.name;
            ensure!(before == now, "{name} was read over the link {before}, and now over {now}: name the same link");
        }
    }
    ensure!(old.seed == new.seed, "the old seed is {}, the new one {}: run both with one seed", old.seed, new.seed);
    ensure!(
        old.cut_s.is_none() || new.cut_s.is_none() || old.cut_s == new.cut_s,
        "the old runs were ended after another time than the new ones: say --seconds as then"
    );
    let mut changes = Vec::new();
    if !old.is_virtual && old.machine != new.machine {
        changes.push(format!("warning: another machine, {} before, {} now", old.machine, new.machine));
    }
    for row in &new.rows {
        match old.rows.iter().find(|before| is_same(before, row)) {
            None => changes.push(format!("{}: new", name(row))),
            Some(before) => {
                let found = if old.is_virtual { counted(before, row) } else { measured(before, row) };
                changes.extend(found.into_iter().map(|change| format!("{}: {change}", name(row))));
            }
        }
    }
    let gone = old.rows.iter().filter(|row| !new.rows.iter().any(|after| is_same(row, after)));
    changes.extend(gone.map(|row| format!("{}: gone", name(row))));
    Ok(changes)
}

fn is_same(a: &Row, b: &Row) -> bool {
    a.workload == b.workload && a.system == b.system
}

fn name(row: &Row) -> String {
    format!("{} {}", row.workload, row.system)
}

/// Changes of a row whose time was measured.
fn measured(old: &Row, new: &Row) -> Vec<String> {
    let mut changes = Vec::new();
    let (before, after) = (&old.mb_per_s, &new.mb_per_s);
    if is_apart(before, after) && is_beyond(before.median, after.median, RATE_NOISE) {
        let better = if after.median > before.median { "faster" } else { "SLOWER" };
        let by = relative(before.median, after.median);
        let (before, after) = (number(Some(before.median)), number(Some(after.median)));
        changes.push(format!("{better}, {before} → {after} MB/s ({by})"));
    }
    let counts = [("GETs", old.gets, new.gets), ("bytes fetched", old.fetched_bytes, new.fetched_bytes)];
    for (what, before, after) in counts {
        // A run that is cut off after a time reads more if it is faster. Counts are compared per byte delivered.
        let (each, now) = (per_byte(before, old), per_byte(after, new));
        if is_beyond(each, now, COUNT_NOISE) {
            changes.push(format!("{what} {before} → {after} ({} for each byte delivered)", relative(each, now)));
        }
    }
    if let (Some(before), Some(after)) = (old.peak_memory_bytes, new.peak_memory_bytes)
        && is_beyond(to_float(before), to_float(after), MEMORY_NOISE)
    {
        changes.push(format!("peak memory {before} → {after} bytes ({})", relative(to_float(before), to_float(after))));
    }
    changes.extend(exact(old, new));
    changes
}

/// Changes of a row in virtual time, where only a change of the code changes anything.
fn counted(old: &Row, new: &Row) -> Vec<String> {
    let counts = [
        ("GETs", old.gets, new.gets),
        ("HEADs", old.heads, new.heads),
        ("bytes fetched", old.fetched_bytes, new.fetched_bytes),
        ("bytes delivered", old.delivered_bytes, new.delivered_bytes),
    ];
    let mut changes = differences(&counts);
    // Times are equal to the last digit: they are written as decimals and read back exactly.
    let times = [("elapsed", old.elapsed_ms, new.elapsed_ms), ("stalled", old.stalled_ms, new.stalled_ms)];
    for (what, before, after) in times {
        if before.to_bits() != after.to_bits() {
            changes.push(format!("{what} {before} → {after} ms ({})", relative(before, after)));
        }
    }
    if (old.first_byte_ms, &old.latency_ms) != (new.first_byte_ms, &new.latency_ms) {
        changes.push("latencies differ".into());
    }
    changes.extend(exact(old, new));
    changes
}

/// Changes of counts that have no noise.
fn exact(old: &Row, new: &Row) -> Vec<String> {
    differences(&[
        ("WRONG BYTES", old.wrong_bytes, new.wrong_bytes),
        ("changes told", old.changes_told, new.changes_told),
        ("changes mixed", old.changes_mixed, new.changes_mixed),
    ])
}

fn differences(counts: &[(&str, u64, u64)]) -> Vec<String> {
    let differ = counts.iter().filter(|(_, before, after)| before != after);
    differ.map(|(what, before, after)| format!("{what} {before} → {after}")).collect()
}

fn is_apart(a: &Spread, b: &Spread) -> bool {
    a.max < b.min || b.max < a.min
}

fn is_beyond(before: f64, after: f64, noise: f64) -> bool {
    (after - before).abs() > before.abs() * noise
}

fn per_byte(count: u64, row: &Row) -> f64 {
    if row.delivered_bytes == 0 { to_float(count) } else { to_float(count) / to_float(row.delivered_bytes) }
}

fn relative(before: f64, after: f64) -> String {
    if before == 0.0 { "from nothing".into() } else { format!("{:+.1} %", (after / before - 1.0) * 100.0) }
}

#[cfg(test)]
mod tests {
    use headstart_bench::results::WorkloadNote;

    use super::*;
    use crate::report::sample::results;

    /// Checks the changes reported when `change` is applied to the third row: headstart's, of 700 MB/s ± 1 %.
    #[track_caller]
    fn check(is_virtual: bool, change: impl FnOnce(&mut Row), expected: &[&str]) {
        let mut old = results();
        old.is_virtual = is_virtual;
        let mut new = old.clone();
        change(&mut new.rows[2]);
        assert_eq!(changes(&old, &new).unwrap(), expected);
    }

    fn set_rate(row: &mut Row, factor: f64) {
        let rate = &mut row.mb_per_s;
        *rate = Spread { median: rate.median * factor, min: rate.min * factor, max: rate.max * factor };
    }

    #[test]
    fn noise_is_no_change() {
        check(false, |_| {}, &[]);
        check(false, |row| set_rate(row, 1.04), &[]);
        check(false, |row| row.gets = 1019, &[]);
        check(false, |row| row.peak_memory_bytes = row.peak_memory_bytes.map(|bytes| bytes * 119 / 100), &[]);
        check(false, |row| row.elapsed_ms *= 2.0, &[]);
        let wide = |row: &mut Row| row.mb_per_s = Spread { median: 900.0, min: 650.0, max: 950.0 };
        check(false, wide, &[]);
    }

    #[test]
    fn changes_beyond_noise_are_reported() {
        check(false, |row| set_rate(row, 1.5), &["seq headstart: faster, 700 → 1,050 MB/s (+50.0 %)"]);
        check(false, |row| set_rate(row, 0.5), &["seq headstart: SLOWER, 700 → 350 MB/s (-50.0 %)"]);
        check(false, |row| row.gets = 1100, &["seq headstart: GETs 1000 → 1100 (+10.0 % for each byte delivered)"]);
        let memory = "seq headstart: peak memory 104857600 → 209715200 bytes (+100.0 %)";
        check(false, |row| row.peak_memory_bytes = Some(200 << 20), &[memory]);
        check(false, |row| row.wrong_bytes = 1, &["seq headstart: WRONG BYTES 0 → 1"]);
    }

    #[test]
    fn counts_are_compared_per_byte_delivered() {
        let twice = |row: &mut Row| {
            row.gets *= 2;
            row.fetched_bytes *= 2;
            row.delivered_bytes *= 2;
        };
        check(false, twice, &[]);
    }

    #[test]
    fn in_virtual_time_every_difference_counts() {
        check(true, |row| row.gets = 1001, &["seq headstart: GETs 1000 → 1001"]);
        check(true, |row| row.elapsed_ms = 1500.5, &["seq headstart: elapsed 1500 → 1500.5 ms (+0.0 %)"]);
        check(true, |row| row.peak_memory_bytes = None, &[]);
    }

    #[test]
    fn rows_come_and_go_by_name() {
        let (old, mut new) = (results(), results());
        new.rows[2].system = "headstart2".into();
        assert_eq!(changes(&old, &new).unwrap(), ["seq headstart2: new", "seq headstart: gone"]);
    }

    #[test]
    fn another_machine_is_a_warning() {
        let (old, mut new) = (results(), results());
        new.machine = "three cores".into();
        let changes = changes(&old, &new).unwrap();
        assert_eq!(changes, ["warning: another machine, two <cores> before, three cores now"]);
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let seq = results().workloads.remove(0);
        for (new, says) in [
            (Results { profile: "s3".into(), ..results() }, "same store"),
            (Results { is_tls: true, ..results() }, "over TLS"),
            (Results { workloads: vec![WorkloadNote { link: Some("wan".into()), ..seq }], ..results() }, "same link"),
            (Results { seed: 2, ..results() }, "one seed"),
            (Results { is_virtual: true, ..results() }, "same way"),
        ] {
            let error = changes(&results(), &new).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
