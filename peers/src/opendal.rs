//! OpenDAL's reader: chunks of 8 MiB, some at once, as many ahead.

use std::io::SeekFrom;
use std::ops::Range;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{AsyncReadExt, AsyncSeekExt};
use headstart_bench::source::{Handle, Source};
use opendal::options::ReaderOptions;
use opendal::services::Gcs;
use opendal::{ErrorKind, FuturesAsyncReader, Operator};

/// A bucket, read in chunks.
pub(crate) struct Chunked {
    operator: Operator,
    options: ReaderOptions,
}

impl Chunked {
    pub(crate) fn new(endpoint: &str, bucket: &str, concurrent: usize) -> Result<Self> {
        opendal::install_default();
        let gcs = Gcs::default()
            .endpoint(endpoint)
            .bucket(bucket)
            .skip_signature()
            .disable_vm_metadata()
            .disable_config_load();
        let options =
            ReaderOptions { concurrent, chunk: Some(8 << 20), prefetch: concurrent, ..ReaderOptions::default() };
        Ok(Self { operator: Operator::new(gcs)?, options })
    }
}

#[async_trait]
impl Source for Chunked {
    async fn open(&self, key: &str, size: u64) -> Result<Box<dyn Handle>> {
        let reader = self.operator.reader_options(key, self.options.clone()).await?;
        // Told the size, as `BufReader` is: it sends no HEAD.
        Ok(Box::new(Open { reader: reader.into_futures_async_read(0..size).await?, at: 0 }))
    }

    fn tells_of_change(&self, error: &anyhow::Error) -> bool {
        let causes = || error.chain().filter_map(|cause| cause.downcast_ref::<opendal::Error>());
        causes().any(|error| error.kind() == ErrorKind::ConditionNotMatch)
    }
}

struct Open {
    reader: FuturesAsyncReader,
    at: u64,
}

#[async_trait]
impl Handle for Open {
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<Bytes>> {
        // A seek drops what is under way, even one to where the reader is.
        if range.start != self.at {
            self.reader.seek(SeekFrom::Start(range.start)).await?;
        }
        let mut buffer = vec![0; usize::try_from(range.end - range.start)?];
        self.reader.read_exact(&mut buffer).await.with_context(|| format!("reading {range:?}"))?;
        self.at = range.end;
        Ok(vec![buffer.into()])
    }
}
