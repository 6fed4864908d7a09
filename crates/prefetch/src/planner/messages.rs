//! What goes into the planner and what comes out of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use headstart_fetch_core::internal::WindowShare;
use headstart_fetch_core::{Intent, Link};

use crate::planner::parts::PartId;
use crate::planner::streams::{PartOwner, ReadStreamId};
use crate::policy::run_lengths::RunLengths;

/// Identifies a reader of an object; 0 stands for calls without a reader.
pub(crate) type ReaderId = u64;

/// Settings that do not change while an object is open.
#[derive(Debug, Clone)]
pub(crate) struct PlannerSettings {
    /// Reads in a row before anything is fetched ahead.
    pub(crate) start_after: u64,
    /// Bytes that may be fetched ahead of one object, whatever the window.
    pub(crate) max_prefetch_bytes: u64,
    pub(crate) concurrency: usize,
    /// Where the sequence of request sizes begins. Objects that are read at the same time have different ones, so that
    /// their requests do not end together.
    pub(crate) phase: u64,
    /// The smallest and largest request, in bytes.
    pub(crate) part_bytes: (u64, u64),
    /// Bytes are served only this long after their request was sent, and at most once, unless the caller keeps going
    /// back. `None` for a reader: a snapshot of one version has no such limit.
    pub(crate) serve_once_within: Option<Duration>,
}

/// The present time, measurements and limits, which may have changed since the last event.
#[derive(Debug, Clone)]
pub(crate) struct PlannerInputs {
    pub(crate) now: Duration,
    pub(crate) link: Link,
    /// What one stream may have ahead among all streams of the link.
    pub(crate) window_share: WindowShare,
    /// This object's share of the memory budget, in bytes.
    pub(crate) share_bytes: u64,
    /// Bytes that may be fetched ahead now: the free memory of the budget, or less where the rate is capped.
    pub(crate) free_bytes: u64,
    /// How long runs of reads last under this object's prefix.
    pub(crate) runs: Arc<RunLengths>,
}

/// A request for `range`, whose answer fills part `id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartFetch {
    pub(crate) id: PartId,
    pub(crate) range: Range<u64>,
    /// `Demand` where a read waits for any of the bytes.
    pub(crate) intent: Intent,
    /// Bytes of `range` that no read has asked for.
    pub(crate) ahead_bytes: u64,
    /// Whether `range` is exactly the range of a read.
    pub(crate) as_asked: bool,
}

/// An order to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlannerAction {
    /// Send a request.
    Fetch(PartFetch),
    /// Abort the request of this part, and keep the bytes that have arrived.
    Stop(PartId),
    /// Abort the request of this part if it is in flight, and free its bytes.
    Drop(PartId),
}

/// A stretch of a read, and the part that has or will have its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedPiece {
    pub(crate) part: PartId,
    pub(crate) range: Range<u64>,
}

/// Where the bytes of one read come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ReadPlan {
    pub(crate) reader: ReaderId,
    /// The stream that the read belongs to; `None` where the planner did not look for one.
    pub(crate) stream: Option<ReadStreamId>,
    /// In ascending order, covering the read without holes.
    pub(crate) pieces: Vec<PlannedPiece>,
    /// Bytes of the read that were held or in flight before the read began.
    pub(crate) ahead_bytes: u64,
    /// Whether one request asks for exactly the range of the read.
    pub(crate) is_as_asked: bool,
}

/// The planner's answer to a read. A plan is ended in both cases, for the think time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The engine serves the read from the parts of the plan.
    Serve(ReadPlan),
    /// The caller sends its own request. The plan has no pieces.
    PassThrough(ReadPlan),
}

impl Decision {
    pub(crate) fn plan(&self) -> &ReadPlan {
        match self {
            Self::Serve(plan) | Self::PassThrough(plan) => plan,
        }
    }
}

impl ReadPlan {
    /// The owner of the parts that were fetched for the read's stream.
    pub(crate) fn owner(&self) -> Option<PartOwner> {
        self.stream.map(|stream| PartOwner::stream(self.reader, stream))
    }
}
