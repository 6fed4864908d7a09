//! Promises of the planner that hold after any sequence of events.

use std::collections::BTreeMap;

use super::*;

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
    /// For any sequence of reads, hints, completions and failures: plans have no holes and name live parts, no byte is
    /// requested while held or in flight, no part being read is dropped, and the accounting agrees with the parts.
    #[test]
    fn promises_hold_after_every_event(events in events(), once: bool) {
        let serve_once_within = once.then(|| Duration::from_millis(200));
        let mut world = World::new(PlannerSettings { serve_once_within, ..settings() });
        // Two readers read forward, one of them at two places; one reads backward; two read in strides.
        let mut at = [0, 100 * MIB, 300 * MIB, 250 * MIB, 0, SIZE - 8 * MIB];
        let mut announced = 0;
        for event in events {
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
                        world.planner.on_complete(id, || world.inputs.clone());
                    }
                }
                Event::Gone(reader) => world.planner.on_reader_gone(reader),
                Event::Memory(bytes) => world.inputs.free_bytes = bytes,
                Event::End(which, answered) if which < world.open.len() => world.end(which, answered),
                Event::Fill(which) => {
                    if let Some((id, range)) = world.live.iter().nth(which) {
                        world.planner.on_filled(*id, range.end);
                    }
                }
                Event::Fail(which) => {
                    let is_read = |id| world.open.iter().any(|(_, plan)| plan.pieces.iter().any(|p| p.part == id));
                    if let Some(id) = world.live.keys().copied().nth(which) && !is_read(id) {
                        world.planner.on_failed(id);
                        world.live.remove(&id);
                    }
                }
                Event::Wait(ms) => world.inputs.now += Duration::from_millis(ms),
                Event::Announce(0) => world.planner.on_announced(1, AnnouncedPattern::Random),
                Event::Announce(1) => world.planner.on_announced(1, AnnouncedPattern::Sequential),
                Event::Announce(_) => world.planner.on_announced(1, AnnouncedPattern::Normal),
                Event::WillNeed(at, len) => {
                    announced += len;
                    let inputs = PlannerInputs { now: world.inputs.now, ..inputs() };
                    world.planner.on_will_need(1, &[at..at + len], &inputs);
                }
                Event::DontNeed(at, len) => world.planner.on_dont_need(1, &[at..at + len]),
                _ => {}
            }
            world.perform();
            oracle::check(&mut world.planner);
            let parts: BTreeMap<_, _> = world.planner.parts.map().iter().map(|p| (p.id, p.range.clone())).collect();
            prop_assert_eq!(&parts, &world.live, "what the planner thinks is what is");
            prop_assert_eq!(world.planner.account().outstanding_bytes, world.outstanding());
            // Each of the three readers may have windows of its own, at different places.
            let window = crate::policy::window::window(&inputs().link, f64::INFINITY, (MIB, 16 * MIB)).ahead_bytes;
            let account = world.planner.account();
            let spent = account.wasted_bytes - account.exempt_bytes + account.outstanding_bytes;
            prop_assert!(spent <= account.demanded_bytes / 10 + 3 * 2 * window + announced);
        }
    }
}
