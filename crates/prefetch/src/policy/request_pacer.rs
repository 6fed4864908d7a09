//! Spreads requests over time, as TCP pacing does (Aggarwal, Savage and Anderson 2000; BBR).
//!
//! Requests of one size that are sent together share the link, end together, and leave it idle until the answers to the
//! next ones begin. 407 GETs of 100 KB in flight at 30 ms reach 569 of 1,000 MB/s in this way (10,000 objects, in
//! virtual time), and 923 if each is sent when the link has time for its bytes. Once they are spread, they stay so: a
//! request is sent when another has ended.

use std::time::Duration;

/// A request may be sent this much too early, because timers are no finer.
const EARLY: Duration = Duration::from_millis(1);

/// Requests that were due within this time may be sent at once: a task may be woken late.
const CATCH_UP: Duration = Duration::from_millis(5);

/// When the next request is due, as time since an arbitrary start. The generic cell rate algorithm (ITU-T I.371).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestPacer {
    due: Duration,
}

impl RequestPacer {
    /// How long to wait before a request for `bytes` is sent, on a link that carries `bytes_per_s`. Counts the request
    /// as sent.
    pub(crate) fn pause(&mut self, now: Duration, bytes: u64, bytes_per_s: f64) -> Duration {
        let due = self.due.max(now.saturating_sub(CATCH_UP));
        let lasts = Duration::try_from_secs_f64(bytes as f64 / bytes_per_s).unwrap_or_default();
        self.due = due.saturating_add(lasts);
        let early = due.saturating_sub(now);
        if early <= EARLY { Duration::ZERO } else { early }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn requests_are_spread_by_the_millisecond() {
        let (mut pacer, mut now, mut sent) = (RequestPacer::default(), 100 * MS, Vec::new());
        for _ in 0..60 {
            now += pacer.pause(now, 100_000, 1e9);
            sent.push(now.as_millis());
        }
        assert_eq!(sent[59] - sent[0], 0, "what was due within 5 ms, and 1 ms more");
        for _ in 0..1000 {
            now += pacer.pause(now, 100_000, 1e9);
        }
        assert_eq!(now.as_millis() - sent[59], 100, "1,000 objects of 0.1 ms");
    }

    #[test]
    fn no_rate_is_no_pause() {
        assert_eq!(RequestPacer::default().pause(MS, 1, 0.0), Duration::ZERO);
        assert_eq!(RequestPacer::default().pause(MS, u64::MAX, f64::NAN), Duration::ZERO);
    }

    proptest! {
        /// However late its task runs, requests of any size keep the rate, within what may be caught up.
        #[test]
        fn the_rate_is_kept(requests in prop::collection::vec((1_u64..5_000_000, 0_u32..20), 1..200)) {
            let (mut pacer, mut now, start) = (RequestPacer::default(), Duration::ZERO, Duration::ZERO);
            let mut sent_bytes = 0.0;
            for (bytes, late_ms) in requests {
                now += pacer.pause(now, bytes, 1e9) + late_ms * MS;
                let allowed = (now - start + CATCH_UP + EARLY).as_secs_f64() * 1e9;
                prop_assert!(sent_bytes <= allowed, "{sent_bytes} bytes by {now:?}");
                sent_bytes += bytes as f64;
            }
        }
    }
}
