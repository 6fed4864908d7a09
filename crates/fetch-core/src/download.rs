//! Downloads an object into a local file: resumable, in one version, and never incomplete under its final name.

mod part_file;
mod writer;

use std::{fmt, future::IntoFuture, path::PathBuf, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use object_store::{GetOptions, GetResult, path::Path};
use tokio::runtime::Handle;

use crate::download::part_file::{ObjectId, PartFile};
use crate::download::writer::DownloadWriter;
use crate::error::FetchError;
#[cfg(doc)]
use crate::error::ObjectChanged;
use crate::policy::byte_range;
use crate::protocol::{extensions::Crc32c, version::ObjectVersion};
use crate::request::core::FetchCore;

/// A download, made by [`FetchStore::download`](crate::FetchStore::download). Await it.
#[must_use = "nothing is downloaded until it is awaited"]
pub struct Download {
    core: Arc<FetchCore>,
    path: Path,
    file: PathBuf,
    version: Option<ObjectVersion>,
    crc32c: Option<u32>,
    progress: Box<dyn FnMut(DownloadProgress) + Send>,
}

/// The progress of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadProgress {
    /// Bytes in the file, including those of an earlier download.
    pub written_bytes: u64,
    /// The object's length in bytes.
    pub total_bytes: u64,
}

/// The result of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Downloaded {
    /// The version of the object; its `size` is that of the file.
    pub version: ObjectVersion,
    /// Bytes that an earlier, interrupted download had written.
    pub resumed_bytes: u64,
    /// The CRC32C of the file.
    pub crc32c: u32,
    /// Whether the store or the caller named a CRC32C, and it is equal.
    pub verified: bool,
}

/// Why a download failed. If it can be resumed later, what has arrived is kept.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the description of a variant names its fields; `path` is the file downloaded to")]
#[non_exhaustive]
pub enum DownloadError {
    /// The object cannot be read: it does not exist, has changed meanwhile ([`ObjectChanged::find`]), …
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// The directory of the file does not exist.
    #[error("cannot download to {}: its directory does not exist", path.display())]
    NoDirectory { path: PathBuf },
    /// The file is a directory.
    #[error("cannot download to {}: it is a directory", path.display())]
    IsDirectory { path: PathBuf },
    /// The file exists and is not a regular file, but what `found` says: a device, a pipe, a socket, a symbolic link to
    /// nothing. A download would replace it.
    #[error("cannot download to {}: it is {found}, not a regular file; download to another name", path.display())]
    NotRegular { path: PathBuf, found: &'static str },
    /// The part file or the journal, at `path`, is not a regular file, but what `found` says. A symbolic link, for
    /// example, could make us overwrite another file.
    #[error(
        "cannot keep an unfinished download in {}: it is {found}, not a regular file; \
         remove it, or download to another name",
        path.display()
    )]
    Obstructed { path: PathBuf, found: &'static str },
    /// Another download to the same file is in progress, in this process or another.
    #[error("another download to {} is under way", path.display())]
    Busy { path: PathBuf },
    /// The file `path` cannot be written (no space, no permission) or read back. `doing` names the operation that
    /// failed; `source` is the error of the operating system.
    #[error("cannot {doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    /// The bytes that arrived have the CRC32C `found`; the store or the caller named `expected` for the object at
    /// `path`. None of the bytes are kept.
    #[error("the bytes of {path} have the CRC32C {found:08x}, not {expected:08x}")]
    Checksum { path: Path, expected: u32, found: u32 },
}

type Result<T, E = DownloadError> = std::result::Result<T, E>;

impl Download {
    pub(crate) fn new(core: &Arc<FetchCore>, path: &Path, file: PathBuf) -> Self {
        let core = Arc::clone(core);
        Self { core, path: path.clone(), file, version: None, crc32c: None, progress: Box::new(|_| {}) }
    }

    /// Downloads this version, or fails with [`ObjectChanged`]. Default: the current one.
    pub fn version(mut self, version: ObjectVersion) -> Self {
        self.version = Some(version);
        self
    }

    /// Checks that the object has this CRC32C. Default: the one that the store reports ([`Crc32c`]), if any.
    pub fn crc32c(mut self, crc32c: u32) -> Self {
        self.crc32c = Some(crc32c);
        self
    }

    /// Calls `progress` at the beginning and after each mebibyte or so. Default: no calls.
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
            // A download of an object that does not exist leaves no files. The first error is reported.
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

/// The object to download.
struct DownloadSource {
    core: Arc<FetchCore>,
    path: Path,
    /// The version that the caller chose.
    wanted: Option<ObjectVersion>,
}

impl DownloadSource {
    /// Writes all bytes that are missing. Returns their version, and the checksum that the store reports.
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

    /// Reads back what an earlier download has written, if it is of the wanted version.
    async fn resume(&self, writer: &mut DownloadWriter) -> Result<Option<(ObjectVersion, Option<Crc32c>)>> {
        let object = ObjectId::new(&self.core.inner, &self.path);
        let Some((version, pieces)) = writer.blocking(move |file| file.claims(&object)).await? else { return Ok(None) };
        if pieces.is_empty() || !version.is_exact() {
            return Ok(None);
        }
        // Not pinned to the version that we have: a versioned bucket would serve it for ever.
        let head = self.ask(GetOptions::new().with_head(true), self.wanted.as_ref()).await?;
        if !ObjectVersion::of(&head.meta).is_same(&version) {
            return Ok(None);
        }
        writer.read_back(version.size, pieces).await?;
        Ok(Some((version, head.extensions.get().copied())))
    }

    async fn ask(&self, mut options: GetOptions, version: Option<&ObjectVersion>) -> Result<GetResult> {
        let Some(version) = version else { return Ok(self.core.read(&self.path, options).await?) };
        let pinned = version.pin(self.core.profile.pin, &mut options);
        let answer = match self.core.read(&self.path, options.clone()).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.core.explain(error, pinned, &self.path, version, &options).await.into()),
        };
        version.check(&answer.meta)?;
        Ok(answer)
    }
}
