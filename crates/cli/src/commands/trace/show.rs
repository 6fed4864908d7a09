//! `trace show`: sums up a recording.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use headstart_bench::traces::{bytes, recorded_time};
use headstart_trace::{CallKind, Trace, TraceCall};
use serde::Serialize;

use super::{TraceFile, load};
use crate::failure::Failure;
use crate::policy::text;
use crate::session::Session;

#[derive(Debug, Clone, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    trace: TraceFile,
    /// Every call, one a line, in place of the sums
    #[arg(long)]
    calls: bool,
}

/// The sums of a recording.
#[derive(Debug, PartialEq, Serialize)]
struct TraceOverview {
    about: String,
    calls: BTreeMap<&'static str, u64>,
    objects: u64,
    bytes: u64,
    seconds: f64,
    /// Sizes of the ranges of reads with a known end: the least, the median and the greatest.
    range_bytes: Option<[u64; 3]>,
    /// Times to the answer, in microseconds: the median and the 95th percentile.
    first_us: [u64; 2],
    /// Reads that begin where the read before of the same object ended.
    sequential: u64,
    /// Calls that failed, by error.
    errors: BTreeMap<String, u64>,
}

/// Shows a recording.
pub(super) fn run(session: &Session, args: &ShowArgs) -> Result<(), Failure> {
    let trace = load(&args.trace.file)?;
    if args.calls {
        return trace.calls.iter().try_for_each(|call| session.output.line(|| line(call), call));
    }
    let overview = sum_up(&trace);
    session.output.line(|| lines(&overview), &overview)
}

fn kind_name(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Get => "get",
        CallKind::Head => "head",
        CallKind::GetRanges => "get_ranges",
        CallKind::Read => "read",
        CallKind::Overwrite => "overwrite",
    }
}

fn sum_up(trace: &Trace) -> TraceOverview {
    let mut calls = BTreeMap::new();
    let mut errors = BTreeMap::new();
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut lengths, mut first_us, mut sequential) = (Vec::new(), Vec::new(), 0);
    for call in &trace.calls {
        *calls.entry(kind_name(call.kind)).or_default() += 1;
        if let Some(error) = &call.error {
            *errors.entry(error.clone()).or_default() += 1;
        }
        if call.kind == CallKind::Overwrite {
            continue;
        }
        first_us.push(call.first_us);
        for [start, end] in &call.ranges {
            lengths.push(end - start);
            sequential += u64::from(ends.insert(&call.key, *end) == Some(*start));
        }
    }
    lengths.sort_unstable();
    first_us.sort_unstable();
    let range_bytes = match (lengths.first(), lengths.last()) {
        (Some(least), Some(most)) => Some([*least, lengths[lengths.len() / 2], *most]),
        _ => None,
    };
    let at = |part: usize| first_us.get((first_us.len() * part / 100).min(first_us.len().saturating_sub(1)));
    TraceOverview {
        about: trace.header.about.clone(),
        calls,
        objects: trace.calls.iter().map(|call| &call.key).collect::<BTreeSet<_>>().len() as u64,
        bytes: bytes(trace),
        seconds: recorded_time(trace).as_secs_f64(),
        range_bytes,
        first_us: [50, 95].map(|part| at(part).copied().unwrap_or(0)),
        sequential,
        errors,
    }
}

fn lines(overview: &TraceOverview) -> String {
    let kinds = |counts: &mut dyn Iterator<Item = (String, u64)>| {
        counts.map(|(name, count)| format!("{} {name}", text::count(count))).collect::<Vec<_>>().join(", ")
    };
    let mut rows = vec![
        ("Calls", kinds(&mut overview.calls.iter().map(|(name, count)| ((*name).to_owned(), *count)))),
        ("Objects", text::count(overview.objects)),
        ("Read", text::size(overview.bytes)),
        ("Time", text::time(Duration::from_secs_f64(overview.seconds))),
    ];
    if let Some([least, median, most]) = overview.range_bytes.map(|sizes| sizes.map(text::size)) {
        rows.push(("Ranges", format!("{least} to {most}, median {median}")));
        rows.push(("Sequential", text::counted(overview.sequential, "range", "ranges")));
    }
    let [median, slow] = overview.first_us.map(|us| text::time(Duration::from_micros(us)));
    rows.push(("Time to the answer", format!("median {median}, 95th percentile {slow}")));
    if !overview.errors.is_empty() {
        rows.push(("Errors", kinds(&mut overview.errors.iter().map(|(name, count)| (name.clone(), *count)))));
    }
    text::fields(rows)
}

fn line(call: &TraceCall) -> String {
    let ranges = call.ranges.iter().map(|[start, end]| format!("{start}..{end}"));
    let rest = call.offset.map(|offset| format!("{offset}..")).into_iter();
    let rest = rest.chain(call.suffix.map(|suffix| format!("..-{suffix}")));
    let ranges = ranges.chain(rest).collect::<Vec<_>>().join(",");
    let at = text::time(Duration::from_micros(call.at_us));
    let took = text::time(Duration::from_micros(call.took_us));
    let error = call.error.as_ref().map(|error| format!(" {error}")).unwrap_or_default();
    let asked = if ranges.is_empty() { "all".to_owned() } else { ranges };
    let (number, kind, bytes) = (call.n, kind_name(call.kind), text::size(call.bytes));
    text::name(&format!("{number} at {at}: {kind} {} {asked}: {bytes} in {took}{error}", call.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_trace::{Keys, TraceHeader};

    #[test]
    fn a_recording_is_summed_up() {
        let call = |n, start, first_us| TraceCall {
            ranges: vec![[start, start + 10]],
            bytes: 10,
            first_us,
            took_us: 5,
            ..TraceCall::new(n, "k", CallKind::Get)
        };
        let failed = TraceCall { error: Some("NotFound".into()), ..TraceCall::new(3, "j", CallKind::Head) };
        let calls = vec![call(0, 0, 1), call(1, 10, 2), call(2, 90, 3), failed];
        let overview = sum_up(&Trace { header: TraceHeader::new(Keys::Plain, "x"), calls });
        assert_eq!(overview.calls, BTreeMap::from([("get", 3), ("head", 1)]));
        assert_eq!((overview.objects, overview.bytes, overview.sequential), (2, 30, 1));
        assert_eq!((overview.range_bytes, overview.first_us), (Some([10, 10, 10]), [2, 3]));
        assert!(lines(&overview).contains("1 NotFound"), "{}", lines(&overview));
    }
}
