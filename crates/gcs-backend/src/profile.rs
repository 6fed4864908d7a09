//! What Google Cloud Storage is like before anything has been measured. Pure.

use std::time::Duration;

use headstart_fetch_core::{BackendProfile, PinBy, Prices};

/// A regional bucket read from a machine in its region.
///
/// A first byte after about 30 ms, 60 MB/s a stream, as much as the machine's network in all (1,000 MB/s assumed).
/// A class B operation costs $0.0004 per 1,000; bytes cost nothing within the region. Readers elsewhere set
/// `prices.per_gb` themselves: what leaves the region or Google's network is charged by where it goes.
///
/// Requests are pinned by generation: reading one needs no permission beyond that of reading the object.
#[must_use]
pub fn gcs_profile() -> BackendProfile {
    BackendProfile {
        ttfb: Duration::from_millis(30),
        stream_bytes_per_s: 60e6,
        aggregate_bytes_per_s: 1e9,
        pin: PinBy::Version,
        prices: Prices { per_1000_requests: 0.0004, per_gb: 0.0 },
        ..BackendProfile::default()
    }
}
