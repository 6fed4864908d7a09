//! Reads the text format in which programs tell Prometheus their metrics: a sample a line.
//!
//! Of the crates that read this format, `openmetrics-parser` is under the LGPL, and `prometheus-parse` splits labels at
//! commas and braces inside of their values.

use std::fmt;

use super::text;

/// A sample: the value of a metric with these labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScrapedSample {
    pub(crate) name: String,
    /// Names and values, in the order of the text.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

/// A line that is not in the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpositionError {
    /// Counted from 1.
    line: usize,
    /// What was expected.
    expected: &'static str,
    /// The beginning of the line.
    beginning: String,
}

/// Characters of a wrong line that are shown.
const SHOWN: usize = 40;

impl fmt::Display for ExpositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is '{}', where {} was expected", self.line, self.beginning, self.expected)
    }
}

/// Reads all samples. As in Prometheus, one wrong line makes the whole text unusable. Time stamps are dropped.
///
/// # Errors
/// The first line that is neither a sample, a comment nor empty.
pub(crate) fn parse(text: &str) -> Result<Vec<ScrapedSample>, ExpositionError> {
    let mut samples = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let sample = sample(line).map_err(|expected| {
            let beginning = text::name(&line.chars().take(SHOWN).collect::<String>());
            ExpositionError { line: number, expected, beginning }
        })?;
        samples.push(sample);
    }
    Ok(samples)
}

/// Reads `name{label="value",…} value time`, where the labels and the time may be missing.
fn sample(line: &str) -> Result<ScrapedSample, &'static str> {
    let (name, rest) = word(line, |c| c == ':').ok_or("the name of a metric")?;
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut fields = rest.split_whitespace();
    let value = fields.next().and_then(|value| value.parse().ok()).ok_or("a name and a number")?;
    match fields.next() {
        // What follows `#` is OpenMetrics' example of a sample.
        None => {}
        Some(time) if time.starts_with('#') || time.parse::<f64>().is_ok() => {}
        Some(_) => return Err("a time stamp behind the number"),
    }
    Ok(ScrapedSample { name: name.to_owned(), labels, value })
}

/// Names and values of labels.
type Labels = Vec<(String, String)>;

/// Reads labels up to the closing brace, and returns what follows it.
fn labels(mut rest: &str) -> Result<(Labels, &str), &'static str> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, behind) = word(rest, |_| false).ok_or("the name of a label")?;
        let quoted = behind.trim_start().strip_prefix('=').and_then(|behind| behind.trim_start().strip_prefix('"'));
        let (value, behind) = quoted.and_then(unquoted).ok_or("a label's value in quotes")?;
        labels.push((name.to_owned(), value));
        rest = behind.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest,
            None if rest.starts_with('}') => rest,
            None => return Err("a comma or a brace behind a label"),
        };
    }
}

/// Reads a name of letters, digits, underscores, and what `also` allows. It begins with no digit.
fn word(text: &str, also: fn(char) -> bool) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || also(c))).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (!word.is_empty() && !word.starts_with(|c: char| c.is_ascii_digit())).then_some((word, rest))
}

/// Reads up to the quote that ends a value, with `\\`, `\"` and `\n` in it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(line: &str, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(parse(line), Ok(vec![ScrapedSample { name: name.to_owned(), labels, value }]), "{line}");
    }

    #[test]
    fn samples_have_names_labels_and_values() {
        check("a 1", "a", &[], 1.0);
        check("  a:b_2\t1.5e3 ", "a:b_2", &[], 1500.0);
        check("a{} 1", "a", &[], 1.0);
        check("a{b=\"c\"} 1 1700000000000", "a", &[("b", "c")], 1.0);
        check("a { b = \"c\" , d=\"\", } -1", "a", &[("b", "c"), ("d", "")], -1.0);
        check("a{b=\"x,y}=\\\"\\\\\\n\"}3", "a", &[("b", "x,y}=\"\\\n")], 3.0);
        check("a_bucket{le=\"+Inf\"} +Inf", "a_bucket", &[("le", "+Inf")], f64::INFINITY);
        check("a_total 3 # {trace=\"x\"} 1.0", "a_total", &[], 3.0);
        assert!(parse("a NaN").is_ok_and(|samples| samples[0].value.is_nan()));
        assert_eq!(parse("\n# HELP a what\n# TYPE a counter\n\n# EOF\n"), Ok(Vec::new()));
    }

    #[test]
    fn wrong_lines_are_shown() {
        for (text, says) in [
            ("<!doctype html>", "line 1 is '<!doctype html>', where the name of a metric was expected"),
            ("a 1\nb", "line 2 is 'b', where a name and a number was expected"),
            ("2a 1", "the name of a metric"),
            ("a one", "a name and a number"),
            ("a 1 b", "a time stamp"),
            ("a{b} 1", "value in quotes"),
            ("a{b=\"c} 1", "value in quotes"),
            ("a{b=\"c\" d=\"e\"} 1", "a comma or a brace"),
            ("a{=\"c\"} 1", "the name of a label"),
            ("a\u{1b}[2J", "\\u{1b}"),
        ] {
            let error = parse(text).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z{}=\"\\\\, #\\n0-9\u{1b}ä.]{0,200}") {
            if let Err(error) = parse(&text) {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }

        #[test]
        fn what_is_written_is_read(value in -1e12_f64..1e12, label in "\\PC{0,20}", name in "[a-z_][a-z0-9_]{0,9}") {
            let quoted = label.replace('\\', "\\\\").replace('"', "\\\"");
            let expected = ScrapedSample { name: name.clone(), labels: vec![("l".to_owned(), label)], value };
            prop_assert_eq!(parse(&format!("{name}{{l=\"{quoted}\"}} {value}")), Ok(vec![expected]));
        }
    }
}
