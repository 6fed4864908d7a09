//! Makes a failing case smaller while it fails in the same way.

use super::{BodyUse, Cancel, Case, CaseTask, Failure, GetCondition, Layer, Op, Span, Step, Turns};

/// A budget so large that nothing waits for memory.
const LARGE_BUDGET_BYTES: usize = 512 << 20;

/// The smallest case found that fails like `failure`, with its failure, in at most `most` runs.
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
        // After a success, the next candidate at the same index is tried: it is likely to help too.
        let mut at = 0;
        while let Some(candidate) = simpler(&best).into_iter().nth(at) {
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

/// Collects cases that are simpler than one case in one way.
struct Simpler<'a> {
    case: &'a Case,
    all: Vec<Case>,
}

impl Simpler<'_> {
    fn with(&mut self, change: impl FnOnce(&mut Case)) {
        let mut candidate = self.case.clone();
        change(&mut candidate);
        self.all.push(candidate);
    }

    /// Removes each element of a list in turn, the last one first.
    fn without_each<T>(&mut self, list: impl Fn(&mut Case) -> &mut Vec<T>) {
        let len = list(&mut self.case.clone()).len();
        for at in (0..len).rev() {
            self.with(|case| {
                list(case).remove(at);
            });
        }
    }

    /// Removes layers, faults and changes, and moves settings closer to the defaults.
    fn with_less(&mut self) {
        let case = self.case;
        self.without_each(|case| &mut case.layers);
        self.without_each(|case| &mut case.events);
        self.without_each(|case| &mut case.faults);
        self.without_each(|case| &mut case.write_faults);
        self.without_each(|case| &mut case.outages);
        if case.budget_bytes < LARGE_BUDGET_BYTES {
            self.with(|case| case.budget_bytes = LARGE_BUDGET_BYTES);
        }
        if !case.cloud.honours_pins {
            self.with(|case| case.cloud.honours_pins = true);
        }
        if case.shares_link {
            self.with(|case| case.shares_link = false);
        }
        for (at, layer) in case.layers.iter().enumerate() {
            let plain = plainer(layer);
            if format!("{plain:?}") != format!("{layer:?}") {
                self.with(|case| case.layers[at] = plain);
            }
        }
        for (key, size) in case.objects.iter().enumerate() {
            if let Some(size) = size.filter(|size| *size > 100_000) {
                self.with(|case| case.objects[key] = Some(size / 2));
            }
        }
    }
}

/// Cases that are simpler than `case` in one way; those that remove most come first.
fn simpler(case: &Case) -> Vec<Case> {
    let mut simpler = Simpler { case, all: Vec::new() };
    simpler.without_each(|case| &mut case.tasks);
    for (task, CaseTask { steps, .. }) in case.tasks.iter().enumerate() {
        let half = steps.len() / 2;
        if half > 1 {
            simpler.with(|case| case.tasks[task].steps.truncate(half));
            simpler.with(|case| {
                case.tasks[task].steps.drain(..half);
            });
        }
    }
    if case.turns != Turns::One {
        simpler.with(|case| case.turns = Turns::One);
    }
    simpler.with_less();
    for task in 0..case.tasks.len() {
        simpler.without_each(|case| &mut case.tasks[task].steps);
    }
    for (task, CaseTask { steps, .. }) in case.tasks.iter().enumerate() {
        for (at, step) in steps.iter().enumerate() {
            for simple in simpler_steps(step) {
                simpler.with(|case| case.tasks[task].steps[at] = simple);
            }
        }
    }
    simpler.all
}

/// A layer with settings closer to the defaults.
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

fn simpler_steps(step: &Step) -> Vec<Step> {
    let Step { op, cancel } = step;
    let mut all = Vec::new();
    if *cancel != Cancel::Never {
        all.push(Step::from(op.clone()));
    }
    let mut ops = Vec::new();
    let mut plain = op.clone();
    if let Some(body) = plain.body_mut().filter(|body| **body != BodyUse::ToEnd) {
        *body = BodyUse::ToEnd;
        ops.push(plain);
    }
    match op {
        Op::Get { key, span, condition, hint, body } => {
            if *condition != GetCondition::None || hint.is_some() {
                let (span, condition) = (span.clone(), GetCondition::None);
                ops.push(Op::Get { key: *key, span, condition, hint: None, body: *body });
            }
            if let (Span::Bounded(range), BodyUse::ToEnd) = (span, body) {
                ops.push(Op::GetRange { key: *key, range: range.clone() });
            }
        }
        Op::GetRanges { key, ranges } => {
            for at in 0..ranges.len() {
                let mut ranges = ranges.clone();
                ranges.remove(at);
                ops.push(Op::GetRanges { key: *key, ranges });
            }
        }
        Op::Objects { keys, list_use } => {
            for at in 0..keys.len() {
                let mut keys = keys.clone();
                keys.remove(at);
                ops.push(Op::Objects { keys, list_use: *list_use });
            }
        }
        Op::Sleep { ms } if *ms > 1 => ops.push(Op::Sleep { ms: ms / 2 }),
        _ => {}
    }
    all.extend(ops.into_iter().map(|op| Step { op, cancel: *cancel }));
    all
}
