//! The part file of a download, and the journal of what has been written to it. All calls block.
//!
//! `NAME.headstart-part` has every byte at its final position. `NAME.headstart-journal` says, one per line, which
//! version it is of and which ranges have been written, with their checksums. Nothing is synced before the end, so
//! after a power failure the journal may list bytes that never reached the disk. A listed range therefore counts
//! only after it has been read back with the same checksum.
//!
//! Neither file is written to through a symbolic link: others who may write to the directory could make us
//! overwrite any of our files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::{ffi::OsStr, ops::Range};

use crate::internal::locks::Mutex;
use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use serde::{Deserialize, Serialize};

use crate::download::{DownloadError, Result};
use crate::policy::byte_range;
use crate::protocol::version::ObjectVersion;
use crate::read::positioned;

/// How much is read back at once.
const READ_BACK_BYTES: usize = 1024 * 1024;

/// The files of an unfinished download. While they are open, no other download can open them.
#[derive(Debug)]
pub(crate) struct PartFile {
    target: PathBuf,
    part: PathBuf,
    journal: PathBuf,
    /// Holds the lock.
    data: File,
    lines: Mutex<File>,
}

/// A range that has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenRange {
    pub(crate) range: Range<u64>,
    pub(crate) crc32c: u32,
}

/// The object that a journal is about. Its path alone would not do: two buckets may have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectId {
    store: String,
    path: String,
}

impl ObjectId {
    /// The object at `path` of `store`. The `Display` of the store names the bucket or the server, and no secret.
    pub(crate) fn new(store: &impl ToString, path: &ObjectPath) -> Self {
        Self { store: store.to_string(), path: path.to_string() }
    }
}

/// The first line of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct JournalHeader {
    /// The format of the journal; see [`FORMAT`].
    headstart: u32,
    #[serde(flatten)]
    object: ObjectId,
    e_tag: Option<String>,
    version: Option<String>,
    size: u64,
}

/// The format that this code writes and reads. Format 1 did not name the store.
const FORMAT: u32 = 2;

impl PartFile {
    /// Opens what an earlier download to `target` has left, or creates it. `None` if another download holds it.
    pub(crate) fn open(target: &Path) -> Result<Option<Self>> {
        let target = resolved(target)?;
        let Some(name) = target.file_name() else { return Err(DownloadError::IsDirectory { path: target }) };
        let (part, journal) = (sibling(&target, name, ".headstart-part"), sibling(&target, name, ".headstart-journal"));
        refuse_others(&part)?;
        let data = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DownloadError::NoDirectory { path: target });
            }
            Err(error) => return Err(failed("create", &part)(error)),
        };
        // Any other error: the file system has no locks. The caller must then see to it that there is one download at a
        // time.
        let is_locked = matches!(data.try_lock(), Err(TryLockError::WouldBlock));
        // Another download may have renamed the file between our two calls. It is not ours to write to then.
        if is_locked || !is_still(&data, &part)? {
            return Ok(None);
        }
        refuse_others(&journal)?;
        let lines = OpenOptions::new().read(true).append(true).create(true).open(&journal);
        let lines = lines.map_err(failed("create", &journal))?;
        if !is_still(&lines, &journal)? {
            return Ok(None);
        }
        Ok(Some(Self { target, part, journal, data, lines: Mutex::new(lines) }))
    }

    /// What the journal lists for `object`: the version, and ranges that do not overlap, in order.
    pub(crate) fn claims(&self, object: &ObjectId) -> Result<Option<(ObjectVersion, Vec<WrittenRange>)>> {
        Ok(self.journal()?.filter(|(of, ..)| of == object).map(|(_, version, pieces)| (version, pieces)))
    }

    /// What the journal lists, for any object.
    fn journal(&self) -> Result<Option<(ObjectId, ObjectVersion, Vec<WrittenRange>)>> {
        let mut journal = self.lines.lock();
        let mut text = Vec::new();
        journal.rewind().and_then(|()| journal.read_to_end(&mut text)).map_err(failed("read", &self.journal))?;
        let mut lines = text.split(|byte| *byte == b'\n');
        let Some(Ok(JournalHeader { headstart: FORMAT, object, e_tag, version, size })) =
            lines.next().map(serde_json::from_slice)
        else {
            return Ok(None);
        };
        // A torn line, perhaps joined with the next one, is skipped.
        let mut pieces: Vec<_> = lines
            .filter_map(|line| serde_json::from_slice::<(u64, u64, u32)>(line).ok())
            .filter(|(start, end, _)| start < end && *end <= size)
            .map(|(start, end, crc32c)| WrittenRange { range: start..end, crc32c })
            .collect();
        pieces.sort_unstable_by_key(|piece| piece.range.start);
        let mut at = 0;
        pieces.retain(|piece| {
            let apart = piece.range.start >= at;
            at = at.max(piece.range.end);
            apart
        });
        let version = ObjectVersion { e_tag, version, last_modified: None, size };
        Ok(Some((object, version, pieces)))
    }

    /// Whether `piece` is in the file, with its checksum.
    pub(crate) fn holds(&self, piece: &WrittenRange) -> Result<bool> {
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

    /// Starts anew: nothing of this version of `object` has been written.
    pub(crate) fn begin(&self, object: ObjectId, version: &ObjectVersion) -> Result<()> {
        let mut journal = self.lines.lock();
        journal.set_len(0).map_err(failed("write", &self.journal))?;
        self.data.set_len(0).map_err(failed("write", &self.part))?;
        let ObjectVersion { e_tag, version, last_modified: _, size } = version.clone();
        self.append(&mut journal, &JournalHeader { headstart: FORMAT, object, e_tag, version, size })
    }

    /// Writes `chunks` at byte `at` and records them in the journal.
    pub(crate) fn write(&self, at: u64, chunks: &[Bytes]) -> Result<WrittenRange> {
        let mut piece = WrittenRange { range: at..at, crc32c: 0 };
        for chunk in chunks {
            positioned::write_all(&self.data, chunk, piece.range.end).map_err(failed("write", &self.part))?;
            piece.range.end += chunk.len() as u64;
            piece.crc32c = crc32c::crc32c_append(piece.crc32c, chunk);
        }
        self.append(&mut self.lines.lock(), &(piece.range.start, piece.range.end, piece.crc32c))?;
        Ok(piece)
    }

    /// All `size` bytes are written: syncs the file and gives it its final name.
    pub(crate) fn finish(&self, size: u64) -> Result<()> {
        self.data.set_len(size).and_then(|()| self.data.sync_all()).map_err(failed("sync", &self.part))?;
        // Checked again: hours may have passed.
        resolved(&self.target)?;
        // While the lock is held: otherwise this could be the journal of the next download.
        fs::remove_file(&self.journal).map_err(failed("remove", &self.journal))?;
        fs::rename(&self.part, &self.target).map_err(failed("rename", &self.part))?;
        sync_directory(&self.target).map_err(failed("sync the directory of", &self.target))
    }

    /// Removes both files: what has been written is useless.
    pub(crate) fn discard(&self) -> Result<()> {
        fs::remove_file(&self.journal).map_err(failed("remove", &self.journal))?;
        fs::remove_file(&self.part).map_err(failed("remove", &self.part))
    }

    /// Removes both files if the journal lists nothing, for any object. Listed ranges are kept after any error:
    /// the next download resumes with them.
    pub(crate) fn discard_if_empty(&self) -> Result<()> {
        match self.journal()? {
            Some((.., pieces)) if !pieces.is_empty() => Ok(()),
            _ => self.discard(),
        }
    }

    /// Writes one line by one call. A line may be torn, but never mixed with another.
    fn append(&self, journal: &mut File, line: &impl Serialize) -> Result<()> {
        let mut bytes = serde_json::to_vec(line).map_err(io::Error::from).map_err(failed("write", &self.journal))?;
        bytes.push(b'\n');
        journal.write_all(&bytes).map_err(failed("write", &self.journal))
    }
}

