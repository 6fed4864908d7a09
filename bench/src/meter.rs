//! Measures one run: checks every byte, and times every read.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use headstart_sim::FIRST_GENERATION;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::check::{Checker, Verdict};
use crate::process;
use crate::results::Bar;

/// The first bytes of a run, whose rate shows a cold start.
pub const START_BYTES: u64 = 256 << 20;

/// A run that has delivered as many bytes before its limit has no limit: it is fast enough to end soon, and users read
/// to the end. Slower systems have one rate from the first read on, and lose nothing by being cut off. In 1.5 s one
/// stream of 60 MB/s delivers less, and read-ahead more even on a machine that is busy otherwise.
pub const FAST_BYTES: u64 = 128 << 20;

/// The outcome of one run in one process. Processes send it to the bench as a line of JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The start in microseconds since 1970, by which the runs of several processes are aligned.
    pub started_us: u64,
    /// The end, likewise.
    pub ended_us: u64,
    /// From the start to the end of the last read.
    pub elapsed_ms: f64,
    /// From the start to a reader's first byte.
    pub first_byte_ms: Option<f64>,
    /// From the start to the delivery of the first [`START_BYTES`]; unknown for several processes.
    #[serde(default)]
    pub start_bytes_ms: Option<f64>,
    /// The time of each read, in no order; empty if single reads cannot be told apart.
    pub latencies_us: Vec<u64>,
    /// Time that readers waited, all together.
    pub stalled_ms: f64,
    /// Bytes that readers got.
    pub delivered_bytes: u64,
    /// Bytes that differ from the object's.
    pub wrong_bytes: u64,
    /// Memory before the first read.
    pub base_memory_bytes: Option<u64>,
    /// The greatest memory.
    pub peak_memory_bytes: Option<u64>,
    /// CPU time of the run, including the check of every byte; of Python, without it: it costs more than some readers.
    pub cpu_s: Option<f64>,
    /// Handles that reported that the object changed.
    pub changes_told: u64,
    /// Handles that returned bytes of two versions without an error.
    pub changes_mixed: u64,
}

impl Outcome {
    /// Delivered bytes per time, in 10⁶ bytes per second.
    #[must_use]
    pub fn mb_per_s(&self) -> f64 {
        megabytes(self.delivered_bytes) / (self.elapsed_ms / 1000.0)
    }

    /// The rate of the first [`START_BYTES`], in 10⁶ bytes per second.
    #[must_use]
    pub fn start_mb_per_s(&self) -> Option<f64> {
        self.start_bytes_ms.map(|start_ms| megabytes(START_BYTES) / (start_ms / 1000.0))
    }

    /// CPU time per 10⁹ bytes delivered.
    #[must_use]
    pub fn cpu_s_per_gb(&self) -> Option<f64> {
        self.cpu_s.filter(|_| self.delivered_bytes > 0).map(|cpu_s| cpu_s / (megabytes(self.delivered_bytes) / 1000.0))
    }

    /// Memory beyond that before the first read.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        Some(self.peak_memory_bytes?.saturating_sub(self.base_memory_bytes?))
    }

    /// The joint outcome of several processes, from the first start to the last end.
    #[must_use]
    pub fn of_all(processes: Vec<Self>) -> Option<Self> {
        let started_us = processes.iter().map(|one| one.started_us).min()?;
        let ended_us = processes.iter().map(|one| one.ended_us).max()?;
        if let [_] = &processes[..] {
            return processes.into_iter().next();
        }
        let mut all = Self { started_us, ended_us, elapsed_ms: ms(us_time(ended_us - started_us)), ..Self::default() };
        let sum = |value: fn(&Self) -> Option<u64>| processes.iter().map(value).sum();
        (all.base_memory_bytes, all.peak_memory_bytes) =
            (sum(|one| one.base_memory_bytes), sum(|one| one.peak_memory_bytes));
        all.cpu_s = processes.iter().map(|one| one.cpu_s).sum();
        for one in processes {
            let late_ms = ms(us_time(one.started_us - started_us));
            let first = one.first_byte_ms.map(|first| first + late_ms);
            all.first_byte_ms = [all.first_byte_ms, first].into_iter().flatten().reduce(f64::min);
            all.latencies_us.extend(one.latencies_us);
            all.stalled_ms += one.stalled_ms;
            all.delivered_bytes += one.delivered_bytes;
            all.wrong_bytes += one.wrong_bytes;
            all.changes_told += one.changes_told;
            all.changes_mixed += one.changes_mixed;
        }
        Some(all)
    }
}

