//! Tests of the link model.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// A link of `stream` and `nic` bytes a second.
fn link(stream: f64, nic: f64, window: u64) -> LinkModel {
    LinkModel::new(&LinkProfile {
        stream_bytes_per_s: stream,
        nic_bytes_per_s: nic,
        receive_window_bytes: window,
        ..LinkProfile::gcs()
    })
}

/// Reads a stream to its end without delay and returns the time of its last byte.
fn drain(link: &mut LinkModel, mut now: Duration, id: LinkStreamId) -> Duration {
    loop {
        match link.pull(now, id, u64::MAX) {
            Pull::Ready(_) => {}
            Pull::NotBefore(due) => now = due,
            Pull::End => return now,
        }
    }
}

#[test]
fn a_chunk_is_due_at_the_exact_time_of_the_rate() {
    let mut link = LinkModel::new(&LinkProfile::gcs());
    let id = link.open(Duration::ZERO, 30 * MS, 10 * CHUNK_BYTES);
    assert_eq!(link.pull(Duration::ZERO, id, u64::MAX), Pull::NotBefore(30 * MS));
    let first = Duration::from_nanos(30_000_000 + 1_092_267);
    assert_eq!(link.pull(30 * MS, id, u64::MAX), Pull::NotBefore(first));
    assert_eq!(link.pull(first, id, u64::MAX), Pull::Ready(CHUNK_BYTES));
    assert_eq!(link.pull(33 * MS, id, u64::MAX), Pull::Ready(180_000 - CHUNK_BYTES), "late, and all that is due");
    assert_eq!(drain(&mut link, 33 * MS, id), Duration::from_nanos(30_000_000 + 10_922_667));
}

#[test]
fn an_unshaped_link_has_everything_at_once() {
    let mut link = LinkModel::new(&LinkProfile::loopback());
    for _ in 0..3 {
        let ids = [1 << 40, 5, 0].map(|len| link.open(MS, MS, len));
        assert_eq!(ids.map(|id| link.pull(MS, id, 1 << 50)), [Pull::Ready(1 << 40), Pull::Ready(5), Pull::End]);
        assert_eq!(ids.map(|id| link.close(MS, id)), [1 << 40, 5, 0]);
    }
}

#[test]
fn streams_share_the_nic_and_speed_up_when_another_ends_or_is_closed() {
    let mut link = link(100e6, 100e6, u64::MAX);
    let short = link.open(Duration::ZERO, Duration::ZERO, 1_000_000);
    let long = link.open(Duration::ZERO, Duration::ZERO, 3_000_000);
    let closed = link.open(Duration::ZERO, 20 * MS, u64::MAX >> 12);
    // Two streams share the link until 20 ms.
    assert_eq!(drain(&mut link, Duration::ZERO, short), 20 * MS);
    // Two streams share the link until `closed` is closed at 30 ms.
    assert_eq!(link.close(30 * MS, closed), 500_000);
    assert_eq!(drain(&mut link, 30 * MS, long), 45 * MS);
}

#[test]
fn a_slow_reader_stops_its_stream_and_frees_the_link_for_others() {
    let mut link = link(100e6, 100e6, 1_000_000);
    let unread = link.open(Duration::ZERO, Duration::ZERO, 5_000_000);
    let read = link.open(Duration::ZERO, Duration::ZERO, 9_000_000);
    // 20 ms for 1 MB each, then 80 ms for the other 8 MB alone.
    assert_eq!(drain(&mut link, Duration::ZERO, read), 100 * MS);
    assert_eq!(link.pull(200 * MS, unread, 400_000), Pull::Ready(400_000));
    assert_eq!(link.pull(202 * MS, unread, u64::MAX), Pull::Ready(800_000), "600,000 that waited, 200,000 since");
    assert_eq!(link.close(300 * MS, unread), 2_200_000, "a window beyond what was taken");
}

/// An operation of a test on a link.
#[derive(Debug, Clone)]
enum Op {
    Open { wait_us: u64, len: u64 },
    Pull { which: prop::sample::Index, max: u64 },
    Close { which: prop::sample::Index },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0_u64..3_000, 0_u64..2_000_000).prop_map(|(wait_us, len)| Op::Open { wait_us, len }),
        (any::<prop::sample::Index>(), 1_u64..500_000).prop_map(|(which, max)| Op::Pull { which, max }),
        any::<prop::sample::Index>().prop_map(|which| Op::Close { which }),
    ]
}

/// Whether two byte counts differ by no more than rounding to nanoseconds and whole bytes.
fn about(bytes: f64, expected: f64, streams: usize) -> bool {
    (bytes - expected).abs() <= 2.0 + streams as f64
}

