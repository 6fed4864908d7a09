//! The systems `opendal-*`: OpenDAL's reader with chunks of 8 MiB, several at once, and as many ahead.

use std::io::SeekFrom;
use std::ops::Range;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{AsyncReadExt, AsyncSeekExt};
use headstart_bench::source::{Handle, ReadSource};
use opendal::options::ReaderOptions;
use opendal::services::Gcs;
use opendal::{ErrorKind, FuturesAsyncReader, Operator, Reader};

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
impl ReadSource for Chunked {
    async fn open(&self, key: &str, size: u64) -> Result<Box<dyn Handle>> {
        let reader = self.operator.reader_options(key, self.options.clone()).await?;
        // The size is given, as to `BufReader`, so that OpenDAL sends no HEAD.
        let stream = reader.clone().into_futures_async_read(0..size).await?;
        Ok(Box::new(Open { reader, stream, streamed: 0, at: 0 }))
    }

    fn is_change_error(&self, error: &anyhow::Error) -> bool {
        let causes = || error.chain().filter_map(|cause| cause.downcast_ref::<opendal::Error>());
        causes().any(|error| error.kind() == ErrorKind::ConditionNotMatch)
    }
}

/// Consecutive reads use a stream with chunks ahead. A jump reads its range, in chunks at once. OpenDAL has one API for
/// each.
struct Open {
    reader: Reader,
    stream: FuturesAsyncReader,
    /// The stream's position.
    streamed: u64,
    /// The end of the last read.
    at: u64,
}

#[async_trait]
impl Handle for Open {
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<Bytes>> {
        let goes_on = range.start == self.at;
        self.at = range.end;
        if !goes_on {
            return Ok(self.reader.read(range).await?.collect());
        }
        // A seek drops chunks in flight, even a seek to the current position.
        if range.start != self.streamed {
            self.stream.seek(SeekFrom::Start(range.start)).await?;
        }
        let mut buffer = vec![0; usize::try_from(range.end - range.start)?];
        self.stream.read_exact(&mut buffer).await.with_context(|| format!("reading {range:?}"))?;
        self.streamed = range.end;
        Ok(vec![buffer.into()])
    }
}
