//! Runs the cases in a worker process, which may end in any way.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::FuzzArgs;

/// Limit of the worker's address space in KiB. Unbounded allocation ends the worker, not the machine.
const MOST_KIB: u64 = 2 << 20;

/// Starts the line with which the worker announces the next case.
const ANNOUNCEMENT: &str = "next seed: ";

pub(super) enum WorkerExit {
    /// All cases passed.
    Well,
    /// Cases failed, and the worker has reported them.
    Failed,
    /// The worker died during a case.
    Died { seed: u64, how: String },
}

pub(super) fn announce(seed: u64) {
    println!("{ANNOUNCEMENT}{seed}");
}

/// Runs the cases of `args` in a worker and forwards its output.
///
/// # Errors
/// If the worker cannot be started.
pub(super) fn supervise(args: &FuzzArgs) -> Result<WorkerExit> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -v {MOST_KIB}; exec \"$0\" \"$@\"")).arg(program);
    command.args(["fuzz", "--worker", "--seed", &args.seed.to_string()]);
    let numbers = [("--cases", args.cases), ("--seconds", args.seconds), ("--cap-ranges", args.cap_ranges)];
    for (name, value) in numbers {
        command.args(value.map(|value| format!("{name}={value}")));
    }
    command.args(args.keep_going.then_some("--keep-going")).args(args.no_shrink.then_some("--no-shrink"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start a worker")?;
    let said = child.stdout.take().context("the worker says nothing")?;
    let mut seed = args.seed;
    for line in BufReader::new(said).lines() {
        let line = line.context("cannot hear the worker")?;
        match line.strip_prefix(ANNOUNCEMENT).and_then(|seed| seed.parse().ok()) {
            Some(next) => seed = next,
            None => println!("{line}"),
        }
    }
    let status = child.wait().context("cannot wait for the worker")?;
    Ok(match status.code() {
        Some(0) => WorkerExit::Well,
        Some(1) => WorkerExit::Failed,
        _ => WorkerExit::Died { seed, how: status.to_string() },
    })
}
