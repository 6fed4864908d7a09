//! The state that all tasks of a case share: store, rules, limits of time and memory, and the first failure.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use headstart_fetch_core::ConfigError;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{
    BodyUse, Cancel, Case, CaseStack, CaseTime, Checked, Cloud, ErrorKind, Failure, Layer, Op, RequestFault, Rules,
    Span, Turns,
};
use headstart_cache::Freshness;

/// Time that an operation may take in addition to its transfer and its faults.
const BASE: Duration = Duration::from_secs(60);

/// Time for which a body that was left open may hold a permit.
const ABANDONED: Duration = Duration::from_secs(2);

/// Memory of an open call or request besides the budget and its chunks. Reads may use this much without budget.
const OPEN_REQUEST_BYTES: usize = 256 << 10;

/// The least memory that a reader keeps behind its position: 1 MiB for each of four streams.
const BEHIND_BYTES: usize = 4 << 20;

pub(crate) struct CaseContext {
    pub(crate) case: Case,
    pub(crate) cloud: Cloud,
    pub(crate) rules: Rules,
    pub(crate) stack: CaseStack,
    pub(crate) largest_bytes: u64,
    patience: Duration,
    failure: Mutex<Option<Failure>>,
    tally: Mutex<Tally>,
    /// Time for which each runtime was stopped, in milliseconds.
    frozen_ms: [AtomicU64; 2],
    held_bytes: AtomicUsize,
    held: AtomicUsize,
}

