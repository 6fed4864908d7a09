//! `TraceRecorder`: an `ObjectStore` that records the reads of another.

mod call;
mod order;
mod writer;

use std::io::{self, BufWriter, Write};
use std::{fmt, fs::File, hash::RandomState, ops::Range, path::Path as FilePath, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, path::Path,
};
use tokio::time::Instant;

use self::call::{OpenCall, RecordedBody, RequestedBytes};
use self::writer::TraceWriter;
pub use self::writer::{MAX_WAITING_CALLS, TraceSummary};
use crate::trace::{Keys, TraceHeader};

/// Forwards every call and records the reads. The [front page](crate) describes the format and the cost.
///
/// Above a stack of layers it records the reads of the application, below a layer the reads of that layer. Clones share
/// one trace. Dropping the last clone waits until the trace is written.
///
/// # Cancel safety
/// As the inner store's. A call whose future is dropped is recorded with the error [`DROPPED`](crate::DROPPED).
#[derive(Clone)]
pub struct TraceRecorder {
    inner: Arc<dyn ObjectStore>,
    shared: Arc<RecorderShared>,
}

/// What all clones and calls of a recorder share.
#[derive(Debug)]
struct RecorderShared {
    started: Instant,
    hash: RandomState,
    writer: TraceWriter,
}

impl TraceRecorder {
    /// Records the reads of `inner` into a new file. An existing file is replaced. Times count from this call.
    ///
    /// # Errors
    /// The file cannot be created, or the thread cannot be started.
    pub fn create(inner: Arc<dyn ObjectStore>, file: impl AsRef<FilePath>) -> io::Result<Self> {
        Self::new(inner, BufWriter::new(File::create(file)?))
    }

    /// Records into any writer. A file should be wrapped in a `BufWriter`.
    ///
    /// # Errors
    /// The header cannot be written, or the thread cannot be started.
    pub fn new(inner: Arc<dyn ObjectStore>, file: impl Write + Send + 'static) -> io::Result<Self> {
        let about = format!("recorded by headstart-trace {}", env!("CARGO_PKG_VERSION"));
        let writer = TraceWriter::start(file, &TraceHeader::new(Keys::Hashed, about))?;
        let shared = RecorderShared { started: Instant::now(), hash: RandomState::new(), writer };
        Ok(Self { inner, shared: Arc::new(shared) })
    }

    /// Ends the trace and waits until it is written. Blocks for as long as the disk takes. Later reads are forwarded
    /// without a record, and calls in progress are not part of the trace.
    ///
    /// # Errors
    /// The trace could not be written, or it is already finished.
    pub fn finish(&self) -> io::Result<TraceSummary> {
        self.shared.writer.finish()
    }
}

impl fmt::Display for TraceRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceRecorder({})", self.inner)
    }
}

/// Shows the inner store by its `Display`, since the `Debug` of some clients prints credentials.
impl fmt::Debug for TraceRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TraceRecorder");
        shown.field("inner", &format_args!("{}", self.inner)).field("started", &self.shared.started);
        shown.finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for TraceRecorder {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let requested = if is_head { RequestedBytes::Head } else { RequestedBytes::Get(options.range.clone()) };
        let is_conditional = options.version.is_some()
            || options.if_match.is_some()
            || options.if_none_match.is_some()
            || options.if_modified_since.is_some()
            || options.if_unmodified_since.is_some();
        let mut call = OpenCall::begin(&self.shared, location, requested, is_conditional);
        let answer = self.inner.get_opts(location, options).await;
        let now = Instant::now();
        let mut answer = answer.inspect_err(|error| call.on_error(now, error))?;
        call.on_answer(now, Some(answer.meta.size));
        answer.payload = match answer.payload {
            GetResultPayload::Stream(body) if !is_head => {
                GetResultPayload::Stream(RecordedBody::new(body, call, now).boxed())
            }
            other => {
                // The caller reads a file by itself, so the recorder assumes that it reads all of the range.
                call.on_bytes(if is_head { 0 } else { answer.range.end - answer.range.start });
                call.end(now);
                other
            }
        };
        Ok(answer)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut call = OpenCall::begin(&self.shared, location, RequestedBytes::Ranges(ranges.into()), false);
        let answer = self.inner.get_ranges(location, ranges).await;
        let now = Instant::now();
        let parts = answer.inspect_err(|error| call.on_error(now, error))?;
        call.on_answer(now, None);
        call.on_bytes(parts.iter().map(|part| part.len() as u64).sum());
        call.end(now);
        Ok(parts)
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
