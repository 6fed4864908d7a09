//! Tests of summaries.

use headstart_bench::results::WireCounts;

use super::super::verdict;
use super::*;

fn run(elapsed_ms: f64, wrong_bytes: u64) -> Outcome {
    Outcome {
        elapsed_ms,
        first_byte_ms: Some(elapsed_ms / 10.0),
        latencies_us: vec![2_000],
        stalled_ms: elapsed_ms,
        delivered_bytes: 1_000_000,
        wrong_bytes,
        cpu_s: Some(0.5),
        ..Outcome::default()
    }
}

fn made(system: System, elapsed_ms: f64) -> Row {
    row("seq-1m", system, &[(run(elapsed_ms, 0), WireCounts::default())], &Prices::default()).expect("there is a run")
}

fn results(rows: Vec<Row>) -> Results {
    Results { profile: "gcs".into(), rows, ..begin(true, 1) }
}

#[test]
fn a_row_is_the_median_and_hides_no_wrong_byte() {
    let wire = |gets| WireCounts { gets, heads: 0, fetched_bytes: gets };
    let runs = [(run(500.0, 0), wire(1)), (run(100.0, 7), wire(2)), (run(200.0, 0), wire(3000))];
    let prices = Prices { per_1000_requests: 0.5, per_gb: 0.0 };
    let row = row("seq-1m", System::Raw, &runs, &prices).expect("there are runs");
    assert_eq!(row.mb_per_s, Spread { median: 5.0, min: 2.0, max: 10.0 });
    assert_eq!((row.first_byte_ms, row.latency_at(99.0), row.gets), (Some(20.0), Some(2.0), 3000));
    assert_eq!((row.wrong_bytes, row.cpu_s_per_gb, row.usd_per_tb), (7, Some(500.0), Some(1_500_000.0)));
    assert!(verdict(&[], &[row]).is_err(), "one wrong byte fails the bench");
    assert_eq!(super::row("seq-1m", System::Raw, &[], &prices), None);
}

#[test]
fn rows_are_compared_within_their_workload() {
    let mut rows = [made(System::Raw, 1000.0), made(System::Headstart, 100.0), made(System::Ideal, 50.0)];
    let note = WorkloadNote { name: "seq-1m".into(), about: String::new(), link: None, limit_mb_per_s: Some(40.0) };
    compare(&mut rows, &[note]);
    assert!(verdict(&[], &rows).is_ok() && verdict(&["no route".into()], &rows).is_err());
    assert_eq!((rows[1].x_raw, rows[1].x_ideal, rows[1].x_limit), (Some(10.0), Some(0.5), Some(0.25)));
    let mut alone = [made(System::Headstart, 100.0)];
    compare(&mut alone, &[]);
    assert_eq!((alone[0].x_raw, alone[0].x_ideal, alone[0].x_limit), (None, None, None));
}

#[test]
fn results_read_back() {
    let results = results(vec![made(System::HeadstartCache, 100.0)]);
    let file = tempfile::NamedTempFile::new().unwrap();
    write(&results, file.path()).unwrap();
    assert_eq!(Results::read(file.path()).unwrap(), results);
    let other = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(other.path(), "{}").unwrap();
    assert!(Results::read(other.path()).unwrap_err().to_string().contains("run the bench again"));
}

#[test]
fn updated_rows_replace_older_ones() {
    let old = results(vec![made(System::Raw, 1000.0), made(System::Headstart, 100.0)]);
    let all = update(old, results(vec![made(System::Headstart, 50.0)])).unwrap();
    assert_eq!(all.rows.iter().map(|row| row.measured.is_some()).collect::<Vec<_>>(), [false, true]);
    assert_eq!(all.rows[1].x_raw, Some(20.0));
    for other in [Results { seed: 2, ..results(vec![]) }, Results { is_tls: true, ..results(vec![]) }] {
        assert!(update(all.clone(), other).is_err());
    }
}
