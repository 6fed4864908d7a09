//! The file a download is in until it is whole, and the journal of what has been written to it. Blocking.
//!
//! `NAME.headstart-part` has every byte at its final place; `NAME.headstart-journal` says, a line each, which version
//! it is of and which ranges have been written, with their checksums. Nothing is synced before the end, so after a power
//! failure the journal may speak of bytes that never reached the disk: what it claims counts only once the bytes have been
//! read back and have that checksum.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::byte_range;
use crate::download::DownloadError;
use crate::positioned;
use crate::version::ObjectVersion;

/// How much is read back at once.
const READ_BACK_BYTES: usize = 1024 * 1024;

/// An unfinished download. While it is open nobody else can open it.
#[derive(Debug)]
pub(crate) struct PartFile {
    target: PathBuf,
    part: PathBuf,
    journal: PathBuf,
    /// Locked.
    data: File,
    lines: Mutex<File>,
}

/// A range that has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) range: Range<u64>,
    pub(crate) crc32c: u32,
}

/// The journal's first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// Of the journal; see [`FORMAT`].
    headstart: u32,
    path: String,
    e_tag: Option<String>,
    version: Option<String>,
    size: u64,
}

/// What this code writes and reads.
const FORMAT: u32 = 1;

impl PartFile {
    /// Opens what is left of an earlier download to `target`, or begins one. `None` where another one is at it.
    pub(crate) fn open(target: &Path) -> Result<Option<Self>, DownloadError> {
        let name = target.file_name().filter(|_| !target.is_dir());
        let Some(name) = name else { return Err(DownloadError::IsDirectory { path: target.to_owned() }) };
        let (part, journal) = (sibling(target, name, ".headstart-part"), sibling(target, name, ".headstart-journal"));
        let data = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DownloadError::NoDirectory { path: target.to_owned() });
            }
            Err(error) => return Err(failed("create", &part)(error)),
        };
        match data.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // The last one renamed it between our two calls: it is not ours to write to.
            Ok(()) if !is_still(&data, &part) => return Ok(None),
            // A file system without locks: then the caller sees to it that there is one download at a time.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let lines = OpenOptions::new().read(true).append(true).create(true).open(&journal);
        let lines = Mutex::new(lines.map_err(failed("create", &journal))?);
        Ok(Some(Self { target: target.to_owned(), part, journal, data, lines }))
    }

    /// What the journal claims of the object at `path`: the version, and ranges of it that do not overlap, in order.
    pub(crate) fn claims(&self, path: &ObjectPath) -> Result<Option<(ObjectVersion, Vec<Piece>)>, DownloadError> {
        let mut journal = self.lines.lock();
        let mut text = Vec::new();
        journal.rewind().and_then(|()| journal.read_to_end(&mut text)).map_err(failed("read", &self.journal))?;
        let mut lines = text.split(|byte| *byte == b'\n');
        let Some(Ok(Header { headstart: FORMAT, path: of, e_tag, version, size })) =
            lines.next().map(serde_json::from_slice)
        else {
            return Ok(None);
        };
        if of != path.as_ref() {
            return Ok(None);
        }
        // A line may be torn, and another one follow it: such are no claims.
        let claims = lines.filter_map(|line| serde_json::from_slice::<(u64, u64, u32)>(line).ok());
        let mut pieces: Vec<_> = claims
            .filter(|(start, end, _)| start < end && *end <= size)
            .map(|(start, end, crc32c)| Piece { range: start..end, crc32c })
            .collect();
        pieces.sort_unstable_by_key(|piece| piece.range.start);
        let mut at = 0;
        pieces.retain(|piece| {
            let apart = piece.range.start >= at;
            at = at.max(piece.range.end);
            apart
        });
        Ok(Some((ObjectVersion { e_tag, version, last_modified: None, size }, pieces)))
    }

    /// Whether `piece` is in the file.
    pub(crate) fn holds(&self, piece: &Piece) -> Result<bool, DownloadError> {
        let mut buffer = vec![0; byte_range::in_memory(byte_range::len(&piece.range)).min(READ_BACK_BYTES)];
        let (mut at, mut crc32c) = (piece.range.start, 0);
        while at < piece.range.end {
            let wanted = byte_range::in_memory(piece.range.end - at).min(buffer.len());
            let buffer = &mut buffer[..wanted];
            if positioned::read_up_to(&self.data, buffer, at).map_err(failed("read", &self.part))? < wanted {
                return Ok(false);
            }
            crc32c = crc32c::crc32c_append(crc32c, buffer);
            at += wanted as u64;
        }
        Ok(crc32c == piece.crc32c)
    }

    /// Begins anew: of this version of the object at `path` nothing is there yet.
    pub(crate) fn begin(&self, path: &ObjectPath, version: &ObjectVersion) -> Result<(), DownloadError> {
        let mut journal = self.lines.lock();
        journal.set_len(0).map_err(failed("write", &self.journal))?;
        self.data.set_len(0).map_err(failed("write", &self.part))?;
        let ObjectVersion { e_tag, version, last_modified: _, size } = version.clone();
        self.append(&mut journal, &Header { headstart: FORMAT, path: path.to_string(), e_tag, version, size })
    }

    /// Writes `chunks` at byte `at`, and notes it.
    pub(crate) fn write(&self, at: u64, chunks: &[Bytes]) -> Result<Piece, DownloadError> {
        let mut piece = Piece { range: at..at, crc32c: 0 };
        for chunk in chunks {
            positioned::write_all(&self.data, chunk, piece.range.end).map_err(failed("write", &self.part))?;
            piece.range.end += chunk.len() as u64;
            piece.crc32c = crc32c::crc32c_append(piece.crc32c, chunk);
        }
        self.append(&mut self.lines.lock(), &(piece.range.start, piece.range.end, piece.crc32c))?;
        Ok(piece)
    }

    /// All `size` bytes are there: they are synced and get their final name.
    pub(crate) fn finish(&self, size: u64) -> Result<(), DownloadError> {
        self.data.set_len(size).and_then(|()| self.data.sync_all()).map_err(failed("sync", &self.part))?;
        // While the lock holds: the journal of the next download is not ours to remove.
        fs::remove_file(&self.journal).map_err(failed("remove", &self.journal))?;
        fs::rename(&self.part, &self.target).map_err(failed("rename", &self.part))?;
        sync_directory(&self.target).map_err(failed("sync the directory of", &self.target))
    }

    /// Removes both files: what has been written is of no use.
    pub(crate) fn discard(&self) -> Result<(), DownloadError> {
        fs::remove_file(&self.journal).map_err(failed("remove", &self.journal))?;
        fs::remove_file(&self.part).map_err(failed("remove", &self.part))
    }

    /// One call for one line: a line is there or torn, never mixed with another.
    fn append(&self, journal: &mut File, line: &impl Serialize) -> Result<(), DownloadError> {
        let mut bytes = serde_json::to_vec(line).map_err(io::Error::from).map_err(failed("write", &self.journal))?;
        bytes.push(b'\n');
        journal.write_all(&bytes).map_err(failed("write", &self.journal))
    }
}

/// For `map_err`: what could not be done to `path`.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DownloadError {
    let path = path.to_owned();
    move |source| DownloadError::File { doing, path, source }
}

fn sibling(target: &Path, name: &OsStr, suffix: &str) -> PathBuf {
    let mut name = name.to_owned();
    name.push(suffix);
    target.with_file_name(name)
}

#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata().map(id), fs::metadata(path).map(id)), (Ok(file), Ok(path)) if file == path)
}

#[cfg(not(unix))]
fn is_still(_: &File, path: &Path) -> bool {
    path.exists()
}

/// A name is there for good once its directory is synced.
#[cfg(unix)]
fn sync_directory(target: &Path) -> io::Result<()> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
