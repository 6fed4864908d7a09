//! The clock that stops while anybody waits for us: a reader is not slow while it waits. Pure.

use std::time::Duration;

/// How many reads wait now, since when, and how long any have in all.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    reads: u32,
    since: Duration,
    in_all: Duration,
}

impl Waiting {
    /// One read more waits. Returns the time so far in which nobody did.
    pub(crate) fn begin(&mut self, now: Duration) -> Duration {
        if self.reads == 0 {
            self.since = now;
        }
        self.reads += 1;
        self.since.saturating_sub(self.in_all)
    }

    /// One read fewer waits. Returns the time so far in which nobody did.
    pub(crate) fn end(&mut self, now: Duration) -> Duration {
        self.reads = self.reads.saturating_sub(1);
        if self.reads > 0 {
            return self.since.saturating_sub(self.in_all);
        }
        self.in_all += now.saturating_sub(self.since);
        now.saturating_sub(self.in_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_waits_count_once() {
        let ms = Duration::from_millis;
        let mut waiting = Waiting::default();
        assert_eq!(waiting.begin(ms(10)), ms(10));
        assert_eq!(waiting.begin(ms(20)), ms(10));
        assert_eq!(waiting.end(ms(30)), ms(10));
        assert_eq!(waiting.end(ms(40)), ms(10));
        assert_eq!(waiting.begin(ms(45)), ms(15));
    }
}
