//! Rows of scrapes that are written out.

use super::*;
use crate::policy::top::model::TopModel;

/// A scrape of a process after so many seconds of the same load.
fn scrape(seconds: u64) -> String {
    let mut text = String::new();
    for (series, per_second) in [
        ("headstart_demanded_bytes_total", 250_000_000),
        ("headstart_fetched_bytes_total{layer=\"fetch\"}", 50_000_000),
        ("headstart_fetched_bytes_total{layer=\"prefetch\"}", 260_000_000),
        ("headstart_wasted_bytes_total{layer=\"prefetch\"}", 2_600_000),
        ("headstart_reads_total", 1_000),
        ("headstart_requests_total{kind=\"get\",intent=\"demand\",outcome=\"answered\"}", 12),
        ("headstart_requests_total{kind=\"get\",intent=\"demand\",outcome=\"throttled\"}", 2),
        ("headstart_requests_total{kind=\"get\",intent=\"demand\",outcome=\"failed\"}", 0),
        ("headstart_cache_pages_total{source=\"memory\"}", 3000),
        ("headstart_cache_pages_total{source=\"store\"}", 1000),
        ("headstart_cache_hit_bytes_total{source=\"memory\"}", 200_000_000),
        ("headstart_streams_total{shape=\"forward\"}", 1),
        ("headstart_streams_total{shape=\"backward\"}", 1),
        ("headstart_first_byte_seconds_bucket{le=\"0.02\"}", 4),
        ("headstart_first_byte_seconds_bucket{le=\"0.04\"}", 12),
        ("headstart_first_byte_seconds_bucket{le=\"+Inf\"}", 12),
        ("headstart_retries_total", 2),
        ("headstart_hedges_total", 0),
        ("headstart_hedges_won_total", 0),
    ] {
        text.push_str(&format!("{series} {}\n", per_second * seconds));
    }
    text + "headstart_requests_in_flight 31\nheadstart_requests_in_flight_limit 64\nheadstart_permit_waiters 0\n\
            headstart_window_bytes{limit=\"applied\"} 33554432\nheadstart_window_bytes{limit=\"none\"} 67108864\n\
            headstart_budget_bytes{state=\"used\"} 1048576\nheadstart_budget_bytes{state=\"limit\"} 536870912\n\
            headstart_cache_held_bytes{tier=\"memory\"} 268435456\nheadstart_cost_dollars 0.0004\n"
}

#[test]
fn rows_say_what_happens_now_and_what_has_in_all() {
    let mut model = TopModel::default();
    model.on_answer(Duration::from_secs(10), &scrape(10)).unwrap();
    model.on_answer(Duration::from_secs(12), &scrape(12)).unwrap();
    let expected = "\
Throughput
  delivered    250 MB/s, 2.79 GiB in all
  from store   50 MB/s, 572 MiB in all
Requests
  in flight    31 of 64, 0 wait
  first byte   p50 25 ms, p95 38.5 ms
  demand       12/s, 2/s throttled
  cost         $0.000400 so far
Cache
  served       200 MB/s, 2.24 GiB in all
  hit ratio    75 %, 75 % in all
  in memory    75 %, holds 256 MiB
  missed       25 %
Read-ahead
  window       32 MiB, 64 MiB wanted
  reads        1,000/s, 12,000 in all
  new streams  2/s, 24 in all
  waste        1 %, 1 % in all
  budget       1 MiB of 512 MiB
Trouble
  retries      2/s, 24 in all
  throttled    2/s, 24 in all
  hedges       0/s, 0 in all, 0 won";
    assert_eq!(page(model.all()), expected);
    let alarming: Vec<_> = rows(model.all()).into_iter().filter(|row| row.is_alarming).map(|row| row.name).collect();
    assert_eq!(alarming, ["retries", "throttled"]);
    let first: Vec<_> = by_importance(model.all()).into_iter().map(|row| row.name).take(4).collect();
    assert_eq!(first, ["delivered", "from store", "hit ratio", "in flight"]);
}

#[test]
fn shares_and_rates_are_not_rounded_to_none_and_all() {
    for (share, shown) in [(0.0, "0 %"), (0.005, "0.5 %"), (0.9999, "99.9 %"), (1.0, "100 %"), (0.5, "50 %")] {
        assert_eq!(percent(share), shown);
    }
    for (rate, shown) in [(0.0, "0"), (0.0001, "0.01"), (0.25, "0.25"), (12.0, "12"), (1234.6, "1,235")] {
        assert_eq!(decimal(rate), shown);
    }
    for (bytes_per_s, shown) in [(0.0, "0 MB/s"), (1234.0, "1.23 kB/s"), (2e6, "2 MB/s")] {
        assert_eq!(rate(bytes_per_s), shown);
    }
}

#[test]
fn unknown_figures_are_dashes_and_missing_layers_no_rows() {
    assert_eq!(rows(&TopFigures::default()), []);
    let mut model = TopModel::default();
    model.on_answer(Duration::ZERO, "headstart_retries_total 3\n").unwrap();
    assert_eq!(page(model.all()), "Trouble\n  retries  –, 3 in all");
}

#[test]
fn stacks_are_named_by_their_labels() {
    let labels = |pairs: &[(&str, &str)]| -> StackLabels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(stack_name(&labels(&[])), "(no labels)");
    assert_eq!(stack_name(&labels(&[("store", "a\u{1b}")])), "a\\u{1b}");
    assert_eq!(stack_name(&labels(&[("a", "1"), ("b", "2")])), "a=1 b=2");
    assert_eq!(stack_row(&labels(&[]), &TopFigures::default())[1..], ["–"; 5]);
}

#[test]
fn states_say_how_long() {
    let (line, is_bad) = state_line(&TopState::Silent(Duration::from_secs(7), "connection refused".to_owned()));
    assert_eq!((line.as_str(), is_bad), ("no answer since 7 s: connection refused", true));
}
