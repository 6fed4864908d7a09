//! Tests of the file format.

use super::*;

const HEADER: &str = r#"{"trace":"headstart","version":1,"keys":"plain"}"#;

fn read(lines: &[&str]) -> Result<Trace, String> {
    Trace::read(lines.join("\n").as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_line_has_the_documented_format() {
    let call = TraceCall {
        size: Some(10),
        ranges: vec![[2, 7]],
        after: Some(3),
        wait_us: 5,
        bytes: 5,
        ..TraceCall::new(4, "k", CallKind::GetRanges)
    };
    let line = r#"{"n":4,"key":"k","size":10,"call":"get_ranges","ranges":[[2,7]],"after":3,"wait_us":5,"bytes":5}"#;
    assert_eq!(serde_json::to_string(&call).unwrap(), line);
    assert_eq!(read(&[HEADER, line, ""]).unwrap().calls, [call]);
}

#[test]
fn calls_are_ordered_by_begin_and_unknown_fields_are_skipped() {
    let lines =
        [HEADER, r#"{"n":1,"key":"a","call":"head","colour":"red"}"#, "", r#"{"n":0,"key":"a","call":"get"}"#, ""];
    let trace = read(&lines).unwrap();
    assert_eq!(trace.calls.iter().map(|call| call.n).collect::<Vec<_>>(), [0, 1]);
    let mut written = Vec::new();
    trace.write(&mut written).unwrap();
    assert_eq!(Trace::read(&*written).unwrap(), trace);
}

#[test]
fn a_line_cut_short_by_a_crash_is_dropped() {
    assert_eq!(read(&[HEADER, r#"{"n":0,"key":"a","call":"get"}"#, r#"{"n":1,"ke"#]).unwrap().calls.len(), 1);
}

#[test]
fn errors_say_why_a_file_is_not_a_trace() {
    for (lines, says) in [
        (&[][..], "not a trace"),
        (&["{}"], "not a trace"),
        (&[r#"{"trace":"else","version":1,"keys":"plain"}"#], "not a trace"),
        (&[r#"{"trace":"headstart","version":9,"keys":"in some new way"}"#], "version 9"),
        (&[HEADER, "nonsense", ""], "line 2"),
        (&[HEADER, r#"{"n":0,"key":"a","call":"get"}"#, r#"{"n":0,"key":"a","call":"get"}"#], "two calls"),
        (&[HEADER, r#"{"n":0,"key":"a","call":"get","after":0}"#], "earlier"),
        (&[HEADER, r#"{"n":0,"key":"a","call":"get","ranges":[[2,1]]}"#], "ends before"),
        (&[HEADER, r#"{"n":0,"key":"a","call":"get","ranges":[[0,1]],"suffix":1}"#], "exclude"),
        (&[HEADER, r#"{"n":0,"key":"a","call":"get","ranges":[[0,1],[1,2]]}"#], "one range"),
        (&[HEADER, r#"{"n":0,"key":"a","call":"read","handle":0}"#], "needs its ranges"),
        (&[HEADER, r#"{"n":0,"key":"a","call":"read","ranges":[[0,1]]}"#], "needs its handle"),
    ] {
        let error = read(lines).unwrap_err();
        assert!(error.contains(says), "{lines:?}: {error}");
    }
}
