//! Tests of workloads.

use super::*;

fn made(text: &str) -> Trace {
    let workload = parse(&format!("\n[w]\nabout = ''\n{text}")).unwrap().remove(0);
    workload.trace(&workload.objects(1).unwrap(), 1).unwrap()
}

/// The calls as `handle:start`, with `*` where the handle is closed.
fn shown(trace: &Trace) -> Vec<String> {
    let shown = |call: &TraceCall| match call.handle {
        None => "overwrite".to_owned(),
        Some(handle) => format!("{handle}:{}{}", call.ranges[0][0], if call.is_last { "*" } else { "" }),
    };
    trace.calls.iter().map(shown).collect()
}

#[test]
fn every_workload_makes_a_trace_that_can_be_read_back() {
    for workload in Workload::all().unwrap() {
        let objects = workload.objects(1).unwrap();
        let trace = workload.trace(&objects, 1).unwrap();
        let mut file = Vec::new();
        trace.write(&mut file).unwrap();
        assert_eq!(Trace::read(&*file).unwrap(), trace, "{}", workload.name);
        assert_eq!(trace, workload.trace(&objects, 1).unwrap(), "{}", workload.name);
    }
}

#[test]
fn names_are_unique_and_in_the_files_order() {
    let names: Vec<String> = Workload::all().unwrap().into_iter().map(|workload| workload.name).collect();
    assert_eq!(names[..3], ["seq-64k", "seq-1m", "seq-16m"]);
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    assert!(Workload::named("nothing").unwrap_err().to_string().contains("seq-64k"));
}

#[test]
fn readers_share_the_sessions_and_keep_their_order() {
    let trace = made("size = '2k'\nobjects = 3\nreaders = 2\nreads = 'seq-1k'");
    assert_eq!(shown(&trace), ["0:0", "0:1024*", "1:0", "1:1024*", "2:0", "2:1024*"]);
    let after: Vec<Option<u64>> = trace.calls.iter().map(|call| call.after).collect();
    assert_eq!(after, [None, Some(0), Some(1), Some(2), None, Some(4)]);
    let keys: Vec<&str> = trace.calls.iter().step_by(2).map(|call| call.key.as_str()).collect();
    assert_eq!(keys, ["synthetic/2048/w-0", "synthetic/2048/w-2", "synthetic/2048/w-1"]);
}

#[test]
fn idle_readers_read_once_and_keep_their_object() {
    assert_eq!(shown(&made("size = '2k'\nidle = 2\nreads = 'seq-1k'")), ["0:0", "1:0", "2:0", "2:1024*"]);
}

#[test]
fn slow_readers_think_and_overwrites_come_between() {
    let trace = made("size = '3k'\nreads = 'seq-1k'\nmost_mb_per_s = 1\noverwrite_after = 2");
    assert_eq!(shown(&trace), ["0:0", "0:1024", "overwrite", "0:2048*"]);
    assert_eq!(trace.calls.iter().map(|call| call.wait_us).collect::<Vec<_>>(), [0, 1024, 0, 1024]);
}

#[test]
fn readers_of_shares_read_all_bytes_once() {
    let trace = made("size = '5k'\nreaders = 2\nshares = true\nreads = 'seq-2k'");
    assert_eq!(shown(&trace), ["0:0", "0:2048*", "1:2560", "1:4608*"]);
    assert_eq!(trace.calls.iter().map(|call| call.bytes).sum::<u64>(), 5 * 1024);
}

#[test]
fn ranges_of_a_call_have_no_handle() {
    let trace = made("size = '9k'\nreads = 'seq-1k'\nranges_a_call = 4\nmost_reads = 6\nmost_mb_per_s = 1");
    let calls: Vec<_> = trace.calls.iter().map(|call| (call.kind, call.ranges.len(), call.handle)).collect();
    assert_eq!(calls, [(CallKind::GetRanges, 4, None), (CallKind::GetRanges, 2, None)]);
    assert_eq!((trace.calls[0].bytes, trace.calls[1].wait_us, trace.calls[1].after), (4096, 4096, Some(0)));
}

#[test]
fn reads_by_call_have_no_handle() {
    let trace = made("size = '2k'\nreads = 'seq-1k'\nby_call = true");
    let calls: Vec<_> = trace.calls.iter().map(|call| (call.kind, call.ranges.clone(), call.handle)).collect();
    assert_eq!(calls, [(CallKind::Get, vec![[0, 1024]], None), (CallKind::Get, vec![[1024, 2048]], None)]);
}

#[test]
fn a_chosen_link_comes_before_the_workloads_own() {
    let link = |text: &str, chosen: Option<&LinkProfile>| {
        let workload = parse(&format!("\n[w]\nabout = ''\nsize = '1k'\nreads = 'whole'\n{text}")).unwrap().remove(0);
        workload.link_or(chosen).to_string()
    };
    let own = "link = 'gcs-100g-lognormal'";
    assert_eq!([link("", None), link(own, None)], ["gcs", "gcs-100g-lognormal"]);
    assert_eq!([link("", Some(&LinkProfile::wan())), link(own, Some(&LinkProfile::wan()))], ["wan", "wan"]);
}

#[test]
fn many_processes_are_not_cut_off_before_five_seconds() {
    let seconds = Duration::from_secs;
    let cut = |name: &str, usual| Workload::named(name).unwrap().cut_after(seconds(usual));
    assert_eq!(
        [cut("processes-48", 1), cut("processes-48", 9), cut("seq-1m", 1)],
        [seconds(5), seconds(9), seconds(1)]
    );
    for name in ["processes-1", "processes-16", "processes-48"] {
        let workload = Workload::named(name).unwrap();
        let bytes: u64 = workload.objects(1).unwrap().iter().map(|object| object.size).sum();
        assert!(bytes >= 5_000_000_000, "{name} ends with its objects before five seconds at 1,000 MB/s");
    }
}

#[test]
fn passes_go_through_all_objects_in_another_order() {
    let trace = made("size = '1k'\nobjects = 9\nreads = 'whole'\npasses = 2\nshuffled = true");
    let keys: Vec<&str> = trace.calls.iter().map(|call| call.key.as_str()).collect();
    let (first, second) = keys.split_at(9);
    assert_ne!(first, second);
    let sorted = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(sorted(first), sorted(second));
}

#[test]
fn nonsense_is_refused() {
    for (text, says) in [
        ("reads = 'seq-1k'", "one of size"),
        ("size = 'big'\nreads = 'seq-1k'", "number of bytes"),
        ("size = '1k'\nreads = 'seq-1k'\nreaders = 0", "at least 1"),
        ("size = '1k'\nreads = 'seq-1k'\nprocesses = 2", "needs a reader"),
        ("size = '1k'\nreads = 'seq-1k'\nreaders = 2\noverwrite_after = 1", "one reader"),
        ("size = '1k'\nreads = 'seq-1k'\ncolour = 'red'", "colour"),
        ("size = '1k'\nreads = 'seq-1k'\nlink = 'moon'", "unknown link profile 'moon'"),
        ("size = '1k'\nreads = 'seq-1k'\nsystems = ['warp']", "headstart+cache"),
        ("size = '1k'\nreads = 'seq-1k'\nobjects = 2\nshares = true", "share one object"),
        ("size = '1k'\nreads = 'seq-1k'\nranges_a_call = 0", "at least 1"),
        ("size = '1k'\nreads = 'seq-1k'\nranges_a_call = 2\nby_call = true", "one range"),
    ] {
        let error = format!("{:#}", parse(&format!("\n[w]\nabout = ''\n{text}")).unwrap_err());
        assert!(error.contains(says), "{text}: {error}");
    }
}
