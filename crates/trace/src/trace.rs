//! The file: its lines, read and written. Pure.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// Version of the format that is written, and the newest that can be read.
pub const VERSION: u32 = 1;

/// The first line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always `headstart`: what tells a trace from other JSON lines.
    pub trace: String,
    /// [`VERSION`] of the program that wrote it.
    pub version: u32,
    /// What `key` of a call is.
    pub keys: Keys,
    /// What was recorded, or made, in a few words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
}

impl Header {
    /// The first line of a new trace.
    #[must_use]
    pub fn new(keys: Keys, about: impl Into<String>) -> Self {
        Self { trace: "headstart".into(), version: VERSION, keys, about: about.into() }
    }
}

/// What every version's first line begins with.
#[derive(Deserialize)]
struct First {
    trace: String,
    version: u32,
}

/// What the keys of a trace are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// Hashes of paths: the same key is the same object, and that is all there is to know.
    Hashed,
    /// Paths.
    Plain,
}

/// What a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `get_opts` with a body, which is streamed: `get` and `get_range` come down to it.
    Get,
    /// `get_opts` without a body.
    Head,
    /// `get_ranges`.
    GetRanges,
    /// A read through an open object. In made traces.
    Read,
    /// Somebody else writes a new version of the object. In made traces.
    Overwrite,
}

/// The `error` of a call that its caller dropped before there was an answer.
pub const DROPPED: &str = "dropped";

/// One call of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its number, counted from 0 in the order in which calls began.
    pub n: u64,
    /// The object.
    pub key: String,
    /// Length of the object in bytes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What it is.
    #[serde(rename = "call")]
    pub kind: Kind,
    /// Bytes asked for: `[start, end]` each. Empty where all are, or `offset` or `suffix` says which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<[u64; 2]>,
    /// All bytes from here on are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The last so many bytes are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<u64>,
    /// Whether it had a condition, or asked for a version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_conditional: bool,
    /// The open object it goes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u32>,
    /// Whether the object is closed after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_last: bool,
    /// The call that this one came after: always an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Microseconds from the end of `after`, or from the trace's beginning.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wait_us: u64,
    /// Microseconds that the caller took between the pieces of the body.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub busy_us: u64,
    /// Bytes that the caller took; in a made trace those that it will take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// Microseconds from the trace's beginning to the call's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at_us: u64,
    /// Microseconds from the call's beginning to the answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_us: u64,
    /// Microseconds from the call's beginning to its end: for a body, until it was read or dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub took_us: u64,
    /// Name of the error that it ended with: a variant of `object_store::Error`, or [`DROPPED`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Call {
    /// A call about which nothing else is known.
    #[must_use]
    pub fn new(n: u64, key: impl Into<String>, kind: Kind) -> Self {
        Self {
            n,
            key: key.into(),
            size: None,
            kind,
            ranges: Vec::new(),
            offset: None,
            suffix: None,
            is_conditional: false,
            handle: None,
            is_last: false,
            after: None,
            wait_us: 0,
            busy_us: 0,
            bytes: 0,
            at_us: 0,
            first_us: 0,
            took_us: 0,
            error: None,
        }
    }
}

/// A whole trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Its first line.
    pub header: Header,
    /// Its calls, in the order in which they began. Those that a recorder lost are not there, nor are those that were under way at its end.
    pub calls: Vec<Call>,
}

/// Why a file is not a trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It cannot be read.
    #[error("the trace cannot be read")]
    Io(#[from] io::Error),
    /// It does not begin as a trace does.
    #[error(
        "not a trace: the first line must be a header such as {{\"trace\":\"headstart\",\"version\":{VERSION},\"keys\":\"hashed\"}}"
    )]
    NoHeader,
    /// A newer program wrote it.
    #[error("the trace has version {found}, this program reads up to {VERSION}")]
    NewerVersion {
        /// Its version.
        found: u32,
    },
    /// A line is not a call.
    #[error("line {line} of the trace is not a call")]
    BadLine {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line contradicts itself or another.
    #[error("line {line} of the trace: {what}")]
    Contradiction {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl Trace {
    /// Reads a trace to its end. Empty lines are skipped; a last line that was cut short, as after a crash, is dropped.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn read(mut file: impl BufRead) -> Result<Self, TraceError> {
        let mut line = Vec::new();
        file.read_until(b'\n', &mut line)?;
        let first: First = serde_json::from_slice(&line).map_err(|_| TraceError::NoHeader)?;
        if first.trace != "headstart" {
            return Err(TraceError::NoHeader);
        }
        if first.version > VERSION {
            return Err(TraceError::NewerVersion { found: first.version });
        }
        let header = serde_json::from_slice(&line).map_err(|_| TraceError::NoHeader)?;
        let mut calls: Vec<(usize, Call)> = Vec::new();
        for number in 2.. {
            line.clear();
            if file.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(call) => calls.push((number, call)),
                Err(_) if line.last() != Some(&b'\n') => break,
                Err(source) => return Err(TraceError::BadLine { line: number, source }),
            }
        }
        calls.sort_by_key(|(_, call)| call.n);
        check(&calls)?;
        Ok(Self { header, calls: calls.into_iter().map(|(_, call)| call).collect() })
    }

    /// Writes the trace, a line each.
    ///
    /// # Errors
    /// `file`'s own.
    pub fn write(&self, mut file: impl Write) -> io::Result<()> {
        write_line(&mut file, &self.header)?;
        self.calls.iter().try_for_each(|call| write_line(&mut file, call))
    }
}

/// Writes one line.
pub(crate) fn write_line(mut file: impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut file, line)?;
    file.write_all(b"\n")
}

fn check(calls: &[(usize, Call)]) -> Result<(), TraceError> {
    let wrong = |line, what| Err(TraceError::Contradiction { line, what });
    for pair in calls.windows(2) {
        if pair[0].1.n == pair[1].1.n {
            return wrong(pair[1].0, "two calls have this number");
        }
    }
    for (line, call) in calls {
        if call.after.is_some_and(|after| after >= call.n) {
            return wrong(*line, "a call comes after an earlier one only");
        }
        if call.ranges.iter().any(|[start, end]| start > end) {
            return wrong(*line, "a range ends before it starts");
        }
        let asks = [!call.ranges.is_empty(), call.offset.is_some(), call.suffix.is_some()];
        if asks.into_iter().filter(|asked| *asked).count() > 1 {
            return wrong(*line, "ranges, offset and suffix exclude each other");
        }
        match call.kind {
            Kind::Read if call.ranges.is_empty() => return wrong(*line, "a read needs its ranges"),
            Kind::Read if call.handle.is_none() => return wrong(*line, "a read needs its handle"),
            Kind::Get if call.ranges.len() > 1 => return wrong(*line, "a get has one range"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
