//! An object into a local file: resumable, one version, never half under its name.

pub(crate) mod part_file;

use std::fmt;
use std::future::IntoFuture;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetResult};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};

use crate::download::part_file::{ObjectId, PartFile, WrittenRange};
use crate::error::FetchError;
#[cfg(doc)]
use crate::error::ObjectChanged;
use crate::limits::budget::Reservation;
use crate::policy::byte_range;
use crate::protocol::extensions::Crc32c;
use crate::protocol::version::ObjectVersion;
use crate::read::local_file;
use crate::request::FetchCore;

/// Bytes in one write: long enough that a hop to a blocking thread (some 20 µs) does not show beside it.
const WRITE_BYTES: usize = 1024 * 1024;

/// Writes under way at once: a disk that seeks or a network file system is kept busy, a local one needs one or two.
const WRITES: usize = 8;

/// How many pieces of an earlier try are read back in one go: dropping the download waits for no more than that.
const READ_BACK_PIECES: usize = 64;

/// A file that somebody else downloads to is looked at again this often and this many times: a download that has just been
/// dropped holds it until the writes under way are through.
const BUSY_RETRIES: u32 = 100;
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// A download to be awaited, made by [`FetchStore::download`](crate::FetchStore::download).
#[must_use = "nothing is downloaded until it is awaited"]
pub struct Download {
    core: Arc<FetchCore>,
    path: Path,
    file: PathBuf,
    version: Option<ObjectVersion>,
    crc32c: Option<u32>,
    progress: Box<dyn FnMut(DownloadProgress) + Send>,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadProgress {
    /// Bytes in the file, those of an earlier try included.
    pub written_bytes: u64,
    /// The object's length in bytes.
    pub total_bytes: u64,
}

/// What has been downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Downloaded {
    /// The version of the object; its `size` is the file's.
    pub version: ObjectVersion,
    /// Bytes that an earlier, interrupted download had left.
    pub resumed_bytes: u64,
    /// The CRC32C of the file.
    pub crc32c: u32,
    /// Whether the store or the caller named a CRC32C, and this is it.
    pub verified: bool,
}

/// Why a download failed. Where it can go on later, what has arrived is kept for the next one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The object cannot be read: it does not exist, it changed meanwhile ([`ObjectChanged::find`]), …
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// The directory of the file does not exist.
    #[error("cannot download to {}: its directory does not exist", path.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
    },
    /// The file is a directory.
    #[error("cannot download to {}: it is a directory", path.display())]
    IsDirectory {
        /// The file.
        path: PathBuf,
    },
    /// The file is there and is no regular file: a device, a pipe, a socket, a symbolic link to nothing. A download would replace it.
    #[error("cannot download to {}: it is {found}, not a regular file; download to another name", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Something else has the name of the part file or the journal: a symbolic link, say, through which another file would be
    /// overwritten.
    #[error(
        "cannot keep an unfinished download in {}: it is {found}, not a regular file; remove it, or download to another name",
        path.display()
    )]
    Obstructed {
        /// What is in the way.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Another download to the same file is under way, in this process or another.
    #[error("another download to {} is under way", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written, for want of space or permission, say; or read back.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What could not be done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The bytes are not those of the object. Nothing of them is kept.
    #[error("the bytes of {path} have the CRC32C {found:08x}, not {expected:08x}")]
    Checksum {
        /// The object.
        path: Path,
        /// The object's, as the store or the caller named it.
        expected: u32,
        /// That of the bytes that arrived.
        found: u32,
    },
}

type Result<T, E = DownloadError> = std::result::Result<T, E>;

impl Download {
    pub(crate) fn new(core: &Arc<FetchCore>, path: &Path, file: PathBuf) -> Self {
        let core = Arc::clone(core);
        Self { core, path: path.clone(), file, version: None, crc32c: None, progress: Box::new(|_| {}) }
    }

    /// Downloads this version, or fails with [`ObjectChanged`]. Default: the present one.
    pub fn version(mut self, version: ObjectVersion) -> Self {
        self.version = Some(version);
        self
    }

    /// Checks that the object has this CRC32C. Default: what the store says ([`Crc32c`]), where it says anything.
    pub fn crc32c(mut self, crc32c: u32) -> Self {
        self.crc32c = Some(crc32c);
        self
    }

