//! Makes the calls of a trace in their order, and passes every byte to the meter.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::StreamExt;
use headstart_trace::{Call, Kind, Trace};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::meter::Meter;
use crate::source::{Handle, Overwriter, ReadSource};

/// Consecutive calls, and the call that must have ended before the first of them.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    after: Option<u64>,
    calls: Vec<usize>,
}

/// Groups calls by `after`: a call continues the chain whose last call it follows, or starts a new one.
fn chains(trace: &Trace) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut of_last: HashMap<u64, usize> = HashMap::new();
    for (place, call) in trace.calls.iter().enumerate() {
        let chain = call.after.and_then(|after| of_last.remove(&after)).unwrap_or_else(|| {
            chains.push(Chain { after: call.after, calls: Vec::new() });
            chains.len() - 1
        });
        chains[chain].calls.push(place);
        of_last.insert(call.n, chain);
    }
    chains
}

/// Makes all calls, or as many as the meter has time for.
///
/// Chain `n` reads through `sources[n % sources.len()]`. A process that shares the trace with others has `None` in
/// their places.
///
/// # Errors
/// The first error of any call; all other calls are cancelled.
///
/// # Cancel safety
/// Cancel safe: nothing outlives the future.
pub async fn run(
    trace: Arc<Trace>,
    sources: &[Option<Arc<dyn ReadSource>>],
    overwriter: Option<Arc<dyn Overwriter>>,
    meter: Arc<Meter>,
) -> Result<()> {
    let known: HashSet<u64> = trace.calls.iter().map(|call| call.n).collect();
    let mut starts: HashMap<u64, Vec<oneshot::Sender<()>>> = HashMap::new();
    let mut readers = Vec::new();
    for (n, chain) in chains(&trace).into_iter().enumerate() {
        let Some(source) = sources[n % sources.len()].clone() else { continue };
        // A recorder may have lost the call that this chain follows. Then the chain starts at its recorded time.
        let turn = chain.after.filter(|after| known.contains(after)).map(|after| {
            let (start, turn) = oneshot::channel();
            starts.entry(after).or_default().push(start);
            turn
        });
        readers.push((chain, source, turn));
    }
    let mut tasks = JoinSet::new();
    for (chain, source, turn) in readers {
        let of_chain = chain.calls.iter().filter_map(|place| starts.remove_entry(&trace.calls[*place].n));
        let reader = Reader {
            starts: of_chain.collect(),
            is_lost: chain.after.is_some() && turn.is_none(),
            calls: chain.calls,
            trace: Arc::clone(&trace),
            source,
            overwriter: overwriter.clone(),
            meter: Arc::clone(&meter),
            open: HashMap::new(),
        };
        tasks.spawn(reader.read(turn));
    }
    // Chains that wait for a call of another process never start.
    drop(starts);
    // Objects stay open until all calls have ended.
    let mut open = Vec::new();
    while let Some(done) = tasks.join_next().await {
        open.push(done.context("a reader panicked")??);
    }
    Ok(())
}

struct OpenObject {
    handle: Box<dyn Handle>,
    /// The version of the latest read.
    version: Option<u64>,
    /// Whether the handle has returned bytes of two versions.
    is_mixed: bool,
}

struct Reader {
    calls: Vec<usize>,
    /// Whether the call before the first one is missing in the trace.
    is_lost: bool,
    /// Chains that start when a call has ended.
    starts: HashMap<u64, Vec<oneshot::Sender<()>>>,
    trace: Arc<Trace>,
    source: Arc<dyn ReadSource>,
    overwriter: Option<Arc<dyn Overwriter>>,
    meter: Arc<Meter>,
    open: HashMap<u32, OpenObject>,
}

impl Reader {
    /// Waits for its start, makes its calls, and returns the objects that are still open.
    async fn read(mut self, turn: Option<oneshot::Receiver<()>>) -> Result<HashMap<u32, OpenObject>> {
        if let Some(turn) = turn
            && turn.await.is_err()
        {
            return Ok(self.open);
        }
        let mut pause = Pause::default();
        for (nth, place) in std::mem::take(&mut self.calls).into_iter().enumerate() {
            let trace = Arc::clone(&self.trace);
            let call = &trace.calls[place];
            let wait_us = if self.is_lost && nth == 0 { call.at_us } else { call.wait_us };
            pause.take(Duration::from_micros(wait_us), self.meter.end()).await;
            if self.meter.is_over() {
                break;
            }
            self.make(call).await.with_context(|| format!("call {} of {}", call.n, call.key))?;
            for start in self.starts.remove(&call.n).unwrap_or_default() {
                // A chain that was cancelled does not wait.
                let _ = start.send(());
            }
        }
        Ok(self.open)
    }

