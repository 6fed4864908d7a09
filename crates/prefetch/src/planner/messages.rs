//! What goes into the planner and what comes out of it. Pure.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use headstart_fetch_core::{Intent, Link};

use crate::planner::parts::part_map::PartId;
use crate::planner::streams::read_stream::ReadStreamId;
use crate::policy::run_lengths::RunLengths;

/// Names a reader of an object.
pub(crate) type ReaderId = u64;

/// What does not change while an object is open.
#[derive(Debug, Clone)]
pub(crate) struct PlannerSettings {
    /// Reads in a row before anything is fetched ahead.
    pub(crate) start_after: u64,
    /// Bytes that may be fetched ahead of one object, whatever the window.
    pub(crate) max_prefetch_bytes: u64,
    /// Requests ahead that may be in flight at once.
    pub(crate) concurrency: usize,
    /// The smallest and largest request, in bytes.
    pub(crate) part_bytes: (u64, u64),
    /// Bytes are served at most once, and only this long after they were asked for. `None`: a snapshot, no limit.
    pub(crate) serve_once_within: Option<Duration>,
}

/// What may have changed since the last event.
#[derive(Debug, Clone)]
pub(crate) struct PlannerInputs {
    /// The link's present estimate.
    pub(crate) link: Link,
    /// This object's share of the memory budget, in bytes.
    pub(crate) share_bytes: u64,
    /// What may be asked for ahead now: what is free of the memory budget, or less where the rate is capped, in bytes.
    pub(crate) free_bytes: u64,
    /// How long runs last in this part of the store.
    pub(crate) runs: Arc<RunLengths>,
}

/// What the reader has said of its future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AnnouncedPattern {
    /// Nothing.
    #[default]
    Normal,
    /// Reads in order.
    Sequential,
    /// Reads in no order.
    Random,
}

/// What the engine is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlannerAction {
    /// Ask for `range` and fill part `id` with it.
    Fetch {
        /// The part.
        id: PartId,
        /// Its bytes.
        range: Range<u64>,
        /// Whether somebody waits for any of it.
        intent: Intent,
        /// How many of its bytes nobody has asked for.
        ahead_bytes: u64,
    },
    /// Abort the request of part `id`, and keep what has arrived.
    Stop(PartId),
    /// Abort the request of part `id` if it is in flight, and free its bytes.
    Drop(PartId),
}

/// A stretch of a read, and the part that has or will have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedPiece {
    /// The part.
    pub(crate) part: PartId,
    /// The bytes.
    pub(crate) range: Range<u64>,
}

/// One read: where its bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ReadPlan {
    /// Who reads.
    pub(crate) reader: ReaderId,
    /// In ascending order, covering the read without holes.
    pub(crate) pieces: Vec<PlannedPiece>,
    /// The stream it belongs to.
    pub(crate) stream: Option<ReadStreamId>,
    /// Bytes of it that were there, or on their way, before it was asked for.
    pub(crate) ahead_bytes: u64,
}
