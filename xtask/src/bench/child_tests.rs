//! Tests of the processes.

use super::*;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn run(scripts: &[&str]) -> Result<(Outcome, Option<WireCounts>), String> {
    let processes = scripts.iter().map(|script| shell(script)).collect();
    run_all(processes, Duration::from_secs(1)).map_err(|error| format!("{error:#}"))
}

#[test]
fn processes_begin_together_and_are_one_run() {
    let outcome = Outcome { delivered_bytes: 5, elapsed_ms: 1.0, ..Outcome::default() };
    let script = format!("echo ready; read line; echo '{}'", serde_json::to_string(&outcome).unwrap());
    let (all, wire) = run(&[&script, &script]).unwrap();
    assert_eq!((all.delivered_bytes, wire), (10, None));
}

#[test]
fn what_goes_wrong_in_a_process_is_told() {
    for (script, says) in [
        ("echo no such object >&2; exit 3", "no such object"),
        ("echo hello", "instead of 'ready'"),
        ("echo ready; read line; echo nonsense", "nonsense"),
        ("echo ready; read line; echo late >&2; exit 1", "late"),
    ] {
        let error = run(&[script]).unwrap_err();
        assert!(error.contains(says), "{script}: {error}");
    }
}
