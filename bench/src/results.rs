//! What a bench found, as it is kept in a file: the report, the tables in `docs/` and every comparison are made from it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Counts up with every change that an older reader of the file would misunderstand.
pub const SCHEMA: u32 = 2;

/// Shares of the reads whose latencies a row keeps, in percent.
pub const QUANTILES: [f64; 25] = [
    0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0,
    95.0, 98.0, 99.0, 99.5, 99.9, 100.0,
];

/// A bench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`] of the program that wrote it.
    pub schema: u32,
    /// Processor, memory and kernel.
    pub machine: String,
    /// When, in RFC 3339.
    pub date: String,
    /// The commit measured; ends in `-dirty` where files had been changed.
    pub commit: String,
    /// The command that does it again.
    pub command: String,
    /// The simulated store's profile, or the URL of a real one.
    pub profile: String,
    /// Whether time was virtual: then nothing is measured, all is counted, and every run is the same.
    pub is_virtual: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Seconds after which a run was ended, if its workload had not ended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_s: Option<f64>,
    /// What took part, and in which version.
    pub versions: BTreeMap<String, String>,
    /// What was read, in the order of the tables.
    pub workloads: Vec<WorkloadNote>,
    /// One row for each workload and system, workload by workload.
    pub rows: Vec<Row>,
    /// What failed, and so has no row or too few runs, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// Runs looked at closely, in virtual time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timelines: Vec<Timeline>,
}

/// What is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadNote {
    /// Its name.
    pub name: String,
    /// Who reads what, in a sentence.
    pub about: String,
    /// What the link would give somebody who knew every read beforehand: one first byte, then its full rate, or the
    /// readers' own if that is lower. In 10⁶ bytes per second; unknown for a real store.
    pub limit_mb_per_s: Option<f64>,
}

/// What a system is to the reader of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The bare client, read in the usual ways.
    Raw,
    /// Ours: one layer, two, all.
    Headstart,
    /// Somebody else's.
    Peer,
    /// No system at all: requests in flight without any logic, knowing what will be read.
    Ideal,
}

/// What the store's side saw of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireCounts {
    /// GETs.
    pub gets: u64,
    /// HEADs.
    pub heads: u64,
    /// Bytes of bodies sent.
    pub fetched_bytes: u64,
}

/// A workload read in one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The workload's name.
    pub workload: String,
    /// The way of reading.
    pub system: String,
    /// What that is.
    pub group: Group,
    /// Runs, of which the medians are given.
    pub runs: usize,
    /// Bytes delivered per time, in 10⁶ bytes per second.
    pub mb_per_s: Spread,
    /// The rate as a multiple of `raw`'s.
    pub x_raw: Option<f64>,
    /// … of `ideal`'s.
    pub x_ideal: Option<f64>,
    /// … of the computed limit.
    pub x_limit: Option<f64>,
    /// From the start to the first byte that a reader held.
    pub first_byte_ms: Option<f64>,
    /// Latencies of single reads at [`QUANTILES`], ascending; empty where reads cannot be told apart.
    pub latency_ms: Vec<f64>,
    // The counts are those of the run with the median rate, so that they belong together.
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
    /// Time that readers waited, all readers together.
    pub stalled_ms: f64,
    /// The most memory that the reading processes held, beyond what they held before the first read; the greatest of
    /// all runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// CPU time of the reading processes per 10⁹ bytes delivered, the check of every byte included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_s_per_gb: Option<f64>,
    /// What the requests cost for 10¹² bytes delivered, in US dollars, within the bucket's region.
    pub usd_per_tb: Option<f64>,
    /// Bytes that were not the object's, of all runs together.
    pub wrong_bytes: u64,
    /// Handles that found the object changed, and said so.
    #[serde(default)]
    pub changes_told: u64,
    /// Handles that gave bytes of two versions without a word.
    #[serde(default)]
    pub changes_mixed: u64,
    /// When and at which commit, where that is not when the others were measured.
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

/// A number that was measured several times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one; of an even number the lower.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// One run, looked at closely, in virtual time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The workload's name.
    pub workload: String,
    /// The way of reading.
    pub system: String,
    /// What there is to see, in a sentence.
    pub about: String,
    /// Length of the object.
    pub object_bytes: u64,
    /// The reads, in order of their starts.
    pub reads: Vec<Bar>,
    /// The GETs that the store saw, in order of their arrival.
    pub gets: Vec<Bar>,
    /// What read-ahead held and meant to do, at equal distances of time.
    pub samples: Vec<Sample>,
}

/// Something that took its time over a range of the object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// When it began.
    pub start_ms: f64,
    /// When it ended.
    pub end_ms: f64,
    /// The range's first byte.
    pub offset: u64,
    /// Its length.
    pub len: u64,
    /// Whether nobody waited for it when it began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_ahead: bool,
    /// Whether it was given up before its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cancelled: bool,
}

/// What was so at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_ms: f64,
    /// GETs in flight.
    pub gets_in_flight: u64,
    /// How far ahead of the reader read-ahead meant to be.
    pub window_bytes: u64,
    /// Bytes fetched ahead, or on their way, that nobody has read yet.
    pub ahead_bytes: u64,
    /// Bytes fetched ahead and dropped unread so far.
    pub wasted_bytes: u64,
    /// Memory reserved.
    pub memory_bytes: u64,
    /// Bytes read so far.
    pub read_bytes: u64,
}

impl Results {
    /// Reads them from `file`.
    ///
    /// # Errors
    /// Where there is no such file, it is not a bench's, or that of another schema.
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

    /// The rows of one workload.
    pub fn rows_of<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.workload == workload)
    }
}