    /// Calls `progress` at the beginning and whenever some more bytes, a mebibyte or so, are in the file. Default: nobody is called.
    pub fn on_progress(mut self, progress: impl FnMut(DownloadProgress) + Send + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    async fn run(self) -> Result<Downloaded> {
        Handle::try_current().map_err(|_| object_store::Error::from(FetchError::NoRuntime))?;
        let Self { core, path, file, version, crc32c, progress } = self;
        let mut writer = DownloadWriter::open(&core, file, progress).await?;
        let source = DownloadSource { core, path, wanted: version };
        let fetched = source.fetch(&mut writer).await;
        if fetched.is_err() {
            // An object that does not exist leaves no trace. The first error is the one to report_progress.
            drop(writer.blocking(PartFile::discard_if_empty).await);
        }
        let (version, named) = fetched?;
        let found = writer.crc32c();
        let expected = crc32c.or(named.map(|Crc32c(named)| named));
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            writer.blocking(PartFile::discard).await?;
            return Err(DownloadError::Checksum { path: source.path, expected, found });
        }
        let size = version.size;
        writer.blocking(move |file| file.finish(size)).await?;
        Ok(Downloaded { version, resumed_bytes: writer.resumed_bytes, crc32c: found, verified: expected.is_some() })
    }
}

impl IntoFuture for Download {
    type Output = Result<Downloaded>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.run().boxed()
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core: _, path, file, version, crc32c, progress: _ } = self;
        let mut shown = f.debug_struct("Download");
        shown.field("path", path).field("file", file).field("version", version).field("crc32c", crc32c);
        shown.finish_non_exhaustive()
    }
}

/// Where the bytes come from.
struct DownloadSource {
    core: Arc<FetchCore>,
    path: Path,
    /// The caller's choice.
    wanted: Option<ObjectVersion>,
}

impl DownloadSource {
    /// Has everything written that is missing. Returns of which version, and the checksum that the store names.
    async fn fetch(&self, writer: &mut DownloadWriter) -> Result<(ObjectVersion, Option<Crc32c>)> {
        let (version, named) = match self.resume(writer).await? {
            Some(resumed) => resumed,
            None => {
                let answer = self.ask(GetOptions::new(), self.wanted.as_ref()).await?;
                let (version, named) = (ObjectVersion::of(&answer.meta), answer.extensions.get().copied());
                writer.begin(&self.path, &version).await?;
                writer.take(answer).await?;
                (version, named)
            }
        };
        for hole in byte_range::missing(&(0..version.size), writer.held.iter().map(|piece| piece.range.clone())) {
            let answer = self.ask(GetOptions::new().with_range(Some(hole)), Some(&version)).await?;
            writer.take(answer).await?;
        }
        Ok((version, named))
    }

    /// Takes up what an earlier try has left, if that is of the version wanted.
    async fn resume(&self, writer: &mut DownloadWriter) -> Result<Option<(ObjectVersion, Option<Crc32c>)>> {
        let object = ObjectId::new(&self.core.inner, &self.path);
        let Some((version, pieces)) = writer.blocking(move |file| file.claims(&object)).await? else { return Ok(None) };
        if pieces.is_empty() || !version.is_exact() {
            return Ok(None);
        }
        // Not pinned to what we have: a bucket that keeps old versions would serve it for ever.
        let head = self.ask(GetOptions::new().with_head(true), self.wanted.as_ref()).await?;
        if !ObjectVersion::of(&head.meta).is_same(&version) {
            return Ok(None);
        }
        writer.read_back(version.size, pieces).await?;
        Ok(Some((version, head.extensions.get().copied())))
    }

    async fn ask(&self, mut options: GetOptions, version: Option<&ObjectVersion>) -> Result<GetResult> {
        let Some(version) = version else { return Ok(self.core.read(&self.path, options).await?) };
        let pinned = version.pin(self.core.config.profile.pin, &mut options);
        let answer = match self.core.read(&self.path, options.clone()).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.core.explain(error, pinned, &self.path, version, &options).await.into()),
        };
        version.check(&answer.meta)?;
        Ok(answer)
    }
}

/// Where the bytes go.
struct DownloadWriter {
    core: Arc<FetchCore>,
    file: Arc<PartFile>,
    /// What has arrived and is not being written yet; it belongs at byte `at`.
    batch: Vec<Bytes>,
    batch_bytes: usize,
    at: u64,
    /// Those that have not begun end with the download; those under way end by themselves.
    writes: JoinSet<Result<WrittenRange>>,
    /// What has been written; in order when [`DownloadWriter::flush`] is through.
    held: Vec<WrittenRange>,
    resumed_bytes: u64,
    written_bytes: u64,
    total_bytes: u64,
    progress: Box<dyn FnMut(DownloadProgress) + Send>,
}

impl DownloadWriter {
    async fn open(
        core: &Arc<FetchCore>,
        target: PathBuf,
        progress: Box<dyn FnMut(DownloadProgress) + Send>,
    ) -> Result<Self> {
        for _ in 0..BUSY_RETRIES {
            let target = target.clone();
            if let Some(file) = joined(tokio::task::spawn_blocking(move || PartFile::open(&target)).await)? {
                return Ok(Self {
                    core: Arc::clone(core),
                    file: Arc::new(file),
                    batch: Vec::new(),
                    batch_bytes: 0,
                    at: 0,
                    writes: JoinSet::new(),
                    held: Vec::new(),
                    resumed_bytes: 0,
                    written_bytes: 0,
                    total_bytes: 0,
                    progress,
                });
            }
            tokio::time::sleep(BUSY_WAIT).await;
        }
        Err(DownloadError::Busy { path: target })
    }

