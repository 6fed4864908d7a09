//! The planner against a model: whatever happens, in whatever order, its promises hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use headstart_fetch_core::Link;
use proptest::prelude::*;

use super::*;
use crate::planner::messages::AnnouncedPattern;
use crate::policy::run_lengths::{ReadRun, RunLengths};

mod many_readers;
mod oracle;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const SIZE: u64 = 512 * MIB;

fn settings() -> PlannerSettings {
    PlannerSettings {
        start_after: 2,
        max_prefetch_bytes: u64::MAX / 4,
        concurrency: 32,
        part_bytes: (MIB, 16 * MIB),
        serve_once_within: None,
    }
}

fn inputs() -> PlannerInputs {
    let ttfb = Duration::from_millis(30);
    let link = Link { ttfb_p50: ttfb, ttfb_p95: ttfb, stream_bytes_per_s: 60e6, aggregate_bytes_per_s: 1e9 };
    PlannerInputs { link, share_bytes: 512 * MIB, free_bytes: 512 * MIB, runs: Arc::new(RunLengths::default()) }
}

/// A planner, and what an engine that does all it is told would hold.
struct World {
    planner: Planner,
    now: Duration,
    /// Bytes of each live part.
    live: BTreeMap<PartId, Range<u64>>,
    open: Vec<(Range<u64>, ReadPlan)>,
    inputs: PlannerInputs,
}

impl World {
    fn new(settings: PlannerSettings) -> Self {
        let mut planner = Planner::new(settings);
        planner.on_size(Duration::ZERO, SIZE, &inputs(), &mut Vec::new());
        Self { planner, now: Duration::ZERO, live: BTreeMap::new(), open: Vec::new(), inputs: inputs() }
    }

