//! Reads several ranges of one object in one call: merges neighbours and fetches the rest in parallel.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{Error, Extensions, GetOptions, GetResult, GetResultPayload, Result, path::Path};

use crate::error::{FetchError, ObjectChanged, is_past_end};
use crate::policy::{
    byte_range,
    merge::{RANGES_AT_ONCE, merge_ranges},
};
use crate::protocol::version::ObjectVersion;
use crate::read::RESTARTS;
use crate::request::core::FetchCore;
use crate::stats::FetchCounters;
use crate::trace_events;

/// The answer to one request for merged ranges (see [`merge_ranges`]).
#[derive(Debug)]
pub struct MergedRun {
    range: Range<u64>,
    size: u64,
    chunks: Vec<Bytes>,
    /// The bytes come from a file that the store opened, so none of them was counted.
    is_file: bool,
}

impl MergedRun {
    /// Collects the body of `answer`.
    ///
    /// # Errors
    /// Those of the body.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future drops the body.
    pub async fn collect(answer: GetResult) -> Result<Self> {
        let (range, size) = (answer.range.clone(), answer.meta.size);
        let is_file = matches!(answer.payload, GetResultPayload::File(..));
        let chunks = match answer.payload {
            // The store's own stream of a file reads 8 KiB at a time.
            GetResultPayload::File(..) => vec![answer.bytes().await?],
            GetResultPayload::Stream(body) => body.try_collect().await?,
        };
        Ok(Self { range, size, chunks, is_file })
    }

    /// The bytes of `ranges`, cut out of the `runs` that contain them.
    ///
    /// If the object ended before a range begins when its run was answered, `read` requests this range alone. The layer
    /// below may have known an earlier end: it trusts this end for the beginning of a run, but asks the store about a
    /// range behind it.
    ///
    /// # Errors
    /// [`FetchError::PastEnd`] if the object ends before a range begins; other errors of `read`.
    ///
    /// # Panics
    /// If no run begins at or before a range. `runs` are those of [`merge_ranges`] over `ranges`.
    pub async fn cut_all<F>(runs: &[Self], ranges: &[Range<u64>], read: impl Fn(Range<u64>) -> F) -> Result<Vec<Bytes>>
    where
        F: Future<Output = Result<Self>>,
    {
        let mut all = Vec::with_capacity(ranges.len());
        for range in ranges {
            let after = runs.partition_point(|run| run.range.start <= range.start);
            let run = after.checked_sub(1).map(|last| &runs[last]).expect("every range is in a run");
            let bytes = match run.cut(range) {
                Some(bytes) => Some(bytes),
                None => match read(range.clone()).await {
                    Err(error) if !is_past_end(&error) => return Err(error),
                    alone => alone.ok().and_then(|run| run.cut(range)),
                },
            };
            all.push(bytes.ok_or(FetchError::PastEnd { start: range.start, size: run.size })?);
        }
        Ok(all)
    }

    /// The bytes of `range` that the run has; `None` if it has none. Copies only if the range crosses chunks.
    fn cut(&self, range: &Range<u64>) -> Option<Bytes> {
        let range = byte_range::intersection(range, &self.range)?;
        let mut at = self.range.start;
        let pieces = self.chunks.iter().filter_map(|chunk| {
            let here = at..at + chunk.len() as u64;
            at = here.end;
            let piece = byte_range::intersection(&here, &range)?;
            let index = |at| byte_range::in_memory(at - here.start);
            Some(chunk.slice(index(piece.start)..index(piece.end)))
        });
        let pieces: Vec<Bytes> = pieces.collect();
        Some(match pieces.as_slice() {
            [whole] => whole.clone(),
            pieces => pieces.concat().into(),
        })
    }
}

