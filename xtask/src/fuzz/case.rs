//! One generated case: what is stored, how it is wrapped, what goes wrong, and who does what when. Pure.

use std::ops::Range;

use headstart_cache::Freshness;
use headstart_fetch_core::PinBy;

use super::op::{ObjectChange, Op};

/// Everything that a run follows from. Printed with `Debug` when it fails.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// What the case was made from, and what jitter follows from.
    pub(crate) seed: u64,
    /// The store at the bottom.
    pub(crate) cloud: CloudSpec,
    /// The wrappers, the lowest first.
    pub(crate) layers: Vec<Layer>,
    /// How all layers pin requests.
    pub(crate) pin: PinBy,
    /// The memory budget that all layers share.
    pub(crate) budget_bytes: usize,
    /// Cache and read-ahead know the link that a `FetchStore` below measures.
    pub(crate) shares_link: bool,
    /// Sizes in bytes of the objects that are there at the beginning; `None`: no object.
    pub(crate) objects: Vec<Option<u64>>,
    /// Writes behind the stack, by the millisecond.
    pub(crate) events: Vec<(u64, ObjectChange)>,
    /// What goes wrong with the n-th GET or HEAD.
    pub(crate) faults: Vec<(u64, RequestFault)>,
    /// What goes wrong with the n-th write through the stack.
    pub(crate) write_faults: Vec<(u64, WriteFault)>,
    /// Milliseconds during which every request is refused.
    pub(crate) outages: Vec<Range<u64>>,
    /// Who does what.
    pub(crate) tasks: Vec<CaseTask>,
    /// Which runtime is driven when.
    pub(crate) turns: Turns,
    /// What the top of the stack does wrong, to see whether it is caught.
    #[cfg(test)]
    pub(super) mistake: Option<super::mistake::Mistake>,
}

/// What one task does, in order.
#[derive(Debug, Clone)]
pub(crate) struct CaseTask {
    /// Which runtime it runs in: 0 or 1.
    pub(crate) runtime: usize,
    /// What it does.
    pub(crate) ops: Vec<Op>,
}

/// Which of the two single-thread runtimes is driven when. The other one stands still meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turns {
    /// There is only runtime 0; tasks of runtime 1 run there too.
    One,
    /// Runtime 0 for so many milliseconds, then 1 until its tasks are over, then 0 again.
    Handover {
        /// When the first one stops.
        after_ms: u64,
    },
    /// By turns, each for so many milliseconds.
    Alternate {
        /// Length of a turn.
        turn_ms: u64,
    },
}

/// How the store at the bottom behaves.
#[derive(Debug, Clone)]
pub(crate) struct CloudSpec {
    /// What tells versions apart.
    pub(crate) tokens: Tokens,
    /// Whether `If-Match` and `If-None-Match` are looked at.
    pub(crate) honours_pins: bool,
    /// Whether an older version can be read by its name.
    pub(crate) keeps_versions: bool,
    /// Time to the first byte.
    pub(crate) ttfb_ms: u64,
    /// Rate of one stream, in bytes a millisecond.
    pub(crate) bytes_per_ms: u64,
    /// Length of a body's chunks.
    pub(crate) chunk_bytes: usize,
}

/// What a store says of an object's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tokens {
    /// A strong entity tag.
    Strong,
    /// A version, and a strong entity tag.
    Generation,
    /// A weak entity tag that two versions in a row may share.
    Weak,
    /// A date that differs between versions, long ago.
    Modified,
    /// A weak entity tag that versions may share, and a date that tells them apart.
    WeakModified,
    /// Nothing at all.
    Nothing,
}

impl Tokens {
    /// Whether two versions can be told apart by what the store says.
    pub(crate) fn tell_versions(self) -> bool {
        !matches!(self, Self::Weak | Self::Nothing)
    }

    /// Whether an entity tag can be named in `If-Match`.
    pub(crate) fn are_strong(self) -> bool {
        matches!(self, Self::Strong | Self::Generation)
    }
}

/// A wrapper.
#[derive(Debug, Clone)]
pub(crate) enum Layer {
    Fetch(FetchSpec),
    Cache(CacheSpec),
    Prefetch(PrefetchSpec),
}

/// Settings of a `FetchStore`.
#[derive(Debug, Clone)]
pub(crate) struct FetchSpec {
    pub(crate) enabled: bool,
    pub(crate) concurrency: usize,
    pub(crate) retries: usize,
    pub(crate) retry_timeout_s: u64,
    pub(crate) hedge: bool,
    pub(crate) part_bytes: (u64, u64),
    pub(crate) ttfb_ms: u64,
    pub(crate) stream_bytes_per_ms: u64,
}

