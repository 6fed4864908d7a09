//! The `parquet` crate reads a file through the stack while a recorder writes a trace. The trace, replayed, costs the
//! same GETs.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt};
use headstart::{CacheConfig, Headstart};
use headstart_bench::meter::ms;
use headstart_bench::simulate::{Simulation, WARM_CONNECTIONS, paused};
use headstart_bench::system::System;
use headstart_bench::traces::TraceBuffer;
use headstart_bench::traces::on_simulated_objects;
use headstart_sim::{LinkProfile, SeededRng, SimStore};
use headstart_trace::{Trace, TraceRecorder};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, MetadataSuffixFetch, ParquetRecordBatchStreamBuilder};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;

const COLUMNS: usize = 8;
const ROWS: usize = 400_000;
const ROWS_A_GROUP: usize = 100_000;

/// A Parquet file of about 26 MB: four row groups of eight columns that do not compress.
fn file() -> Result<Vec<u8>> {
    let fields: Vec<Field> = (0..COLUMNS).map(|n| Field::new(format!("c{n}"), DataType::Int64, false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(ROWS_A_GROUP))
        .set_dictionary_enabled(false)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
    let mut dice = SeededRng::new(1);
    for _ in 0..ROWS / ROWS_A_GROUP {
        let column = |dice: &mut SeededRng| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values((0..ROWS_A_GROUP).map(|_| dice.bits().cast_signed())))
        };
        let columns = (0..COLUMNS).map(|_| column(&mut dice)).collect();
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    Ok(writer.into_inner()?)
}

/// A Parquet file in a store.
struct Stored {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

fn outside(error: object_store::Error) -> ParquetError {
    ParquetError::External(error.into())
}

impl AsyncFileReader for Stored {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.store.get_range(&self.path, range).map_err(outside).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(outside) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
        reader.load_via_suffix_and_finish(self).map_ok(Arc::new).boxed()
    }
}

impl MetadataSuffixFetch for &mut Stored {
    fn fetch_suffix(&mut self, suffix: usize) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let options = GetOptions::new().with_range(Some(GetRange::Suffix(suffix as u64)));
        let last = self.store.get_opts(&self.path, options).and_then(object_store::GetResult::bytes);
        last.map_err(outside).boxed()
    }
}

/// Opens the file, decodes `columns` of all row groups, and returns the number of rows.
async fn scan(store: Arc<dyn ObjectStore>, path: Path, columns: Vec<usize>) -> Result<usize> {
    let reader = Stored { store, path };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
    let mask = ProjectionMask::leaves(builder.parquet_schema(), columns);
    let mut batches = builder.with_projection(mask).with_batch_size(8192).build()?;
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        rows += batch?.num_rows();
    }
    Ok(rows)
}

/// The GETs, HEADs and bytes that the store saw, and virtual milliseconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    gets: u64,
    heads: u64,
    bytes: u64,
    ms: f64,
}

/// Two tasks read the file by `system`: one reads all columns, then two of them again; the other reads one column.
fn live(system: System, file: &[u8]) -> Result<(Cost, Trace)> {
    let runtime = paused()?;
    runtime.block_on(async {
        let cloud = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(WARM_CONNECTIONS).seed(1).build();
        let path = Path::from("table/part-0.parquet");
        cloud.put(&path, file.to_vec().into()).await?;
        let shared = Arc::new(cloud.clone());
        let facade = Headstart::builder().environment([]).store(Arc::clone(&shared) as _);
        let store: Arc<dyn ObjectStore> = match system {
            System::Raw => shared,
            System::Headstart => Arc::new(facade.build().await?),
            System::HeadstartCache => Arc::new(facade.cache(CacheConfig::default()).build().await?),
            other => panic!("{other} is not read live"),
        };
        let (before, began) = (cloud.log().counts(), cloud.elapsed());
        let sheet = TraceBuffer::default();
        let recorder = TraceRecorder::new(store, sheet.clone())?;
        let store: Arc<dyn ObjectStore> = Arc::new(recorder.clone());
        let first = tokio::spawn({
            let (store, path) = (Arc::clone(&store), path.clone());
            async move {
                let all = scan(Arc::clone(&store), path.clone(), (0..COLUMNS).collect()).await?;
                anyhow::Ok(all + scan(store, path, vec![2, 5]).await?)
            }
        });
        let second = tokio::spawn(scan(store, path, vec![7]));
        assert_eq!((first.await??, second.await??), (2 * ROWS, ROWS));
        let elapsed = cloud.elapsed() - began;
        recorder.finish()?;
        let counts = cloud.log().counts();
        let cost = Cost {
            gets: counts.gets - before.gets,
            heads: counts.heads - before.heads,
            bytes: counts.bytes_sent - before.bytes_sent,
            ms: ms(elapsed),
        };
        Ok((cost, sheet.trace()?))
    })
}

#[test]
fn a_recorded_trace_replays_to_the_same_gets() -> Result<()> {
    let file = file()?;
    for system in [System::Raw, System::Headstart, System::HeadstartCache] {
        let (live, trace) = live(system, &file)?;
        let simulation = Simulation::new(LinkProfile::gcs(), 1);
        let (outcome, wire) = simulation.run(&Arc::new(on_simulated_objects(&trace)), system)?;
        println!(
            "{system}: {} calls, live {live:?}, replayed {wire:?} in {} ms",
            trace.calls.len(),
            outcome.elapsed_ms
        );
        assert!(trace.calls.len() > 10 && live.gets >= 10, "{} calls", trace.calls.len());
        assert_eq!((wire.gets, wire.heads), (live.gets, live.heads), "{system}");
        assert_eq!((wire.fetched_bytes, outcome.wrong_bytes), (live.bytes, 0), "{system}");
        let apart_ms = (outcome.elapsed_ms - live.ms).abs();
        assert!(apart_ms <= 0.05 * live.ms, "{system}: {} ms instead of {}", outcome.elapsed_ms, live.ms);
    }
    Ok(())
}

#[test]
fn what_was_recorded_raw_shows_what_another_configuration_would_have_cost() -> Result<()> {
    let (raw, trace) = live(System::Raw, &file()?)?;
    let trace = Arc::new(on_simulated_objects(&trace));
    let (cached, wire) = Simulation::new(LinkProfile::gcs(), 1).run(&trace, System::HeadstartCache)?;
    println!("raw {raw:?}, with a cache {wire:?} in {} ms", cached.elapsed_ms);
    // Two columns are read twice, and one of them by both tasks.
    assert!(wire.fetched_bytes < raw.bytes, "{wire:?}");
    Ok(())
}
