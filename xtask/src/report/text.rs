//! Numbers and names as people read them.

pub(super) use headstart_bench::meter::megabytes;

/// What stands where there is no number.
const NONE: &str = "–";

/// Three digits that matter.
pub(crate) fn number(value: Option<f64>) -> String {
    match value {
        None => NONE.into(),
        Some(0.0) => "0".into(),
        Some(value) if value >= 999.5 => grouped(value),
        Some(value) if value >= 99.95 => format!("{value:.0}"),
        Some(value) if value >= 9.995 => format!("{value:.1}"),
        Some(value) if value >= 0.0995 => format!("{value:.2}"),
        Some(value) if value >= 0.000_95 => format!("{value:.3}"),
        Some(value) => format!("{value:.1e}"),
    }
}

/// A count, its digits in threes.
pub(super) fn count(value: u64) -> String {
    thousands(&value.to_string())
}

/// A large number without fractions, its digits in threes.
fn grouped(value: f64) -> String {
    thousands(&format!("{value:.0}"))
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of one, in percent.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or(NONE.into(), |share| format!("{} %", number(Some(share * 100.0))))
}

/// 2²⁰ bytes.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    to_float(bytes) / f64::from(1 << 20)
}

/// A count to calculate with. Beyond 2⁵³ the last digits are lost, which nobody would see.
#[expect(clippy::cast_precision_loss, reason = "for pictures and ratios")]
pub(super) fn to_float(count: u64) -> f64 {
    count as f64
}

/// A time in the unit that suits it.
pub(super) fn time(ms: f64) -> String {
    match ms {
        ms if ms >= 1000.0 => format!("{} s", short(ms / 1000.0)),
        ms if ms >= 1.0 => format!("{} ms", short(ms)),
        _ => format!("{} µs", short(ms * 1000.0)),
    }
}

/// As few digits as tell it, for an axis.
pub(super) fn short(value: f64) -> String {
    if value.abs() >= 1000.0 {
        return grouped(value);
    }
    let text = format!("{value:.3}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "0" && value != 0.0 { format!("{value:e}") } else { text.to_owned() }
}

/// Text that cannot break a Markdown table or become HTML in it.
pub(super) fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' => safe.push_str("\\|"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\n' | '\r' => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A name that is safe as an anchor or in a file's name.
pub(super) fn slug(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, shown) in [
            (1_234_567.4, "1,234,567"),
            (999.4, "999"),
            (12.34, "12.3"),
            (9.999, "10.0"),
            (1.234, "1.23"),
            (0.0123, "0.012"),
            (0.000_012, "1.2e-5"),
            (0.0, "0"),
        ] {
            assert_eq!(number(Some(value)), shown);
        }
        assert_eq!((number(None), percent(Some(0.5)), count(1000)), ("–".into(), "50.0 %".into(), "1,000".into()));
    }

    #[test]
    fn axes_show_no_more_digits_than_needed() {
        let shown = [0.0, 0.25, 5.0, 120.0, 2000.0].map(short);
        assert_eq!(shown, ["0", "0.25", "5", "120", "2,000"]);
        assert_eq!([0.01, 5.0, 2000.0].map(time), ["10 µs", "5 ms", "2 s"]);
    }

    #[test]
    fn no_text_breaks_a_table() {
        assert_eq!(markdown("a | b\n<i>&"), "a \\| b &lt;i&gt;&amp;");
        assert_eq!(slug("headstart+cache"), "headstart-cache");
    }
}
