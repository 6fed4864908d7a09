//! Promises of placements: balance, and how much moves. Prints exact figures.

use std::collections::BTreeMap;

use headstart_affinity::{BALANCE, FileKey, KeyMove, Placement, Workers};
use proptest::prelude::*;

fn key(n: usize) -> u64 {
    FileKey { store: "s3://bucket", path: &format!("table/part-{n:05}.parquet"), version: "\"1\"", start: 0 }.hash()
}

fn placed(workers: usize, keys: usize) -> Placement {
    let mut placement = Placement::new((0..workers).map(|n| format!("10.0.0.{n}:8080")));
    for n in 0..keys {
        placement.place(key(n), 1);
    }
    placement
}

fn owners(placement: &Placement, keys: usize) -> BTreeMap<u64, String> {
    (0..keys).map(|n| (key(n), placement.worker(key(n)).expect("it was placed").to_owned())).collect()
}

fn largest(placement: &Placement) -> f64 {
    let loads = placement.workers().ids().iter().map(|id| placement.load_bytes(id));
    loads.max().expect("some") as f64
}

/// Checks that `moves` are the differences, each once, and that all loads are within the balance.
fn check(before: &BTreeMap<u64, String>, placement: &Placement, moves: &[KeyMove]) {
    let after = owners(placement, before.len());
    let differences = before.iter().filter(|(key, owner)| after[key] != **owner).count();
    let moved: BTreeMap<u64, &KeyMove> = moves.iter().map(|moved| (moved.key, moved)).collect();
    assert_eq!(moved.len(), differences);
    for (key, moved) in moved {
        assert_eq!((before.get(&key), after.get(&key)), (Some(&moved.from), moved.to.as_ref()));
    }
    let most = (before.len() as f64 * BALANCE / placement.workers().ids().len() as f64).ceil();
    assert!(largest(placement) <= most, "{} of at most {most}", largest(placement));
}

#[test]
fn workers_join_and_leave() {
    const KEYS: usize = 100_000;
    for workers in [2, 4, 10, 30] {
        let mut placement = placed(workers, KEYS);
        let mean = KEYS as f64 / workers as f64;
        let balance = largest(&placement) / mean;
        println!("{workers} workers, {KEYS} keys: the largest has {balance:.3} times the mean (promised {BALANCE})");
        assert!(balance <= BALANCE);

        let before = owners(&placement, KEYS);
        let moves = placement.join("10.0.1.1:8080");
        check(&before, &placement, &moves);
        let expected = KEYS as f64 / (workers + 1) as f64;
        let taken = placement.load_bytes("10.0.1.1:8080") as f64 / expected;
        let other = moves.iter().filter(|moved| moved.to.as_deref() != Some("10.0.1.1:8080")).count();
        println!("  one joins: takes {taken:.3} of 1/n (promised 0.9 to 1.1); {other} keys move between others");
        assert!((0.9..=1.1).contains(&taken));
        assert_eq!(other, 0);

        let before = owners(&placement, KEYS);
        let load = placement.load_bytes("10.0.0.1:8080");
        let moves = placement.leave("10.0.0.1:8080");
        check(&before, &placement, &moves);
        println!("  one leaves: {} keys move, it had {load} (promised: these)", moves.len());
        assert_eq!(moves.len() as u128, load);
        assert!(moves.iter().all(|moved| moved.from == "10.0.0.1:8080"));
    }
}

#[test]
fn few_keys_are_balanced_too() {
    let placement = placed(8, 40);
    assert!(largest(&placement) <= (40.0 * BALANCE / 8.0).ceil(), "{placement:?}");
    let mut none = Placement::new([] as [&str; 0]);
    assert_eq!(none.place(1, 1), None);
    assert_eq!(none.worker(1), None);
    none.join("a");
    assert_eq!(none.place(1, 5), Some("a"));
    let lost = none.leave("a");
    assert_eq!(lost, [KeyMove { key: 1, from: "a".into(), to: None }]);
    assert_eq!((none.worker(1), none.load_bytes("a")), (None, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Place(u64, u64),
    Remove(u64),
    Join(u8),
    Leave(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u64..300, 0_u64..50).prop_map(|(key, bytes)| Step::Place(key, bytes)),
        2 => (0_u64..300).prop_map(Step::Remove),
        1 => (0_u8..12).prop_map(Step::Join),
        1 => (0_u8..12).prop_map(Step::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: loads are those of the keys, moves are the differences, and a worker that leaves moves only
    /// its own keys.
    #[test]
    fn placements_are_consistent(steps in prop::collection::vec(step(), 1..400)) {
        let mut placement = Placement::new(["w0", "w1"]);
        let mut sizes: BTreeMap<u64, u64> = BTreeMap::new();
        for step in steps {
            let before: BTreeMap<u64, String> =
                sizes.keys().filter_map(|key| Some((*key, placement.worker(*key)?.to_owned()))).collect();
            let moves = match step {
                Step::Place(key, bytes) => {
                    if placement.place(key, bytes).is_some() {
                        sizes.entry(key).or_insert(bytes);
                    }
                    Vec::new()
                }
                Step::Remove(key) => {
                    placement.remove(key);
                    sizes.remove(&key);
                    Vec::new()
                }
                Step::Join(n) => placement.join(&format!("w{n}")),
                Step::Leave(n) => {
                    let id = format!("w{n}");
                    let moves = placement.leave(&id);
                    prop_assert!(moves.iter().all(|moved| moved.from == id));
                    prop_assert_eq!(moves.len(), before.values().filter(|owner| **owner == id).count());
                    if placement.workers().ids().is_empty() {
                        sizes.clear();
                    }
                    moves
                }
            };
            let mut expected = before;
            for moved in moves {
                prop_assert_eq!(expected.remove(&moved.key), Some(moved.from));
                moved.to.and_then(|to| expected.insert(moved.key, to));
            }
            for (key, owner) in expected.iter().filter(|(key, _)| sizes.contains_key(key)) {
                prop_assert_eq!(placement.worker(*key), Some(owner.as_str()));
            }
            for id in placement.workers().ids() {
                let of = |key: &u64| placement.worker(*key) == Some(id);
                let bytes: u64 = sizes.iter().filter(|(key, _)| of(key)).map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(placement.load_bytes(id), u128::from(bytes));
            }
        }
    }
}

/// A table of the file of vectors, which the Python package is tested with too.
#[test]
fn vectors_are_reproduced() {
    let mut lines = 0;
    for line in include_str!("../vectors.tsv").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [workers, store, path, version, start, hash, ranking] = fields[..] else { panic!("{line}") };
        let start = start.parse().expect("a number");
        let key = FileKey { store, path, version, start };
        assert_eq!(format!("{:016x}", key.hash()), hash, "{line}");
        let workers = Workers::new(workers.split(','));
        let names: Vec<&str> = workers.ranking(key.hash()).into_iter().map(|n| workers.ids()[n].as_str()).collect();
        assert_eq!(names.join(","), ranking, "{line}");
        lines += 1;
    }
    assert!(lines >= 40, "{lines} vectors");
}
