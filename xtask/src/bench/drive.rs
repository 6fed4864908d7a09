//! Reads an object in each of the ways that are compared, handing every byte to the meter.

use std::io::SeekFrom;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use headstart::Headstart;
use headstart_fetch_core::byte_range::in_memory;
use headstart_fetch_core::{FetchConfig, FetchStore};
use object_store::buffered::BufReader;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;

use super::measure::Meter;
use super::system::{Shape, System};

/// What is read, and from where.
pub(crate) struct Target {
    /// The client that all but the facade read through.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The facade; `None` where the system needs none.
    pub(crate) headstart: Option<Headstart>,
    /// The object.
    pub(crate) path: Path,
    /// Its length, or as much of it as is read.
    pub(crate) size: u64,
}

/// Makes the reads of `trace`, or as many as the meter has time for.
pub(crate) async fn read(
    system: System,
    shape: Shape,
    target: Target,
    trace: &[Range<u64>],
    meter: &mut Meter,
) -> Result<()> {
    let Target { store, headstart, path, size } = target;
    match system {
        System::Raw => in_a_loop(&store, &path, trace, meter).await,
        System::Fetch => in_a_loop(&FetchStore::new(store, FetchConfig::default()), &path, trace, meter).await,
        System::Stream => from_a_stream(&store, &path, trace, meter).await,
        System::FetchStream => {
            from_a_stream(&FetchStore::new(store, FetchConfig::default()), &path, trace, meter).await
        }
        System::BufReader => buffered(store, path, size, trace, meter).await,
        System::Headstart | System::HeadstartCache => {
            let headstart = headstart.context("the facade was not built")?;
            let reader = headstart.reader(&path)?;
            for range in trace {
                if meter.is_over() {
                    break;
                }
                let began = Instant::now();
                let chunks = reader.chunks_at(range.clone()).await?;
                meter.read_took(began.elapsed());
                hand_over(range, &chunks, meter)?;
            }
            Ok(())
        }
        System::Ideal => match shape.part_bytes {
            Some(part_bytes) => parts_in_flight(&store, &path, size, shape.requests, part_bytes, meter).await,
            None => reads_in_flight(&store, &path, trace, shape.requests, meter).await,
        },
    }
}

async fn in_a_loop(store: &dyn ObjectStore, path: &Path, trace: &[Range<u64>], meter: &mut Meter) -> Result<()> {
    for range in trace {
        if meter.is_over() {
            break;
        }
        let began = Instant::now();
        let bytes = store.get_range(path, range.clone()).await?;
        meter.read_took(began.elapsed());
        hand_over(range, &[bytes], meter)?;
    }
    Ok(())
}

async fn from_a_stream(store: &dyn ObjectStore, path: &Path, trace: &[Range<u64>], meter: &mut Meter) -> Result<()> {
    let mut began = Instant::now();
    let mut body = store.get(path).await?.into_stream();
    let mut held = Bytes::new();
    for range in trace {
        let mut missing = in_memory(range.end - range.start);
        let mut pieces = Vec::new();
        while missing > 0 {
            if held.is_empty() {
                held = body.next().await.with_context(|| format!("the body ended before byte {}", range.end))??;
                meter.first_byte();
            }
            let piece = held.split_to(held.len().min(missing));
            missing -= piece.len();
            pieces.push(piece);
        }
        meter.read_took(began.elapsed());
        hand_over(range, &pieces, meter)?;
        if meter.is_over() {
            break;
        }
        began = Instant::now();
    }
    Ok(())
}

async fn buffered(
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    trace: &[Range<u64>],
    meter: &mut Meter,
) -> Result<()> {
    // `BufReader` must be told the size. Whoever uses it has it from a listing or a HEAD; here it is a gift.
    let meta =
        ObjectMeta { location: path, last_modified: chrono::DateTime::UNIX_EPOCH, size, e_tag: None, version: None };
    let mut reader = BufReader::new(store, &meta);
    let mut buffer = Vec::new();
    let mut at = 0;
    for range in trace {
        if meter.is_over() {
            break;
        }
        buffer.resize(in_memory(range.end - range.start), 0);
        let began = Instant::now();
        // A seek throws the buffer away, even one to where the reader is.
        if range.start != at {
            reader.seek(SeekFrom::Start(range.start)).await?;
        }
        reader.read_exact(&mut buffer).await?;
        meter.read_took(began.elapsed());
        meter.deliver(range.start, &buffer);
        at = range.end;
    }
    Ok(())
}

/// Keeps `requests` ranges of `part_bytes` in flight and takes the bytes as they come, in whatever order.
async fn parts_in_flight(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    size: u64,
    requests: usize,
    part_bytes: u64,
    meter: &mut Meter,
) -> Result<()> {
    let parts = (0..size.div_ceil(part_bytes)).map(|index| index * part_bytes..size.min((index + 1) * part_bytes));
    let bodies = parts.map(|part| body(Arc::clone(store), path.clone(), part).boxed());
    let mut pieces = stream::iter(bodies).flatten_unordered(requests);
    let mut delivered = 0;
    loop {
        let began = Instant::now();
        let Some(piece) = pieces.next().await else { break };
        meter.waited(began.elapsed());
        let (offset, bytes) = piece?;
        meter.deliver(offset, &bytes);
        delivered += bytes.len() as u64;
        if meter.is_over() {
            return Ok(());
        }
    }
    Meter::expect_whole(&(0..size), delivered)
}

/// The body of one range, each piece with its offset.
fn body(
    store: Arc<dyn ObjectStore>,
    path: Path,
    part: Range<u64>,
) -> impl Stream<Item = object_store::Result<(u64, Bytes)>> + Send {
    let mut at = part.start;
    let options = GetOptions::new().with_range(Some(part));
    stream::once(async move { store.get_opts(&path, options).await })
        .map_ok(GetResult::into_stream)
        .try_flatten()
        .map_ok(move |bytes| {
            let offset = at;
            at += bytes.len() as u64;
            (offset, bytes)
        })
}

/// Keeps `requests` of the workload's own reads in flight, as if it had known them all beforehand.
async fn reads_in_flight(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    trace: &[Range<u64>],
    requests: usize,
    meter: &mut Meter,
) -> Result<()> {
    let mut reads = stream::iter(trace)
        .map(async |range| {
            let began = Instant::now();
            let bytes = store.get_range(path, range.clone()).await;
            (range, bytes, began.elapsed())
        })
        .buffer_unordered(requests);
    loop {
        let began = Instant::now();
        let Some((range, bytes, took)) = reads.next().await else { break };
        meter.waited(began.elapsed());
        meter.read_overlapped(took);
        hand_over(range, &[bytes?], meter)?;
        if meter.is_over() {
            break;
        }
    }
    Ok(())
}

/// Gives the meter what the read of `range` brought.
fn hand_over(range: &Range<u64>, chunks: &[Bytes], meter: &mut Meter) -> Result<()> {
    let mut at = range.start;
    for chunk in chunks {
        meter.deliver(at, chunk);
        at += chunk.len() as u64;
    }
    Meter::expect_whole(range, at - range.start)
}
