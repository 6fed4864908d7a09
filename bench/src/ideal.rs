//! What many requests in flight bring, without any logic, by somebody who knows the whole trace. Not the most that is possible: repeated reads are made again, and
//! sixteen short reads do not fill a fast link; the computed limit is [`crate::limit`].

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use headstart_trace::{Kind, Trace};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore, ObjectStoreExt};
use tokio::time::{Duration, Instant};

use crate::drive::Pause;
use crate::limit::extents;
use crate::meter::Meter;

const MIB: u64 = 1024 * 1024;

/// How many requests of which size are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdealShape {
    /// The trace's own reads, in its order, so many at once.
    Reads(usize),
    /// Parts of all the bytes that the trace asks for, so many of so many bytes at once, taken in whatever order they come.
    Parts(usize, u64),
}

/// The shapes of which the best counts. Where every object is read wholly and once, and nobody thinks, what is read in which order is the same to it: parts
/// of one size sent together end together and leave the link idle for a round trip, and which of the two loses less depends on the link.
#[must_use]
pub fn shapes(trace: &Trace) -> &'static [IdealShape] {
    if parts(trace).is_some() {
        &[IdealShape::Parts(16, 8 * MIB), IdealShape::Parts(32, 4 * MIB)]
    } else {
        &[IdealShape::Reads(16)]
    }
}

/// The extents of the objects' bytes, where parts of them will do: two traces with the same ones are one to the ideal.
#[must_use]
pub fn parts(trace: &Trace) -> Option<Vec<Vec<Range<u64>>>> {
    let simple = trace.calls.iter().all(|call| call.kind == Kind::Read && call.wait_us == 0);
    let extents: Vec<_> = extents(trace).into_values().collect();
    let once: u64 = extents.iter().flatten().map(|range| range.end - range.start).sum();
    let asked: u64 = trace.calls.iter().map(|call| call.bytes).sum();
    let whole = extents.iter().all(|ranges| ranges.len() == 1 && ranges[0].end - ranges[0].start >= 4 * MIB);
    (simple && once == asked && whole).then_some(extents)
}

/// Reads what `trace` asks for, or as much as the meter has time for.
///
/// # Errors
/// The first of any read.
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

/// In whatever order they come, or, where their one reader thinks between them, in the trace's.
async fn reads_in_flight(trace: &Trace, requests: usize, store: &Arc<dyn ObjectStore>, meter: &Meter) -> Result<()> {
    let thinks = trace.calls.iter().any(|call| call.wait_us > 0);
    // Reads that have begun when the time is over are finished, as a loop finishes its last one.
    let calls = trace.calls.iter().filter(|call| call.kind == Kind::Read).take_while(|_| !meter.is_over());
    // A task each: they go on while the reader thinks.
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

/// A task that ends when nobody waits for it any more.
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
