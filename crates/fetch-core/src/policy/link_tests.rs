//! Tests of [`Estimator`]: rates of streams and of the link, what says nothing about them, and random events.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn starts_from_the_profile() {
    let link = Estimator::new(BackendProfile::default()).link();
    assert_eq!(link.ttfb_p95, 30 * MS);
    assert_eq!(link.round_trip_bytes(), 1_800_000);
}

#[test]
fn requests_that_open_connections_tell_nothing_about_others() {
    let mut estimator = Estimator::new(BackendProfile::default());
    for (ttfb_ms, connects, expected_ms) in [(80, true, 40), (35, false, 35)] {
        for _ in 0..16 {
            estimator.on_first_byte(ttfb_ms * MS, connects);
        }
        let (link, with) = (estimator.link(), estimator.link_with_connecting());
        assert_eq!([link.ttfb_p50, link.ttfb_p95], [expected_ms * MS; 2]);
        assert_eq!(with.ttfb_p95, 80 * MS);
    }
}

/// `streams` bodies share a link. A slow link lowers the aggregate estimate, an idle one does not.
#[track_caller]
fn aggregate_after(streams: u64, bytes_per_ms: u64) -> f64 {
    let mut estimator = Estimator::new(BackendProfile::default());
    for _ in 0..streams {
        estimator.on_body_start(Duration::ZERO);
    }
    for ms in 1..1000 {
        estimator.on_bytes(ms * MS, bytes_per_ms);
    }
    estimator.link().aggregate_bytes_per_s
}

#[test]
fn only_a_full_link_lowers_the_aggregate() {
    assert!((aggregate_after(32, 200_000) - 200e6).abs() < 10e6, "32 streams got 200 MB/s: that is the link");
    assert!((aggregate_after(1, 60_000) - 1e9).abs() < 1.0, "one stream at its own rate says nothing");
    assert!(aggregate_after(2, 2_000_000) > 1.9e9, "more than we thought is believed at once");
}

#[test]
fn a_share_of_a_full_link_does_not_lower_the_stream() {
    let mut estimator = Estimator::new(BackendProfile::default());
    let mut body = EndedBody { bytes: 8_000_000, elapsed: 250 * MS, all_bytes: 250_000_000, ..EndedBody::default() };
    for _ in 0..64 {
        estimator.on_body_end(250 * MS, body);
    }
    assert!((estimator.link().stream_bytes_per_s - 60e6).abs() < 1.0, "32 MB/s of 1,000 is a share");
    body.all_bytes = body.bytes;
    for _ in 0..64 {
        estimator.on_body_end(500 * MS, body);
    }
    assert!((estimator.link().stream_bytes_per_s - 32e6).abs() < 1.0, "32 MB/s alone is the stream");
}

/// `streams` bodies at once, over a link that brings 20 MB/s in all, of 2 MB each.
fn share_20_mb_per_s(estimator: &mut Estimator, at: &mut Duration, streams: u64) {
    let before = (0..streams).map(|_| estimator.on_body_start(*at)).max().unwrap_or(0);
    let began = *at;
    for _ in 0..100 * streams {
        *at += MS;
        estimator.on_bytes(*at, 20_000);
    }
    let all_bytes = estimator.all_bytes() - before;
    for _ in 0..streams {
        let elapsed = *at - began;
        estimator.on_body_end(*at, EndedBody { bytes: 2_000_000, elapsed, all_bytes, ..EndedBody::default() });
    }
}

#[test]
fn slow_streams_make_the_link_unknown_until_more_of_them_bring_no_more() {
    let (mut estimator, mut at) = (Estimator::new(BackendProfile::default()), Duration::ZERO);
    share_20_mb_per_s(&mut estimator, &mut at, 1);
    assert_eq!(estimator.link(), Estimator::new(BackendProfile::default()).link(), "one slow body says nothing");
    (0..5).for_each(|_| share_20_mb_per_s(&mut estimator, &mut at, 1));
    let link = estimator.link();
    assert!((link.stream_bytes_per_s - 20e6).abs() < 1e6, "{link:?}");
    assert!((link.aggregate_bytes_per_s - 40e6).abs() < 2e6, "twice what it has carried: {link:?}");
    (0..40).for_each(|_| share_20_mb_per_s(&mut estimator, &mut at, 4));
    let link = estimator.link();
    assert!((link.stream_bytes_per_s - 20e6).abs() < 1e6, "5 MB/s are a share: {link:?}");
    assert!((link.aggregate_bytes_per_s - 20e6).abs() < 1e6, "more streams brought no more: {link:?}");
}

