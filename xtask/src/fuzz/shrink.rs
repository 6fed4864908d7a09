//! Makes a failing case smaller while it fails in the same way. Pure, but for the runs that it is given.

use super::case::{Case, Layer, Task, Turns};
use super::failure::Failure;
use super::op::{Body, Condition, Op, Quit, Span};

/// The smallest case found that still fails as `failure` did, with its failure, in at most `most` runs.
pub(crate) fn shrink(
    case: Case,
    failure: Failure,
    most: usize,
    mut run: impl FnMut(&Case) -> Option<Failure>,
) -> (Case, Failure) {
    let (mut best, mut found) = (case, failure);
    let mut left = most;
    loop {
        let mut smaller = false;
        // What helped once may help again at the same place: begin anew only when all were tried.
        let mut at = 0;
        loop {
            let Some(candidate) = simpler(&best).into_iter().nth(at) else { break };
            if left == 0 {
                return (best, found);
            }
            left -= 1;
            match run(&candidate) {
                Some(failure) if failure.kind() == found.kind() => {
                    (best, found, smaller) = (candidate, failure, true);
                }
                _ => at += 1,
            }
        }
        if !smaller {
            return (best, found);
        }
    }
}

/// Cases that are simpler than `case` in one way, the ones that leave out most first.
fn simpler(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Case)| {
        let mut candidate = case.clone();
        change(&mut candidate);
        all.push(candidate);
    };
    for task in (0..case.tasks.len()).rev() {
        with(&|case| drop(case.tasks.remove(task)));
    }
    for (task, Task { ops, .. }) in case.tasks.iter().enumerate() {
        let half = ops.len() / 2;
        if half > 1 {
            with(&|case| case.tasks[task].ops.truncate(half));
            with(&|case| drop(case.tasks[task].ops.drain(..half)));
        }
    }
    if case.turns != Turns::One {
        with(&|case| case.turns = Turns::One);
    }
    for layer in 0..case.layers.len() {
        with(&|case| drop(case.layers.remove(layer)));
    }
    with_less(case, &mut with);
    for (task, Task { ops, .. }) in case.tasks.iter().enumerate() {
        for at in (0..ops.len()).rev() {
            with(&|case| drop(case.tasks[task].ops.remove(at)));
        }
    }
    for (task, Task { ops, .. }) in case.tasks.iter().enumerate() {
        for (at, op) in ops.iter().enumerate() {
            for simple in simpler_ops(op) {
                with(&|case| case.tasks[task].ops[at] = simple.clone());
            }
        }
    }
    all
}

/// Less that happens behind the stack, and settings nearer to the defaults.
fn with_less(case: &Case, with: &mut dyn FnMut(&dyn Fn(&mut Case))) {
    for at in (0..case.events.len()).rev() {
        with(&|case| drop(case.events.remove(at)));
    }
    for at in (0..case.faults.len()).rev() {
        with(&|case| drop(case.faults.remove(at)));
    }
    for at in (0..case.write_faults.len()).rev() {
        with(&|case| drop(case.write_faults.remove(at)));
    }
    if !case.outages.is_empty() {
        with(&|case| case.outages.clear());
    }
    if case.budget_bytes < 512 << 20 {
        with(&|case| case.budget_bytes = 512 << 20);
    }
    if !case.cloud.honours_pins {
        with(&|case| case.cloud.honours_pins = true);
    }
    if case.shares_link {
        with(&|case| case.shares_link = false);
    }
    for layer in 0..case.layers.len() {
        let plain = plainer(&case.layers[layer]);
        if format!("{plain:?}") != format!("{:?}", case.layers[layer]) {
            with(&|case| case.layers[layer] = plain.clone());
        }
    }
    for (key, size) in case.objects.iter().enumerate() {
        if let Some(size) = size.filter(|size| *size > 100_000) {
            with(&|case| case.objects[key] = Some(size / 2));
        }
    }
    if case.objects.len() > 1 && !case.ops().any(|op| uses(op, case.objects.len() - 1)) {
        with(&|case| drop(case.objects.pop()));
    }
}

/// A layer with fewer peculiarities.
fn plainer(layer: &Layer) -> Layer {
    let mut layer = layer.clone();
    match &mut layer {
        Layer::Fetch(spec) => {
            spec.concurrency = 32;
            spec.retries = 10;
            spec.retry_timeout_s = 180;
            spec.hedge = false;
        }
        Layer::Cache(spec) => {
            spec.edge_bytes = 0;
            spec.has_budget = true;
            spec.stall_timeout_s = 60;
            spec.memory_bytes = spec.memory_bytes.max(64 << 20);
        }
        Layer::Prefetch(spec) => {
            spec.max_bytes_per_s = None;
            spec.concurrency = 32;
            spec.max_prefetch_bytes = 1 << 30;
        }
    }
    layer
}

fn uses(op: &Op, key: usize) -> bool {
    let words = format!("{op:?}");
    [format!("key: {key}"), format!("from: {key}"), format!("to: {key}"), format!("{key}]"), format!("{key},")]
        .iter()
        .any(|word| words.contains(word))
}

fn simpler_ops(op: &Op) -> Vec<Op> {
    let mut all = Vec::new();
    let mut plain = op.clone();
    if let Some(quit) = plain.quit_mut().filter(|quit| **quit != Quit::Never) {
        *quit = Quit::Never;
        all.push(plain);
    }
    let mut plain = op.clone();
    if let Some(body) = plain.body_mut().filter(|body| **body != Body::ToEnd) {
        *body = Body::ToEnd;
        all.push(plain);
    }
    match op {
        Op::Get { key, span, condition, hint, body, quit } => {
            if *condition != Condition::None || hint.is_some() {
                let (span, condition) = (span.clone(), Condition::None);
                all.push(Op::Get { key: *key, span, condition, hint: None, body: *body, quit: *quit });
            }
            if let (Span::Bounded(range), Body::ToEnd) = (span, body) {
                all.push(Op::GetRange { key: *key, range: range.clone(), quit: *quit });
            }
        }
        Op::GetRanges { key, ranges, quit } => {
            for at in 0..ranges.len() {
                let mut ranges = ranges.clone();
                ranges.remove(at);
                all.push(Op::GetRanges { key: *key, ranges, quit: *quit });
            }
        }
        Op::Sleep { ms } if *ms > 1 => all.push(Op::Sleep { ms: ms / 2 }),
        _ => {}
    }
    all
}