    fn obey(&mut self, actions: Vec<PlannerAction>) {
        for action in actions {
            match action {
                PlannerAction::Fetch { id, range, .. } => {
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

    fn begin(&mut self, range: Range<u64>) {
        self.begin_by(1, range);
    }

    fn begin_by(&mut self, reader: ReaderId, range: Range<u64>) {
        let mut actions = Vec::new();
        let plan = self.planner.on_read(self.now, reader, &range, &self.inputs, &mut actions);
        let covered: Vec<_> = plan.pieces.iter().map(|piece| piece.range.clone()).collect();
        if covered.is_empty() {
            assert!(self.planner.settings.serve_once_within.is_some(), "a snapshot always answers");
            self.open.push((range, plan));
            return self.obey(actions);
        }
        assert_eq!(covered.first().map(|r| r.start), Some(range.start));
        assert!(covered.windows(2).all(|w| w[0].end == w[1].start), "no holes: {covered:?}");
        assert_eq!(covered.last().map(|r| r.end), Some(range.end));
        self.open.push((range, plan));
        self.obey(actions);
        for piece in &self.open.last().expect("just pushed").1.pieces {
            let part = &self.live[&piece.part];
            assert!(
                part.start <= piece.range.start && piece.range.end <= part.end,
                "{piece:?} is in its part {part:?}"
            );
        }
    }

    fn end(&mut self, which: usize, answered: bool) {
        let (_, plan) = self.open.remove(which);
        let mut actions = Vec::new();
        self.planner.on_read_end(self.now, &plan, answered, &mut actions);
        self.obey(actions);
        oracle::check_swept(&self.planner, plan.stream);
    }

    fn outstanding(&self) -> u64 {
        self.planner.parts.map().iter().map(PartState::unread).sum()
    }

    fn read_all(&mut self, reads: impl IntoIterator<Item = Range<u64>>) {
        for range in reads {
            self.begin(range);
            self.fill_everything();
            self.end(0, true);
        }
    }

    fn fill_everything(&mut self) {
        for (id, range) in &self.live {
            self.planner.on_filled(*id, range.end);
        }
    }
}

#[test]
fn the_second_read_in_a_row_starts_and_a_run_fills_the_window() {
    let mut world = World::new(settings());
    world.read_all([0..64 * KIB]);
    assert_eq!(world.outstanding(), 0, "one read proves nothing");
    world.read_all([64 * KIB..128 * KIB]);
    assert!((1..=3 * 128 * KIB).contains(&world.outstanding()), "{}", world.outstanding());
    world.read_all((2..2000).map(|n| n * 64 * KIB..(n + 1) * 64 * KIB));
    let window = world.planner.window();
    assert_eq!(window.part_bytes, 4 * MIB);
    let ahead = world.outstanding();
    assert!(ahead <= window.ahead_bytes && ahead + window.part_bytes > window.ahead_bytes, "{ahead} of {window:?}");
}

#[test]
fn a_random_read_is_fetched_exactly() {
    let mut world = World::new(settings());
    for n in [70, 3, 400, 221, 9, 350] {
        let range = n * MIB + 17..n * MIB + 5000;
        world.begin(range.clone());
        assert!(world.live.values().any(|part| *part == range));
        world.fill_everything();
        world.end(0, true);
    }
    assert_eq!(
        world.planner.ledger(),
        SpeculationAccount { demanded: 6 * (5000 - 17), outstanding: 0, wasted: 0, forgiven: 0 }
    );
    assert_eq!(world.live.len(), 1, "only the last read is kept");
}

#[test]
fn a_jump_stops_what_is_in_flight_and_keeps_what_arrived() {
    let mut world = World::new(settings());
    world.read_all((0..64).map(|n| n * MIB..(n + 1) * MIB));
    world.begin(64 * MIB..65 * MIB);
    world.end(0, true);
    let in_flight = |world: &World| {
        world.planner.parts.map().iter().filter(|p| p.in_flight()).map(|p| p.range.end - p.filled_to).sum::<u64>()
    };
    let held = world.outstanding() - in_flight(&world);
    world.begin(400 * MIB..401 * MIB);
    assert!(in_flight(&world) <= MIB + 2 * MIB, "{}", in_flight(&world));
    assert!(world.outstanding() >= held, "what has arrived may be useful yet");
}

#[test]
fn a_footer_read_disturbs_nobody() {
    let mut world = World::new(settings());
    world.read_all((0..64).map(|n| n * MIB..(n + 1) * MIB));
    let before = world.outstanding();
    world.read_all([SIZE - 64 * KIB..SIZE]);
    assert_eq!(world.outstanding(), before);
}

#[test]
fn a_backward_run_fills_the_window_below_it() {
    let mut world = World::new(settings());
    let backward = |from: u64, to: u64| (to..from).rev().map(|n| n * MIB..(n + 1) * MIB);
    world.read_all(backward(400, 398));
    assert_eq!(world.outstanding(), 0, "two may be a run in another order");
    world.read_all(backward(398, 300));
    let (ahead, window) = (world.outstanding(), world.planner.window());
    assert!(ahead <= window.ahead_bytes && ahead + 2 * window.part_bytes > window.ahead_bytes, "{ahead} of {window:?}");
    assert!(world.live.values().all(|part| part.start < 310 * MIB), "{:?}", world.live);
}

#[test]
fn a_strided_run_is_fetched_without_its_holes() {
    let mut world = World::new(settings());
    let read = |n: u64| n * 10 * MIB..n * 10 * MIB + MIB;
    world.read_all((0..8).map(read));
    assert!(world.live.values().filter(|part| part.start > 70 * MIB).count() >= 20, "{:?}", world.live);
    assert!(world.live.values().all(|part| part.start % (10 * MIB) < MIB && part.end - part.start <= MIB));
    // To the end of the object, and down again.
    world.read_all((8..51).map(read));
    world.read_all((0..51).rev().map(read));
    assert!(world.planner.ledger().wasted <= MIB, "but for the turn: {:?}", world.planner.ledger());
}

#[test]
fn a_stream_does_not_read_ahead_of_what_another_has_read() {
    let mut world = World::new(settings());
    world.read_all((0..100).flat_map(|n| [n * MIB..(n + 1) * MIB, (100 + n) * MIB..(101 + n) * MIB]));
    assert_eq!(world.live.values().filter(|part| part.end > 100 * MIB && part.start < 190 * MIB).count(), 0);
}

#[test]
fn readers_share_parts_and_keep_what_others_need() {
    let mut world = World::new(settings());
    let block = |n: u64| n * MIB..(n + 1) * MIB;
    for n in 0..40 {
        for reader in [1, 2] {
            world.begin_by(reader, block(n));
            world.fill_everything();
            world.end(0, true);
        }
    }
    let before = world.live.clone();
    // One goes away: what it had fetched is there for the other.
    let mut actions = Vec::new();
    world.planner.on_reader_gone(1, &mut actions);
    world.obey(actions);
    assert_eq!(world.live, before);
    let mut actions = Vec::new();
    world.planner.on_reader_gone(2, &mut actions);
    world.obey(actions);
    assert!(world.live.is_empty(), "{:?}", world.live);
    assert!(matches!(world.planner.take_observations().0.as_slice(), [RunEvent::Ended(_), RunEvent::Ended(_)]));
}

#[test]
fn what_runs_have_taught_decides_what_is_bet() {
    let mut world = World::new(settings());
    let mut runs = RunLengths::default();
    for _ in 0..8 {
        runs.on_event(RunEvent::Ended(ReadRun { bytes: 4 * MIB, is_proven: true, is_first: false }));
    }
    world.inputs.runs = Arc::new(runs);
    world.read_all((100..104).map(|n| n * MIB..(n + 1) * MIB));
    assert_eq!(world.outstanding(), 0, "runs of four end after the fourth");
    assert_eq!(
        world.planner.ledger(),
        SpeculationAccount { demanded: 4 * MIB, outstanding: 0, wasted: 0, forgiven: 0 }
    );
}

#[test]
fn announced_random_is_left_alone() {
    let mut world = World::new(settings());
    let mut actions = Vec::new();
    world.planner.on_announced(1, AnnouncedPattern::Random, &mut actions);
    world.read_all((0..64).map(|n| n * MIB..(n + 1) * MIB));
    assert_eq!(world.outstanding(), 0);
}

#[test]
fn announced_ranges_are_fetched_once() {
    let mut world = World::new(settings());
    let mut actions = Vec::new();
    world.planner.on_will_need(Duration::ZERO, 1, &[0..10 * MIB, 8 * MIB..20 * MIB], &inputs(), &mut actions);
    world.obey(actions);
    assert_eq!(world.live.values().map(|r| r.end - r.start).sum::<u64>(), 20 * MIB);
    let before = world.live.clone();
    world.begin(MIB..3 * MIB);
    assert_eq!(world.live, before, "nothing more is asked for");
    let mut actions = Vec::new();
    world.end(0, true);
    world.planner.on_dont_need(1, &[0..SIZE], &mut actions);
    world.obey(actions);
    assert_eq!(world.outstanding(), 0);
}

#[test]
fn serving_once_never_serves_twice_nor_late() {
    let mut world = World::new(PlannerSettings { serve_once_within: Some(Duration::from_secs(10)), ..settings() });
    world.read_all((0..8).map(|n| n * MIB..(n + 1) * MIB));
    assert!(world.outstanding() > 0);
    world.begin(7 * MIB..8 * MIB);
    assert_eq!(world.open[0].1.ahead_bytes, 0, "it was served before");
    world.end(0, true);
    world.read_all((8..12).map(|n| n * MIB..(n + 1) * MIB));
    world.now += Duration::from_secs(10);
    world.begin(12 * MIB..13 * MIB);
    assert_eq!(world.open[0].1.ahead_bytes, 0, "it is too old");
}

#[derive(Debug, Clone)]
enum Event {
    Begin(ReaderId, u64, u64),
    Continue(usize, u64),
    Complete(usize),
    Gone(ReaderId),
    Memory(u64),
    End(usize, bool),
    Fill(usize),
    Fail(usize),
    Wait(u64),
    Announce(u8),
    WillNeed(u64, u64),
    DontNeed(u64, u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let at = 0_u64..SIZE - 8 * MIB;
    let len = prop_oneof![1_u64..100, 4 * KIB..256 * KIB, MIB..8 * MIB];
    let event = prop_oneof![
        3 => (1_u64..4, at.clone(), len.clone()).prop_map(|(reader, at, len)| Event::Begin(reader, at, len)),
        16 => (0_usize..6, len.clone()).prop_map(|(which, len)| Event::Continue(which, len)),
        4 => (0_usize..40).prop_map(Event::Complete),
        1 => (1_u64..4).prop_map(Event::Gone),
        1 => (0_u64..600 * MIB).prop_map(Event::Memory),
        12 => (0_usize..8, any::<bool>()).prop_map(|(which, answered)| Event::End(which, answered)),
        10 => (0_usize..40).prop_map(Event::Fill),
        1 => (0_usize..40).prop_map(Event::Fail),
        2 => (0_u64..50).prop_map(Event::Wait),
        1 => (0_u8..6).prop_map(Event::Announce),
        1 => (at.clone(), len.clone()).prop_map(|(at, len)| Event::WillNeed(at, len)),
        1 => (at, len).prop_map(|(at, len)| Event::DontNeed(at, len)),
    ];
    prop::collection::vec(event, 1..150)
}

proptest! {
    /// For any interleaving of reads, hints, completions and failures: plans have no holes and name live parts, no byte is
    /// asked for while held or in flight, nothing that is read is dropped, and the ledger's books are the map's.
    #[test]
    fn promises_hold_after_every_event(events in events(), once: bool) {
        let serve_once_within = once.then(|| Duration::from_millis(200));
        let mut world = World::new(PlannerSettings { serve_once_within, ..settings() });
        // Two readers go up, one of them in two places; one goes down, two in strides.
        let mut at = [0, 100 * MIB, 300 * MIB, 250 * MIB, 0, SIZE - 8 * MIB];
        let mut announced = 0;
        for event in events {
            let mut actions = Vec::new();
            match event {
                Event::Begin(reader, at, len) => world.begin_by(reader, at..at + len),
                Event::Continue(which @ 0..3, len) if at[which] + len <= SIZE => {
                    world.begin_by(1 + which as u64 / 2, at[which]..at[which] + len);
                    at[which] += len;
                }
                Event::Continue(3, len) if at[3] > len => {
                    at[3] -= len;
                    world.begin_by(3, at[3]..at[3] + len);
                }
                Event::Continue(4, _) if at[4] + 20 * MIB <= SIZE => {
                    at[4] += 3 * MIB;
                    world.begin_by(3, at[4]..at[4] + 100 * KIB);
                }
                Event::Continue(5, _) if at[5] > 10 * MIB => {
                    at[5] -= 5 * MIB;
                    world.begin_by(2, at[5]..at[5] + MIB);
                }
                Event::Complete(which) => {
                    if let Some((id, range)) = world.live.iter().nth(which).map(|(id, range)| (*id, range.clone())) {
                        world.planner.on_filled(id, range.end);
                        world.planner.on_complete(world.now, id, &world.inputs, &mut actions);
                    }
                }
                Event::Gone(reader) => world.planner.on_reader_gone(reader, &mut actions),
                Event::Memory(bytes) => world.inputs.free_bytes = bytes,
                Event::End(which, answered) if which < world.open.len() => world.end(which, answered),
                Event::Fill(which) => {
                    if let Some((id, range)) = world.live.iter().nth(which) {
                        world.planner.on_filled(*id, range.end);
                    }
                }
                Event::Fail(which) => {
                    let waited_for = |id: PartId| world.open.iter().any(|(_, plan)| plan.pieces.iter().any(|p| p.part == id));
                    if let Some(id) = world.live.keys().copied().nth(which) && !waited_for(id) {
                        world.planner.on_failed(id);
                        world.live.remove(&id);
                    }
                }
                Event::Wait(ms) => world.now += Duration::from_millis(ms),
                Event::Announce(0) => world.planner.on_announced(1, AnnouncedPattern::Random, &mut actions),
                Event::Announce(1) => world.planner.on_announced(1, AnnouncedPattern::Sequential, &mut actions),
                Event::Announce(_) => world.planner.on_announced(1, AnnouncedPattern::Normal, &mut actions),
                Event::WillNeed(at, len) => {
                    announced += len;
                    world.planner.on_will_need(world.now, 1, &[at..at + len], &inputs(), &mut actions);
                }
                Event::DontNeed(at, len) => world.planner.on_dont_need(1, &[at..at + len], &mut actions),
                _ => {}
            }
            world.obey(actions);
            oracle::check(&mut world.planner);
            let parts: BTreeMap<_, _> = world.planner.parts.map().iter().map(|p| (p.id, p.range.clone())).collect();
            prop_assert_eq!(&parts, &world.live, "what the planner thinks is what is");
            prop_assert_eq!(world.planner.ledger().outstanding, world.outstanding());
            // Each of the three readers may have its own windows, at different places.
            let window = crate::policy::window::window(&inputs().link, f64::INFINITY, (MIB, 16 * MIB)).ahead_bytes;
            let ledger = world.planner.ledger();
            prop_assert!(ledger.wasted - ledger.forgiven + ledger.outstanding <= ledger.demanded / 10 + 3 * 2 * window + announced);
        }
    }
}
