//! `TraceRecorder`: a store that notes what is read from it.

use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::time::Instant;

use crate::body::Body;
use crate::entry::{Ask, Entry, name};
use crate::ledger::Begun;
use crate::trace::{DROPPED, Header, Keys};
use crate::writer::{Writer, Written};

/// Forwards every call, and notes those that read: see the [front page](crate) for the format and the cost.
///
/// Where it stands decides what is recorded: above a stack, what the application asks; below a layer, what that layer asks. Clones share one trace.
/// Dropping the last of them waits until all is written.
///
/// # Cancel safety
/// As the inner store's. A call whose future is dropped is noted as [`DROPPED`].
#[derive(Clone)]
pub struct TraceRecorder {
    inner: Arc<dyn ObjectStore>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    hash: RandomState,
    writer: Writer,
}

impl TraceRecorder {
    /// Records what is read from `inner` into a new file, which replaces one of that name. Time counts from here.
    ///
    /// # Errors
    /// Where the file cannot be made, or no thread started.
    pub fn create(inner: Arc<dyn ObjectStore>, file: impl AsRef<FilePath>) -> io::Result<Self> {
        Self::new(inner, BufWriter::new(File::create(file)?))
    }

    /// Records into anything that can be written to; a file should have a `BufWriter` around it.
    ///
    /// # Errors
    /// `file`'s own where it does not take the header; where no thread can be started.
    pub fn new(inner: Arc<dyn ObjectStore>, file: impl Write + Send + 'static) -> io::Result<Self> {
        let about = format!("recorded by headstart-trace {}", env!("CARGO_PKG_VERSION"));
        let writer = Writer::start(file, &Header::new(Keys::Hashed, about))?;
        Ok(Self { inner, shared: Arc::new(Shared { started: Instant::now(), hash: RandomState::new(), writer }) })
    }

    /// Ends the trace and waits until it is written: blocks for as long as the disk takes. Reads go on, unrecorded; those under way are not in the trace.
    ///
    /// # Errors
    /// What kept the trace from being written; where it has been finished before.
    pub fn finish(&self) -> io::Result<Written> {
        self.shared.writer.finish()
    }

    fn begin(&self, path: &Path, ask: Ask, is_conditional: bool) -> Open {
        let began = Instant::now();
        let at = began - self.shared.started;
        let task = Shared::task();
        Open {
            begun: self.shared.writer.open.lock().ledger.begin(task, at),
            key: self.shared.hash.hash_one(path),
            shared: Arc::clone(&self.shared),
            ask: Some(ask),
            is_conditional,
            began,
            first: None,
            size: None,
            bytes: 0,
            busy: Duration::ZERO,
            error: None,
        }
    }
}

impl Shared {
    /// The task that is running, as a well-mixed number.
    fn task() -> Option<u64> {
        tokio::task::try_id().map(|id| BuildHasherDefault::<DefaultHasher>::default().hash_one(id))
    }
}

/// A call under way; noted when it ends, at the latest when it is dropped.
pub(crate) struct Open {
    shared: Arc<Shared>,
    begun: Begun,
    key: u64,
    /// Taken when it ends.
    ask: Option<Ask>,
    is_conditional: bool,
    began: Instant,
    first: Option<Duration>,
    size: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) busy: Duration,
    pub(crate) error: Option<&'static str>,
}

impl Open {
    /// The answer, or the error in place of it, is here.
    fn answered(&mut self, now: Instant) {
        self.first = Some(now - self.began);
    }

    /// Notes the call, once: it ends `now`. Clocks are not free, so each is read once and handed on.
    pub(crate) fn end(&mut self, now: Instant) {
        let Some(ask) = self.ask.take() else { return };
        let took = now - self.began;
        let at = self.began - self.shared.started;
        let entry = Entry {
            begun: self.begun,
            key: self.key,
            ask,
            is_conditional: self.is_conditional,
            size: self.size,
            bytes: self.bytes,
            at,
            first: self.first.unwrap_or(took),
            took,
            busy: self.busy,
            error: self.error,
        };
        let task = Shared::task();
        let open = &mut *self.shared.writer.open.lock();
        open.ledger.end(self.begun.n, task, at + took);
        self.shared.writer.push(open, entry);
    }

    fn failed(&mut self, error: &object_store::Error, now: Instant) {
        self.error = Some(name(error));
        self.end(now);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.ask.is_none() {
            return;
        }
        if self.first.is_none() && self.error.is_none() {
            self.error = Some(DROPPED);
        }
        self.end(Instant::now());
    }
}

impl fmt::Display for TraceRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceRecorder({})", self.inner)
    }
}

/// The inner store shows by its `Display`: the `Debug` of some clients prints credentials.
impl fmt::Debug for TraceRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = format_args!("{}", self.inner);
        f.debug_struct("TraceRecorder")
            .field("inner", &inner)
            .field("started", &self.shared.started)
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for TraceRecorder {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let ask = if options.head { Ask::Head } else { Ask::Get(options.range.clone()) };
        let is_conditional = options.version.is_some()
            || options.if_match.is_some()
            || options.if_none_match.is_some()
            || options.if_modified_since.is_some()
            || options.if_unmodified_since.is_some();
        let is_head = options.head;
        let mut call = self.begin(location, ask, is_conditional);
        let answer = self.inner.get_opts(location, options).await;
        let now = Instant::now();
        call.answered(now);
        let mut answer = answer.inspect_err(|error| call.failed(error, now))?;
        call.size = Some(answer.meta.size);
        answer.payload = match answer.payload {
            GetResultPayload::Stream(body) if !is_head => GetResultPayload::Stream(Body::new(body, call, now).boxed()),
            other => {
                // A file is read without us: what of it cannot be known.
                call.bytes = if is_head { 0 } else { answer.range.end - answer.range.start };
                call.end(now);
                other
            }
        };
        Ok(answer)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut call = self.begin(location, Ask::Ranges(ranges.into()), false);
        let answer = self.inner.get_ranges(location, ranges).await;
        let now = Instant::now();
        call.answered(now);
        let parts = answer.inspect_err(|error| call.failed(error, now))?;
        call.bytes = parts.iter().map(|part| part.len() as u64).sum();
        call.end(now);
        Ok(parts)
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
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