/// Settings of a `CacheStore`.
#[derive(Debug, Clone)]
pub(crate) struct CacheSpec {
    pub(crate) memory_bytes: usize,
    pub(crate) page_bytes: usize,
    pub(crate) edge_bytes: usize,
    pub(crate) freshness: Freshness,
    pub(crate) stall_timeout_s: u64,
    pub(crate) has_budget: bool,
}

/// Settings of a `PrefetchStore`.
#[derive(Debug, Clone)]
pub(crate) struct PrefetchSpec {
    pub(crate) enabled: bool,
    pub(crate) start_after: u64,
    pub(crate) max_prefetch_bytes: u64,
    pub(crate) concurrency: usize,
    pub(crate) max_bytes_per_s: Option<u64>,
    pub(crate) max_age_ms: u64,
    pub(crate) part_bytes: (u64, u64),
}

/// What goes wrong with a GET or HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFault {
    /// The connection is reset before there is an answer.
    Reset,
    /// 503, with `Retry-After` or without.
    Throttled { retry_after_ms: Option<u64> },
    /// The answer comes so much later.
    Late { ms: u64 },
    /// The body breaks off with an error after so many percent.
    Cut { percent: u64 },
    /// The body ends after so many percent as if it were whole.
    Short { percent: u64 },
    /// The body goes on past its end.
    Long,
    /// The body stands still after so many percent.
    Stall { percent: u64, ms: u64 },
}

/// What goes wrong with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteFault {
    /// It fails and is not done.
    Refused,
    /// It is done and fails nevertheless.
    Done,
}

impl Case {
    /// The settings of the fetch layer, if any that is on.
    pub(crate) fn fetch(&self) -> Option<&FetchSpec> {
        self.layers.iter().find_map(|layer| match layer {
            Layer::Fetch(spec) if spec.enabled => Some(spec),
            _ => None,
        })
    }

    /// The settings of the cache, if any.
    pub(crate) fn cache(&self) -> Option<&CacheSpec> {
        self.layers.iter().find_map(|layer| if let Layer::Cache(spec) = layer { Some(spec) } else { None })
    }

    /// The settings of read-ahead, if any.
    pub(crate) fn prefetch(&self) -> Option<&PrefetchSpec> {
        self.layers.iter().find_map(|layer| if let Layer::Prefetch(spec) = layer { Some(spec) } else { None })
    }

    /// All operations of all tasks.
    pub(crate) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.tasks.iter().flat_map(|task| &task.ops)
    }

    /// The layers' initials, the lowest first.
    pub(crate) fn order(&self) -> String {
        let initial = |layer: &Layer| match layer {
            Layer::Fetch(_) => 'F',
            Layer::Cache(_) => 'C',
            Layer::Prefetch(_) => 'P',
        };
        if self.layers.is_empty() { "bare".into() } else { self.layers.iter().map(initial).collect() }
    }

    /// The case as text, one thing a line.
    pub(crate) fn text(&self) -> String {
        let Self { cloud, layers, pin, budget_bytes, shares_link, objects, turns, .. } = self;
        let Self { events, faults, write_faults, outages, tasks, .. } = self;
        let mut lines = vec![format!("{cloud:?}")];
        lines.extend(layers.iter().map(|layer| format!("{layer:?}")));
        lines.push(format!("pin: {pin:?}, budget_bytes: {budget_bytes}, shares_link: {shares_link}, turns: {turns:?}"));
        lines.push(format!("objects: {objects:?}"));
        lines.push(format!("faults: {faults:?}, write_faults: {write_faults:?}, outages: {outages:?}"));
        lines.extend(events.iter().map(|event| format!("event: {event:?}")));
        for (number, task) in tasks.iter().enumerate() {
            lines.push(format!("task {number} in runtime {}", task.runtime));
            lines.extend(task.ops.iter().map(|op| format!("    {op:?}")));
        }
        lines.join("\n")
    }

    /// Lets no range end beyond byte `most`.
    pub(crate) fn cap_ranges(&mut self, most: u64) {
        let ops = self.tasks.iter_mut().flat_map(|task| &mut task.ops);
        ops.flat_map(Op::ranges_mut).for_each(|range| range.end = range.end.min(most));
    }

    /// The largest object there ever is, in bytes.
    pub(crate) fn largest_bytes(&self) -> u64 {
        let there = self.objects.iter().copied().flatten();
        let changed = self.events.iter().filter_map(|(_, change)| change.size());
        let written = self.ops().filter_map(|op| match op {
            Op::Put { size, .. } => Some(*size),
            Op::OutOfBand(change) => change.size(),
            _ => None,
        });
        there.chain(changed).chain(written).max().unwrap_or(0)
    }
}
