//! The directory: what it must be to be used, its files and its locks.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headstart_fetch_core::ConfigError;

use super::io::{DiskIo, system};
use super::policy::layout::{DiskFile, FORMAT, SegmentId, SegmentState};

/// Foreign files that an error names.
const NAMED_FILES: usize = 3;

/// A directory of segments.
#[derive(Debug, Clone)]
pub(crate) struct DiskDirectory {
    pub(crate) path: PathBuf,
    pub(crate) io: Arc<dyn DiskIo>,
}

/// A file of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListedFile {
    pub(crate) file: DiskFile,
    pub(crate) bytes: u64,
}

impl DiskDirectory {
    /// Opens the directory at `path`, or makes it.
    ///
    /// # Errors
    /// [`ConfigError`] where it is not a directory of this format that only this user can change. Nothing in it is
    /// touched then.
    pub(crate) fn open(path: &Path, io: Arc<dyn DiskIo>) -> Result<Self, ConfigError> {
        let bad = |why: String| ConfigError::bad("disk_directory", path.display(), why);
        let failed = |what: &str, error: io::Error| bad(format!("cannot {what}: {error}"));
        let directory = Self { path: path.to_owned(), io };
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => return Err(bad("expected a directory".to_owned())),
            Ok(found) => {
                if let Some(why) = system::exposure(&found) {
                    return Err(bad(why.to_owned()));
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                system::create_directory(path).map_err(|error| failed("make it", error))?;
            }
            Err(error) => return Err(failed("open it", error)),
        }
        let names = directory.names().map_err(|error| failed("list it", error))?;
        let foreign: Vec<_> = names.iter().filter(|name| DiskFile::parse(name).is_none()).collect();
        if !foreign.is_empty() {
            let named: Vec<_> = foreign.iter().take(NAMED_FILES).map(|name| name.as_str()).collect();
            let more = if foreign.len() > NAMED_FILES { " and others" } else { "" };
            let named = named.join(", ");
            return Err(bad(format!("it has files that are not the cache's ({named}{more}); use an empty directory")));
        }
        let marker = directory.file(DiskFile::Marker);
        let is_made = names.iter().any(|name| DiskFile::parse(name) == Some(DiskFile::Marker));
        let has_segments = names.iter().any(|name| matches!(DiskFile::parse(name), Some(DiskFile::Segment(..))));
        if !is_made && has_segments && !marker.exists() {
            return Err(bad("it has segments, but no file headstart-cache; use an empty directory".to_owned()));
        }
        // After a power failure the file may be there without its text.
        let is_empty = fs::metadata(&marker).is_ok_and(|found| found.len() == 0);
        if !is_made || is_empty {
            directory.write_marker().map_err(|error| failed("write to it", error))?;
        }
        let mut text = String::new();
        let read = File::open(&marker).and_then(|file| file.take(1000).read_to_string(&mut text));
        read.map_err(|error| failed("read its file headstart-cache", error))?;
        if text != marker_text() {
            let found = text.lines().next().unwrap_or_default();
            return Err(bad(format!("its format is '{found}', expected '{}'; use another one", marker_text().trim())));
        }
        Ok(directory)
    }

    /// Writes the file that says what the directory is. Several processes may do so at once.
    fn write_marker(&self) -> io::Result<()> {
        // A lock is nobody's to remove. Renamed, the file is complete from the first moment that others see it.
        let (writer, lock) = self.new_writer()?;
        (&lock.0).write_all(marker_text().as_bytes())?;
        lock.0.sync_all()?;
        self.io.rename(&self.file(DiskFile::WriterLock(writer)), &self.file(DiskFile::Marker))
    }

    /// The path of a file.
    pub(crate) fn file(&self, file: DiskFile) -> PathBuf {
        self.path.join(file.name())
    }