    /// Does something with the file that blocks.
    fn blocking<T, W>(&self, work: W) -> impl Future<Output = Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&PartFile) -> Result<T> + Send + 'static,
    {
        let file = Arc::clone(&self.file);
        async move { joined(tokio::task::spawn_blocking(move || work(&file)).await) }
    }

    async fn begin(&mut self, path: &Path, version: &ObjectVersion) -> Result<()> {
        self.report_progress(version.size);
        let (object, version) = (ObjectId::new(&self.core.inner, path), version.clone());
        self.blocking(move |file| file.begin(object, &version)).await
    }

    /// Holds those of `pieces` that really are in the file.
    async fn read_back(&mut self, size: u64, pieces: Vec<WrittenRange>) -> Result<()> {
        for pieces in pieces.chunks(READ_BACK_PIECES) {
            let mut pieces = pieces.to_vec();
            let there = self.blocking(move |file| {
                let mut there = Vec::new();
                for piece in pieces.drain(..) {
                    if file.holds(&piece)? {
                        there.push(piece);
                    }
                }
                Ok(there)
            });
            self.held.extend(there.await?);
        }
        self.resumed_bytes = self.held.iter().map(|piece| byte_range::len(&piece.range)).sum();
        self.written_bytes = self.resumed_bytes;
        self.report_progress(size);
        Ok(())
    }

    /// Writes the body of `answer` as it arrives. What arrived before an error is written too.
    async fn take(&mut self, answer: GetResult) -> Result<()> {
        let Range { start, end } = answer.range;
        self.at = start;
        let mut body = local_file::in_large_steps(answer).into_stream();
        let mut fetched = Ok(());
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => self.push(chunk).await?,
                Err(error) => {
                    fetched = Err(error);
                    break;
                }
            }
        }
        drop(body);
        self.flush().await?;
        fetched?;
        if self.at == end { Ok(()) } else { Err(short(start, end, self.at)) }
    }

    async fn push(&mut self, chunk: Bytes) -> Result<()> {
        self.batch_bytes += chunk.len();
        self.batch.push(chunk);
        if self.batch_bytes >= WRITE_BYTES {
            self.write().await?;
        }
        while let Some(written) = self.writes.try_join_next() {
            self.written(written)?;
        }
        Ok(())
    }

    /// Begins to write the batch. Where there is no memory for it, it is the only one under way.
    async fn write(&mut self) -> Result<()> {
        let memory = loop {
            let memory = self.core.budget.try_reserve(self.batch_bytes);
            if self.writes.is_empty() || memory.is_some() && self.writes.len() < WRITES {
                break memory;
            }
            drop(memory);
            self.wait().await?;
        };
        let at = self.at;
        self.at += std::mem::take(&mut self.batch_bytes) as u64;
        let (file, batch) = (Arc::clone(&self.file), std::mem::take(&mut self.batch));
        self.writes.spawn_blocking(move || {
            let _charged: Option<Reservation> = memory;
            file.write(at, &batch)
        });
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.write().await?;
        }
        while !self.writes.is_empty() {
            self.wait().await?;
        }
        self.held.sort_unstable_by_key(|piece| piece.range.start);
        Ok(())
    }

    /// Waits for one of the writes under way.
    async fn wait(&mut self) -> Result<()> {
        match self.writes.join_next().await {
            Some(written) => self.written(written),
            None => Ok(()),
        }
    }

    fn written(&mut self, written: Result<Result<WrittenRange>, JoinError>) -> Result<()> {
        let piece = joined(written)?;
        self.written_bytes += byte_range::len(&piece.range);
        self.held.push(piece);
        self.report_progress(self.total_bytes);
        Ok(())
    }

    fn report_progress(&mut self, total_bytes: u64) {
        self.total_bytes = total_bytes;
        (self.progress)(DownloadProgress { written_bytes: self.written_bytes, total_bytes });
    }

    /// The checksum of all that has been written.
    fn crc32c(&self) -> u32 {
        self.held.iter().fold(0, |crc32c, piece| {
            crc32c::crc32c_combine(crc32c, piece.crc32c, byte_range::in_memory(byte_range::len(&piece.range)))
        })
    }
}

/// What a blocking task returned.
fn joined<T>(ended: Result<Result<T>, JoinError>) -> Result<T> {
    ended.unwrap_or_else(|lost| match lost.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(object_store::Error::from(FetchError::TaskLost).into()),
    })
}

fn short(start: u64, end: u64, at: u64) -> DownloadError {
    object_store::Error::from(FetchError::ShortBody { start, end, at }).into()
}