impl CaseContext {
    /// Builds the stack of `case`.
    ///
    /// # Errors
    /// If a layer rejects its settings.
    pub(crate) fn new(case: &Case) -> Result<Arc<Self>, ConfigError> {
        let cloud = Cloud::new(case);
        let stack = CaseStack::build(case, &cloud)?;
        Ok(Arc::new(Self {
            cloud,
            rules: Rules::of(case),
            stack,
            largest_bytes: case.largest_bytes(),
            patience: patience(case),
            case: case.clone(),
            failure: Mutex::default(),
            tally: Mutex::default(),
            frozen_ms: Default::default(),
            held_bytes: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn now(&self) -> CaseTime {
        self.cloud.now()
    }

    /// Records a failure; only the first one counts.
    pub(crate) fn fail(&self, failure: Failure) {
        self.failure.lock().get_or_insert(failure);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.lock().is_some()
    }

    /// The first failure, and the counts.
    pub(crate) fn verdict(&self) -> (Option<Failure>, Tally) {
        (self.failure.lock().clone(), self.tally.lock().clone())
    }

    pub(crate) fn count(&self, name: impl Into<String>) {
        *self.tally.lock().entry(name.into()).or_default() += 1;
    }

    pub(crate) fn count_error(&self, error_kind: &ErrorKind) {
        self.count(format!("ended: {}", variant(error_kind)));
    }

    pub(crate) fn was_frozen(&self, runtime: usize, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.frozen_ms[runtime].fetch_add(ms, Ordering::Relaxed);
    }

    fn frozen(&self, runtime: usize) -> Duration {
        Duration::from_millis(self.frozen_ms[runtime].load(Ordering::Relaxed))
    }

    /// Drives `future` to its end, or until it is cancelled (`None`).
    ///
    /// # Errors
    /// If `future` takes longer than the case explains.
    pub(crate) async fn limited<T>(
        self: &Arc<Self>,
        runtime: usize,
        cancel: Cancel,
        future: impl Future<Output = T> + Send,
    ) -> Checked<Option<T>> {
        let _held = self.holds(OPEN_REQUEST_BYTES as u64);
        let mut future: BoxFuture<'_, T> = future.boxed();
        let mut polls = 0;
        let mut polled = poll_fn(|cx| {
            let poll = future.as_mut().poll(cx);
            self.watch_memory();
            polls += 1;
            match poll {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if matches!(cancel, Cancel::Polls(most) if polls >= most) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Cancel::Ms(ms) = cancel {
            return Ok(timeout(Duration::from_millis(ms), polled).await.ok().flatten());
        }
        let mut left = self.patience;
        loop {
            let frozen = self.frozen(runtime);
            if let Ok(outcome) = timeout(left, &mut polled).await {
                return Ok(outcome);
            }
            // Only time during which the runtime ran counts.
            left = self.frozen(runtime) - frozen;
            if left.is_zero() {
                return Err(Failure::new("hang", format!("not over after {:?}, at {:?}", self.patience, self.now())));
            }
        }
    }

    /// Accounts for up to `bytes` held by the caller, until the guard is dropped.
    pub(crate) fn holds(self: &Arc<Self>, bytes: u64) -> HeldBytes {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_add(1, Ordering::Relaxed);
        HeldBytes { context: Arc::clone(self), bytes }
    }

    /// Accounts for the answer to `spans`, until the guard is dropped.
    pub(crate) fn holds_answer(self: &Arc<Self>, spans: &[Span]) -> HeldBytes {
        self.holds(spans.iter().map(|span| span.most(self.largest_bytes)).sum())
    }

    /// Accounts for the memory behind a reader, until the guard is dropped.
    pub(crate) fn holds_behind(self: &Arc<Self>, last_read: u64) -> HeldBytes {
        self.holds(last_read.max(BEHIND_BYTES as u64))
    }

    /// The most parts that a `FetchStore` above the cache has charged. The cache promises that a slice keeps its page,
    /// and nothing about how many pages its callers keep: each part may be a slice of a page that was evicted.
    fn parts_above_cache(&self) -> usize {
        let order = self.case.order();
        let Some(spec) = self.case.fetch().filter(|_| order.find('C').is_some() && order.find('C') < order.find('F'))
        else {
            return 0;
        };
        self.case.budget_bytes / usize::try_from(spec.part_bytes.0).unwrap_or(usize::MAX).max(1)
    }

    fn watch_memory(&self) {
        // Looked at first: the disk's thread writes meanwhile.
        let queued_bytes = self.stack.queued_bytes();
        let (chunk_live_bytes, lent_bytes) = (self.cloud.live_bytes(), self.stack.lent_bytes());
        let live_bytes = chunk_live_bytes + lent_bytes;
        let held = self.held.load(Ordering::Relaxed);
        let chunk_bytes = self.case.cloud.chunk_bytes;
        // A slice keeps its whole chunk and page alive.
        let page_bytes = self.case.cache().map_or(0, |cache| cache.page_bytes);
        let called = self.held_bytes.load(Ordering::Relaxed) + held * 2 * (chunk_bytes + page_bytes);
        let open = self.cloud.open_requests() * (OPEN_REQUEST_BYTES + chunk_bytes + page_bytes);
        let unbudgeted = match self.case.cache() {
            Some(spec) if !spec.has_budget => (held + 1) * (16 << 20) + self.cloud.open_requests() * (8 << 20),
            _ => 0,
        };
        // While a chunk is copied into pages, chunk and pages are both in memory.
        let copied = if self.case.cache().is_some() { self.case.budget_bytes / 4 } else { 0 };
        let kept = self.stack.kept_bytes() + queued_bytes;
        let allowed = copied + self.case.budget_bytes + kept + called + open + unbudgeted;
        let allowed = allowed + self.parts_above_cache() * page_bytes;
        if live_bytes > allowed {
            let budget = self.case.budget_bytes;
            let what = format!(
                "{chunk_live_bytes} bytes of chunks and {lent_bytes} of pages are held: the budget has {budget}, \
                 callers {called}, open requests {open}"
            );
            self.fail(Failure::new("memory", what));
        }
    }
}

pub(crate) struct HeldBytes {
    context: Arc<CaseContext>,
    bytes: usize,
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.context.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.context.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The most time that one operation may take, whatever other tasks do meanwhile.
fn patience(case: &Case) -> Duration {
    let largest = case.largest_bytes();
    let page_bytes = case.cache().map_or(0, |cache| cache.page_bytes as u64);
    let spans = |op: &Op| -> u64 {
        let of = |ranges: &[std::ops::Range<u64>]| -> u64 {
            ranges.iter().map(|range| Span::Bounded(range.clone()).most(largest) + 2 * page_bytes).sum()
        };
        match op {
            Op::Get { span, .. } => span.most(largest) + 2 * page_bytes,
            Op::GetRange { range, .. } | Op::ReadAt { range, .. } | Op::ChunksAt { range, .. } => {
                of(std::slice::from_ref(range))
            }
            Op::GetRanges { ranges, .. } | Op::Warm { ranges, .. } => of(ranges),
            Op::Read { len, .. } => (*len).min(largest) + 2 * page_bytes,
            Op::Stream { .. } => largest,
            _ => 2 * page_bytes,
        }
    };
    let bytes: u64 = case.ops().map(spans).sum();
    let ops = case.ops().count() as u64;
    // A chunk takes at least a millisecond, the resolution of tokio's timers.
    let transfer_ms = bytes / case.cloud.bytes_per_ms + 2 * bytes / case.cloud.chunk_bytes as u64;
    let late_ms: u64 = case.faults.iter().map(|(_, fault)| late_ms(*fault)).sum();
    let out_ms: u64 = case.outages.iter().map(|outage| outage.end - outage.start).sum();
    let retrying = if case.faults.is_empty() && case.outages.is_empty() {
        Duration::ZERO
    } else {
        case.fetch().map_or(Duration::ZERO, |spec| Duration::from_secs(spec.retry_timeout_s).mul_f64(1.5))
    };
    let abandoned = case.ops().filter(|op| {
        matches!(
            op,
            Op::Get { body: BodyUse::Keep { .. } | BodyUse::KeepPolled, .. }
                | Op::Stream { body: BodyUse::Keep { .. } | BodyUse::KeepPolled, .. }
        )
    });
    let abandoned = u32::try_from(abandoned.count()).unwrap_or(u32::MAX);
    let turns = if case.turns == Turns::One { Duration::ZERO } else { BASE };
    let waits = Duration::from_millis(2 * transfer_ms + 8 * ops * case.cloud.ttfb_ms + 2 * late_ms + out_ms);
    BASE + waits + retrying + ABANDONED * abandoned + turns
}

fn late_ms(fault: RequestFault) -> u64 {
    match fault {
        RequestFault::Late { ms } | RequestFault::Stall { ms, .. } => ms,
        RequestFault::Throttled { retry_after_ms } => retry_after_ms.unwrap_or(0),
        RequestFault::Reset | RequestFault::Cut { .. } | RequestFault::Short { .. } | RequestFault::Long => 0,
    }
}

/// Counts by name.
pub(crate) type Tally = BTreeMap<String, u64>;

pub(crate) fn count_case(tally: &mut Tally, case: &Case) {
    let mut count = |name: String| *tally.entry(name).or_default() += 1;
    count("cases".into());
    count(format!("stack: {}", case.order()));
    count(format!("tokens: {:?}", case.cloud.tokens));
    count(format!("pin: {:?}{}", case.pin, if case.cloud.honours_pins { "" } else { ", ignored" }));
    count(format!("budget: {}", case.budget_bytes));
    count(format!("runtimes: {}", variant(&case.turns)));
    for layer in &case.layers {
        if let Layer::Cache(spec) = layer {
            count(match spec.freshness {
                Freshness::Ttl(ttl) => format!("freshness: {ttl:?}"),
                other => format!("freshness: {other:?}"),
            });
        }
    }
    for (_, fault) in &case.faults {
        count(format!("fault: {}", variant(fault)));
    }
    let others = [
        ("fault: outage", case.outages.is_empty()),
        ("fault: write", case.write_faults.is_empty()),
        ("changes behind", case.events.is_empty()),
    ];
    others.iter().filter(|(_, has_none)| !has_none).for_each(|(name, _)| count((*name).to_owned()));
}

/// The name of a value's variant, under which it is counted.
pub(crate) fn variant(value: &impl Debug) -> String {
    format!("{value:?}").chars().take_while(|letter| letter.is_alphanumeric()).collect()
}

/// The counts as text, one line a dimension.
pub(crate) fn show(tally: &Tally) -> String {
    let mut lines = String::new();
    let mut last = "";
    for (name, n) in tally {
        let (dimension, value) = name.split_once(": ").unwrap_or(("", name));
        if dimension == last && !lines.is_empty() {
            let _ = write!(lines, ", {value} {n}");
        } else {
            let _ = write!(lines, "\n{dimension}: {value} {n}");
        }
        last = dimension;
    }
    lines
}
