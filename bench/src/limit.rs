//! Computes the most that a link allows.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use headstart_sim::LinkProfile;
use headstart_trace::{CallKind, Trace};

use crate::meter::{FAST_BYTES, megabytes};

/// The highest possible rate of `trace` over `link` in 10⁶ bytes per second, if the run is cut off after `cut`; `None`
/// for a link without a limit. A run that reads [`FAST_BYTES`] before the cut is not cut off.
///
/// The limit is one first byte, then every requested byte once at the link's full rate. No reader is faster than its
/// think time allows.
#[must_use]
pub fn mb_per_s(trace: &Trace, link: &LinkProfile, cut: Option<Duration>) -> Option<f64> {
    let rate = Some(link.nic_bytes_per_s / 1e6).filter(|rate| rate.is_finite())?;
    let (asked, once) = (megabytes(asked(trace)), megabytes(extents(trace).values().flatten().map(len).sum()));
    let first_s = link.ttfb.as_secs_f64();
    let (link_s, thinking_s) = (first_s + once / rate, thinking(trace).as_secs_f64());
    let fast_s = first_s + megabytes(FAST_BYTES) / rate;
    match cut.map(|cut| cut.as_secs_f64()).filter(|cut_s| *cut_s < fast_s.min(link_s.max(thinking_s))) {
        Some(cut_s) if thinking_s < link_s => Some(rate * asked / once * ((cut_s - first_s) / cut_s).max(0.0)),
        _ => Some(asked / link_s.max(thinking_s)),
    }
}

/// The requested bytes of each object, in order and without overlaps.
#[must_use]
pub fn extents(trace: &Trace) -> BTreeMap<&str, Vec<Range<u64>>> {
    let mut extents: BTreeMap<&str, Vec<Range<u64>>> = BTreeMap::new();
    for call in &trace.calls {
        let ranges = call.ranges.iter().map(|[start, end]| *start..*end).filter(|range| !range.is_empty());
        extents.entry(&call.key).or_default().extend(ranges);
    }
    for ranges in extents.values_mut() {
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in ranges.drain(..) {
            match merged.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        *ranges = merged;
    }
    extents
}

fn len(range: &Range<u64>) -> u64 {
    range.end - range.start
}

fn asked(trace: &Trace) -> u64 {
    trace.calls.iter().filter(|call| call.kind != CallKind::Overwrite).map(|call| call.bytes).sum()
}

/// The longest think time of any reader.
fn thinking(trace: &Trace) -> Duration {
    let mut until: HashMap<u64, u64> = HashMap::new();
    for call in &trace.calls {
        let before = call.after.and_then(|after| until.get(&after).copied()).unwrap_or(0);
        until.insert(call.n, before.saturating_add(call.wait_us));
    }
    Duration::from_micros(until.into_values().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[track_caller]
    fn check(name: &str, cut_s: Option<f64>, expected: f64) {
        let workload = Workload::named(name).unwrap();
        let trace = workload.trace(&workload.objects(1).unwrap(), 1).unwrap();
        let limit = mb_per_s(&trace, &LinkProfile::gcs(), cut_s.map(Duration::from_secs_f64)).unwrap();
        assert!((limit - expected).abs() < 0.01 * expected, "{name}: {limit} instead of {expected}");
    }

    #[test]
    fn the_limit_is_one_first_byte_and_then_the_link() {
        check("seq-1m", None, 1073.7 / (0.03 + 1.0737));
        check("seq-1m", Some(0.1), 1000.0 * 0.07 / 0.1);
        check("seq-1m", Some(0.5), 1073.7 / (0.03 + 1.0737));
        check("slow-20", None, 20.0);
        check("epochs-2", None, 2.0 * 268.4 / (0.03 + 0.2684));
        check("home-1m", None, 534.8 / (0.03 + 0.2684));
        assert_eq!(mb_per_s(&Trace { header: header(), calls: vec![] }, &LinkProfile::loopback(), None), None);
    }

    fn header() -> headstart_trace::TraceHeader {
        headstart_trace::TraceHeader::new(headstart_trace::Keys::Plain, "")
    }
}
