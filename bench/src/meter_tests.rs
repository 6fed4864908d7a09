//! Tests of the meter.

use super::*;
use headstart_sim::Content;

#[tokio::test(start_paused = true)]
async fn a_run_adds_up() {
    let meter = Meter::start(Checker::Simulated, Some(Duration::from_secs(1)));
    let bytes = Content::new("a", FIRST_GENERATION).bytes(0..100);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(meter.deliver("a", &(0..100), &[bytes.slice(..40), bytes.slice(40..)]).unwrap(), Some(FIRST_GENERATION));
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
