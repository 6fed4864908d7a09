//! What is drawn on terminals of all sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

/// A scrape with every kind of row, of stacks with these labels.
fn scrape(seconds: u64, stacks: &[&str]) -> String {
    let mut text = String::new();
    for stack in stacks {
        for (series, labels, value) in [
            ("headstart_demanded_bytes_total", "", 250_000_000 * seconds),
            ("headstart_fetched_bytes_total", "layer=\"fetch\"", 50_000_000 * seconds),
            ("headstart_requests_total", "kind=\"get\",intent=\"demand\",outcome=\"answered\"", 12 * seconds),
            ("headstart_requests_total", "kind=\"get\",intent=\"demand\",outcome=\"throttled\"", seconds),
            ("headstart_requests_in_flight", "", 31),
            ("headstart_cache_pages_total", "source=\"memory\"", 3000 * seconds),
            ("headstart_cache_pages_total", "source=\"store\"", 1000 * seconds),
            ("headstart_window_bytes", "limit=\"applied\"", 32 << 20),
            ("headstart_retries_total", "", 2 * seconds),
        ] {
            text.push_str(&format!("{series}{{{stack}{labels}}} {value}\n"));
        }
    }
    text
}

fn model(polls: u64, stacks: &[&str]) -> TopModel {
    let mut model = TopModel::default();
    for second in 0..polls {
        model.on_answer(Duration::from_secs(second), &scrape(second, stacks)).unwrap();
    }
    model
}

/// The lines of a terminal of this size.
fn drawn(model: &TopModel, width: u16, height: u16, now: u64) -> Vec<String> {
    let heading = TopHeading { address: "http://127.0.0.1:9464/metrics".to_owned(), interval: Duration::from_secs(1) };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| top(frame, model, &heading, Duration::from_secs(now))).unwrap();
    let cells = terminal.backend().buffer().content();
    let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    cells.chunks(usize::from(width.max(1))).map(|cells| line(cells).trim_end().to_owned()).collect()
}

#[test]
fn a_usual_terminal_has_panels() {
    let lines = drawn(&model(4, &[""]), 80, 24, 3);
    println!("{}", lines.join("\n"));
    let all = lines.join("\n");
    for said in [
        " headstart top  http://127.0.0.1:9464/metrics, every 1 s",
        "delivered  250 MB/s, 715 MiB in all",
        "from store  50 MB/s",
        "at most 250 MB/s",
        "███",
        "demand      12/s, 1/s throttled",
        "hit ratio   75 %, 75 % in all",
        "window      32 MiB",
        "retries     2/s, 6 in all",
        " q ends",
    ] {
        assert!(all.contains(said), "'{said}' is not in:\n{all}");
    }
    // Nothing has been cut off at the bottom.
    assert_eq!(lines.len(), 24);
    assert!(lines[23].contains("q ends"));
}

#[test]
fn a_small_terminal_has_the_most_important_rows() {
    let lines = drawn(&model(4, &[""]), 40, 7, 3);
    assert_eq!(
        lines,
        [
            " headstart top  http://127.0.0.1:9464/me",
            "delivered   250 MB/s, 715 MiB in all",
            "from store  50 MB/s, 143 MiB in all",
            "hit ratio   75 %, 75 % in all",
            "in flight   31",
            "first byte  –",
            " q ends",
        ]
    );
}

#[test]
fn silence_and_stacks_are_shown() {
    let mut model = model(3, &["store=\"a\",", "store=\"b\","]);
    let all = drawn(&model, 100, 40, 3).join("\n");
    for said in [", 2 stacks", "╭ Stacks", "│ a  ", "│ b  ", "delivered  500 MB/s"] {
        assert!(all.contains(said), "'{said}' is not in:\n{all}");
    }
    model.on_failure("connection refused".to_owned());
    for width in [100, 46] {
        let last = drawn(&model, width, 40, 9).pop().unwrap();
        assert!(last.contains("no answer since 7 s: connection refused"), "{last}");
    }
}

#[test]
fn without_read_ahead_the_graph_is_of_the_store() {
    let mut model = TopModel::default();
    for second in 0..4 {
        let text = format!("headstart_fetched_bytes_total{{layer=\"fetch\"}} {}\n", second * 7_000_000);
        model.on_answer(Duration::from_secs(second), &text).unwrap();
    }
    let all = drawn(&model, 80, 24, 3).join("\n");
    assert!(all.contains("from store  7 MB/s") && all.contains("███") && all.contains("at most 7 MB/s"), "{all}");
    assert!(!all.contains("delivered") && !all.contains("Cache"), "{all}");
}

#[test]
fn no_size_breaks_it() {
    let many: Vec<String> = (0..60).map(|number| format!("store=\"{number}\",")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let models = [TopModel::default(), model(1, &[""]), model(600, &[""]), model(5, &many)];
    for model in &models {
        for width in [0, 1, 2, 11, 13, 40, 79, 80, 90, 600] {
            for height in [0, 1, 2, 3, 10, 21, 22, 25, 70] {
                let lines = drawn(model, width, height, 3);
                assert_eq!(lines.len(), if width == 0 { 0 } else { usize::from(height) });
            }
        }
    }
}
