//! What was found on the way to a bucket, and what to set for it, in plain sentences.

use std::time::Duration;

use serde::Serialize;

use super::text;

/// Everything that `doctor` has measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct LinkFindings {
    /// How requests are authorised, in words.
    pub(crate) credentials: String,
    /// The server that requests go to.
    pub(crate) endpoint: Option<String>,
    /// What the name of the server resolves to, or why it does not.
    pub(crate) addresses: Vec<String>,
    pub(crate) dns_ms: Option<f64>,
    pub(crate) connect_ms: Option<f64>,
    pub(crate) is_encrypted: bool,
    /// How much this machine's clock is ahead of the server's.
    pub(crate) clock_ahead_s: Option<i64>,
    pub(crate) region_set: Option<String>,
    pub(crate) region_of_bucket: Option<String>,
    pub(crate) object_bytes: u64,
    /// Times to the first byte of small reads, in order of size.
    pub(crate) first_byte_ms: Vec<f64>,
    pub(crate) one_stream_bytes_per_s: f64,
    /// Requests in flight, and the rate of all together.
    pub(crate) rates: Vec<(usize, f64)>,
    /// What tells versions of the object apart; `None` for nothing.
    pub(crate) pinned_by: Option<&'static str>,
    pub(crate) has_checksum: bool,
    /// Whether a read of a version that the object does not have is refused.
    pub(crate) honours_if_match: Option<bool>,
    /// Whether exactly the requested bytes are sent.
    pub(crate) honours_ranges: bool,
    /// The memory that is set, in bytes.
    pub(crate) memory_bytes: u64,
}

/// A part of the best rate at which more requests no longer pay.
const KNEE: f64 = 0.9;

/// S3 refuses requests whose clock is further off.
const MOST_SKEW_S: i64 = 900;

impl LinkFindings {
    /// The fewest requests in flight that reach nearly the best rate, and that rate.
    pub(crate) fn knee(&self) -> Option<(usize, f64)> {
        let best = self.rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        self.rates.iter().copied().find(|(_, rate)| *rate >= KNEE * best)
    }

    /// The time to the first byte that this part of the reads does not exceed.
    pub(crate) fn first_byte(&self, part: f64) -> Option<f64> {
        let last = self.first_byte_ms.len().checked_sub(1)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into a short list")]
        let index = (part * last as f64).round() as usize;
        self.first_byte_ms.get(index).copied()
    }

