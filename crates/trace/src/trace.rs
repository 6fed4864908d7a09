//! The file format: reads and writes the lines of a trace.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// Version of the format: the version that is written, and the newest that can be read.
pub const VERSION: u32 = 1;

/// The first line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHeader {
    /// Always `headstart`; distinguishes a trace from other JSON lines.
    pub trace: String,
    /// Version of the format.
    pub version: u32,
    /// Meaning of the keys of calls.
    pub keys: Keys,
    /// A short description of the trace; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
}

impl TraceHeader {
    /// The first line of a new trace.
    #[must_use]
    pub fn new(keys: Keys, about: impl Into<String>) -> Self {
        Self { trace: "headstart".into(), version: VERSION, keys, about: about.into() }
    }
}

/// The fields of the first line that every version has.
#[derive(Deserialize)]
struct HeaderVersion {
    trace: String,
    version: u32,
}

/// The keys of the calls of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// Hashes of paths: equal keys are the same object.
    Hashed,
    /// Paths.
    Plain,
}

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// `get_opts` with a body, also as `get` and `get_range`.
    #[default]
    Get,
    /// `get_opts` with `head`.
    Head,
    /// `get_ranges`.
    GetRanges,
    /// A read through an open handle. Only in generated traces.
    Read,
    /// Another client overwrites the object. Only in generated traces.
    Overwrite,
}

/// The `error` of a call that the caller dropped before the answer.
pub const DROPPED: &str = "dropped";

/// One call of an application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceCall {
    /// Its number, counted from 0 in the order in which calls began.
    pub n: u64,
    /// The object.
    pub key: String,
    /// Length of the object in bytes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its kind.
    #[serde(rename = "call")]
    pub kind: CallKind,
    /// Requested ranges, `[start, end]` each. Empty for the whole object, or with `offset` or `suffix`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<[u64; 2]>,
    /// Requests all bytes from this offset on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Requests this many bytes at the end of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<u64>,
    /// Whether the call has a precondition or names a version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_conditional: bool,
    /// The open handle that the call reads through. Only in generated traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u32>,
    /// Whether the handle is closed after the call. Only in generated traces.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_last: bool,
    /// Number of the call that this call came after; always lower than `n`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Microseconds from the end of `after`, or from the start of the trace.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wait_us: u64,
    /// Microseconds that the caller took between pieces of the body.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub busy_us: u64,
    /// Bytes that the caller took, or in a generated trace will take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// Microseconds from the start of the trace to the begin of the call.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at_us: u64,
    /// Microseconds from the begin of the call to the answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_us: u64,
    /// Microseconds from the begin of the call to its end. A call with a body ends when the body is read or dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub took_us: u64,
    /// The error: the name of a variant of `object_store::Error`, or [`DROPPED`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl TraceCall {
    /// A call with default values in all other fields.
    #[must_use]
    pub fn new(n: u64, key: impl Into<String>, kind: CallKind) -> Self {
        Self { n, key: key.into(), kind, ..Self::default() }
    }
}

/// A trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Its first line.
    pub header: TraceHeader,
    /// Its calls, in the order of their begin. Calls that the recorder lost and calls that were in progress at its end
    /// are missing.
    pub calls: Vec<TraceCall>,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read.
    #[error("the trace cannot be read")]
    Io(#[from] io::Error),
    /// The first line is not the header of a trace.
    #[error(
        "not a trace: the first line must be a header such as \
         {{\"trace\":\"headstart\",\"version\":{VERSION},\"keys\":\"hashed\"}}"
    )]
    NoHeader,
    /// The format is newer than this program.
    #[error("the trace has version {found}, this program reads up to {VERSION}")]
    NewerVersion {
        /// Its version.
        found: u32,
    },
    /// A line is not a call.
    #[error("line {line} of the trace is not a call")]
    BadLine {
        /// Number of the line, counted from 1.
        line: usize,
        /// The error of the parser.
        source: serde_json::Error,
    },
    /// A line contradicts itself or another line.
    #[error("line {line} of the trace: {what}")]
    Contradiction {
        /// Number of the line, counted from 1.
        line: usize,
        /// The contradiction.
        what: &'static str,
    },
}

impl Trace {
    /// Reads a trace to its end. Skips empty lines and an incomplete last line, as a crash leaves it.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn read(mut file: impl BufRead) -> Result<Self, TraceError> {
        let mut line = Vec::new();
        file.read_until(b'\n', &mut line)?;
        let first: HeaderVersion = serde_json::from_slice(&line).map_err(|_| TraceError::NoHeader)?;
        if first.trace != "headstart" {
            return Err(TraceError::NoHeader);
        }
        if first.version > VERSION {
            return Err(TraceError::NewerVersion { found: first.version });
        }
        let header = serde_json::from_slice(&line).map_err(|_| TraceError::NoHeader)?;
        let mut calls: Vec<(usize, TraceCall)> = Vec::new();
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

    /// Writes the trace.
    ///
    /// # Errors
    /// Errors of `file`.
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

fn check(calls: &[(usize, TraceCall)]) -> Result<(), TraceError> {
    let wrong = |line, what| Err(TraceError::Contradiction { line, what });
    if let Some(pair) = calls.windows(2).find(|pair| pair[0].1.n == pair[1].1.n) {
        return wrong(pair[1].0, "two calls have this number");
    }
    for (line, call) in calls {
        if call.after.is_some_and(|after| after >= call.n) {
            return wrong(*line, "`after` must be an earlier call");
        }
        if call.ranges.iter().any(|[start, end]| start > end) {
            return wrong(*line, "a range ends before it starts");
        }
        let asks = [!call.ranges.is_empty(), call.offset.is_some(), call.suffix.is_some()];
        if asks.into_iter().filter(|asked| *asked).count() > 1 {
            return wrong(*line, "ranges, offset and suffix exclude each other");
        }
        match call.kind {
            CallKind::Read if call.ranges.is_empty() => return wrong(*line, "a read needs its ranges"),
            CallKind::Read if call.handle.is_none() => return wrong(*line, "a read needs its handle"),
            CallKind::Get if call.ranges.len() > 1 => return wrong(*line, "a get has one range"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
