//! Scenarios for the planner.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::planner::hints::AnnouncedPattern;
use crate::planner::messages::{PartFetch, PlannedPiece};
use crate::policy::run_lengths::{ReadRun, RunLengths};
use world::{KIB, MIB, SIZE, World, inputs, settings};

mod many_readers;
mod oracle;
mod promises;
mod world;

#[test]
fn the_second_read_in_a_row_starts_and_a_run_fills_the_window() {
    let mut world = World::new(settings());
    world.read_all([0..64 * KIB]);
    assert_eq!(world.outstanding(), 0, "one read proves nothing");
    world.read_all([64 * KIB..128 * KIB]);
    assert!((1..=3 * 128 * KIB).contains(&world.outstanding()), "{}", world.outstanding());
    world.read_all((2..2000).map(|n| n * 64 * KIB..(n + 1) * 64 * KIB));
    let window = world.planner.window;
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
    assert_eq!(world.planner.account(), SpeculationAccount { demanded_bytes: 6 * (5000 - 17), ..Default::default() });
    assert_eq!(world.live.len(), 1, "only the last read is kept");
}

/// Large reads in order are given up once they have been read, unless the reader has read one again.
#[test]
fn a_long_run_of_large_reads_is_kept_as_far_back_as_it_went_before() {
    let behind = |again: bool| {
        let mut world = World::new(settings());
        let large = |n: u64| n * 16 * MIB..(n + 1) * 16 * MIB;
        world.read_all((0..4).map(large));
        world.read_all(again.then(|| large(3)));
        world.read_all((4..8).map(large));
        let end = large(7).end;
        world.live.values().map(|part| part.end.min(end).saturating_sub(part.start)).sum::<u64>()
    };
    assert!(behind(false) < 5 * MIB, "1 MiB, and the rest of its part: {}", behind(false));
    assert!(behind(true) >= 16 * MIB, "{}", behind(true));
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
    world.read_all(backward(400, 399));
    assert_eq!(world.outstanding(), 0, "one read proves nothing");
    world.read_all(backward(399, 398));
    assert!((1..=6 * MIB).contains(&world.outstanding()), "{}", world.outstanding());
    world.read_all(backward(398, 300));
    let (ahead, window) = (world.outstanding(), world.planner.window);
    assert!(ahead <= window.ahead_bytes && ahead + 2 * window.part_bytes > window.ahead_bytes, "{ahead} of {window:?}");
    assert!(world.live.values().all(|part| part.start < 310 * MIB), "{:?}", world.live);
}

#[test]
fn two_reads_of_a_large_footer_are_no_backward_run() {
    let mut world = World::new(settings());
    world.read_all([SIZE - 8..SIZE, SIZE - 4 * MIB..SIZE - 8]);
    assert_eq!(world.outstanding(), 0);
}

#[test]
fn a_strided_run_is_fetched_without_its_holes() {
    let mut world = World::new(settings());
    let read = |n: u64| n * 10 * MIB..n * 10 * MIB + MIB;
    world.read_all((0..8).map(read));
    assert!(world.live.values().filter(|part| part.start > 70 * MIB).count() >= 20, "{:?}", world.live);
    assert!(world.live.values().all(|part| part.start % (10 * MIB) < MIB && part.end - part.start <= MIB));
    // To the end of the object and back.
    world.read_all((8..51).map(read));
    world.read_all((0..51).rev().map(read));
    assert!(world.planner.account().wasted_bytes <= MIB, "but for the turn: {:?}", world.planner.account());
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
    // One reader is closed: its parts stay for the other one.
    world.planner.on_reader_gone(1);
    world.perform();
    assert_eq!(world.live, before);
    world.planner.on_reader_gone(2);
    world.perform();
    assert!(world.live.is_empty(), "{:?}", world.live);
    assert!(matches!(world.planner.take_observations().0.as_slice(), [RunEvent::Ended(_), RunEvent::Ended(_)]));
}