    /// What was found, one line each: a name and a value.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let ms = |value: f64| text::time(Duration::from_secs_f64(value / 1e3));
        let mut lines = vec![("Credentials", self.credentials.clone())];
        if let Some(endpoint) = &self.endpoint {
            lines.push(("Server", endpoint.clone()));
            let found = if self.addresses.is_empty() { "not found".to_owned() } else { self.addresses.join(", ") };
            lines.push((
                "Address",
                self.dns_ms.map_or(found.clone(), |time| format!("{found} (found in {})", ms(time))),
            ));
        }
        if let Some(time) = self.connect_ms {
            lines.push(("Connection", format!("made in {}", ms(time))));
        }
        lines.push(("Encryption", if self.is_encrypted { "TLS" } else { "none" }.to_owned()));
        lines.extend(self.clock_ahead_s.map(|skew| ("Clock", clock(skew))));
        lines.extend(self.region_of_bucket.clone().map(|region| ("Region", region)));
        lines.push(("Object", text::size(self.object_bytes)));
        if let (Some(median), Some(slow)) = (self.first_byte(0.5), self.first_byte(0.95)) {
            lines.push(("First byte", format!("median {}, 95th percentile {}", ms(median), ms(slow))));
        }
        lines.push(("One stream", text::rate(self.one_stream_bytes_per_s)));
        let rates = self.rates.iter().map(|(count, rate)| format!("{count}: {}", text::rate(*rate)));
        lines.push(("In parallel", rates.collect::<Vec<_>>().join(", ")));
        lines.push(("Version", self.pinned_by.unwrap_or("nothing tells versions apart").to_owned()));
        lines.push(("Checksum", if self.has_checksum { "CRC32C" } else { "none that is reported" }.to_owned()));
        let honours = |is_so: bool| if is_so { "honoured" } else { "ignored" }.to_owned();
        lines.extend(self.honours_if_match.map(|is_so| ("If-Match", honours(is_so))));
        lines.push(("Ranges", honours(self.honours_ranges)));
        lines
    }

    /// What to set, and why.
    pub(crate) fn advice(&self) -> Vec<String> {
        let mut said = Vec::new();
        said.extend(self.advice_before_reads());
        said.extend(self.advice_on_speed());
        said.extend(self.advice_on_versions());
        if said.is_empty() {
            said.push("Nothing needs to be set: the defaults suit this bucket.".to_owned());
        }
        said
    }

    /// What to set, and why, where no read has succeeded.
    pub(crate) fn advice_before_reads(&self) -> Vec<String> {
        let mut said = Vec::new();
        if let Some(skew) = self.clock_ahead_s.filter(|skew| skew.abs() > 60) {
            let refused = if skew.abs() >= MOST_SKEW_S {
                "Signed requests are refused"
            } else {
                "From 15 minutes on, signed requests are refused"
            };
            said.push(format!("Set this machine's clock, by NTP: it is {}. {refused}.", clock(skew)));
        }
        if let (Some(set), Some(found)) = (&self.region_set, &self.region_of_bucket)
            && set != found
        {
            said.push(format!("Set s3.region={found}: the bucket is there, and requests are signed for {set}."));
        }
        if !self.is_encrypted && self.endpoint.as_ref().is_some_and(|endpoint| !is_loopback(endpoint)) {
            said.push("Use an https:// endpoint: bytes and credentials go over the network in the clear.".to_owned());
        }
        said
    }

    fn advice_on_speed(&self) -> Vec<String> {
        let mut said = Vec::new();
        let median = self.first_byte(0.5).unwrap_or(0.0);
        if let Some((count, rate)) = self.knee() {
            let gain = rate / self.one_stream_bytes_per_s.max(1.0);
            if gain >= 1.5 {
                said.push(format!(
                    "Leave mode=adaptive (the default): {count} requests in flight give {}, {} times one stream. \
                     fetch.concurrency needs no change, for the number follows from the measured link.",
                    text::rate(rate),
                    text::digits(gain)
                ));
            } else {
                said.push(format!(
                    "One stream gives {}, and more requests in flight give no more: parallel reads gain little here. \
                     Look for a limit of this machine's network or of a proxy.",
                    text::rate(self.one_stream_bytes_per_s)
                ));
            }
            // What a full window takes: docs/guide.md.
            let window = 1.75 * rate * median / 1e3;
            if window > 0.5 * self.memory_bytes as f64 {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size in MiB")]
                let mib = (2.0 * window / f64::from(1 << 20)).ceil() as u64;
                said.push(format!("Set memory_bytes={mib}MiB or more: a window of this link takes half of that."));
            }
            if rate < 200e6 {
                said.push(
                    "If data is read more than once, set mode=cached and cache.disk_directory: a disk is faster than \
                     this link."
                        .to_owned(),
                );
            }
        }
        if median > 100.0 {
            said.push(format!(
                "The store's first byte takes {}: run in the bucket's region if you can. Random reads wait that long \
                 each.",
                text::time(Duration::from_secs_f64(median / 1e3))
            ));
        }
        if let Some(slow) = self.first_byte(0.95).filter(|slow| *slow > 3.0 * median && *slow > 20.0) {
            said.push(format!(
                "Leave fetch.hedge=on (the default): one first byte in twenty takes {} or more.",
                text::time(Duration::from_secs_f64(slow / 1e3))
            ));
        }
        said
    }

    fn advice_on_versions(&self) -> Vec<String> {
        let mut said = Vec::new();
        if self.pinned_by.is_none() {
            said.push(
                "Set cache.freshness=immutable if objects never change: nothing tells their versions apart, so reads \
                 are neither split nor cached otherwise."
                    .to_owned(),
            );
        }
        if self.honours_if_match == Some(false) {
            said.push(
                "The store ignores If-Match. Every answer is compared instead; nothing needs to be set.".to_owned(),
            );
        }
        if !self.honours_ranges {
            said.push(
                "Use mode=fetch or none: the server ignores ranges, so every read fetches the object.".to_owned(),
            );
        }
        said
    }
}

