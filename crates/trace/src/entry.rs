//! A call as the recorder holds it: small, and made a line of only when it is written.

use std::ops::Range;
use std::time::Duration;

use object_store::{Error, GetRange};

use crate::ledger::Begun;
use crate::trace::{Call, Kind};

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) begun: Begun,
    pub(crate) key: u64,
    pub(crate) ask: Ask,
    pub(crate) is_conditional: bool,
    pub(crate) size: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) at: Duration,
    pub(crate) first: Duration,
    pub(crate) took: Duration,
    pub(crate) busy: Duration,
    pub(crate) error: Option<&'static str>,
}

/// What was called for.
#[derive(Debug)]
pub(crate) enum Ask {
    Head,
    Get(Option<GetRange>),
    Ranges(Box<[Range<u64>]>),
}

impl Entry {
    pub(crate) fn call(&self) -> Call {
        let kind = match self.ask {
            Ask::Head => Kind::Head,
            Ask::Get(_) => Kind::Get,
            Ask::Ranges(_) => Kind::GetRanges,
        };
        let mut call = Call {
            size: self.size,
            is_conditional: self.is_conditional,
            after: self.begun.after,
            wait_us: us(self.begun.wait),
            busy_us: us(self.busy),
            bytes: self.bytes,
            at_us: us(self.at),
            first_us: us(self.first),
            took_us: us(self.took),
            error: self.error.map(str::to_owned),
            ..Call::new(self.begun.n, format!("{:016x}", self.key), kind)
        };
        match &self.ask {
            Ask::Head | Ask::Get(None) => {}
            Ask::Get(Some(GetRange::Bounded(range))) => call.ranges = vec![[range.start, range.end]],
            Ask::Get(Some(GetRange::Offset(offset))) => call.offset = Some(*offset),
            Ask::Get(Some(GetRange::Suffix(suffix))) => call.suffix = Some(*suffix),
            Ask::Ranges(ranges) => call.ranges = ranges.iter().map(|range| [range.start, range.end]).collect(),
        }
        call
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The error's variant.
pub(crate) fn name(error: &Error) -> &'static str {
    match error {
        Error::Generic { .. } => "Generic",
        Error::NotFound { .. } => "NotFound",
        Error::InvalidPath { .. } => "InvalidPath",
        Error::JoinError { .. } => "JoinError",
        Error::NotSupported { .. } => "NotSupported",
        Error::AlreadyExists { .. } => "AlreadyExists",
        Error::Precondition { .. } => "Precondition",
        Error::NotModified { .. } => "NotModified",
        Error::NotImplemented { .. } => "NotImplemented",
        Error::PermissionDenied { .. } => "PermissionDenied",
        Error::Unauthenticated { .. } => "Unauthenticated",
        Error::UnknownConfigurationKey { .. } => "UnknownConfigurationKey",
        _ => "Other",
    }
}
