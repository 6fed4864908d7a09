//! A small bench that never happened, for tests.

use std::collections::BTreeMap;

use headstart_bench::results::{Bar, Group, QUANTILES, Results, Row, SCHEMA, Sample, Spread, Timeline, WorkloadNote};

const MIB: u64 = 1 << 20;

/// A row of `mb_per_s`, give or take one percent.
pub(crate) fn row(workload: &str, system: &str, group: Group, mb_per_s: f64) -> Row {
    Row {
        workload: workload.into(),
        system: system.into(),
        group,
        runs: 3,
        mb_per_s: Spread { median: mb_per_s, min: mb_per_s * 0.99, max: mb_per_s * 1.01 },
        start_mb_per_s: None,
        x_raw: Some(mb_per_s / 20.0),
        x_ideal: None,
        x_limit: None,
        first_byte_ms: Some(31.0),
        latency_ms: QUANTILES.iter().map(|percent| 1.0 + percent).collect(),
        gets: 1000,
        heads: 0,
        fetched_bytes: 1000 * MIB,
        delivered_bytes: 1000 * MIB,
        elapsed_ms: 1500.0,
        stalled_ms: 900.0,
        peak_memory_bytes: Some(100 * MIB),
        cpu_s_per_gb: None,
        usd_per_tb: Some(0.4),
        wrong_bytes: 0,
        changes_told: 0,
        changes_mixed: 0,
        measured: None,
    }
}

/// Two workloads, of which a peer wins the first, and a timeline.
pub(crate) fn results() -> Results {
    let note = |name: &str, limit| WorkloadNote {
        name: name.into(),
        about: format!("{name}: <one> reader | & another"),
        link: Some(if name == "rand" { "fast" } else { "gcs" }.into()),
        limit_mb_per_s: limit,
    };
    let rows = vec![
        row("seq", "raw", Group::Raw, 20.0),
        row("seq", "fetch", Group::Headstart, 21.0),
        row("seq", "headstart", Group::Headstart, 700.0),
        row("seq", "headstart+cache", Group::Headstart, 690.0),
        row("seq", "slowpoke", Group::Peer, 200.0),
        row("seq", "hare", Group::Peer, 750.0),
        row("seq", "ideal", Group::Ideal, 800.0),
        row("rand", "raw", Group::Raw, 2.0),
        row("rand", "headstart", Group::Headstart, 2.0),
    ];
    Results {
        schema: SCHEMA,
        machine: "two <cores>".into(),
        date: "2026-11-25T00:00:00Z".into(),
        commit: "0123456789ab".into(),
        command: "cargo xtask bench".into(),
        profile: "gcs".into(),
        is_virtual: false,
        is_tls: false,
        seed: 1,
        cut_s: None,
        failures: Vec::new(),
        versions: BTreeMap::from([("hare".into(), "1.0".into())]),
        workloads: vec![note("seq", Some(937.0)), note("rand", None)],
        rows,
        timelines: vec![timeline()],
    }
}

fn timeline() -> Timeline {
    let bar = |n: u64, is_ahead| {
        let start_ms = f64::from(u32::try_from(n).expect("small")) * 10.0;
        Bar { start_ms, end_ms: start_ms + 40.0, offset: n * MIB, len: MIB, is_ahead, is_cancelled: n == 7 }
    };
    let sample = |n: u32| Sample {
        at_ms: f64::from(n) * 10.0,
        gets_in_flight: u64::from(n % 5),
        window_bytes: u64::from(n) * MIB,
        ahead_bytes: u64::from(n) * MIB / 2,
        wasted_bytes: 0,
        memory_bytes: u64::from(n) * MIB,
        read_bytes: u64::from(n) * MIB,
    };
    Timeline {
        workload: "seq".into(),
        system: "headstart+cache".into(),
        about: "What there is to see & <learn>, in a sentence.".into(),
        object_bytes: 1024 * MIB,
        reads: (0..20).map(|n| bar(n, false)).collect(),
        gets: (0..20).map(|n| bar(n, n > 2)).collect(),
        samples: (0..25).map(sample).collect(),
    }
}
