//! Makes the calls of a trace, each when it is its turn, and hands every byte to the meter.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::StreamExt;
use headstart_trace::{Call, Kind, Trace};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::meter::Meter;
use crate::source::{Handle, Overwriter, Source};

/// tokio's timer has ticks of a millisecond: shorter waits are added up until they are worth one.
const TICK: Duration = Duration::from_millis(1);

/// Calls that come one after the other, and what must have ended before the first of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chain {
    after: Option<u64>,
    calls: Vec<usize>,
}

/// Follows `after`: a call continues the chain that it comes after the last call of, or begins one of its own.
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

/// Makes all calls, or as many as the meter has time for. Chain number `n` reads through `sources[n % sources.len()]`; a process among `n` others has
/// `None` in the places of the others.
///
/// # Errors
/// The first of any read; the rest is given up.
///
/// # Cancel safety
/// Cancel safe: nothing outlives the future.
pub async fn run(
    trace: Arc<Trace>,
    sources: &[Option<Arc<dyn Source>>],
    overwriter: Option<Arc<dyn Overwriter>>,
    meter: Arc<Meter>,
) -> Result<()> {
    let mut starts: HashMap<u64, Vec<oneshot::Sender<()>>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut readers = Vec::new();
    for (n, chain) in chains(&trace).into_iter().enumerate() {
        let Some(source) = sources[n % sources.len()].clone() else { continue };
        let turn = chain.after.map(|after| {
            let (start, turn) = oneshot::channel();
            starts.entry(after).or_default().push(start);
            turn
        });
        readers.push((chain, source, turn));
    }
    let mut starts_of = |chain: &Chain| {
        let of_chain = chain.calls.iter().filter_map(|place| starts.remove_entry(&trace.calls[*place].n));
        of_chain.collect::<HashMap<_, _>>()
    };
    for (chain, source, turn) in readers {
        let reader = Reader {
            starts: starts_of(&chain),
            chain,
            trace: Arc::clone(&trace),
            source,
            overwriter: overwriter.clone(),
            meter: Arc::clone(&meter),
            open: HashMap::new(),
        };
        tasks.spawn(reader.read(turn));
    }
    // Objects stay open until all is read.
    let mut open = Vec::new();
    while let Some(done) = tasks.join_next().await {
        open.push(done.context("a reader panicked")??);
    }
    Ok(())
}

struct OpenObject {
    handle: Box<dyn Handle>,
    /// The version of what it gave last.
    version: Option<u64>,
}

struct Reader {
    chain: Chain,
    /// Who waits for the end of which call.
    starts: HashMap<u64, Vec<oneshot::Sender<()>>>,
    trace: Arc<Trace>,
    source: Arc<dyn Source>,
    overwriter: Option<Arc<dyn Overwriter>>,
    meter: Arc<Meter>,
    open: HashMap<u32, OpenObject>,
}

impl Reader {
    /// Waits for its turn, makes its calls, and hands back what is still open.
    async fn read(mut self, turn: Option<oneshot::Receiver<()>>) -> Result<HashMap<u32, OpenObject>> {
        if let Some(turn) = turn
            && turn.await.is_err()
        {
            return Ok(self.open);
        }
        let mut owed = Duration::ZERO;
        for place in std::mem::take(&mut self.chain.calls) {
            let trace = Arc::clone(&self.trace);
            let call = &trace.calls[place];
            owed += Duration::from_micros(call.wait_us);
            if owed >= TICK {
                let (began, due) = (Instant::now(), Instant::now() + owed);
                tokio::time::sleep_until(self.meter.end().map_or(due, |end| end.min(due))).await;
                owed = owed.saturating_sub(began.elapsed());
            }
            if self.meter.is_over() {
                break;
            }
            self.make(call).await.with_context(|| format!("call {} of {}", call.n, call.key))?;
            for start in self.starts.remove(&call.n).unwrap_or_default() {
                // Whoever is gone does not wait.
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
                None => OpenObject { handle: self.source.open(&call.key, size).await?, version: None },
            };
            match object.handle.read(start..end).await {
                Ok(pieces) => {
                    self.meter.read_ended(began, &(start..end));
                    let version = self.meter.deliver(&call.key, &(start..end), &pieces)?;
                    if let (Some(before), Some(now)) = (object.version, version)
                        && before != now
                    {
                        self.meter.change_mixed();
                    }
                    object.version = version;
                }
                // As an application would: opened anew, read again.
                Err(error) if !told && self.source.tells_of_change(&error) => {
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

    /// A call as an application has made it, which failed if that one failed.
    async fn call_store(&mut self, call: &Call) -> Result<()> {
        let store = self.source.store().context("this way of reading is no store")?;
        let path = Path::parse(&call.key)?;
        let began = Instant::now();
        let outcome = match call.kind {
            Kind::GetRanges => {
                let ranges: Vec<Range<u64>> = call.ranges.iter().map(|[start, end]| *start..*end).collect();
                let parts = store.get_ranges(&path, &ranges).await;
                parts.map(|parts| ranges.into_iter().zip(parts).map(|(range, part)| (range, vec![part])).collect())
            }
            _ => get(&*store, &path, call).await.map(|read| vec![read]),
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
            (Err(error), None) => Err(error.into()),
        }
    }
}

/// Streams as much of the body as the application took, as slowly as it did.
async fn get(store: &dyn ObjectStore, path: &Path, call: &Call) -> object_store::Result<(Range<u64>, Vec<Bytes>)> {
    let range = match (call.ranges.first(), call.offset, call.suffix) {
        (Some([start, end]), ..) => Some(GetRange::Bounded(*start..*end)),
        (_, Some(offset), _) => Some(GetRange::Offset(offset)),
        (_, _, Some(suffix)) => Some(GetRange::Suffix(suffix)),
        _ => None,
    };
    let options = GetOptions::new().with_range(range).with_head(call.kind == Kind::Head);
    let answer = store.get_opts(path, options).await?;
    let start = answer.range.start;
    let mut body = answer.into_stream();
    let (mut pieces, mut taken, mut owed) = (Vec::new(), 0, Duration::ZERO);
    while taken < call.bytes {
        let Some(piece) = body.next().await.transpose()? else { break };
        taken += piece.len() as u64;
        owed += Duration::from_micros(call.busy_us).mul_f64(share(piece.len() as u64, call.bytes));
        pieces.push(piece);
        if owed >= TICK {
            let began = Instant::now();
            tokio::time::sleep(owed).await;
            owed = owed.saturating_sub(began.elapsed());
        }
    }
    if taken == call.bytes && taken > 0 {
        // An application that took all has seen that there is no more.
        if let Some(more) = body.next().await.transpose()? {
            taken += more.len() as u64;
            pieces.push(more);
        }
    }
    Ok((start..start + taken, pieces))
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
}
