//! One cell of the matrix: one server, read in one way through one stack, compared with the bare client.

use std::cell::Cell as Slot;
use std::{fmt, time::Duration};

use headstart_sim::hostile::{AskedRequest, HostileObject};
use object_store::path::Path;
use tokio::time::Instant;

use super::{Access, ClientKind, MatrixJob, Mode, Pieces};

const KEY: &str = "data.bin";

/// Reads of each cell. The second one shows the effect of cached state.
const READS: usize = 2;

/// A read that takes longer, in virtual time, hangs.
const HANGS_AFTER: Duration = Duration::from_secs(7200);

#[derive(Debug, Clone, PartialEq)]
pub(super) struct MatrixCell {
    pub(super) behaviour: &'static str,
    pub(super) client: ClientKind,
    pub(super) size: u64,
    pub(super) access: Access,
    pub(super) mode: Mode,
}

impl fmt::Display for MatrixCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { behaviour, client, size, access, mode } = self;
        write!(f, "{behaviour} {client} {size} {access} {mode}")
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ReadEnd {
    Right,
    Wrong(String),
    Failed(String),
    Hung,
}

#[derive(Debug, Clone)]
pub(super) struct CellRecord {
    reads: Vec<ReadEnd>,
    pub(super) requests: Vec<AskedRequest>,
    took: Duration,
    panicked: bool,
}

/// A way in which a cell is worse than the bare client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellFault {
    WrongBytes,
    Fails,
    Requests,
    Time,
    Panics,
    Hangs,
}

impl CellFault {
    /// What the cell has more of than the bare client.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::WrongBytes => "wrong bytes",
            Self::Fails => "errors",
            Self::Requests => "requests",
            Self::Time => "time",
            Self::Panics => "panics",
            Self::Hangs => "hangs",
        }
    }
}

thread_local!(static PANICKED: Slot<bool> = const { Slot::new(false) });

pub(super) fn note_panic() {
    PANICKED.set(true);
}

/// Reads by the bare client, or in a mode of ours.
pub(super) fn run_cell((behaviour, client, size): MatrixJob, access: Access, mode: Option<Mode>) -> CellRecord {
    let runtime = headstart_bench::simulate::paused().expect("a runtime without I/O");
    let server = behaviour.server(HostileObject::new(KEY, size));
    let path = Path::from(KEY);
    PANICKED.set(false);
    let (reads, took) = runtime.block_on(async {
        let stack = match mode {
            Some(mode) => Ok(client.headstart(&server, mode).await.expect("the options are good")),
            None => Err(client.raw(&server).expect("the options are good")),
        };
        let started = Instant::now();
        let mut reads = Vec::new();
        for _ in 0..READS {
            let read = async {
                match &stack {
                    Ok(headstart) => access.ours(headstart, &path, size).await,
                    Err(raw) => access.raw(&**raw, &path, size).await,
                }
            };
            // A task of its own catches panics.
            let read = std::panic::AssertUnwindSafe(tokio::time::timeout(HANGS_AFTER, read));
            reads.push(match futures::FutureExt::catch_unwind(read).await {
                Ok(Ok(Ok(pieces))) => judge(&server.object().content(), access.expected(size), &pieces),
                Ok(Ok(Err(error))) => ReadEnd::Failed(crate::explain(&error).chars().take(300).collect()),
                Ok(Err(_)) => ReadEnd::Hung,
                Err(_) => ReadEnd::Failed("panic".to_owned()),
            });
        }
        (reads, started.elapsed())
    });
    drop(runtime);
    CellRecord { reads, requests: server.requests(), took, panicked: PANICKED.get() }
}

fn judge(content: &headstart_sim::Content, expected: Vec<std::ops::Range<u64>>, pieces: &Pieces) -> ReadEnd {
    let mut brought: Vec<std::ops::Range<u64>> = Vec::new();
    for (at, bytes) in pieces {
        if let Err(wrong) = content.check(*at, bytes) {
            return ReadEnd::Wrong(wrong.to_string());
        }
        let range = *at..at + bytes.len() as u64;
        match brought.last_mut() {
            Some(last)
                if last.end == range.start
                    && expected.iter().any(|wanted| wanted.start < range.start && range.start < wanted.end) =>
            {
                last.end = range.end;
            }
            _ => brought.push(range),
        }
    }
    brought.retain(|range| !range.is_empty());
    if brought == expected { ReadEnd::Right } else { ReadEnd::Wrong(format!("{brought:?} instead of {expected:?}")) }
}

/// Compares `ours` with `raw`. `usual` is our number of requests with a correct server.
pub(super) fn compare(raw: &CellRecord, ours: &CellRecord, usual: usize) -> Vec<CellFault> {
    let mut faults = Vec::new();
    let pairs = || raw.reads.iter().zip(&ours.reads);
    let mut check = |fault, is_there: bool| {
        if is_there {
            faults.push(fault);
        }
    };
    check(CellFault::WrongBytes, ours.reads.iter().any(|read| matches!(read, ReadEnd::Wrong(_))));
    check(CellFault::Fails, pairs().any(|(raw, ours)| *raw == ReadEnd::Right && matches!(ours, ReadEnd::Failed(_))));
    check(CellFault::Hangs, pairs().any(|(raw, ours)| *raw != ReadEnd::Hung && *ours == ReadEnd::Hung));
    check(CellFault::Requests, ours.requests.len() > 2 * raw.requests.len().max(usual) + READS);
    check(CellFault::Time, ours.took > raw.took.mul_f64(1.5) + Duration::from_secs(1));
    check(CellFault::Panics, ours.panicked && !raw.panicked);
    faults
}

impl CellRecord {
    pub(super) fn requests_told(&self) -> String {
        let line = |asked: &AskedRequest| {
            let header = |name: &str| asked.header(name).map(|value| format!(" {name}: {value}")).unwrap_or_default();
            let connection = asked.connection;
            format!("      [{connection}] {} {}{}{}", asked.method, asked.target, header("range"), header("if-match"))
        };
        self.requests.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for CellRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {:.2} s", self.requests.len(), self.took.as_secs_f64())?;
        for read in &self.reads {
            match read {
                ReadEnd::Right => f.write_str(", right")?,
                ReadEnd::Wrong(why) => write!(f, ", wrong ({why})")?,
                ReadEnd::Failed(why) => write!(f, ", failed ({why})")?,
                ReadEnd::Hung => f.write_str(", hung")?,
            }
        }
        if self.panicked { f.write_str(", panicked") } else { Ok(()) }
    }
}
