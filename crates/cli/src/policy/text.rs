//! How sizes, rates, times and names are shown.

use std::fmt::Display;
use std::time::Duration;

const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// A size with about three digits: `0 B`, `1023 B`, `1.5 KiB`, `64 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        // What would be shown as 1024 of a unit is shown as one of the next.
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{} {unit}", digits(value))
}

/// A rate in units of 10⁶ bytes per second.
pub(crate) fn rate(bytes_per_s: f64) -> String {
    format!("{} MB/s", digits(bytes_per_s / 1e6))
}

/// A time: `350 µs`, `12 ms`, `1.5 s`, `3 min 20 s`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        _ if seconds >= 120.0 => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
        _ if seconds >= 1.0 => format!("{} s", digits(seconds)),
        _ if seconds >= 1e-3 => format!("{} ms", digits(seconds * 1e3)),
        _ => format!("{} µs", digits(seconds * 1e6)),
    }
}

/// Three significant digits, without zeros at the end.
pub(crate) fn digits(value: f64) -> String {
    let text = match value {
        _ if value >= 99.95 => return format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A count with a comma between thousands.
pub(crate) fn count(value: u64) -> String {
    indicatif::HumanCount(value).to_string()
}

/// A count and its noun.
pub(crate) fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// An amount of US dollars.
pub(crate) fn dollars(amount: f64) -> String {
    if amount >= 0.01 || amount == 0.0 { format!("${amount:.2}") } else { format!("${amount:.6}") }
}

/// A name without control characters, which would change what a terminal shows.
pub(crate) fn name(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// Columns of a table, each as wide as its widest cell and two spaces apart. Columns of numbers are right-aligned.
pub(crate) fn table(rows: &[Vec<String>], is_number: &[bool]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            match is_number.get(column) {
                Some(true) => line.push_str(&format!("{cell:>width$}  ")),
                _ => line.push_str(&format!("{cell:<width$}  ")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one a line. Control characters of values are escaped.
pub(crate) fn fields<N: Display>(rows: impl IntoIterator<Item = (N, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![format!("{name}:"), self::name(&value)]).collect();
    table(&rows, &[]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_counts_are_short() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1 MiB"),
            (123_456_789, "118 MiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        for (micros, shown) in [(350, "350 µs"), (12_340, "12.3 ms"), (1_500_000, "1.5 s"), (200_000_000, "3 min 20 s")]
        {
            assert_eq!(time(Duration::from_micros(micros)), shown);
        }
        assert_eq!((count(999), count(1000), count(1_234_567)), ("999".into(), "1,000".into(), "1,234,567".into()));
        assert_eq!([counted(1, "object", "objects"), counted(0, "object", "objects")], ["1 object", "0 objects"]);
        assert_eq!(
            (rate(1_234e6), dollars(0.0004), dollars(2.5)),
            ("1234 MB/s".into(), "$0.000400".into(), "$2.50".into())
        );
    }

    #[test]
    fn names_do_not_control_the_terminal() {
        assert_eq!(name("a\u{1b}[31m\nb ä"), "a\\u{1b}[31m\\nb ä");
    }

    #[test]
    fn tables_align() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(table(&[row(["1", "a"]), row(["100", "bb"])], &[true, false]), "  1  a\n100  bb\n");
    }
}
