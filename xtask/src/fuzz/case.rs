//! A generated case: the stored objects, the stack, the faults, and the tasks with their operations.

use std::ops::Range;

use headstart_cache::Freshness;
use headstart_fetch_core::PinBy;

use super::{ObjectChange, Op, Step};

/// The complete input of a run. Printed with [`Case::text`] when the run fails.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Generates the case, and seeds the jitter of retries.
    pub(crate) seed: u64,
    pub(crate) cloud: CloudSpec,
    /// The wrappers, the lowest first.
    pub(crate) layers: Vec<Layer>,
    /// How all layers pin requests.
    pub(crate) pin: PinBy,
    /// The memory budget that all layers share.
    pub(crate) budget_bytes: usize,
    /// Whether cache and read-ahead use the link estimate of a `FetchStore` below them.
    pub(crate) shares_link: bool,
    /// Sizes in bytes of the initial objects; `None` if the key has no object.
    pub(crate) objects: Vec<Option<u64>>,
    /// Out-of-band changes, with their times in milliseconds.
    pub(crate) events: Vec<(u64, ObjectChange)>,
    /// Faults of the n-th GET or HEAD.
    pub(crate) faults: Vec<(u64, RequestFault)>,
    /// Faults of the n-th write through the stack.
    pub(crate) write_faults: Vec<(u64, WriteFault)>,
    /// Times in milliseconds during which every request fails.
    pub(crate) outages: Vec<Range<u64>>,
    pub(crate) tasks: Vec<CaseTask>,
    /// How the two runtimes alternate.
    pub(crate) turns: Turns,
    /// A bug in the top of the stack, to test whether it is found.
    #[cfg(test)]
    pub(super) mistake: Option<super::mistake::Mistake>,
}

#[derive(Debug, Clone)]
pub(crate) struct CaseTask {
    /// The runtime of the task: 0 or 1.
    pub(crate) runtime: usize,
    pub(crate) steps: Vec<Step>,
}

/// Which of the two single-threaded runtimes runs when. The other one is stopped meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turns {
    /// Only runtime 0 runs, and tasks of runtime 1 run there too.
    One,
    /// Runtime 0 runs for `after_ms`, then runtime 1 until its tasks have ended, then runtime 0 again.
    Handover { after_ms: u64 },
    /// The runtimes alternate, in turns of `turn_ms`.
    Alternate { turn_ms: u64 },
}

/// The behaviour of the simulated store.
#[derive(Debug, Clone)]
pub(crate) struct CloudSpec {
    pub(crate) tokens: Tokens,
    /// Whether the store evaluates `If-Match` and `If-None-Match`.
    pub(crate) honours_pins: bool,
    /// Whether older versions can be read by version.
    pub(crate) keeps_versions: bool,
    pub(crate) ttfb_ms: u64,
    /// Rate of one stream, in bytes per millisecond.
    pub(crate) bytes_per_ms: u64,
    pub(crate) chunk_bytes: usize,
}

/// The validators that a store sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tokens {
    /// A strong entity tag.
    Strong,
    /// A version and a strong entity tag.
    Generation,
    /// A weak entity tag that two consecutive versions may share.
    Weak,
    /// A date, years ago, that differs between versions.
    Modified,
    /// A weak entity tag that versions may share, and a date that differs.
    WeakModified,
    Nothing,
}

impl Tokens {
    /// Whether the validators distinguish any two versions.
    pub(crate) fn tell_versions(self) -> bool {
        !matches!(self, Self::Weak | Self::Nothing)
    }

    /// Whether the entity tag can be used in `If-Match`.
    pub(crate) fn are_strong(self) -> bool {
        matches!(self, Self::Strong | Self::Generation)
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Layer {
    Fetch(FetchSpec),
    Cache(CacheSpec),
    Prefetch(PrefetchSpec),
}

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

#[derive(Debug, Clone)]
pub(crate) struct CacheSpec {
    pub(crate) memory_bytes: usize,
    pub(crate) page_bytes: usize,
    pub(crate) edge_bytes: usize,
    pub(crate) freshness: Freshness,
    pub(crate) stall_timeout_s: u64,
    pub(crate) has_budget: bool,
}

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFault {
    /// The connection is reset before the answer.
    Reset,
    /// 503, with `Retry-After` or without.
    Throttled { retry_after_ms: Option<u64> },
    /// The answer is delayed.
    Late { ms: u64 },
    /// The body fails after a percentage of its bytes.
    Cut { percent: u64 },
    /// The body ends after a percentage of its bytes, without an error.
    Short { percent: u64 },
    /// The body continues beyond its end.
    Long,
    /// The body pauses after a percentage of its bytes.
    Stall { percent: u64, ms: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteFault {
    /// The write fails and has no effect.
    Refused,
    /// The write fails and has its effect.
    Done,
}

impl Case {
    /// The settings of the fetch layer, if there is one and it is enabled.
    pub(crate) fn fetch(&self) -> Option<&FetchSpec> {
        self.layers.iter().find_map(|layer| match layer {
            Layer::Fetch(spec) if spec.enabled => Some(spec),
            _ => None,
        })
    }

    pub(crate) fn cache(&self) -> Option<&CacheSpec> {
        self.layers.iter().find_map(|layer| if let Layer::Cache(spec) = layer { Some(spec) } else { None })
    }

    pub(crate) fn prefetch(&self) -> Option<&PrefetchSpec> {
        self.layers.iter().find_map(|layer| if let Layer::Prefetch(spec) = layer { Some(spec) } else { None })
    }

    pub(crate) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.tasks.iter().flat_map(|task| &task.steps).map(|step| &step.op)
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

    /// The case as text, one item a line.
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
            lines.extend(task.steps.iter().map(|Step { op, cancel }| format!("    {op:?}, cancel: {cancel:?}")));
        }
        lines.join("\n")
    }

    pub(crate) fn cap_ranges(&mut self, most: u64) {
        let steps = self.tasks.iter_mut().flat_map(|task| &mut task.steps);
        steps.flat_map(|step| step.op.ranges_mut()).for_each(|range| range.end = range.end.min(most));
    }

    /// The size in bytes of the largest object that ever exists.
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
