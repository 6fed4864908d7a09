//! Measures one run: takes the bytes as they come, checks each, and times the reads.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::check::Checker;
use super::process;

/// Times and bytes of one run in the making.
pub(crate) struct Meter {
    checker: Checker,
    limit: Option<Duration>,
    started: Instant,
    cpu_before: Option<Duration>,
    first_byte: Option<Duration>,
    reads: Vec<Duration>,
    waited: Duration,
    bytes_delivered: u64,
    wrong_bytes: u64,
}

/// What one run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// From the start to the end of the last read.
    pub(crate) elapsed_ms: f64,
    /// Until the reader held its first byte.
    pub(crate) first_byte_ms: Option<f64>,
    /// Half of the reads took no longer.
    pub(crate) p50_ms: Option<f64>,
    /// 99 % of the reads took no longer.
    pub(crate) p99_ms: Option<f64>,
    /// Time the reader waited for bytes.
    pub(crate) stalled_ms: f64,
    /// Bytes the reader got.
    pub(crate) bytes_delivered: u64,
    /// Bytes that were not the object's.
    pub(crate) wrong_bytes: u64,
    /// The process's peak memory; unknown in virtual time, where runs share a process.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// CPU time of the run, the check of every byte included.
    pub(crate) cpu_s: Option<f64>,
}

impl Meter {
    /// Starts the clock. The run is over after `limit`, or never by itself.
    pub(crate) fn start(checker: Checker, limit: Option<Duration>) -> Self {
        Self {
            checker,
            limit,
            started: Instant::now(),
            cpu_before: process::cpu_time(),
            first_byte: None,
            reads: Vec::new(),
            waited: Duration::ZERO,
            bytes_delivered: 0,
            wrong_bytes: 0,
        }
    }

    /// Whether the run has had its time.
    pub(crate) fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.started.elapsed() >= limit)
    }

    /// The reader has bytes in hand. Only the first call counts.
    pub(crate) fn first_byte(&mut self) {
        self.first_byte.get_or_insert_with(|| self.started.elapsed());
    }

    /// Takes and checks bytes that the reader holds now.
    pub(crate) fn deliver(&mut self, offset: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.first_byte();
            self.bytes_delivered += bytes.len() as u64;
            self.wrong_bytes += self.checker.wrong_bytes(offset, bytes);
        }
    }

    /// The reader waited `time` for one read.
    pub(crate) fn read_took(&mut self, time: Duration) {
        self.read_overlapped(time);
        self.waited(time);
    }

    /// A read took `time` while others were under way.
    pub(crate) fn read_overlapped(&mut self, time: Duration) {
        self.reads.push(time);
    }

    /// The reader waited `time` for whatever came first.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// The read of `range` ended after `bytes`.
    ///
    /// # Errors
    /// Where that is not the whole range: a reader that stops early is as wrong as one that invents bytes.
    pub(crate) fn expect_whole(range: &Range<u64>, bytes: u64) -> anyhow::Result<()> {
        let wanted = range.end - range.start;
        anyhow::ensure!(bytes == wanted, "the read of {range:?} gave {bytes} of {wanted} bytes");
        Ok(())
    }

    /// Ends the run.
    pub(crate) fn finish(mut self) -> Run {
        let elapsed = self.started.elapsed();
        self.reads.sort_unstable();
        Run {
            elapsed_ms: ms(elapsed),
            first_byte_ms: self.first_byte.map(ms),
            p50_ms: quantile(&self.reads, 50).map(ms),
            p99_ms: quantile(&self.reads, 99).map(ms),
            stalled_ms: ms(self.waited),
            bytes_delivered: self.bytes_delivered,
            wrong_bytes: self.wrong_bytes,
            peak_memory_bytes: process::peak_memory_bytes(),
            cpu_s: process::cpu_time().zip(self.cpu_before).map(|(now, before)| (now - before).as_secs_f64()),
        }
    }
}

impl Run {
    /// Delivered bytes per time, in 10⁶ bytes per second.
    pub(crate) fn mb_per_s(&self) -> f64 {
        megabytes(self.bytes_delivered) / (self.elapsed_ms / 1000.0)
    }

    /// CPU time per 10⁹ bytes delivered.
    pub(crate) fn cpu_s_per_gb(&self) -> Option<f64> {
        self.cpu_s.filter(|_| self.bytes_delivered > 0).map(|cpu_s| cpu_s / (megabytes(self.bytes_delivered) / 1000.0))
    }
}

/// 10⁶ bytes.
#[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// The nearest-rank quantile of `sorted`.
pub(crate) fn quantile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_real_samples() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        for (percent, expected) in [(50, 100), (99, 198), (100, 200)] {
            assert_eq!(quantile(&times, percent), Some(Duration::from_millis(expected)), "p{percent}");
        }
        assert_eq!(quantile(&times[..1], 99), Some(Duration::from_millis(1)));
        assert_eq!(quantile::<Duration>(&[], 50), None);
    }

    #[test]
    fn a_short_read_is_an_error() {
        assert!(Meter::expect_whole(&(10..20), 10).is_ok());
        assert!(Meter::expect_whole(&(10..20), 9).is_err());
    }
}