proptest! {
    /// Within every interval between operations, no stream exceeds its rate, all together do not exceed the NIC's rate,
    /// streams that are active throughout receive equal bytes, and the link is fully used while streams are active.
    #[test]
    fn rates_are_kept_shared_and_used_up(
        ops in prop::collection::vec((0_u64..2_000, op()), 1..60),
        window in 70_000_u64..400_000,
    ) {
        const STREAM: f64 = 60e6;
        const NIC: f64 = 150e6;
        let mut link = link(STREAM, NIC, window);
        let mut open: Vec<LinkStreamId> = Vec::new();
        let mut now = Duration::ZERO;
        for (wait_us, op) in ops {
            let seconds = wait_us as f64 / 1e6;
            let state = |link: &LinkModel, id| (link.sent(&link.streams[id]), link.streams[id].phase);
            let all: Vec<(u64, Phase)> = open.iter().map(|id| state(&link, id)).collect();
            now += Duration::from_micros(wait_us);
            link.advance(now);
            let grown = open.iter().zip(&all).map(|(id, (sent, _))| (state(&link, id).0 - sent) as f64);
            let grown: Vec<f64> = grown.collect();
            let total: f64 = grown.iter().sum();
            let is_kept = grown.iter().all(|bytes| *bytes <= STREAM * seconds + 2.0);
            prop_assert!(is_kept, "a stream is too fast: {grown:?} in {seconds} s");
            let most = NIC * seconds + 2.0 + open.len() as f64;
            prop_assert!(total <= most, "the NIC is too fast: {total} in {seconds} s");
            let throughout: Vec<f64> = open
                .iter()
                .zip(&all)
                .zip(&grown)
                .filter(|((id, (_, before)), _)| {
                    matches!((before, link.streams[id].phase), (Phase::Active { .. }, Phase::Active { .. }))
                })
                .map(|(_, bytes)| *bytes)
                .collect();
            if let Some(first) = throughout.first() {
                prop_assert!(throughout.iter().all(|bytes| about(*bytes, *first, 0)), "unfair: {throughout:?}");
                prop_assert!(
                    total >= (STREAM * throughout.len() as f64).min(NIC) * seconds - 2.0 - open.len() as f64,
                    "idle: {total} in {seconds} s with {} streams", throughout.len()
                );
            }
            match op {
                Op::Open { wait_us, len } => open.push(link.open(now, now + Duration::from_micros(wait_us), len)),
                Op::Pull { which, max } if !open.is_empty() => match link.pull(now, *which.get(&open), max) {
                    Pull::Ready(bytes) => prop_assert!((1..=max).contains(&bytes)),
                    Pull::NotBefore(due) => prop_assert!(due > now),
                    Pull::End => {}
                },
                Op::Close { which } if !open.is_empty() => {
                    let id = open.remove(which.index(open.len()));
                    link.close(now, id);
                }
                _ => {}
            }
        }
        let left: Vec<u64> = open.iter().map(|id| link.streams[id].len).collect();
        for (id, len) in open.into_iter().zip(left) {
            drain(&mut link, now, id);
            now = link_now(&link);
            prop_assert_eq!(link.close(now, id), len, "every byte is due at last");
        }
        prop_assert_eq!(link.open_streams(), 0);
        prop_assert!(link.stops.is_empty() && link.arrivals.is_empty());
    }

    /// Every predicted time is exact: at that time a chunk is ready, and not much more than a chunk.
    #[test]
    fn predicted_times_are_exact(streams in prop::collection::vec((0_u64..5_000, 1_u64..3_000_000), 1..12)) {
        let mut link = link(60e6, 150e6, u64::MAX);
        let mut due: Vec<(Duration, LinkStreamId)> = streams
            .iter()
            .map(|&(at, len)| (Duration::ZERO, link.open(Duration::ZERO, Duration::from_micros(at), len)))
            .collect();
        let (mut asked, mut chunks, mut read) = (0, 0, 0);
        while !due.is_empty() {
            due.sort_unstable();
            let (now, id) = due.remove(0);
            asked += 1;
            match link.pull(now, id, u64::MAX) {
                Pull::Ready(bytes) => {
                    prop_assert!(bytes <= CHUNK_BYTES + 2, "predicted late: {bytes} bytes are ready");
                    chunks += 1;
                    read += bytes;
                    due.push((now, id));
                }
                Pull::NotBefore(next) => due.push((next, id)),
                Pull::End => {}
            }
        }
        // Each arrival may make the predictions for the other streams too early, once for each stream.
        let others = streams.len() * streams.len();
        prop_assert!(asked <= 2 * chunks + 2 * streams.len() + others, "asked {asked} times for {chunks} chunks");
        prop_assert_eq!(read, streams.iter().map(|(_, len)| len).sum::<u64>());
    }
}

fn link_now(link: &LinkModel) -> Duration {
    ceil_to_nanos(link.now_s)
}
