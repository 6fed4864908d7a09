//! What a kind of store is like before anything has been measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::version::PinBy;

/// One mebibyte.
const MIB: u64 = 1024 * 1024;

/// What a backend is like: the starting point of every estimate, and the bounds within which the engine may move.
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
    /// The largest request, in bytes: bodies that last minutes die.
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
    #[expect(clippy::cast_precision_loss, reason = "money is shown to a few digits")]
    pub fn cost(&self, requests: u64, bytes: u64) -> f64 {
        requests as f64 / 1000.0 * self.per_1000_requests + bytes as f64 / 1e9 * self.per_gb
    }
}

impl BackendProfile {
    /// A store like `object_store`'s in-memory and local ones: no latency to hide, one stream gets all there is.
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

    /// Whether this is the machine's own disk or memory: one stream is all there is, and no second request is faster.
    pub(crate) fn is_local(&self) -> bool {
        self.pin == PinBy::Unpinned && self.stream_bytes_per_s >= self.aggregate_bytes_per_s
    }
}

impl Default for BackendProfile {
    /// A cloud store of which nothing is known: 30 ms, 60 MB/s a stream, 1,000 MB/s in all, pinned by entity tag.
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
