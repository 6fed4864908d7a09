//! Profiles of stores: what is assumed about latency, bandwidth and price before anything is measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::options::ConfigError;
use crate::protocol::version::PinBy;

/// One mebibyte.
const MIB: u64 = 1024 * 1024;

/// Possible rates in bytes per second. Beyond them, times overflow or parts have no bytes.
const RATES: std::ops::RangeInclusive<f64> = 1.0..=1e15;

/// The longest time to the first byte that is accepted.
const MAX_TTFB: Duration = Duration::from_secs(3600);

/// The largest request that is accepted: 1 TiB.
pub(crate) const MAX_PART_BYTES: u64 = 1 << 40;

/// What a kind of store is like: the start of every estimate, and the bounds of part sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendProfile {
    /// Time to the first byte of an answer.
    pub ttfb: Duration,
    /// Rate of one stream in bytes per second.
    pub stream_bytes_per_s: f64,
    /// Rate of all streams together in bytes per second.
    pub aggregate_bytes_per_s: f64,
    /// The smallest request worth splitting a range into, in bytes.
    pub min_part_bytes: u64,
    /// The largest request, in bytes. Bodies that last minutes often break off.
    pub max_part_bytes: u64,
    /// How a version is pinned.
    pub pin: PinBy,
    /// What requests and bytes cost.
    pub prices: Prices,
}

/// What a store charges, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Prices {
    /// Per 1,000 GETs or HEADs.
    pub per_1000_requests: f64,
    /// Per 10⁹ bytes that leave the store.
    pub per_gb: f64,
}

impl Prices {
    /// What `requests` and `bytes` cost, in US dollars.
    #[must_use]
    pub fn cost(&self, requests: u64, bytes: u64) -> f64 {
        requests as f64 / 1000.0 * self.per_1000_requests + bytes as f64 / 1e9 * self.per_gb
    }
}

impl BackendProfile {
    /// A store like `object_store`'s in-memory and local ones: no latency to hide, and one stream gets the
    /// whole bandwidth.
    #[must_use]
    pub fn local() -> Self {
        Self {
            ttfb: Duration::from_micros(50),
            stream_bytes_per_s: 2e9,
            aggregate_bytes_per_s: 2e9,
            pin: PinBy::Unpinned,
            ..Self::default()
        }
    }

    /// Checks that estimates and parts can follow from it.
    ///
    /// # Errors
    /// [`ConfigError`] naming the field.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let must = |holds: bool, key, value: &dyn ToString, expected| {
            if holds { Ok(()) } else { Err(ConfigError::bad(key, value.to_string(), expected)) }
        };
        must(self.ttfb <= MAX_TTFB, "profile.ttfb", &format!("{:?}", self.ttfb), "expected at most an hour")?;
        for (key, rate) in [
            ("profile.stream_bytes_per_s", self.stream_bytes_per_s),
            ("profile.aggregate_bytes_per_s", self.aggregate_bytes_per_s),
        ] {
            must(RATES.contains(&rate), key, &rate, "expected 1 to 1e15 bytes per second")?;
        }
        let (least, most) = (self.min_part_bytes, self.max_part_bytes);
        must((1..=most).contains(&least), "profile.min_part_bytes", &least, "expected 1 to profile.max_part_bytes")?;
        must(most <= MAX_PART_BYTES, "profile.max_part_bytes", &most, "expected at most 1TiB")?;
        for (key, price) in [
            ("profile.prices.per_1000_requests", self.prices.per_1000_requests),
            ("profile.prices.per_gb", self.prices.per_gb),
        ] {
            must(price.is_finite() && price >= 0.0, key, &price, "expected US dollars, 0 or more")?;
        }
        Ok(())
    }

    /// The nearest possible profile, for callers that need not check theirs.
    pub(crate) fn usable(self) -> Self {
        let usable =
            |rate: f64, unknown: f64| if rate.is_nan() { unknown } else { rate.clamp(*RATES.start(), *RATES.end()) };
        let unknown = Self::default();
        Self {
            ttfb: self.ttfb.min(MAX_TTFB),
            stream_bytes_per_s: usable(self.stream_bytes_per_s, unknown.stream_bytes_per_s),
            aggregate_bytes_per_s: usable(self.aggregate_bytes_per_s, unknown.aggregate_bytes_per_s),
            ..self
        }
    }

    /// Whether this is a local disk or memory: one stream gets the whole bandwidth, and no second request is faster.
    pub(crate) fn is_local(&self) -> bool {
        self.pin == PinBy::Unpinned && self.stream_bytes_per_s >= self.aggregate_bytes_per_s
    }
}

impl Default for BackendProfile {
    /// An unknown cloud store: 30 ms, 60 MB/s per stream, 1,000 MB/s in all, pinned by entity tag.
    fn default() -> Self {
        Self {
            ttfb: Duration::from_millis(30),
            stream_bytes_per_s: 60e6,
            aggregate_bytes_per_s: 1e9,
            min_part_bytes: MIB,
            max_part_bytes: 16 * MIB,
            pin: PinBy::ETag,
            prices: Prices::default(),
        }
    }
}
