//! Many readers of one object: a read costs the planner no more work than among few.

use std::collections::BTreeMap;

use super::*;
use crate::planner::visits;

/// The range of the `n`th read of one of `readers`.
type Place = fn(reader: u64, readers: u64, n: u64) -> Range<u64>;

const READ: u64 = 64 * KIB;

/// Parts and readers that the planner visits per read, after each of `readers` has read for a while, in turn.
fn visits_per_read(readers: u64, place: Place) -> u64 {
    let mut world = World::new(settings());
    for reader in 1..=readers {
        world.planner.on_reader(reader);
    }
    let round = |n: u64, world: &mut World| {
        for reader in 1..=readers {
            world.inputs.now += Duration::from_micros(100);
            let range = place(reader - 1, readers, n);
            let decision = world.planner.on_read(reader, &range, &world.inputs);
            let plan = decision.plan();
            world.act_quietly();
            for id in plan.pieces.iter().map(|piece| piece.part) {
                let range = world.live[&id].clone();
                world.planner.on_filled(id, range.start + 1);
                world.planner.on_filled(id, range.end);
                world.planner.on_complete(id, || world.inputs.clone());
                world.act_quietly();
            }
            world.planner.on_read_end(world.inputs.now, plan, true);
            world.act_quietly();
        }
    };
    (0..8).for_each(|n| round(n, &mut world));
    visits::take();
    (8..16).for_each(|n| round(n, &mut world));
    visits::take() / (8 * readers)
}

impl World {
    /// Performs actions as [`World::perform`] does, but without checks that visit parts; queries the planner as the
    /// engine does.
    fn act_quietly(&mut self) {
        for action in self.planner.take_actions() {
            match action {
                PlannerAction::Fetch(PartFetch { id, range, .. }) if self.planner.contains_part(id) => {
                    self.live.insert(id, range);
                }
                PlannerAction::Fetch(_) | PlannerAction::Stop(_) => {}
                PlannerAction::Drop(id) => drop(self.live.remove(&id)),
            }
        }
        let planner = &self.planner;
        let _ = (planner.wanted_bytes(), planner.is_being_read(), planner.is_active());
    }
}

/// Checks that a read among 1,000 readers takes at most twice the visits of one among ten, and prints the visits.
#[track_caller]
fn check_work(name: &str, place: Place) {
    let [few, some, many] = [10, 100, 1_000].map(|readers| visits_per_read(readers, place));
    let visits = format!("{name}: {few} visits a read with 10 readers, {some} with 100, {many} with 1,000");
    println!("{visits}");
    assert!(some <= 2 * few && many <= 2 * few, "{visits}");
}

#[test]
fn a_read_is_no_more_work_among_many_who_read_a_stretch_each() {
    check_work("stretches", |reader, readers, n| {
        let at = reader * (SIZE / readers / READ * READ) + n * READ;
        at..at + READ
    });
}

#[test]
fn a_read_is_no_more_work_among_many_who_read_the_same() {
    check_work("the same", |_, _, n| n * READ..(n + 1) * READ);
}

#[test]
fn a_read_is_no_more_work_among_many_who_read_a_place_in_sixteen() {
    check_work("sixteenths", |reader, _, n| {
        let at = reader % 16 * (SIZE / 16) + n * READ;
        at..at + READ
    });
}

#[test]
fn a_read_is_no_more_work_among_many_who_read_here_and_there() {
    check_work("here and there", |reader, _, n| {
        let at = (reader * 7919 + n * 104_729) * 1_299_709 % (SIZE - READ);
        at..at + READ
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// As `promises_hold_after_every_event`, with two dozen readers close to each other that come and go, while memory
    /// and link change.
    #[test]
    fn what_is_kept_is_right_among_many(
        steps in prop::collection::vec((0_usize..24, 0_u64..100, any::<u16>()), 1..200),
        once: bool,
    ) {
        let serve_once_within = once.then(|| Duration::from_millis(200));
        let mut world = World::new(PlannerSettings { serve_once_within, ..settings() });
        let mut at: Vec<u64> = (0..24).map(|n| n % 6 * 3 * MIB).collect();
        for (reader, what, how) in steps {
            let (which, how) = (usize::from(how), u64::from(how));
            let (place, reader) = (&mut at[reader], reader as u64);
            world.inputs.now += Duration::from_micros(how);
            match what {
                0..45 => {
                    let len = [4 * KIB, 64 * KIB, MIB, 3 * MIB][which % 4];
                    let start = match reader % 6 {
                        4 => place.checked_sub(len).unwrap_or(40 * MIB),
                        5 if *place < SIZE / 2 => *place + 2 * MIB,
                        _ => *place,
                    };
                    *place = if reader % 6 < 4 { start + len } else { start };
                    if *place > SIZE / 2 {
                        *place = 0;
                    }
                    world.begin_by(reader, start..start + len);
                }
                45..80 if !world.open.is_empty() => {
                    world.end(which % world.open.len(), how % 20 > 0);
                }
                80..90 if !world.live.is_empty() => {
                    let (id, range) = world.live.iter().nth(which % world.live.len()).expect("it is there");
                    let (id, end) = (*id, range.end);
                    world.planner.on_filled(id, end);
                    world.planner.on_complete(id, || world.inputs.clone());
                }
                90 => world.planner.on_reader_gone(reader),
                91 => world.planner.on_memory_short(),
                92 => world.inputs.free_bytes = how * 64 * KIB,
                93 => world.inputs.link.stream_bytes_per_s = [10e6, 60e6, 400e6][which % 3],
                94 => *place = how * KIB,
                95 => world.planner.on_announced(reader, AnnouncedPattern::Sequential),
                96 => world.planner.on_announced(reader, AnnouncedPattern::Random),
                97 => {
                    let inputs = &world.inputs;
                    world.planner.on_will_need(reader, &[how * KIB..how * KIB + MIB], inputs);
                }
                98 => world.planner.on_dont_need(reader, &[how * KIB..how * KIB + 4 * MIB, 0..MIB]),
                _ => {}
            }
            world.perform();
            oracle::check(&mut world.planner);
            let parts: BTreeMap<_, _> = world.planner.parts.map().iter().map(|p| (p.id, p.range.clone())).collect();
            prop_assert_eq!(&parts, &world.live, "what the planner thinks is what is");
        }
    }
}
