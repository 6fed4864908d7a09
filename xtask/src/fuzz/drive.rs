//! Runs a case to its end in virtual time, and reports what failed.

use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::{Arc, Once};
use std::{cell::RefCell, time::Duration};

use futures::future::select;
use futures::stream::{FuturesUnordered, StreamExt};
use headstart_bench::simulate::paused;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{Case, CaseContext, Checked, Failure, Tally, Turns, runner::run_task};

/// The most virtual time of a case. Each operation has a shorter limit of its own.
const END: Duration = Duration::from_secs(24 * 3600);

/// After this many turns, a turn becomes twice as long.
const TURNS_ALIKE: u32 = 100;

/// The time in which speculation ends after the last operation.
const SETTLE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct CaseOutcome {
    pub(crate) failure: Option<Failure>,
    pub(crate) tally: Tally,
}

thread_local! {
    /// Panics of this thread while a case runs; `None` while none runs.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

pub(crate) fn run(case: &Case) -> CaseOutcome {
    record_panics();
    PANICS.set(Some(Vec::new()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| CaseRun::new(case).map(CaseRun::finish)));
    let panics = PANICS.take().unwrap_or_default();
    let (mut failure, tally) = match outcome {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(refused)) => (Some(refused), Tally::new()),
        Err(_) => (None, Tally::new()),
    };
    if let Some(panic) = panics.into_iter().next() {
        failure = Some(Failure::new("panic", panic));
    }
    CaseOutcome { failure, tally }
}

/// Records panics during a run instead of printing them. All other panics are handled as before.
fn record_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept = PANICS.with_borrow_mut(|panics| panics.as_mut().map(|panics| panics.push(info.to_string())));
            if kept.is_none() {
                before(info);
            }
        }));
    });
}

struct CaseRun {
    context: Arc<CaseContext>,
    runtimes: [Runtime; 2],
    tasks: [FuturesUnordered<JoinHandle<()>>; 2],
}

impl CaseRun {
    fn new(case: &Case) -> Checked<Self> {
        let runtimes = [paused(), paused()].map(|runtime| runtime.expect("a runtime of one thread"));
        let context = runtimes[0]
            .block_on(async { CaseContext::new(case) })
            .map_err(|error| Failure::new("refused settings", error.to_string()))?;
        let tasks = [FuturesUnordered::new(), FuturesUnordered::new()];
        for task in &case.tasks {
            let runtime = if case.turns == Turns::One { 0 } else { task.runtime };
            tasks[runtime].push(runtimes[runtime].spawn(run_task(Arc::clone(&context), runtime, task.steps.clone())));
        }
        Ok(Self { context, runtimes, tasks })
    }

    fn finish(mut self) -> (Option<Failure>, Tally) {
        match self.context.case.turns.clone() {
            Turns::One => {}
            Turns::Handover { after_ms } => {
                self.turn(0, Duration::from_millis(after_ms));
                self.turn(1, END);
            }
            Turns::Alternate { turn_ms } => {
                let mut turns = 0_u32;
                while self.tasks.iter().any(|tasks| !tasks.is_empty()) && !self.context.has_failed() {
                    // Turns become longer, so that waits of minutes do not take thousands of short turns.
                    let turn = Duration::from_millis(turn_ms).saturating_mul(1 << (turns / TURNS_ALIKE).min(16));
                    self.turn(usize::from(turns % 2 == 1), turn);
                    turns += 1;
                }
            }
        }
        self.turn(0, END);
        self.leave_nothing()
    }

    /// Drives `runtime` until its tasks have ended or `most` has passed. The other runtime is stopped.
    fn turn(&mut self, runtime: usize, most: Duration) {
        let now = |runtime: &Runtime| runtime.block_on(async { Instant::now() });
        let [began, before] = [1 - runtime, runtime].map(|runtime| now(&self.runtimes[runtime]));
        // In whole milliseconds: the two clocks started microseconds apart, and that must not influence a run.
        let behind = began.saturating_duration_since(before) + Duration::from_micros(500);
        let behind = Duration::from_millis(u64::try_from(behind.as_millis()).unwrap_or(u64::MAX));
        if !behind.is_zero() {
            self.context.was_frozen(runtime, behind);
        }
        let (context, tasks) = (Arc::clone(&self.context), &mut self.tasks[runtime]);
        self.runtimes[runtime].block_on(async move {
            if !behind.is_zero() {
                tokio::time::advance(behind).await;
            }
            let changes = async {
                context.cloud.make_changes().await;
                std::future::pending::<()>().await;
            };
            let all = async {
                while let Some(ended) = tasks.next().await {
                    if ended.is_err() {
                        context.fail(Failure::new("panic", "a task panicked"));
                    }
                    if context.has_failed() {
                        return;
                    }
                }
            };
            // Changes are made before tasks run.
            let _ = timeout(most, select(pin!(changes), pin!(all))).await;
        });
    }

    /// Drops the stack layer by layer, and checks that nothing is left.
    fn leave_nothing(self) -> (Option<Failure>, Tally) {
        let Self { context, runtimes: [first, second], tasks } = self;
        tasks.iter().flat_map(|tasks| tasks.iter()).for_each(JoinHandle::abort);
        drop(tasks);
        let settle = || {
            first.block_on(async { sleep(SETTLE).await });
            second.block_on(async { sleep(SETTLE).await });
        };
        settle();
        if let Some(counter) = context.stack.wrapped_counter() {
            context.fail(Failure::new("counter", counter));
        }
        let budget = Arc::clone(&context.stack.budget);
        if budget.peak_bytes() > budget.limit_bytes() {
            let what = format!("{} bytes of {} were reserved at once", budget.peak_bytes(), budget.limit_bytes());
            context.fail(Failure::new("memory", what));
        }
        if context.has_failed() {
            // Tasks that hang hold the store, so that the checks below would fail too.
            return context.verdict();
        }
        let verdict = context.verdict();
        let Ok(context) = Arc::try_unwrap(context).map_err(drop) else {
            return (Some(Failure::new("left", "a task outlives its end")), verdict.1);
        };
        let CaseContext { cloud, stack, .. } = context;
        let (fetch, cache) = (stack.fetch.clone(), stack.cache.clone());
        first.block_on(async move {
            stack.close().await;
            drop(stack);
        });
        settle();
        let left = [
            ("requests in flight, says the fetch layer", fetch.as_ref().map_or(0, |store| store.stats().in_flight)),
            ("fetches in flight, says the cache", cache.as_ref().map_or(0, |store| store.stats().in_flight)),
        ];
        drop((fetch, cache));
        settle();
        // The upper layers own the lower ones, their speculation and their memory.
        let live = [
            ("requests open at the store", cloud.open_requests() as u64),
            ("bytes held", cloud.live_bytes() as u64),
            ("bytes reserved", budget.used_bytes() as u64),
        ];
        let left: Vec<String> =
            left.into_iter().chain(live).filter(|(_, n)| *n > 0).map(|(what, n)| format!("{n} {what}")).collect();
        let failure = (!left.is_empty()).then(|| {
            let what = format!("after everything was dropped: {}", left.join(", "));
            Failure::new("left", what)
        });
        (failure, verdict.1)
    }
}