/// The measurements of a run. Readers share it.
#[derive(Debug)]
pub struct Meter {
    checker: Checker,
    limit: Option<Duration>,
    started: Instant,
    started_us: u64,
    cpu_before: Option<Duration>,
    sums: Mutex<Sums>,
}

#[derive(Debug)]
struct Sums {
    outcome: Outcome,
    newest: u64,
    /// Whether [`FAST_BYTES`] were delivered before the limit.
    is_fast: bool,
    /// `None` unless reads are recorded.
    reads: Option<Vec<Bar>>,
}

impl Meter {
    /// Starts the clock. The run ends after `limit`, if there is one, unless [`FAST_BYTES`] were delivered before.
    #[must_use]
    pub fn start(checker: Checker, limit: Option<Duration>) -> Self {
        process::forget_peak_memory();
        let outcome = Outcome { base_memory_bytes: process::memory_bytes("self"), ..Outcome::default() };
        Self {
            checker,
            limit,
            started: Instant::now(),
            started_us: process::unix_us(),
            cpu_before: process::cpu_time(),
            sums: Mutex::new(Sums { outcome, newest: FIRST_GENERATION, is_fast: false, reads: None }),
        }
    }

    /// Records every read, for [`Meter::reads`].
    #[must_use]
    pub fn recording_reads(self) -> Self {
        self.sums.lock().reads = Some(Vec::new());
        self
    }

    /// The recorded reads.
    #[must_use]
    pub fn reads(&self) -> Vec<Bar> {
        self.sums.lock().reads.clone().unwrap_or_default()
    }

    /// Bytes that readers have got so far.
    #[must_use]
    pub fn delivered_bytes(&self) -> u64 {
        self.sums.lock().outcome.delivered_bytes
    }

