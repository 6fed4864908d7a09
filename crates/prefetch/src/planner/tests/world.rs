//! A planner with a model of the engine: performs all actions, and checks them on the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use headstart_fetch_core::Link;
use headstart_fetch_core::internal::WindowShare;

use super::*;
use crate::policy::run_lengths::RunLengths;

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const SIZE: u64 = 512 * MIB;

pub(super) fn settings() -> PlannerSettings {
    PlannerSettings {
        start_after: 2,
        max_prefetch_bytes: u64::MAX / 4,
        concurrency: 32,
        phase: 0,
        part_bytes: (MIB, 16 * MIB),
        serve_once_within: None,
    }
}

pub(super) fn inputs() -> PlannerInputs {
    let link = Link::steady(Duration::from_millis(30), 60e6, 1e9);
    PlannerInputs {
        now: Duration::ZERO,
        link,
        window_share: WindowShare { most_bytes: u64::MAX, streams: 1 },
        share_bytes: 512 * MIB,
        free_bytes: 512 * MIB,
        runs: Arc::new(RunLengths::default()),
    }
}

/// A planner and what an engine would hold that performs all of its actions.
pub(super) struct World {
    pub(super) planner: Planner,
    /// The range of each live part.
    pub(super) live: BTreeMap<PartId, Range<u64>>,
    pub(super) open: Vec<(Range<u64>, ReadPlan)>,
    pub(super) inputs: PlannerInputs,
}

impl World {
    pub(super) fn new(settings: PlannerSettings) -> Self {
        let mut planner = Planner::new(settings);
        planner.on_size(SIZE, &inputs());
        Self { planner, live: BTreeMap::new(), open: Vec::new(), inputs: inputs() }
    }

    pub(super) fn perform(&mut self) {
        for action in self.planner.take_actions() {
            match action {
                PlannerAction::Fetch(PartFetch { id, range, .. }) => {
                    let clash = self.live.values().find(|held| held.start < range.end && range.start < held.end);
                    assert_eq!(clash, None, "{range:?} is asked for while held or in flight");
                    assert!(range.start < range.end && range.end <= SIZE, "{range:?}");
                    self.live.insert(id, range);
                }
                PlannerAction::Stop(id) => {
                    let part = self.planner.parts.map().get(id).expect("a stopped part lives on");
                    self.live.insert(id, part.range.clone());
                }
                PlannerAction::Drop(id) => {
                    assert!(
                        self.open.iter().all(|(_, plan)| plan.pieces.iter().all(|p| p.part != id)),
                        "somebody reads part {id}"
                    );
                    self.live.remove(&id).expect("only live parts are dropped");
                }
            }
        }
    }

    pub(super) fn begin(&mut self, range: Range<u64>) {
        self.begin_by(1, range);
    }

    pub(super) fn begin_by(&mut self, reader: ReaderId, range: Range<u64>) {
        let read_before: BTreeMap<PartId, PartState> =
            self.planner.parts.map().overlapping(&range).map(|part| (part.id, part.clone())).collect();
        let plan = match self.planner.on_read(reader, &range, &self.inputs) {
            Decision::Serve(plan) => plan,
            Decision::PassThrough(plan) => {
                assert!(self.planner.serves_once(), "reads of a reader are never passed through");
                self.open.push((range, plan));
                return self.perform();
            }
        };
        let covered: Vec<_> = plan.pieces.iter().map(|piece| piece.range.clone()).collect();
        assert_eq!(covered.first().map(|r| r.start), Some(range.start));
        assert!(covered.windows(2).all(|w| w[0].end == w[1].start), "no holes: {covered:?}");
        assert_eq!(covered.last().map(|r| r.end), Some(range.end));
        for piece in plan.pieces.iter().filter(|_| self.planner.serves_once()) {
            let Some(part) = read_before.get(&piece.part).filter(|part| part.read.overlap(&piece.range) > 0) else {
                continue;
            };
            assert!(self.inputs.now - part.sent_at < serve::AGAIN_WITHIN, "{piece:?} was served before");
        }
        self.open.push((range, plan));
        self.perform();
        for piece in &self.open.last().expect("just pushed").1.pieces {
            let part = &self.live[&piece.part];
            assert!(
                part.start <= piece.range.start && piece.range.end <= part.end,
                "{piece:?} is in its part {part:?}"
            );
        }
    }

    pub(super) fn end(&mut self, which: usize, answered: bool) {
        let (_, plan) = self.open.remove(which);
        self.planner.on_read_end(self.inputs.now, &plan, answered);
        self.perform();
        oracle::check_swept(&self.planner, plan.owner());
    }

    pub(super) fn outstanding(&self) -> u64 {
        self.planner.parts.map().iter().map(PartState::unread_bytes).sum()
    }

    pub(super) fn read_all(&mut self, reads: impl IntoIterator<Item = Range<u64>>) {
        for range in reads {
            self.begin(range);
            self.fill_everything();
            self.end(0, true);
        }
    }

    pub(super) fn fill_everything(&mut self) {
        for (id, range) in &self.live {
            self.planner.on_filled(*id, range.end);
        }
    }
}
