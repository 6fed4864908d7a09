//! Numbers as reports and tables show them, and the statistics that they share.

/// Shown where there is no number.
const NONE: &str = "–";

/// `value` with three significant digits.
pub(crate) fn number(value: Option<f64>) -> String {
    match value {
        None => NONE.into(),
        Some(0.0) => "0".into(),
        Some(value) if value >= 999.5 => group_thousands(&format!("{value:.0}")),
        Some(value) if value >= 99.95 => format!("{value:.0}"),
        Some(value) if value >= 9.995 => format!("{value:.1}"),
        Some(value) if value >= 0.0995 => format!("{value:.2}"),
        Some(value) if value >= 0.000_95 => format!("{value:.3}"),
        Some(value) => format!("{value:.1e}"),
    }
}

/// A count with a comma between thousands.
pub(crate) fn count(value: u64) -> String {
    group_thousands(&value.to_string())
}

/// A fraction in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", number(Some(share * 100.0)))
}

/// A value for an axis, with no more digits than it needs.
pub(crate) fn axis_number(value: f64) -> String {
    if value.abs() >= 1000.0 {
        return group_thousands(&format!("{value:.0}"));
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn group_thousands(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count as a float, for ratios and charts. Counts above 2⁵³ lose their last digits.
#[expect(clippy::cast_precision_loss, reason = "ratios and charts show a few digits")]
pub(crate) fn to_float(count: u64) -> f64 {
    count as f64
}

/// Bytes in units of 2²⁰.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    to_float(bytes) / f64::from(1 << 20)
}

/// The median of `values`; of an even number the lower of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 50.0)
}

/// The nearest-rank quantile of `sorted`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the rank is an index of the list"
)]
pub(crate) fn quantile<T: Copy>(sorted: &[T], percent: f64) -> Option<T> {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, shown) in [
            (1_234_567.4, "1,234,567"),
            (999.4, "999"),
            (99.96, "100"),
            (12.34, "12.3"),
            (9.999, "10.0"),
            (1.234, "1.23"),
            (0.0123, "0.012"),
            (0.000_012, "1.2e-5"),
            (0.0, "0"),
        ] {
            assert_eq!(number(Some(value)), shown);
        }
        assert_eq!((number(None), percent(0.5), count(1000)), ("–".into(), "50.0 %".into(), "1,000".into()));
        assert_eq!([0.0, 0.25, 5.0, 120.0, 2000.0].map(axis_number), ["0", "0.25", "5", "120", "2,000"]);
    }

    #[test]
    fn quantiles_are_real_samples() {
        let times: Vec<u64> = (1..=200).collect();
        for (percent, expected) in [(50.0, 100), (99.0, 198), (100.0, 200), (0.0, 1)] {
            assert_eq!(quantile(&times, percent), Some(expected), "p{percent}");
        }
        assert_eq!((quantile(&times[..1], 99.0), quantile::<u64>(&[], 50.0)), (Some(1), None));
        assert_eq!(median(vec![3.0, 1.0, 2.0, 4.0]), Some(2.0));
    }
}
