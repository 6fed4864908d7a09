//! Generates a case from a seed.

use std::ops::Range;

use headstart_cache::Freshness;
use headstart_fetch_core::PinBy;
use headstart_sim::SeededRng;

use super::{
    CacheSpec, Case, CloudSpec, FetchSpec, Layer, ObjectChange, Op, PrefetchSpec, RequestFault, TaskGenerator, Tokens,
    Turns, WriteFault,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Sizes of the memory budget, by weight.
const BUDGETS: [(u64, u64); 7] = [(1, 0), (1, 1), (2, 64 * KIB), (3, MIB), (3, 4 * MIB), (3, 32 * MIB), (2, 512 * MIB)];

pub(crate) fn generate(seed: u64) -> Case {
    let mut dice = SeededRng::new(seed);
    let dice = &mut dice;
    let tokens = {
        use Tokens::{Generation, Modified, Nothing, Strong, Weak, WeakModified};
        one_of(dice, &[(8, Strong), (5, Generation), (2, Weak), (2, Modified), (1, WeakModified), (2, Nothing)])
    };
    let largest = one_of(dice, &[(3, 200 * KIB), (5, 2 * MIB), (3, 8 * MIB), (1, 24 * MIB)]);
    let keys = 1 + pick(dice, 3);
    let objects: Vec<Option<u64>> = (0..keys).map(|_| (!chance(dice, 5)).then(|| size(dice, largest))).collect();
    let layers = layers(dice, largest);
    let pin = match tokens {
        Tokens::Generation if chance(dice, 60) => PinBy::Version,
        _ if chance(dice, 85) => PinBy::ETag,
        _ => PinBy::Unpinned,
    };
    let mut case = Case {
        seed,
        cloud: cloud(dice, tokens, largest),
        layers,
        pin,
        budget_bytes: in_memory(one_of(dice, &BUDGETS)),
        shares_link: chance(dice, 50),
        objects,
        events: Vec::new(),
        faults: Vec::new(),
        write_faults: Vec::new(),
        outages: Vec::new(),
        tasks: Vec::new(),
        turns: Turns::One,
        #[cfg(test)]
        mistake: None,
    };
    // Objects that are declared immutable and have no strong validators must not change.
    let immutable = case.cache().is_some_and(|cache| cache.freshness == Freshness::Immutable);
    let may_change = !immutable || tokens.are_strong();
    let changes = may_change && chance(dice, 60);
    let mut plan = TaskGenerator { dice: &mut *dice, case: &case, largest, changes, may_change };
    (case.tasks, case.turns) = (plan.tasks(), plan.turns());
    if changes {
        case.events = (0..pick(dice, 5)).map(|_| (when(dice), change(dice, &case.objects, largest))).collect();
        case.events.sort_by_key(|(ms, _)| *ms);
    }
    if chance(dice, 45) {
        break_things(dice, &mut case);
    }
    case
}

/// True with a probability of `percent`.
pub(super) fn chance(dice: &mut SeededRng, percent: u64) -> bool {
    dice.below(100) < percent
}

pub(super) fn pick(dice: &mut SeededRng, n: usize) -> usize {
    in_memory(dice.below(n as u64))
}

/// One of several choices, by weight.
pub(super) fn one_of<T: Clone>(dice: &mut SeededRng, choices: &[(u64, T)]) -> T {
    let all: u64 = choices.iter().map(|(weight, _)| weight).sum();
    let mut at = dice.below(all);
    for (weight, choice) in choices {
        if at < *weight {
            return choice.clone();
        }
        at -= weight;
    }
    choices[0].1.clone()
}

pub(super) fn in_memory(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A size up to `largest`: a few bytes, about a page, or any.
pub(super) fn size(dice: &mut SeededRng, largest: u64) -> u64 {
    let odd = dice.below(3);
    match dice.below(10) {
        0 => dice.below(3),
        1 => 1 + dice.below(1000),
        2 => 64 * KIB + odd - 1,
        3 => (MIB + odd - 1).min(largest),
        4 | 5 => 1 + dice.below(largest),
        _ => largest - dice.below(largest / 4 + 1),
    }
}

/// A time in milliseconds: mostly in the first second, sometimes after a freshness window has ended.
pub(super) fn when(dice: &mut SeededRng) -> u64 {
    match dice.below(10) {
        0..7 => dice.below(600),
        7 | 8 => dice.below(15_000),
        _ => dice.below(90_000),
    }
}

/// A change of an object. In half of the cases the size stays the same.
pub(super) fn change(dice: &mut SeededRng, objects: &[Option<u64>], largest: u64) -> ObjectChange {
    let key = pick(dice, objects.len());
    if chance(dice, 15) {
        return ObjectChange::Delete { key };
    }
    ObjectChange::Put { key, size: new_size(dice, objects[key], largest) }
}

/// The new size of an overwritten object: the same, a similar one, or any.
pub(super) fn new_size(dice: &mut SeededRng, old: Option<u64>, largest: u64) -> u64 {
    match (old, dice.below(4)) {
        (Some(old), 0 | 1) => old,
        (Some(old), 2) => (old / 2 + dice.below(old + 1)).min(largest),
        _ => size(dice, largest),
    }
}

fn cloud(dice: &mut SeededRng, tokens: Tokens, largest: u64) -> CloudSpec {
    let bytes_per_ms = one_of(dice, &[(1, 2000), (3, 20_000), (4, 100_000), (1, 1_000_000)]);
    // At most a hundred chunks an object, and at most 50 ms a chunk.
    let chunk_bytes = one_of(dice, &[(2, 16 * KIB), (3, 64 * KIB), (1, MIB)]);
    let chunk_bytes = chunk_bytes.max(largest / 100).min(bytes_per_ms * 50);
    CloudSpec {
        tokens,
        honours_pins: !chance(dice, 20),
        keeps_versions: chance(dice, 50),
        ttfb_ms: one_of(dice, &[(1, 0), (2, 2), (5, 20), (2, 100)]),
        bytes_per_ms,
        chunk_bytes: in_memory(chunk_bytes),
    }
}

fn layers(dice: &mut SeededRng, largest: u64) -> Vec<Layer> {
    let usual = [(10, "FCP"), (3, "F"), (3, "C"), (3, "P"), (4, "FC"), (3, "FP"), (3, "CP")];
    let unusual = ["PC", "PF", "CF", "PCF", "CFP", "FPC", ""].map(|order| (1, order));
    let order = one_of(dice, &[usual, unusual].concat());
    let of = |initial| match initial {
        'F' => Layer::Fetch(fetch(dice, largest)),
        'C' => Layer::Cache(cache(dice)),
        _ => Layer::Prefetch(prefetch(dice, largest)),
    };
    order.chars().map(of).collect()
}

/// The smallest and the largest part. Objects have several parts.
fn part_bytes(dice: &mut SeededRng, largest: u64) -> (u64, u64) {
    let least = one_of(dice, &[(1, 16 * KIB), (3, 64 * KIB), (2, 256 * KIB), (1, MIB)]).max(largest / 200);
    (least, least * one_of(dice, &[(1, 1), (2, 4), (2, 16)]))
}

fn fetch(dice: &mut SeededRng, largest: u64) -> FetchSpec {
    FetchSpec {
        enabled: !chance(dice, 5),
        concurrency: one_of(dice, &[(2, 1), (2, 2), (3, 4), (4, 32)]),
        retries: one_of(dice, &[(1, 0), (1, 1), (2, 3), (6, 10)]),
        retry_timeout_s: one_of(dice, &[(1, 5), (2, 30), (4, 180)]),
        hedge: chance(dice, 70),
        part_bytes: part_bytes(dice, largest),
        ttfb_ms: one_of(dice, &[(1, 1), (3, 30)]),
        stream_bytes_per_ms: one_of(dice, &[(1, 5000), (3, 60_000)]),
    }
}

fn cache(dice: &mut SeededRng) -> CacheSpec {
    let page_bytes = in_memory(one_of(dice, &[(3, 16 * KIB), (4, 64 * KIB), (1, MIB), (1, 4 * MIB)]));
    let memory_bytes = page_bytes * one_of(dice, &[(2, 4), (2, 32), (4, 512)]);
    let edges = memory_bytes >= 32 * page_bytes && chance(dice, 20);
    let seconds = one_of(dice, &[(1, 0), (1, 1), (2, 10), (3, 60)]);
    let ttl = Freshness::Ttl(std::time::Duration::from_secs(seconds));
    let freshness = [(5, ttl), (3, Freshness::EveryRead), (1, Freshness::OnOpen), (1, Freshness::Immutable)];
    CacheSpec {
        memory_bytes,
        page_bytes,
        edge_bytes: if edges { 100_000 } else { 0 },
        freshness: one_of(dice, &freshness),
        stall_timeout_s: one_of(dice, &[(1, 10), (4, 60)]),
        has_budget: chance(dice, 75),
    }
}

fn prefetch(dice: &mut SeededRng, largest: u64) -> PrefetchSpec {
    PrefetchSpec {
        enabled: !chance(dice, 10),
        start_after: one_of(dice, &[(2, 1), (3, 2), (1, 4)]),
        max_prefetch_bytes: one_of(dice, &[(1, 0), (2, 256 * KIB), (2, 4 * MIB), (5, 1024 * MIB)]),
        concurrency: one_of(dice, &[(1, 1), (2, 4), (4, 32)]),
        max_bytes_per_s: chance(dice, 10).then(|| 1_000_000 + dice.below(50_000_000)),
        max_age_ms: one_of(dice, &[(1, 0), (1, 1000), (4, 10_000)]),
        part_bytes: part_bytes(dice, largest),
    }
}

/// Adds faults of requests and writes, and outages.
fn break_things(dice: &mut SeededRng, case: &mut Case) {
    let ops = case.ops().count() as u64;
    let kind = dice.below(10);
    // Without a fetch layer at the bottom, a body that is too long is passed on, as by the bare client.
    let noticed = case.order().starts_with('F') && case.fetch().is_some();
    if kind < 8 {
        let n = 1 + dice.below(6);
        let mut faults: Vec<(u64, RequestFault)> =
            (0..n).map(|_| (dice.below(2 + ops * 2), fault(dice, noticed))).collect();
        if chance(dice, 15) {
            // The same fault, many times in a row.
            let (first, fault) = faults[0];
            faults.extend((1..6 + dice.below(20)).map(|n| (first + n, fault)));
        }
        faults.sort_by_key(|(nth, _)| *nth);
        faults.dedup_by_key(|(nth, _)| *nth);
        case.faults = faults;
    }
    if kind >= 6 {
        let from = when(dice);
        let ms = one_of(dice, &[(3, 1000), (2, 10_000), (1, 50_000), (1, 90_000), (1, 120_000)]);
        case.outages = vec![Range { start: from, end: from + ms }];
    }
    let writes =
        case.ops().any(|op| matches!(op, Op::Put { .. } | Op::Delete { .. } | Op::Copy { .. } | Op::Rename { .. }));
    if writes && chance(dice, 60) {
        let fault = if chance(dice, 50) { WriteFault::Refused } else { WriteFault::Done };
        let nth = if chance(dice, 60) { 0 } else { dice.below(4) };
        case.write_faults = vec![(nth, fault)];
    }
}

fn fault(dice: &mut SeededRng, noticed: bool) -> RequestFault {
    let within = dice.below(101);
    let percent = one_of(dice, &[(1, 0), (3, within), (1, 100)]);
    match dice.below(10) {
        0 | 1 => RequestFault::Reset,
        2 => RequestFault::Throttled { retry_after_ms: chance(dice, 50).then(|| dice.below(4000)) },
        3 | 4 => RequestFault::Late { ms: one_of(dice, &[(3, 300), (2, 3000), (1, 30_000)]) },
        5 | 6 => RequestFault::Cut { percent },
        7 => RequestFault::Short { percent },
        8 => RequestFault::Stall { percent, ms: one_of(dice, &[(2, 500), (2, 5000), (1, 70_000)]) },
        _ if noticed && chance(dice, 20) => RequestFault::Long,
        _ => RequestFault::Cut { percent },
    }
}
