//! The states of the disk: what is tried while reads or writes fail, or take longer than fetching.

use std::time::Duration;

use serde::Serialize;

/// Faults in a row after which a gate closes.
const MAX_FAULTS: u32 = 3;

/// How long a gate is closed the first time. Every further time it is closed for twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest time without a try.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How well the disk works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiskState {
    /// Pages are read and written.
    #[default]
    Normal,
    /// Writes fail (a full or read-only disk), or reads of what is not in the page cache take longer than fetching.
    /// The rest goes on, and what fails is tried again from time to time.
    Unstable,
    /// Reads fail. Everything is fetched; one read is tried from time to time.
    Down,
}

/// Closes after faults in a row, and lets single tries through until one succeeds.
#[derive(Debug, Default)]
pub(crate) struct FaultGate {
    faults: u32,
    closed: Option<ClosedGate>,
}

#[derive(Debug, Clone, Copy)]
struct ClosedGate {
    next_try: Duration,
    pause: Duration,
}

impl FaultGate {
    /// Whether a try may be made now, for a caller that does not make it.
    pub(crate) fn could_try(&self, now: Duration) -> bool {
        self.closed.is_none_or(|closed| now >= closed.next_try)
    }

    /// Whether to try now. A closed gate lets one through when its pause is over, and then pauses again.
    pub(crate) fn may_try(&mut self, now: Duration) -> bool {
        match &mut self.closed {
            None => true,
            Some(closed) if now < closed.next_try => false,
            Some(closed) => {
                closed.next_try = now + closed.pause;
                true
            }
        }
    }

    /// Whether the gate is closed: tries are the exception.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// A try has failed. Returns whether the gate was open and is closed now.
    pub(crate) fn failed(&mut self, now: Duration) -> bool {
        self.faults += 1;
        match &mut self.closed {
            Some(closed) => {
                closed.pause = (closed.pause * 2).min(LONGEST_PAUSE);
                closed.next_try = now + closed.pause;
                false
            }
            None if self.faults < MAX_FAULTS => false,
            None => {
                self.closed = Some(ClosedGate { next_try: now + FIRST_PAUSE, pause: FIRST_PAUSE });
                true
            }
        }
    }

    /// A try has succeeded. Returns whether the gate was closed.
    pub(crate) fn worked(&mut self) -> bool {
        self.faults = 0;
        self.closed.take().is_some()
    }
}

/// The gates of one disk.
#[derive(Debug, Default)]
pub(crate) struct DiskHealth {
    /// Closed while reads fail.
    pub(crate) reads: FaultGate,
    /// Closed while reads that wait for the disk are later than fetching.
    pub(crate) waits: FaultGate,
    /// Closed while writes fail.
    pub(crate) writes: FaultGate,
}

impl DiskHealth {
    /// Whether anything has failed since its last success.
    pub(crate) fn has_faults(&self) -> bool {
        [&self.reads, &self.waits, &self.writes].iter().any(|gate| gate.faults > 0)
    }

    pub(crate) fn state(&self) -> DiskState {
        if self.reads.is_closed() {
            DiskState::Down
        } else if self.waits.is_closed() || self.writes.is_closed() {
            DiskState::Unstable
        } else {
            DiskState::Normal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn fail_thrice(gate: &mut FaultGate) {
        for _ in 0..3 {
            let _ = gate.failed(at(0.0));
        }
    }

    #[test]
    fn three_faults_in_a_row_close_a_gate_and_one_success_opens_it() {
        let mut gate = FaultGate::default();
        assert!(!gate.failed(at(0.0)) && !gate.failed(at(0.0)));
        gate.worked();
        assert!(!gate.failed(at(0.0)) && !gate.failed(at(0.0)) && gate.failed(at(0.0)));
        assert!(!gate.may_try(at(0.9)));
        assert!(!gate.could_try(at(0.9)) && gate.could_try(at(1.0)) && gate.could_try(at(1.0)), "a question is no try");
        assert!(gate.may_try(at(1.0)) && !gate.may_try(at(1.1)) && !gate.could_try(at(1.1)), "one at a time");
        assert!(gate.worked() && gate.may_try(at(1.2)) && !gate.is_closed());
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut gate = FaultGate::default();
        fail_thrice(&mut gate);
        let mut now = 0.0;
        let mut tries = 0;
        while now < 3600.0 {
            now += 0.1;
            if gate.may_try(at(now)) {
                tries += 1;
                gate.failed(at(now));
            }
        }
        assert!((60..=70).contains(&tries), "{tries}");
    }

    #[test]
    fn failed_reads_are_worse_than_failed_writes() {
        let mut health = DiskHealth::default();
        fail_thrice(&mut health.writes);
        assert_eq!(health.state(), DiskState::Unstable);
        fail_thrice(&mut health.reads);
        assert_eq!(health.state(), DiskState::Down);
        health.reads.worked();
        health.writes.worked();
        assert_eq!(health.state(), DiskState::Normal);
    }
}