fn clock(ahead_s: i64) -> String {
    match ahead_s {
        -1..=1 => "right".to_owned(),
        late @ ..-1 => format!("{} s behind the server's", -late),
        early => format!("{early} s ahead of the server's"),
    }
}

fn is_loopback(endpoint: &str) -> bool {
    ["//127.", "//localhost", "//[::1]"].iter().any(|host| endpoint.contains(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> LinkFindings {
        LinkFindings {
            endpoint: Some("https://storage.googleapis.com".into()),
            is_encrypted: true,
            clock_ahead_s: Some(0),
            first_byte_ms: vec![20.0, 25.0, 30.0, 35.0],
            one_stream_bytes_per_s: 60e6,
            rates: vec![(1, 60e6), (4, 240e6), (16, 800e6), (32, 850e6)],
            pinned_by: Some("generation"),
            honours_if_match: Some(true),
            honours_ranges: true,
            memory_bytes: 512 << 20,
            ..LinkFindings::default()
        }
    }

    #[track_caller]
    fn check(findings: &LinkFindings, says: &str) {
        let said = findings.advice().join("\n");
        assert!(said.contains(says), "{said}");
    }

    #[test]
    fn the_knee_is_where_more_requests_no_longer_pay() {
        assert_eq!(good().knee(), Some((16, 800e6)));
        assert_eq!(LinkFindings::default().knee(), None);
        assert_eq!((good().first_byte(0.5), good().first_byte(0.95)), (Some(30.0), Some(35.0)));
    }

    #[test]
    fn advice_follows_from_what_was_found() {
        check(&good(), "16 requests in flight give 800 MB/s, 13.3 times one stream");
        assert_eq!(good().advice().len(), 1, "{:?}", good().advice());
        check(
            &LinkFindings { clock_ahead_s: Some(-1000), ..good() },
            "1000 s behind the server's. Signed requests are refused.",
        );
        let (region_set, region_of_bucket) = (Some("us-east-1".into()), Some("eu-west-1".into()));
        check(&LinkFindings { region_set, region_of_bucket, ..good() }, "Set s3.region=eu-west-1");
        check(&LinkFindings { rates: vec![(1, 60e6), (8, 61e6)], ..good() }, "parallel reads gain little");
        check(&LinkFindings { rates: vec![(1, 60e6), (8, 61e6)], ..good() }, "cache.disk_directory");
        check(&LinkFindings { first_byte_ms: vec![900.0], ..good() }, "Set memory_bytes=2");
        check(&LinkFindings { first_byte_ms: vec![150.0; 5], ..good() }, "run in the bucket's region");
        check(&LinkFindings { first_byte_ms: vec![10.0, 10.0, 10.0, 50.0], ..good() }, "fetch.hedge");
        check(&LinkFindings { pinned_by: None, ..good() }, "cache.freshness=immutable");
        check(&LinkFindings { honours_if_match: Some(false), ..good() }, "ignores If-Match");
        check(&LinkFindings { honours_ranges: false, ..good() }, "ignores ranges");
        let endpoint = Some("http://minio.example:9000".into());
        check(&LinkFindings { endpoint, is_encrypted: false, ..good() }, "in the clear");
        assert!(good().lines().iter().any(|(name, value)| *name == "Clock" && value == "right"));
    }
}
