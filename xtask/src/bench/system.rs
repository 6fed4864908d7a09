//! The ways of reading that are compared.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::workload::Workload;

const MIB: u64 = 1024 * 1024;

/// A way of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// A loop of `get_range`
    Raw,
    /// One streaming GET (sequential workloads only)
    Stream,
    /// `object_store::buffered::BufReader`
    #[value(name = "bufreader")]
    #[serde(rename = "bufreader")]
    BufReader,
    /// `FetchStore` alone, in a loop of `get_range`
    Fetch,
    /// One `get` through `FetchStore`, streamed (sequential workloads only)
    FetchStream,
    /// The facade's defaults: no cache, no hints
    Headstart,
    /// The facade with its cache on
    #[value(name = "headstart+cache")]
    #[serde(rename = "headstart+cache")]
    HeadstartCache,
    /// Ranges in flight without any logic: what the link allows
    Ideal,
}

/// How many requests of which size `ideal` keeps in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Requests in flight.
    pub(crate) requests: usize,
    /// Bytes of one; `None` where it makes the workload's own reads, as if it had known them all beforehand.
    pub(crate) part_bytes: Option<u64>,
}

impl System {
    /// Whether this way of reading can do `workload` at all: a single stream cannot jump.
    pub(crate) fn can(self, workload: Workload) -> bool {
        !matches!(self, Self::Stream | Self::FetchStream) || workload.is_sequential()
    }

    /// Whether it is a layer of ours, which reads through a client that leaves retries to it.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Fetch | Self::FetchStream | Self::Headstart | Self::HeadstartCache)
    }

    /// The shapes of which the better counts; one for all but `ideal`.
    pub(crate) fn shapes(self, workload: Workload) -> &'static [Shape] {
        const ALONE: &[Shape] = &[Shape { requests: 1, part_bytes: None }];
        const KNOWN: &[Shape] = &[Shape { requests: 16, part_bytes: None }];
        // Parts of one size sent together end together and leave the link idle for a round trip; which
        // of the two loses less depends on the link.
        const PARTS: &[Shape] =
            &[Shape { requests: 16, part_bytes: Some(8 * MIB) }, Shape { requests: 32, part_bytes: Some(4 * MIB) }];
        match self {
            Self::Ideal if !workload.is_random() => PARTS,
            Self::Ideal => KNOWN,
            _ => ALONE,
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no system is hidden").get_name())
    }
}
