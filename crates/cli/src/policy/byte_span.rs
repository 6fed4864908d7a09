//! Ranges of bytes as they are typed: `0-99`, `100-`, `-100`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A range of bytes of an object whose size may be unknown. First and last byte, as in `curl --range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteSpan {
    /// From the first to the last byte, both included.
    Closed { first: u64, last: u64 },
    /// From this byte on.
    From(u64),
    /// So many bytes at the end.
    Last(u64),
}

const EXPECTED: &str = "expected FIRST-LAST, FIRST- or -COUNT, such as 0-99 for the first hundred bytes, 100- for all \
                        that follow, or -100 for the last hundred";

impl FromStr for ByteSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no range of bytes: {EXPECTED}");
        let (first, last) = text.trim().split_once('-').ok_or_else(wrong)?;
        // `u64::from_str` also takes a sign.
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(first) || !is_number(last) {
            return Err(wrong());
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        match (first, last) {
            ("", "") => Err(wrong()),
            (first, "") => Ok(Self::From(number(first)?)),
            ("", count) => match number(count)? {
                0 => Err(wrong()),
                count => Ok(Self::Last(count)),
            },
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last || last == u64::MAX {
                    return Err(format!("the range '{text}' ends before it begins: {EXPECTED}"));
                }
                Ok(Self::Closed { first, last })
            }
        }
    }
}

impl fmt::Display for ByteSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { first, last } => write!(f, "{first}-{last}"),
            Self::From(first) => write!(f, "{first}-"),
            Self::Last(count) => write!(f, "-{count}"),
        }
    }
}

impl ByteSpan {
    /// The bytes of an object of `size` bytes, clamped to its end; `None` where the range begins past it.
    pub(crate) fn within(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::Closed { first, last } => first..size.min(last + 1),
            Self::From(first) => first..size,
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_typed() {
        for (text, expected) in [
            ("0-99", Some(ByteSpan::Closed { first: 0, last: 99 })),
            ("5-5", Some(ByteSpan::Closed { first: 5, last: 5 })),
            ("100-", Some(ByteSpan::From(100))),
            ("-100", Some(ByteSpan::Last(100))),
            ("", None),
            ("-", None),
            ("-0", None),
            ("9-3", None),
            ("a-b", None),
            ("+1-2", None),
            ("1", None),
            ("1-2-3", None),
            ("18446744073709551616-", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(text.parse::<ByteSpan>().ok(), expected, "{text}");
            if let Some(span) = expected {
                assert_eq!(span.to_string(), text);
            }
        }
    }

    #[test]
    fn ranges_are_clamped_to_the_object() {
        let within = |text: &str, size| text.parse::<ByteSpan>().expect("a range").within(size);
        assert_eq!(within("0-99", 50), Some(0..50));
        assert_eq!(within("10-19", 50), Some(10..20));
        assert_eq!(within("50-", 50), None);
        assert_eq!(within("49-", 50), Some(49..50));
        assert_eq!(within("-100", 50), Some(0..50));
        assert_eq!(within("-1", 0), None);
    }
}
