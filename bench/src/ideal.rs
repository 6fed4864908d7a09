//! The system `ideal`: requests in flight without any logic, with the whole trace known.
//!
//! It is no upper limit: it repeats repeated reads, and sixteen short reads do not fill a fast link. [`crate::limit`]
//! computes the limit.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use headstart_trace::{CallKind, Trace};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore, ObjectStoreExt};
use tokio::time::{Duration, Instant};

use crate::drive::Pause;
use crate::limit::extents;
use crate::meter::Meter;

const MIB: u64 = 1024 * 1024;

/// The number and size of requests in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdealShape {
    /// The trace's reads in their order, this many at once.
    Reads(usize),
    /// Parts of all bytes that the trace reads: this many at once, of this many bytes, in any order.
    Parts(usize, u64),
}

/// The shapes of a trace, of which the fastest counts.
///
/// If every object is read completely and once, without think time, parts in any order will do. Parts of one size that
/// start together end together and leave the link idle for a round trip; which part size loses less depends on the
/// link.
#[must_use]
pub fn shapes(trace: &Trace) -> &'static [IdealShape] {
    if parts(trace).is_some() {
        &[IdealShape::Parts(16, 8 * MIB), IdealShape::Parts(32, 4 * MIB)]
    } else {
        &[IdealShape::Reads(16)]
    }
}

/// The extents of the objects, if parts of them will do. Traces with equal extents are the same to the ideal.
#[must_use]
pub fn parts(trace: &Trace) -> Option<Vec<Vec<Range<u64>>>> {
    let simple = trace.calls.iter().all(|call| call.kind == CallKind::Read && call.wait_us == 0);
    let extents: Vec<_> = extents(trace).into_values().collect();
    let once: u64 = extents.iter().flatten().map(|range| range.end - range.start).sum();
    let asked: u64 = trace.calls.iter().map(|call| call.bytes).sum();
    let whole = extents.iter().all(|ranges| ranges.len() == 1 && ranges[0].end - ranges[0].start >= 4 * MIB);
    (simple && once == asked && whole).then_some(extents)
}

/// Reads what `trace` reads, or as much as the meter has time for.
///
/// # Errors
/// The first error of any read.
pub async fn run(trace: &Trace, shape: IdealShape, store: &Arc<dyn ObjectStore>, meter: &Meter) -> Result<()> {
    match shape {
        IdealShape::Reads(requests) => reads_in_flight(trace, requests, store, meter).await,
        IdealShape::Parts(requests, part_bytes) => parts_in_flight(trace, requests, part_bytes, store, meter).await,
    }
}

async fn parts_in_flight(
    trace: &Trace,
    requests: usize,
    part_bytes: u64,
    store: &Arc<dyn ObjectStore>,
    meter: &Meter,
) -> Result<()> {
    let extents = extents(trace);
    let parts = extents.into_iter().flat_map(|(key, ranges)| ranges.into_iter().map(move |range| (key, range)));
    let parts = parts.flat_map(|(key, range)| {
        let starts = (0..(range.end - range.start).div_ceil(part_bytes)).map(move |n| range.start + n * part_bytes);
        starts.map(move |start| (key, start..range.end.min(start + part_bytes)))
    });
    let bodies = parts.map(|(key, part)| body(Arc::clone(store), key.to_owned(), part).boxed());
    let mut pieces = stream::iter(bodies).flatten_unordered(requests);
    loop {
        let began = Instant::now();
        let Some(piece) = pieces.next().await else { return Ok(()) };
        meter.waited(began.elapsed());
        let (key, offset, bytes) = piece?;
        meter.deliver_piece(&key, offset, &bytes);
        if meter.is_over() {
            return Ok(());
        }
    }
}

/// The body of one range, each piece with its offset.
fn body(
    store: Arc<dyn ObjectStore>,
    key: String,
    part: Range<u64>,
) -> impl Stream<Item = object_store::Result<(String, u64, Bytes)>> + Send {
    let mut at = part.start;
    let options = GetOptions::new().with_range(Some(part));
    let path = Path::parse(&key);
    stream::once(async move { store.get_opts(&path?, options).await })
        .map_ok(GetResult::into_stream)
        .try_flatten()
        .map_ok(move |bytes| {
            let offset = at;
            at += bytes.len() as u64;
            (key.clone(), offset, bytes)
        })
}

/// Reads in any order, or in the trace's order if its reader has think time.
async fn reads_in_flight(trace: &Trace, requests: usize, store: &Arc<dyn ObjectStore>, meter: &Meter) -> Result<()> {
    let thinks = trace.calls.iter().any(|call| call.wait_us > 0);
    // Reads that are in flight at the end of the run are finished, as by a loop.
    let calls = trace.calls.iter().filter(|call| call.kind == CallKind::Read).take_while(|_| !meter.is_over());
    // Tasks make progress while the reader thinks.
    let reads = stream::iter(calls).map(|call| {
        let (store, key, range) = (Arc::clone(store), call.key.clone(), call.ranges[0][0]..call.ranges[0][1]);
        let read = AbortOnDrop(tokio::spawn(async move {
            let began = Instant::now();
            let bytes = store.get_range(&Path::parse(&key)?, range).await?;
            Ok::<_, object_store::Error>((bytes, began.elapsed()))
        }));
        async move { (call, read.await) }
    });
    let mut reads =
        if thinks { reads.buffered(requests).left_stream() } else { reads.buffer_unordered(requests).right_stream() };
    let mut pause = Pause::default();
    loop {
        let began = Instant::now();
        let Some((call, read)) = reads.next().await else { return Ok(()) };
        meter.waited(began.elapsed());
        let (bytes, took) = read??;
        meter.read_overlapped(took);
        meter.deliver(&call.key, &(call.ranges[0][0]..call.ranges[0][1]), &[bytes])?;
        pause.take(Duration::from_micros(call.wait_us), None).await;
    }
}

/// A task that is aborted when it is dropped.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
