//! Properties of simulated links, and the named links.

use std::{fmt, str::FromStr, time::Duration};

use headstart_fetch_core::BackendProfile;

use crate::policy::rng::SeededRng;

/// A million bytes.
const MB: f64 = 1e6;

/// Standard deviation of the logarithm of a lognormal time whose 99th percentile is three times its median: ln 3
/// divided by the 99th percentile of the standard normal distribution.
const SIGMA: f64 = 1.098_612_288_668_11 / 2.326_347_874_040_84;

/// A link between a client and a store.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkProfile {
    /// Its name.
    pub name: String,
    /// Time from a request to the first byte of its answer: the median.
    pub ttfb: Duration,
    /// Variation of `ttfb`.
    pub spread: TtfbSpread,
    /// Time to establish a connection.
    pub setup: Duration,
    /// Rate of one stream in bytes per second.
    pub stream_bytes_per_s: f64,
    /// Rate of all streams together in bytes per second, shared equally.
    pub nic_bytes_per_s: f64,
    /// Bytes of a stream that may wait for a slow reader. At this limit the stream pauses.
    pub receive_window_bytes: u64,
}

/// How the time to the first byte varies from request to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TtfbSpread {
    /// No variation.
    #[default]
    Constant,
    /// A lognormal distribution with a 99th percentile of three times the median.
    Lognormal,
}

impl LinkProfile {
    /// The names of all named links.
    pub const NAMES: [&'static str; 7] = ["gcs", "gcs-100g", "s3", "near", "fast", "wan", "loopback"];

    /// A bucket of Google Cloud Storage in the same region: 30 ms, 60 MB/s a stream, 1,000 MB/s in all.
    #[must_use]
    pub fn gcs() -> Self {
        Self::shaped("gcs", 30, 60.0, 1000.0)
    }

    /// The bucket of [`LinkProfile::gcs`], read by a machine with 100 Gbit/s: 30 ms, 60 MB/s a stream, 12,500 MB/s in
    /// all.
    #[must_use]
    pub fn gcs_100g() -> Self {
        Self::shaped("gcs-100g", 30, 60.0, 12_500.0)
    }

    /// A bucket of Amazon S3 in the same region: 25 ms, 90 MB/s a stream, 1,000 MB/s in all.
    #[must_use]
    pub fn s3() -> Self {
        Self::shaped("s3", 25, 90.0, 1000.0)
    }

    /// A store in the same data centre: 5 ms, 200 MB/s a stream, 1,000 MB/s in all.
    #[must_use]
    pub fn near() -> Self {
        Self::shaped("near", 5, 200.0, 1000.0)
    }

    /// A store on solid-state disks in the same data centre, read by a machine with 100 Gbit/s: 2 ms, 400 MB/s a
    /// stream, 12,500 MB/s in all.
    #[must_use]
    pub fn fast() -> Self {
        Self::shaped("fast", 2, 400.0, 12_500.0)
    }

    /// A store on another continent: 100 ms, 20 MB/s a stream, 200 MB/s in all.
    #[must_use]
    pub fn wan() -> Self {
        Self::shaped("wan", 100, 20.0, 200.0)
    }

    /// A link without delay or limit.
    #[must_use]
    pub fn loopback() -> Self {
        Self { receive_window_bytes: u64::MAX, ..Self::shaped("loopback", 0, f64::INFINITY, f64::INFINITY) }
    }

    /// The same link with lognormal first-byte times.
    #[must_use]
    pub fn lognormal(self) -> Self {
        Self { spread: TtfbSpread::Lognormal, ..self }
    }

    /// Draws the time to the first byte of a request.
    pub fn first_byte(&self, rng: &mut SeededRng) -> Duration {
        match self.spread {
            TtfbSpread::Constant => self.ttfb,
            TtfbSpread::Lognormal => rng.lognormal(self.ttfb, SIGMA),
        }
    }

    fn shaped(name: &str, ttfb_ms: u64, stream_mb_per_s: f64, nic_mb_per_s: f64) -> Self {
        let ttfb = Duration::from_millis(ttfb_ms);
        Self {
            name: name.to_owned(),
            ttfb,
            spread: TtfbSpread::Constant,
            setup: ttfb,
            stream_bytes_per_s: stream_mb_per_s * MB,
            nic_bytes_per_s: nic_mb_per_s * MB,
            // About the default limit of Linux's receive buffers (`tcp_rmem`).
            receive_window_bytes: 4 << 20,
        }
    }
}

impl FromStr for LinkProfile {
    type Err = UnknownProfile;

    /// Parses the name of a link, with an optional suffix `-lognormal`.
    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        let (base, varies) = name.strip_suffix("-lognormal").map_or((name, false), |base| (base, true));
        let links =
            [Self::gcs(), Self::gcs_100g(), Self::s3(), Self::near(), Self::fast(), Self::wan(), Self::loopback()];
        let link = links.into_iter().find(|link| link.name == base).ok_or_else(|| UnknownProfile(name.to_owned()))?;
        Ok(if varies { link.lognormal() } else { link })
    }
}

impl fmt::Display for LinkProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.spread == TtfbSpread::Lognormal { f.write_str("-lognormal") } else { Ok(()) }
    }
}

impl From<&LinkProfile> for BackendProfile {
    /// An exact starting estimate.
    fn from(link: &LinkProfile) -> Self {
        if link.nic_bytes_per_s.is_infinite() {
            return Self { pin: Self::default().pin, ..Self::local() };
        }
        Self {
            ttfb: link.ttfb,
            stream_bytes_per_s: link.stream_bytes_per_s.min(link.nic_bytes_per_s),
            aggregate_bytes_per_s: link.nic_bytes_per_s,
            ..Self::default()
        }
    }
}

/// The error for an unknown name of a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown link profile '{0}': expected one of {names}, with or without '-lognormal'",
    names = LinkProfile::NAMES.join(", ")
)]
pub struct UnknownProfile(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for name in LinkProfile::NAMES {
            let link: LinkProfile = name.parse().unwrap();
            assert_eq!((link.spread, link.to_string().as_str()), (TtfbSpread::Constant, name));
            let varying: LinkProfile = format!("{name}-lognormal").parse().unwrap();
            assert_eq!(varying, link.lognormal());
        }
        assert_eq!(
            "lan".parse::<LinkProfile>().unwrap_err().to_string(),
            "unknown link profile 'lan': expected one of gcs, gcs-100g, s3, near, fast, wan, loopback, with or without \
             '-lognormal'"
        );
    }

    #[test]
    fn backend_profiles_follow_the_link_and_stay_finite() {
        let gcs = BackendProfile::from(&LinkProfile::gcs());
        assert_eq!((gcs.ttfb, gcs.stream_bytes_per_s), (Duration::from_millis(30), 60e6));
        let loopback = BackendProfile::from(&LinkProfile::loopback());
        assert!(loopback.stream_bytes_per_s.is_finite() && loopback.aggregate_bytes_per_s.is_finite());
    }

    #[test]
    fn lognormal_first_bytes_have_the_median_and_the_tail_they_promise() {
        let link = LinkProfile::gcs().lognormal();
        let mut rng = SeededRng::new(42);
        let mut ms: Vec<f64> = (0..20_000).map(|_| link.first_byte(&mut rng).as_secs_f64() * 1000.0).collect();
        ms.sort_by(f64::total_cmp);
        let (p50, p99) = (ms[10_000], ms[19_800]);
        assert!((29.0..31.0).contains(&p50), "median {p50} ms");
        assert!((84.0..96.0).contains(&p99), "99th percentile {p99} ms");
    }
}