    /// Whether the run has reached its limit.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.end().is_some_and(|end| Instant::now() >= end)
    }

    /// When the run reaches its limit; `None` if it has none.
    #[must_use]
    pub fn end(&self) -> Option<Instant> {
        self.limit.filter(|_| !self.sums.lock().is_fast).map(|limit| self.started + limit)
    }

    /// Records that a reader has bytes. Only the first call counts.
    pub fn first_byte(&self) {
        let now = ms(self.started.elapsed());
        self.sums.lock().outcome.first_byte_ms.get_or_insert(now);
    }

    /// Checks the bytes that the read of `range` returned; returns their version.
    ///
    /// # Errors
    /// If the number of bytes differs from the range's.
    pub fn deliver(&self, key: &str, range: &Range<u64>, pieces: &[Bytes]) -> Result<Option<u64>> {
        let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let wanted = range.end - range.start;
        ensure!(bytes == wanted, "the read of {range:?} of {key} gave {bytes} of {wanted} bytes");
        self.first_byte();
        Ok(self.take(key, range.start, pieces).version)
    }

    /// Checks bytes of a range that is not complete yet.
    pub fn deliver_piece(&self, key: &str, offset: u64, piece: &Bytes) {
        if !piece.is_empty() {
            self.first_byte();
            self.take(key, offset, std::slice::from_ref(piece));
        }
    }

    fn take(&self, key: &str, offset: u64, pieces: &[Bytes]) -> Verdict {
        let newest = self.sums.lock().newest;
        let verdict = self.checker.check(key, offset, pieces.iter().map(|piece| &piece[..]), newest);
        let elapsed = self.started.elapsed();
        let Sums { outcome, is_fast, .. } = &mut *self.sums.lock();
        outcome.delivered_bytes += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if outcome.delivered_bytes >= START_BYTES {
            outcome.start_bytes_ms.get_or_insert(ms(elapsed));
        }
        *is_fast |= outcome.delivered_bytes >= FAST_BYTES && self.limit.is_some_and(|limit| elapsed < limit);
        outcome.wrong_bytes += verdict.wrong_bytes;
        verdict
    }

    /// Records the read of `range`, for which its reader waited since `began`.
    pub fn read_ended(&self, began: Instant, range: &Range<u64>) {
        let took = began.elapsed();
        self.read_overlapped(took);
        self.waited(took);
        if let Some(reads) = &mut self.sums.lock().reads {
            let start = began - self.started;
            let (offset, len) = (range.start, range.end - range.start);
            reads.push(Bar {
                start_ms: ms(start),
                end_ms: ms(start + took),
                offset,
                len,
                is_ahead: false,
                is_cancelled: false,
            });
        }
    }

    /// Records a read that took `time` while its reader had others in flight.
    pub fn read_overlapped(&self, time: Duration) {
        self.sums.lock().outcome.latencies_us.push(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Records that a reader waited for `time`.
    pub fn waited(&self, time: Duration) {
        self.sums.lock().outcome.stalled_ms += ms(time);
    }

    /// Records that the object has a new version.
    pub fn overwritten(&self, version: u64) {
        self.sums.lock().newest = version;
    }

    /// Records that a handle reported that the object changed.
    pub fn change_told(&self) {
        self.sums.lock().outcome.changes_told += 1;
    }

    /// Records that a handle returned bytes of two versions.
    pub fn change_mixed(&self) {
        self.sums.lock().outcome.changes_mixed += 1;
    }

    /// Ends the run.
    #[must_use]
    pub fn finish(self) -> Outcome {
        let elapsed = self.started.elapsed();
        Outcome {
            started_us: self.started_us,
            ended_us: process::unix_us(),
            elapsed_ms: ms(elapsed),
            peak_memory_bytes: process::peak_memory_bytes(),
            cpu_s: process::cpu_time().zip(self.cpu_before).map(|(now, before)| (now - before).as_secs_f64()),
            ..self.sums.into_inner().outcome
        }
    }
}

fn us_time(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// Bytes in units of 10⁶.
#[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
#[must_use]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A time in milliseconds, to the microsecond.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_sim::Content;

    #[tokio::test(start_paused = true)]
    async fn a_run_adds_up() {
        let meter = Meter::start(Checker::Simulated, Some(Duration::from_secs(1)));
        let bytes = Content::new("a", FIRST_GENERATION).bytes(0..100);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(
            meter.deliver("a", &(0..100), &[bytes.slice(..40), bytes.slice(40..)]).unwrap(),
            Some(FIRST_GENERATION)
        );
        assert!(meter.deliver("a", &(0..101), std::slice::from_ref(&bytes)).is_err(), "a short read is an error");
        meter.deliver_piece("a", 1, &bytes);
        meter.read_ended(Instant::now() - Duration::from_millis(30), &(0..100));
        assert!(!meter.is_over());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(meter.is_over());
        let outcome = meter.finish();
        assert_eq!((outcome.elapsed_ms, outcome.first_byte_ms, outcome.stalled_ms), (1030.0, Some(30.0), 30.0));
        assert_eq!((outcome.delivered_bytes, outcome.latencies_us), (200, vec![30_000]));
        assert!(outcome.wrong_bytes > 90, "{}", outcome.wrong_bytes);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_starts_fast_has_no_limit() {
        for (wait_ms, is_over) in [(999, false), (1001, true)] {
            let meter = Meter::start(Checker::Simulated, Some(Duration::from_secs(1)));
            let bytes = Bytes::from(vec![0; 64 << 20]);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            (0..4).for_each(|_| meter.deliver_piece("a", 0, &bytes));
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!((meter.is_over(), meter.end().is_some()), (is_over, is_over), "{wait_ms} ms");
            assert!((meter.finish().start_mb_per_s().unwrap() - 268.4).abs() < 1.0);
        }
    }

    #[test]
    fn processes_are_one_run() {
        let one = |started_us, ended_us| Outcome {
            started_us,
            ended_us,
            first_byte_ms: Some(5.0),
            latencies_us: vec![started_us],
            delivered_bytes: 1_000_000,
            peak_memory_bytes: Some(3),
            base_memory_bytes: Some(1),
            cpu_s: Some(0.5),
            wrong_bytes: 1,
            ..Outcome::default()
        };
        let all = Outcome::of_all(vec![one(2_000, 9_000), one(1_000, 5_000)]).unwrap();
        assert_eq!((all.elapsed_ms, all.first_byte_ms, all.memory_bytes()), (8.0, Some(5.0), Some(4)));
        assert_eq!((all.delivered_bytes, all.wrong_bytes, all.cpu_s), (2_000_000, 2, Some(1.0)));
        assert!((all.mb_per_s() - 250.0).abs() < 1e-9);
        assert_eq!(Outcome::of_all(vec![]), None);
    }
}