/// For `map_err`: the error of an operation on `path`.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DownloadError {
    let path = path.to_owned();
    move |source| DownloadError::File { doing, path, source }
}

fn sibling(target: &Path, name: &OsStr, suffix: &str) -> PathBuf {
    let mut name = name.to_owned();
    name.push(suffix);
    target.with_file_name(name)
}

/// The file that is replaced: `target`, or what it links to.
fn resolved(target: &Path) -> Result<PathBuf> {
    let path = target.to_owned();
    // If nothing is there or it cannot be examined, creating the part file reports a better error.
    let Ok(metadata) = fs::symlink_metadata(target) else { return Ok(path) };
    let (metadata, path) = match metadata.is_symlink() {
        false => (metadata, path),
        true => match fs::canonicalize(target).and_then(|real| Ok((fs::symlink_metadata(&real)?, real))) {
            Ok(real) => real,
            Err(_) => return Err(DownloadError::NotRegular { path, found: "a symbolic link to nothing" }),
        },
    };
    match kind(&metadata) {
        None => Ok(path),
        Some("a directory") => Err(DownloadError::IsDirectory { path: target.to_owned() }),
        Some(found) => Err(DownloadError::NotRegular { path: target.to_owned(), found }),
    }
}

/// Refuses `path` if it exists and is not a regular file. Checked before it is opened: opening a pipe or a device
/// may have effects, and opening a link may create a file elsewhere.
fn refuse_others(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path).ok().and_then(|metadata| kind(&metadata));
    found.map_or(Ok(()), |found| Err(DownloadError::Obstructed { path: path.to_owned(), found }))
}

/// What the file is, if it is not a regular file.
fn kind(metadata: &fs::Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_char_device() || kind.is_block_device() {
            return Some("a device");
        } else if kind.is_fifo() {
            return Some("a pipe");
        } else if kind.is_socket() {
            return Some("a socket");
        }
    }
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_symlink() => Some("a symbolic link"),
        () => Some("something else"),
    }
}

/// Whether `file`, opened as `path`, still has this name; a link may have replaced it meanwhile.
fn is_still(file: &File, path: &Path) -> Result<bool> {
    refuse_others(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let (file, path) = (file.metadata().map(id), fs::symlink_metadata(path).map(id));
        Ok(matches!((file, path), (Ok(file), Ok(path)) if file == path))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(path.exists())
    }
}

/// A new name is durable once its directory is synced.
#[cfg(unix)]
fn sync_directory(target: &Path) -> io::Result<()> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