    /// The path of a segment.
    pub(crate) fn segment(&self, id: SegmentId, state: SegmentState) -> PathBuf {
        self.file(DiskFile::Segment(id, state))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Our files, in no particular order. Files that go while they are listed are left out.
    pub(crate) fn list(&self) -> io::Result<Vec<ListedFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Some(file) = entry.file_name().to_str().and_then(DiskFile::parse) else { continue };
            match entry.metadata() {
                // A directory or pipe of such a name is not ours.
                Ok(found) if found.is_file() => files.push(ListedFile { file, bytes: found.len() }),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Takes the lock of the process that makes room; `None` while another process has it.
    pub(crate) fn lock_keeper(&self) -> io::Result<Option<HeldLock>> {
        let path = self.file(DiskFile::KeeperLock);
        let file = match open_lock(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => match self.io.create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => open_lock(&path)?,
                created => created?,
            },
            opened => opened?,
        };
        Ok(HeldLock::take(file))
    }

    /// Makes a new writer: its number, and its lock.
    pub(crate) fn new_writer(&self) -> io::Result<(u64, HeldLock)> {
        loop {
            let writer = random();
            let path = self.file(DiskFile::WriterLock(writer));
            let file = match self.io.create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                created => created?,
            };
            // A keeper may have found the file before it was locked, and taken its writer for dead.
            if let Some(lock) = HeldLock::take(file)
                && path.exists()
            {
                return Ok((writer, lock));
            }
        }
    }

    /// The lock of a writer that is dead; `None` while it lives.
    pub(crate) fn lock_of_dead(&self, writer: u64) -> Option<HeldLock> {
        HeldLock::take(open_lock(&self.file(DiskFile::WriterLock(writer))).ok()?)
    }
}

/// A locked file. Dropping it unlocks the file: to close it would not do where a forked child has it open too.
#[derive(Debug)]
pub(crate) struct HeldLock(File);

impl HeldLock {
    /// Locks `file`; `None` where it is locked already.
    fn take(file: File) -> Option<Self> {
        file.try_lock().is_ok().then_some(Self(file))
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        // Where this fails, closing the file unlocks it.
        let _ = self.0.unlock();
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn marker_text() -> String {
    format!("headstart disk cache, format {FORMAT}\n")
}

/// A number that no other process chooses: the random key of a new hasher.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::super::io::SystemIo;
    use super::*;

    fn open(path: &Path) -> Result<DiskDirectory, String> {
        DiskDirectory::open(path, Arc::new(SystemIo)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_missing_directory_is_made_and_opened_again() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("a/b");
        open(&path).expect("made");
        open(&path).expect("opened");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("made").permissions().mode() & 0o777, 0o700);
            let marker = fs::metadata(path.join("headstart-cache")).expect("made");
            assert_eq!(marker.permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn foreign_files_and_formats_are_named_and_left_alone() {
        for (name, text, says) in [
            ("photo.jpg", "x", "photo.jpg"),
            ("headstart-cache", "headstart disk cache, format 99\n", "format 99"),
            ("00000000000000ab-00000001.segment", "x", "no file headstart-cache"),
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            fs::write(directory.path().join(name), text).expect("written");
            let error = open(directory.path()).expect_err(name);
            assert!(error.contains(says) && error.contains("disk_directory"), "{error}");
            let files: Vec<_> = fs::read_dir(directory.path()).expect("listed").collect();
            assert_eq!(files.len(), 1);
            assert_eq!(fs::read_to_string(directory.path().join(name)).expect("left"), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("changed");
        let error = open(directory.path()).expect_err("exposed");
        assert!(error.contains("chmod go-w"), "{error}");
    }

    #[test]
    fn locks_tell_the_living_from_the_dead() {
        let path = tempfile::tempdir().expect("a directory");
        let directory = open(path.path()).expect("made");
        let (writer, lock) = directory.new_writer().expect("made");
        assert!(directory.lock_of_dead(writer).is_none());
        drop(lock);
        assert!(directory.lock_of_dead(writer).is_some());
        let keeper = directory.lock_keeper().expect("no error").expect("nobody has it");
        assert!(directory.lock_keeper().expect("no error").is_none());
        // As a child has it that was forked meanwhile.
        let inherited = keeper.0.try_clone().expect("a descriptor");
        drop(keeper);
        assert!(directory.lock_keeper().expect("no error").is_some());
        drop(inherited);
    }

    #[test]
    fn a_marker_without_text_is_written_anew() {
        let path = tempfile::tempdir().expect("a directory");
        let marker = open(path.path()).expect("made").file(DiskFile::Marker);
        fs::write(&marker, "").expect("truncated");
        open(path.path()).expect("as after a power failure");
        assert_eq!(fs::read_to_string(&marker).expect("there"), marker_text());
    }
}