#[test]
fn learned_run_lengths_limit_speculation() {
    let mut world = World::new(settings());
    let mut runs = RunLengths::default();
    for _ in 0..8 {
        runs.on_event(RunEvent::Ended(ReadRun { bytes: 4 * MIB, is_proven: true, is_first: false }));
    }
    world.inputs.runs = Arc::new(runs);
    world.read_all((100..104).map(|n| n * MIB..(n + 1) * MIB));
    assert_eq!(world.outstanding(), 0, "runs of four end after the fourth");
    assert_eq!(world.planner.account(), SpeculationAccount { demanded_bytes: 4 * MIB, ..Default::default() });
}

#[test]
fn announced_random_is_left_alone() {
    let mut world = World::new(settings());
    world.planner.on_announced(1, AnnouncedPattern::Random);
    world.read_all((0..64).map(|n| n * MIB..(n + 1) * MIB));
    assert_eq!(world.outstanding(), 0);
}

#[test]
fn announced_ranges_are_fetched_once() {
    let mut world = World::new(settings());
    world.planner.on_will_need(1, &[0..10 * MIB, 8 * MIB..20 * MIB], &inputs());
    world.perform();
    assert_eq!(world.live.values().map(|r| r.end - r.start).sum::<u64>(), 20 * MIB);
    let before = world.live.clone();
    world.begin(MIB..3 * MIB);
    assert_eq!(world.live, before, "nothing more is asked for");
    world.end(0, true);
    world.planner.on_dont_need(1, &[0..SIZE]);
    world.perform();
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
    for _ in 0..4 {
        world.begin(7 * MIB..8 * MIB);
        assert_eq!(world.open[0].1.ahead_bytes, 0, "asking for the latest range again is polling");
        world.end(0, true);
    }
    world.read_all((8..12).map(|n| n * MIB..(n + 1) * MIB));
    world.inputs.now += Duration::from_secs(10);
    world.begin(12 * MIB..13 * MIB);
    assert_eq!(world.open[0].1.ahead_bytes, 0, "it is too old");
}

#[test]
fn who_goes_back_again_and_again_is_served_again_for_a_second() {
    let block = |n: u64| n * MIB..(n + 1) * MIB;
    let mut world = World::new(PlannerSettings { serve_once_within: Some(Duration::from_secs(10)), ..settings() });
    let mut requested = Vec::new();
    for n in (0..30).flat_map(|n| [3 * n, 3 * n + 1, 3 * n + 2, 3 * n]) {
        world.begin(block(n));
        world.fill_everything();
        requested.extend(world.open[0].1.pieces.is_empty().then_some(n));
        world.end(0, true);
    }
    assert_eq!(requested, [0, 0, 3], "the first read, and going back twice");
    assert!(world.planner.parts.map().iter().all(|part| part.range.end > 80 * MIB), "little is kept behind");
    world.inputs.now += Duration::from_secs(1);
    world.begin(block(89));
    assert_eq!(world.open[0].1.ahead_bytes, 0, "it may have changed");
}

#[test]
fn a_part_that_expires_while_it_is_read_is_dropped_when_the_read_ends() {
    let mut world = World::new(PlannerSettings { serve_once_within: Some(Duration::from_secs(10)), ..settings() });
    world.read_all((0..8).flat_map(|n| [0..MIB, (n + 8) * MIB..(n + 9) * MIB]));
    world.begin(0..MIB);
    let [PlannedPiece { part, .. }] = *world.open[0].1.pieces.as_slice() else { panic!("it is kept for visits") };
    world.planner.on_given_up(part);
    world.perform();
    assert!(world.planner.contains_part(part), "it is being read");
    world.end(0, true);
    assert!(!world.planner.contains_part(part));
}

/// A caller may ask for an object that does not exist yet again and again.
#[test]
fn announcements_to_the_end_do_not_pile_up() {
    let mut planner = Planner::new(settings());
    for start in [5, 3, 4] {
        planner.on_will_need(1, &[start * MIB..u64::MAX], &inputs());
    }
    assert_eq!(planner.announced_to_end, [(1, 3 * MIB)].into());
    planner.on_reader_gone(1);
    assert!(planner.announced_to_end.is_empty());
}
