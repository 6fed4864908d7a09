//! How long a read waits for the disk before it fetches: learned from how long both take.

use std::time::Duration;

/// A new observation counts for this part of an estimate.
const WEIGHT: f64 = 0.125;

/// The time to the first byte of a fetch, until one has been measured. A store in the same data centre takes longer.
const UNKNOWN_LINK: Duration = Duration::from_millis(10);

/// The shortest wait. With 1 ms, eight processes on two busy cores took a part of their reads for late that had only
/// waited for a thread. It is lost at most three times in a row, and then once a second.
const LEAST_WAIT: Duration = Duration::from_millis(5);

/// The part of a fetch's time that a read waits for a disk that has shown nothing: a failed wait costs so much more.
const LINK_SHARE: u32 = 12;

/// What reads from the disk and from the store take.
#[derive(Debug, Default)]
pub(crate) struct DiskPace {
    disk_s: Option<f64>,
    link_s: Option<f64>,
}

impl DiskPace {
    /// A read that had to wait for the disk has taken so long.
    pub(crate) fn disk_took(&mut self, time: Duration) {
        observe(&mut self.disk_s, time);
    }

    /// The first byte of a fetch has taken so long.
    pub(crate) fn link_took(&mut self, time: Duration) {
        observe(&mut self.link_s, time);
    }

    /// How long a read waits for the disk. A twelfth of what a fetch takes, and more where the disk has been faster
    /// than the link: twice its own time, at most the time of a fetch.
    pub(crate) fn patience(&self) -> Duration {
        let link = self.link_s.map_or(UNKNOWN_LINK, Duration::from_secs_f64);
        let least = (link / LINK_SHARE).max(LEAST_WAIT);
        match self.disk_s.map(Duration::from_secs_f64) {
            Some(disk) if disk < link => (disk * 2).min(link).max(least),
            _ => least,
        }
    }
}

fn observe(estimate: &mut Option<f64>, time: Duration) {
    let time_s = time.as_secs_f64();
    *estimate = Some(estimate.map_or(time_s, |before| before + WEIGHT * (time_s - before)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a read waits after these times in milliseconds.
    fn patience_ms(disk: &[u64], link: &[u64]) -> u64 {
        let mut pace = DiskPace::default();
        disk.iter().for_each(|ms| pace.disk_took(Duration::from_millis(*ms)));
        link.iter().for_each(|ms| pace.link_took(Duration::from_millis(*ms)));
        u64::try_from(pace.patience().as_millis()).expect("short")
    }

    #[test]
    fn a_fast_disk_is_waited_for_and_a_slow_one_hardly() {
        assert_eq!(patience_ms(&[], &[]), 5);
        assert_eq!(patience_ms(&[], &[60]), 5);
        assert_eq!(patience_ms(&[1, 1], &[60]), 5);
        assert_eq!(patience_ms(&[10, 10], &[60]), 20);
        assert_eq!(patience_ms(&[50, 50], &[60]), 60);
        assert_eq!(patience_ms(&[200], &[60]), 5, "fetching is sooner");
        assert_eq!(patience_ms(&[200, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], &[60]), 60, "it has become faster");
    }
}
