//! The results of a bench, as its JSON file holds them. The report and all comparisons are made from it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// The version of the file's format.
pub const SCHEMA: u32 = 2;

/// The percentages for which a row holds latencies.
pub const QUANTILES: [f64; 25] = [
    0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0,
    95.0, 98.0, 99.0, 99.5, 99.9, 100.0,
];

/// The results of a bench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The [`SCHEMA`] of the program that wrote the file.
    pub schema: u32,
    /// Processor, memory and kernel.
    pub machine: String,
    /// The date in RFC 3339.
    pub date: String,
    /// The commit; ends in `-dirty` if files had been changed.
    pub commit: String,
    /// The command that repeats the bench.
    pub command: String,
    /// The simulated store's profile, or the URL of a real one.
    pub profile: String,
    /// Whether time was virtual. Then every run is the same.
    pub is_virtual: bool,
    /// Whether the simulated server spoke TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_tls: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Seconds after which runs were cut off, unless they had read [`crate::meter::FAST_BYTES`] by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_s: Option<f64>,
    /// The systems and their versions.
    pub versions: BTreeMap<String, String>,
    /// The workloads, in the order of the tables.
    pub workloads: Vec<WorkloadNote>,
    /// One row for each workload and system, workload by workload.
    pub rows: Vec<Row>,
    /// Runs that failed, one a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// Timelines of single runs, in virtual time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timelines: Vec<Timeline>,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadNote {
    /// Its name.
    pub name: String,
    /// What is read, in a sentence.
    pub about: String,
    /// The simulated link; unknown for files and real stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The highest possible rate in 10⁶ bytes per second, by [`crate::limit`]; unknown for a real store.
    pub limit_mb_per_s: Option<f64>,
}

/// The kind of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The bare client.
    Raw,
    /// Our layers.
    Headstart,
    /// Another library.
    Peer,
    /// Requests in flight without any logic, with all reads known.
    Ideal,
}

/// The requests that the store saw in one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireCounts {
    /// GETs.
    pub gets: u64,
    /// HEADs.
    pub heads: u64,
    /// Bytes of bodies sent.
    pub fetched_bytes: u64,
}

/// A workload read by one system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The workload's name.
    pub workload: String,
    /// The system's name.
    pub system: String,
    /// The system's kind.
    pub group: Group,
    /// The number of runs.
    pub runs: usize,
    /// Bytes delivered per time, in 10⁶ bytes per second.
    pub mb_per_s: Spread,
    /// The rate of the first [`crate::meter::START_BYTES`] alone, which shows a cold start: the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_mb_per_s: Option<f64>,
    /// The rate as a multiple of `raw`'s.
    pub x_raw: Option<f64>,
    /// The rate as a multiple of `ideal`'s.
    pub x_ideal: Option<f64>,
    /// The rate as a share of the computed limit.
    pub x_limit: Option<f64>,
    /// From the start to a reader's first byte.
    pub first_byte_ms: Option<f64>,
    /// Latencies of single reads at [`QUANTILES`]; empty if reads cannot be told apart.
    pub latency_ms: Vec<f64>,
    // All counts belong to the run with the median rate.
    /// GETs that the store saw.
    pub gets: u64,
    /// HEADs that the store saw.
    pub heads: u64,
    /// Bytes of bodies that the store sent.
    pub fetched_bytes: u64,
    /// Bytes that readers got.
    pub delivered_bytes: u64,
    /// From the start to the end of the last read, in the run with the median rate.
    pub elapsed_ms: f64,
    /// Time that readers waited, all together.
    pub stalled_ms: f64,
    /// The greatest memory of the reading processes in all runs, beyond that before the first read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// CPU time of the reading processes per 10⁹ bytes delivered, including the check of every byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_s_per_gb: Option<f64>,
    /// The price of requests per 10¹² bytes delivered, in US dollars, within the bucket's region.
    pub usd_per_tb: Option<f64>,
    /// Bytes that differ from the object's, in all runs.
    pub wrong_bytes: u64,
    /// Handles that reported that the object changed.
    #[serde(default)]
    pub changes_told: u64,
    /// Handles that returned bytes of two versions without an error.
    #[serde(default)]
    pub changes_mixed: u64,
    /// When and at which commit, if the row was measured later than the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
}

impl Row {
    /// The latency at `percent`, which is one of [`QUANTILES`].
    #[must_use]
    pub fn latency_at(&self, percent: f64) -> Option<f64> {
        let index = QUANTILES.iter().position(|known| (known - percent).abs() < 1e-9)?;
        self.latency_ms.get(index).copied()
    }
}

/// The spread of a number over several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median; of an even number the lower of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// One run over time, in virtual time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The workload's name.
    pub workload: String,
    /// The system's name.
    pub system: String,
    /// What the timeline shows, in a sentence.
    pub about: String,
    /// Length of the object.
    pub object_bytes: u64,
    /// The reads, in order of their starts.
    pub reads: Vec<Bar>,
    /// The GETs that the store saw, in order of their arrival.
    pub gets: Vec<Bar>,
    /// The state of read-ahead, at equal distances of time.
    pub samples: Vec<Sample>,
}

/// A read or request over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Its start.
    pub start_ms: f64,
    /// Its end.
    pub end_ms: f64,
    /// The first byte of its range.
    pub offset: u64,
    /// Its length.
    pub len: u64,
    /// Whether no reader waited for it at its start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_ahead: bool,
    /// Whether it was cancelled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cancelled: bool,
}

/// The state of read-ahead at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The time.
    pub at_ms: f64,
    /// GETs in flight.
    pub gets_in_flight: u64,
    /// The window of read-ahead.
    pub window_bytes: u64,
    /// Bytes fetched ahead or in flight, and not read yet.
    pub ahead_bytes: u64,
    /// Bytes fetched ahead and dropped unread so far.
    pub wasted_bytes: u64,
    /// Memory reserved.
    pub memory_bytes: u64,
    /// Bytes read so far.
    pub read_bytes: u64,
}

impl Results {
    /// Reads results from `file`.
    ///
    /// # Errors
    /// If the file cannot be read, or has another format.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let found: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
        let schema = found.get("schema").and_then(serde_json::Value::as_u64);
        ensure!(
            schema == Some(SCHEMA.into()),
            "{} is of schema {}, this program reads {SCHEMA}: run the bench again",
            file.display(),
            schema.map_or("none".into(), |schema| schema.to_string()),
        );
        serde_json::from_value(found).with_context(|| format!("{} is not a bench's", file.display()))
    }

    /// The store that was read, as reports name it.
    #[must_use]
    pub fn store(&self) -> String {
        if self.is_tls { format!("{} over TLS", self.profile) } else { self.profile.clone() }
    }

    /// The link of `workload`, if it is not the one of the other workloads.
    #[must_use]
    pub fn own_link<'a>(&self, workload: &'a WorkloadNote) -> Option<&'a str> {
        workload.link.as_deref().filter(|link| *link != self.profile)
    }

    /// The rows of one workload.
    pub fn rows_of<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.workload == workload)
    }
}