#[test]
fn a_stream_is_not_faster_than_the_link() {
    let (mut estimator, mut at) = (Estimator::new(BackendProfile::default()), Duration::ZERO);
    (0..40).for_each(|_| share_20_mb_per_s(&mut estimator, &mut at, 4));
    let link = estimator.link();
    assert!((link.stream_bytes_per_s - 20e6).abs() < 1e6, "60 MB/s as the profile says are not possible: {link:?}");
    assert!((link.aggregate_bytes_per_s - 20e6).abs() < 1e6, "{link:?}");
}

#[test]
fn bytes_that_arrive_at_once_after_a_late_answer_show_no_faster_stream() {
    let mut estimator = Estimator::new(BackendProfile::default());
    let mut bodies = |number, bytes, ttfb_ms, elapsed_ms| {
        for _ in 0..number {
            estimator.on_first_byte(ttfb_ms * MS, false);
            let (ttfb, elapsed) = (ttfb_ms * MS, elapsed_ms * MS);
            let body = EndedBody { bytes, ttfb, elapsed, all_bytes: bytes, ..EndedBody::default() };
            estimator.on_body_end(Duration::ZERO, body);
        }
        (estimator.link().stream_bytes_per_s / 1e6).round()
    };
    assert_eq!(bodies(7, 4_000_000, 96, 4), 60.0, "1,000 MB/s is a burst, also at the start");
    assert_eq!(bodies(10, 4_000_000, 30, 4), 133.0, "no more than in the time to a first byte");
    assert_eq!(bodies(64, 4_000_000, 30, 67), 60.0);
    assert_eq!(bodies(10, 4_000_000, 32, 38), 100.0, "100 MB/s after 30 ms are possible");
    assert_eq!(bodies(64, 4_000_000, 30, 67), 60.0);
    assert_eq!(bodies(600, 4_000_000, 100, 4), 60.0, "late answers alone are late, too");
}

#[test]
fn streams_of_different_rates_do_not_make_a_link_look_full() {
    let mut estimator = Estimator::new(BackendProfile::default());
    for n in 0..64 {
        let bytes = 3_000_000 * (n % 3 + 1);
        let body = EndedBody { bytes, elapsed: 100 * MS, all_bytes: bytes, ..EndedBody::default() };
        estimator.on_body_end(Duration::ZERO, body);
    }
    assert!((estimator.link().stream_bytes_per_s - 90e6).abs() < 1.0);
    (0..8).for_each(|_| {
        estimator.on_body_start(Duration::ZERO);
    });
    (1..1_000).for_each(|ms| estimator.on_bytes(ms * MS, 8 * 60_000));
    assert!(estimator.link().aggregate_bytes_per_s >= 1e9, "8 streams of 30, 60 and 90 MB/s carry 480");
}

/// Any profile: `LinkEstimate::new` accepts one without a check.
fn profile() -> impl Strategy<Value = BackendProfile> {
    let rate = || prop_oneof![2 => Just(60e6), 1 => prop::num::f64::ANY];
    let ttfb = prop_oneof![Just(30 * MS), Just(Duration::ZERO), Just(Duration::MAX)];
    (ttfb, rate(), rate()).prop_map(|(ttfb, stream_bytes_per_s, aggregate_bytes_per_s)| BackendProfile {
        ttfb,
        stream_bytes_per_s,
        aggregate_bytes_per_s,
        ..BackendProfile::default()
    })
}

proptest! {
    #[test]
    fn always_a_usable_link(
        profile in profile(),
        events in prop::collection::vec((0_u8..4, 0_u32..5_000, 0_u64..50_000_000, 0_u32..500), 0..200),
    ) {
        let mut estimator = Estimator::new(profile);
        let unmeasured = estimator.link();
        prop_assert!(unmeasured.stream_bytes_per_s >= 1.0 && unmeasured.aggregate_bytes_per_s.is_finite());
        let mut now = Duration::ZERO;
        for (kind, ms, bytes, other_ms) in events {
            now += ms * MS;
            match kind {
                0 => estimator.on_first_byte(ms * MS, false),
                1 => { estimator.on_body_start(now); }
                2 => estimator.on_bytes(now, bytes),
                _ => {
                    let (elapsed, ttfb, unread) = (ms * MS, other_ms * MS, (other_ms % 100) * MS);
                    let all_bytes = bytes * u64::from(ms % 40);
                    estimator.on_body_end(now, EndedBody { bytes, ttfb, elapsed, all_bytes, unread });
                }
            }
            let link = estimator.link();
            prop_assert!(link.stream_bytes_per_s > 0.0 && link.stream_bytes_per_s.is_finite());
            prop_assert!(link.aggregate_bytes_per_s >= link.stream_bytes_per_s);
            prop_assert!(link.ttfb_p50 <= link.ttfb_p95);
        }
    }
}
