//! A bucket in virtual time, and a table in it whose every value follows from its row.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use headstart_sim::{LinkProfile, SimStore};
use lance::dataset::{Dataset, WriteParams, builder::DatasetBuilder};
use lance::deps::arrow_array::cast::AsArray;
use lance::deps::arrow_array::types::{Float32Type, Int64Type};
use lance::deps::arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, RecordBatchIterator, StringArray,
};
use lance::deps::arrow_schema::{DataType, Field};
use lance::io::{ObjectStore, ObjectStoreParams, ObjectStoreRegistry, WrappingObjectStore};
use lance::{Result, session::Session};
use lance_io::object_store::{DEFAULT_CLOUD_IO_PARALLELISM, DEFAULT_DOWNLOAD_RETRY_COUNT, ObjectStoreProvider};
use url::Url;

/// The table's URL.
pub(crate) const TABLE: &str = "gs://bucket/table.lance";

/// Rows of a file, and of the table of four files: 54 MB.
const FILE_ROWS: u64 = 25_000;
pub(crate) const ROWS: u64 = 4 * FILE_ROWS;

/// The numbers of a row's vector: 512 bytes.
const WIDTH: usize = 128;

/// A simulated bucket, behind the link `gcs`.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) store: SimStore,
}

impl Bucket {
    /// A bucket with the table.
    pub(crate) async fn with_table() -> Result<Self> {
        let bucket = Self { store: SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build() };
        let files = (0..ROWS / FILE_ROWS).map(|file| file * FILE_ROWS..(file + 1) * FILE_ROWS);
        let files: Vec<_> = files.map(table_rows).collect();
        let schema = files[0].schema();
        let rows = RecordBatchIterator::new(files.into_iter().map(Ok), schema);
        let params = WriteParams {
            max_rows_per_file: FILE_ROWS.try_into().unwrap(),
            session: Some(bucket.session()),
            ..WriteParams::default()
        };
        Dataset::write(rows, TABLE, Some(params)).await?;
        Ok(bucket)
    }

    /// A session without cached metadata, whose stores of `gs://` are this bucket.
    pub(crate) fn session(&self) -> Arc<Session> {
        let registry = ObjectStoreRegistry::default();
        registry.insert("gs", Arc::new(Provider(self.store.clone())));
        Arc::new(Session::new(64 << 20, 64 << 20, Arc::new(registry)))
    }
}

/// Opens the bucket for Lance, as its own providers open theirs.
#[derive(Debug)]
struct Provider(SimStore);

#[async_trait]
impl ObjectStoreProvider for Provider {
    async fn new_store(&self, url: Url, params: &ObjectStoreParams) -> Result<ObjectStore> {
        let store = Arc::new(self.0.clone());
        let (threads, retries) = (DEFAULT_CLOUD_IO_PARALLELISM, DEFAULT_DOWNLOAD_RETRY_COUNT);
        Ok(ObjectStore::new(store, url, params.block_size, None, false, true, threads, retries, None))
    }
}

/// Opens the table in `session`, by `wrapper` if there is one.
pub(crate) async fn open(session: &Arc<Session>, wrapper: Option<Arc<dyn WrappingObjectStore>>) -> Result<Dataset> {
    let params = ObjectStoreParams { object_store_wrapper: wrapper, ..ObjectStoreParams::default() };
    DatasetBuilder::from_uri(TABLE).with_session(Arc::clone(session)).with_store_params(params).load().await
}

/// A number without pattern that follows from `row`, so that no column can be compressed to nothing.
fn scrambled(row: u64) -> u64 {
    let mixed = (row ^ (row >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}

fn number(row: u64) -> i64 {
    scrambled(row).cast_signed()
}

fn vector(row: u64) -> impl Iterator<Item = f32> {
    // 24 bits are exact in an `f32`.
    (0..WIDTH as u64).map(move |at| (scrambled(row * WIDTH as u64 + at) & 0xff_ffff) as f32)
}

fn text(row: u64) -> String {
    format!("row {row:08} {:016x}", scrambled(row))
}

/// The rows `rows` as Arrow has them.
fn table_rows(rows: Range<u64>) -> RecordBatch {
    let values: Float32Array = rows.clone().flat_map(vector).collect();
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors = FixedSizeListArray::try_new(item, i32::try_from(WIDTH).unwrap(), Arc::new(values), None);
    let columns: [(&str, ArrayRef); 3] = [
        ("number", Arc::new(Int64Array::from_iter_values(rows.clone().map(number)))),
        ("vector", Arc::new(vectors.unwrap())),
        ("text", Arc::new(StringArray::from_iter_values(rows.map(text)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Checks every value of `batch`, whose rows are `rows`.
pub(crate) fn check(batch: &RecordBatch, rows: impl ExactSizeIterator<Item = u64>) {
    assert_eq!(batch.num_rows(), rows.len());
    let numbers = batch["number"].as_primitive::<Int64Type>();
    let (vectors, texts) = (batch["vector"].as_fixed_size_list(), batch["text"].as_string::<i32>());
    for (at, row) in rows.enumerate() {
        let found = vectors.value(at);
        assert_eq!((numbers.value(at), texts.value(at)), (number(row), text(row).as_str()), "row {row}");
        assert!(found.as_primitive::<Float32Type>().values().iter().copied().eq(vector(row)), "row {row}");
    }
}