    async fn make(&mut self, call: &Call) -> Result<()> {
        match call.kind {
            Kind::Read => self.read_through_handle(call).await,
            Kind::Overwrite => {
                let overwriter = self.overwriter.as_ref().context("nobody can overwrite objects here")?;
                let version = overwriter.overwrite(&call.key).await?;
                self.meter.overwritten(version);
                Ok(())
            }
            Kind::Head | Kind::Get | Kind::GetRanges => self.call_store(call).await,
        }
    }

    async fn read_through_handle(&mut self, call: &Call) -> Result<()> {
        let (Some(id), Some(&[start, end]), Some(size)) = (call.handle, call.ranges.first(), call.size) else {
            bail!("a read needs a handle, a range and the object's size");
        };
        let mut told = false;
        loop {
            let began = Instant::now();
            let mut object = match self.open.remove(&id) {
                Some(object) => object,
                None => OpenObject { handle: self.source.open(&call.key, size).await?, version: None, is_mixed: false },
            };
            match object.handle.read(start..end).await {
                Ok(pieces) => {
                    self.meter.read_ended(began, &(start..end));
                    let version = self.meter.deliver(&call.key, &(start..end), &pieces)?;
                    if let (Some(before), Some(now)) = (object.version, version)
                        && before != now
                        && !object.is_mixed
                    {
                        object.is_mixed = true;
                        self.meter.change_mixed();
                    }
                    object.version = version.or(object.version);
                }
                // Like an application, opens the object again and repeats the read.
                Err(error) if !told && self.source.is_change_error(&error) => {
                    self.meter.change_told();
                    told = true;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if !call.is_last {
                self.open.insert(id, object);
            }
            return Ok(());
        }
    }

    /// Repeats a recorded call. A call that was dropped is dropped after the same time; a call that failed may fail.
    async fn call_store(&mut self, call: &Call) -> Result<()> {
        let store = self.source.store().context("this way of reading is no store")?;
        let began = Instant::now();
        let outcome = match call.error.as_deref() {
            Some(headstart_trace::DROPPED) => {
                let patience = Duration::from_micros(call.took_us);
                tokio::time::timeout(patience, make(&*store, call)).await.unwrap_or_else(|_| Ok(Vec::new()))
            }
            _ => make(&*store, call).await,
        };
        self.meter.read_ended(began, &(0..0));
        match (outcome, &call.error) {
            (Ok(reads), _) => {
                for (range, pieces) in reads {
                    self.meter.deliver(&call.key, &range, &pieces)?;
                }
                Ok(())
            }
            (Err(_), Some(_)) => Ok(()),
            (Err(error), None) => Err(error),
        }
    }
}

/// Makes a call of a store, and returns the ranges that it read.
async fn make(store: &dyn ObjectStore, call: &Call) -> Result<Vec<(Range<u64>, Vec<Bytes>)>> {
    let path = Path::parse(&call.key)?;
    if call.kind != Kind::GetRanges {
        return get(store, &path, call).await;
    }
    let size = call.size.unwrap_or(u64::MAX);
    let ranges: Vec<Range<u64>> = call.ranges.iter().map(|[start, end]| *start..*end).collect();
    let parts = store.get_ranges(&path, &ranges).await?;
    ensure!(parts.len() == ranges.len(), "{} ranges were answered by {} parts", ranges.len(), parts.len());
    // Ranges past the end are truncated there.
    let held = ranges.into_iter().map(|range| range.start..range.end.min(size).max(range.start));
    Ok(held.zip(parts).map(|(range, part)| (range, vec![part])).collect())
}

/// Streams as much of the body as the application consumed, at its pace.
async fn get(store: &dyn ObjectStore, path: &Path, call: &Call) -> Result<Vec<(Range<u64>, Vec<Bytes>)>> {
    let (range, start) = match (call.ranges.first(), call.offset, call.suffix, call.size) {
        (Some([start, end]), ..) => (Some(GetRange::Bounded(*start..*end)), *start),
        (_, Some(offset), ..) => (Some(GetRange::Offset(offset)), offset),
        (_, _, Some(suffix), size) => (Some(GetRange::Suffix(suffix)), size.unwrap_or(0).saturating_sub(suffix)),
        _ => (None, 0),
    };
    let options = GetOptions::new().with_range(range).with_head(call.kind == Kind::Head);
    let answer = store.get_opts(path, options).await?;
    if call.kind == Kind::Head {
        return Ok(Vec::new());
    }
    ensure!(answer.range.start == start, "the answer begins at {} instead of {start}", answer.range.start);
    let mut body = answer.into_stream();
    let (mut pieces, mut taken, mut pause) = (Vec::new(), 0, Pause::default());
    while taken < call.bytes {
        let Some(piece) = body.next().await.transpose()? else { break };
        taken += piece.len() as u64;
        let busy = Duration::from_micros(call.busy_us).mul_f64(share(piece.len() as u64, call.bytes));
        pieces.push(piece);
        pause.take(busy, None).await;
    }
    ensure!(taken >= call.bytes, "the body ended after {taken} of {} bytes", call.bytes);
    if taken == call.bytes && taken > 0 {
        // An application that consumed all bytes has also seen the end of the body.
        if let Some(more) = body.next().await.transpose()? {
            taken += more.len() as u64;
            pieces.push(more);
        }
    }
    Ok(vec![(start..start + taken, pieces)])
}

/// Waits as long as requested on average.
///
/// tokio's timer wakes at the next full millisecond. So short waits are collected until they reach one, and the excess
/// of a wait is subtracted from the next.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    owed: Duration,
    overdrawn: Duration,
}

impl Pause {
    pub(crate) async fn take(&mut self, wait: Duration, end: Option<Instant>) {
        let settled = wait.min(self.overdrawn);
        self.overdrawn -= settled;
        self.owed += wait - settled;
        if self.owed < Duration::from_millis(1) {
            return;
        }
        let began = Instant::now();
        let due = began + std::mem::take(&mut self.owed);
        tokio::time::sleep_until(end.map_or(due, |end| end.min(due))).await;
        self.overdrawn += Instant::now().saturating_duration_since(due);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, of: u64) -> f64 {
    (part as f64 / of.max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_trace::{Header, Keys};

    fn trace(after: &[Option<u64>]) -> Trace {
        let calls = after.iter().zip(0..).map(|(after, n)| Call { after: *after, ..Call::new(n, "a", Kind::Get) });
        Trace { header: Header::new(Keys::Plain, ""), calls: calls.collect() }
    }

    #[test]
    fn chains_follow_what_calls_come_after() {
        let chains = chains(&trace(&[None, Some(0), None, Some(1), Some(1), Some(2)]));
        let shown: Vec<_> = chains.iter().map(|chain| (chain.after, &chain.calls[..])).collect();
        assert_eq!(shown, [(None, &[0, 1, 3][..]), (None, &[2, 5]), (Some(1), &[4])]);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_are_exact_on_average() {
        let (began, mut pause) = (Instant::now(), Pause::default());
        for _ in 0..1000 {
            pause.take(Duration::from_micros(3_277), None).await;
        }
        let took = began.elapsed();
        assert!(took.abs_diff(Duration::from_micros(3_277_000)) < Duration::from_millis(5), "{took:?}");
    }

    struct Memory;

    #[async_trait::async_trait]
    impl ReadSource for Memory {
        async fn open(&self, _: &str, _: u64) -> Result<Box<dyn Handle>> {
            bail!("it is called as a store")
        }

        fn store(&self) -> Option<Arc<dyn ObjectStore>> {
            Some(Arc::new(headstart_sim::SimStore::builder().build()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_after_a_lost_call_starts_at_its_recorded_time() {
        let mut trace = trace(&[None, Some(7), Some(0)]);
        for call in &mut trace.calls {
            call.key = "synthetic/10/a".into();
            (call.size, call.bytes, call.at_us) = (Some(10), 10, 40_000);
        }
        let meter = Arc::new(Meter::start(crate::check::Checker::Simulated, None));
        let began = Instant::now();
        run(Arc::new(trace), &[Some(Arc::new(Memory))], None, Arc::clone(&meter)).await.unwrap();
        assert_eq!((meter.delivered_bytes(), began.elapsed().as_millis()), (30, 40));
    }
}
