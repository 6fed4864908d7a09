//! Several ranges of one object in one call: neighbours merged, the rest side by side.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetResult, GetResultPayload, Result};

use crate::byte_range;
use crate::error::{FetchError, ObjectChanged};
use crate::merge::merge_ranges;
use crate::read::RESTARTS;
use crate::request::Core;
use crate::version::ObjectVersion;

/// The answer to one merged run of ranges (see [`merge_ranges`]).
#[derive(Debug)]
pub struct Run {
    range: Range<u64>,
    size: u64,
    chunks: Vec<Bytes>,
}

impl Run {
    /// Collects the body of `answer`.
    ///
    /// # Errors
    /// The body's own.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future drops the body.
    pub async fn collect(answer: GetResult) -> Result<Self> {
        let (range, size) = (answer.range.clone(), answer.meta.size);
        let chunks = match answer.payload {
            // The store's own stream of a file reads 8 KiB at a time.
            GetResultPayload::File(..) => vec![answer.bytes().await?],
            GetResultPayload::Stream(body) => body.try_collect().await?,
        };
        Ok(Self { range, size, chunks })
    }

    /// Cuts `range` out of the run among `runs` that holds it; copies only where it crosses chunks.
    ///
    /// # Errors
    /// [`FetchError::PastEnd`] where the object ends before `range` begins.
    ///
    /// # Panics
    /// Where no run begins at or before `range`: runs are those of [`merge_ranges`] over ranges with this one among them.
    pub fn cut(runs: &[Self], range: &Range<u64>) -> Result<Bytes> {
        let run = runs.iter().rev().find(|run| run.range.start <= range.start).expect("every range is in a run");
        let range = range.start..range.end.min(run.range.end);
        if range.is_empty() {
            return Err(FetchError::PastEnd { start: range.start, size: run.size }.into());
        }
        let mut at = run.range.start;
        let mut pieces =
            run.chunks.iter().filter_map(|chunk| {
                let here = at..at + chunk.len() as u64;
                at = here.end;
                let piece = byte_range::intersection(&here, &range)?;
                Some(chunk.slice(
                    byte_range::in_memory(piece.start - here.start)..byte_range::in_memory(piece.end - here.start),
                ))
            });
        let first = pieces.next().unwrap_or_default();
        if first.len() as u64 == byte_range::len(&range) {
            return Ok(first);
        }
        let mut joined = BytesMut::with_capacity(byte_range::in_memory(byte_range::len(&range)));
        joined.extend_from_slice(&first);
        pieces.for_each(|piece| joined.extend_from_slice(&piece));
        Ok(joined.freeze())
    }
}

impl Core {
    /// Reads `ranges` of one version of the object, in their order.
    pub(crate) async fn read_ranges(self: &Arc<Self>, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(range) = ranges.iter().find(|range| range.is_empty()) {
            return Err(FetchError::EmptyRange { start: range.start, end: range.end }.into());
        }
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        if !self.config.enabled {
            return self.inner.get_ranges(path, ranges).await;
        }
        if self.config.profile.is_local() {
            match self.inner.get_ranges(path, ranges).await {
                // `LocalFileSystem` refuses an end past the end of the file here, and cuts it off everywhere else.
                Err(Error::Generic { .. }) => {}
                read => return read,
            }
        }
        let mut restarts = RESTARTS;
        loop {
            match self.read_merged(path, ranges).await {
                Err(error) if restarts > 0 && ObjectChanged::find(&error).is_some() => {
                    restarts -= 1;
                    self.counters.restart();
                }
                read => return read,
            }
        }
    }

    async fn read_merged(self: &Arc<Self>, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let runs = merge_ranges(ranges, &self.link.link(), self.config.concurrency);
        let version = OnceLock::new();
        let runs: Vec<Run> = stream::iter(runs)
            .map(|run| self.read_run(path, run, &version))
            .buffered(self.config.concurrency)
            .try_collect()
            .await?;
        self.count_holes(ranges, &runs);
        ranges.iter().map(|range| Run::cut(&runs, range)).collect()
    }

    async fn read_run(
        self: &Arc<Self>,
        path: &Path,
        run: Range<u64>,
        version: &OnceLock<ObjectVersion>,
    ) -> Result<Run> {
        let mut options = GetOptions::new().with_range(Some(run));
        let pinned = version.get().is_some_and(|version| version.pin(self.config.profile.pin, &mut options));
        let read = async {
            let result = self.read(path, options.clone()).await?;
            version.get_or_init(|| ObjectVersion::of(&result.meta)).check(&result.meta)?;
            Run::collect(result).await
        };
        match (read.await, version.get()) {
            (Err(error), Some(version)) => Err(self.explain(error, pinned, path, version, &options).await),
            (read, _) => read,
        }
    }

    /// Bytes between the ranges were fetched and are of no use.
    fn count_holes(&self, ranges: &[Range<u64>], runs: &[Run]) {
        let mut sorted = ranges.to_vec();
        sorted.sort_unstable_by_key(|range| range.start);
        let holes = runs.iter().flat_map(|run| byte_range::missing(&run.range, sorted.iter().cloned()));
        self.counters.delivered_in_vain(holes.map(|hole| byte_range::len(&hole)).sum());
    }
}