impl FetchCore {
    /// Reads `ranges` of one version of the object. Returns them in the same order.
    pub(crate) async fn read_ranges(self: &Arc<Self>, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(range) = ranges.iter().find(|range| range.is_empty()) {
            return Err(FetchError::EmptyRange { start: range.start, end: range.end }.into());
        }
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        if self.profile.is_local() {
            match self.inner.get_ranges(path, ranges).await {
                // `LocalFileSystem` refuses a range past the end of the file here, although it cuts
                // such ranges off elsewhere.
                Err(Error::Generic { .. }) => {}
                read => return read,
            }
        }
        let mut restarts = RESTARTS;
        loop {
            match self.read_merged(path, ranges).await {
                Err(error) if restarts > 0 && ObjectChanged::find(&error).is_some() => {
                    restarts -= 1;
                    self.counters.restarts.add(1);
                    trace_events::version_changed(path, &error);
                    self.refusals.look_at_tags(&*self.inner, path, &error, &Extensions::new()).await;
                }
                read => return read,
            }
        }
    }

    async fn read_merged(self: &Arc<Self>, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let at_once = RANGES_AT_ONCE.min(self.config.concurrency);
        let runs = merge_ranges(ranges, &self.link.link(), at_once);
        let version = OnceLock::new();
        let mut tally = DeliveryTally { counters: &self.counters, delivered: Arc::default(), returned: 0 };
        let read = |run| self.read_run(path, run, &version, &tally.delivered);
        let runs: Vec<MergedRun> = stream::iter(runs).map(read).buffered(at_once).try_collect().await?;
        let answer = MergedRun::cut_all(&runs, ranges, read).await?;
        tally.returned = asked_for(ranges, &runs);
        Ok(answer)
    }

    async fn read_run(
        self: &Arc<Self>,
        path: &Path,
        run: Range<u64>,
        version: &OnceLock<ObjectVersion>,
        delivered: &Arc<AtomicU64>,
    ) -> Result<MergedRun> {
        let asked = GetOptions::new().with_range(Some(run));
        let mut options = asked.clone();
        let pinned = version.get().is_some_and(|version| version.pin(self.profile.pin, &mut options));
        let read = async {
            let mut result = self.read(path, options.clone()).await?;
            let checked = self.refusals.check(version.get_or_init(|| ObjectVersion::of(&result.meta)), &result.meta);
            self.counters.on_read_end(&checked);
            checked?;
            if let GetResultPayload::Stream(body) = result.payload {
                let delivered = Arc::clone(delivered);
                let count = move |chunk: &Bytes| _ = delivered.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                result.payload = GetResultPayload::Stream(body.inspect_ok(count).boxed());
            }
            MergedRun::collect(result).await
        };
        match (read.await, version.get()) {
            // Not of the pinned version, which may still exist without having the range: a newer one may have it.
            (Err(error), Some(version)) => {
                let is_counted = ObjectChanged::find(&error).is_some();
                let explained = Err(self.explain(error, pinned, path, version, &asked).await);
                if !is_counted {
                    self.counters.on_read_end(&explained);
                }
                explained
            }
            (read, _) => read,
        }
    }
}

/// The bytes of counted `runs` that `ranges` contain, each once. The other bytes lie between ranges.
fn asked_for(ranges: &[Range<u64>], runs: &[MergedRun]) -> u64 {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let asked_for = |run: &MergedRun| {
        // Every range begins in the run that contains it.
        let first = sorted.partition_point(|range| range.start < run.range.start);
        let holes = byte_range::missing(&run.range, sorted[first..].iter().cloned());
        byte_range::len(&run.range) - holes.iter().map(byte_range::len).sum::<u64>()
    };
    runs.iter().filter(|run| !run.is_file).map(asked_for).sum()
}

/// The bytes that the bodies of one call have delivered to it. When the call ends, by an error or a drop too, the
/// bytes that it does not return are counted as wasted instead.
struct DeliveryTally<'a> {
    counters: &'a FetchCounters,
    delivered: Arc<AtomicU64>,
    returned: u64,
}

impl Drop for DeliveryTally<'_> {
    fn drop(&mut self) {
        self.counters.reclassify_as_wasted(self.delivered.load(Ordering::Relaxed).saturating_sub(self.returned));
    }
}
