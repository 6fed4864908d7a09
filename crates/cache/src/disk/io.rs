//! The system calls of the disk tier, behind a trait: tests let them fail and take long.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;

/// The system calls of the disk tier. Every method does what its name says; tests override some.
pub trait DiskIo: fmt::Debug + Send + Sync {
    /// Reads into `parts` from `offset`, and returns how many bytes were read: fewer only at the end of the file.
    /// Unless it may `wait`, it reads nothing that is not in the page cache.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where it may not wait, and has to; those of the system.
    fn read(&self, file: &File, parts: &mut [IoSliceMut<'_>], offset: u64, wait: bool) -> io::Result<usize> {
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        if !wait {
            let read = system::read_now(file, parts, offset)?;
            return if read == wanted { Ok(read) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let (mut parts, mut read) = (parts, 0);
        while read < wanted {
            match system::read(file, parts, offset + read as u64) {
                Ok(0) => break,
                Ok(n) => {
                    read += n;
                    IoSliceMut::advance_slices(&mut parts, n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    /// Writes `parts` at `offset`.
    ///
    /// # Errors
    /// Those of the system.
    fn write(&self, file: &File, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        let (mut parts, mut written) = (parts, 0);
        while written < wanted {
            match system::write(file, parts, offset + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    written += n;
                    IoSlice::advance_slices(&mut parts, n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Opens a file to read it.
    ///
    /// # Errors
    /// Those of the system.
    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    /// Creates a file that was not there, for this user alone, to read and write it.
    ///
    /// # Errors
    /// Those of the system.
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        system::for_this_user(&mut options);
        options.open(path)
    }

    /// Renames a file.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the system.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Bytes that this user may still write to the file system of `directory`.
    ///
    /// # Errors
    /// Those of the system.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        system::free_bytes(directory)
    }
}

/// The system's own calls.
#[derive(Debug, Default)]
pub struct SystemIo;

impl DiskIo for SystemIo {}

#[cfg(unix)]
pub(super) use self::unix as system;
#[cfg(windows)]
pub(super) use self::windows as system;

#[cfg(unix)]
pub(super) mod unix {
    use std::fs::{DirBuilder, File, Metadata, OpenOptions};
    use std::io::{self, IoSlice, IoSliceMut};
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
    use std::path::Path;

    /// Reads what is in the page cache, without a wait for the disk.
    #[cfg(target_os = "linux")]
    pub(crate) fn read_now(file: &File, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        preadv2(file, parts, offset, ReadWriteFlags::NOWAIT).map_err(|error| match error {
            // The file system or the kernel cannot tell.
            Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL => io::ErrorKind::WouldBlock.into(),
            error => error.into(),
        })
    }

    /// Other systems cannot tell whether a read has to wait.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn read_now(_: &File, _: &mut [IoSliceMut<'_>], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    #[cfg(not(target_vendor = "apple"))]
    pub(crate) fn read(file: &File, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::preadv(file, parts, offset)?)
    }

    #[cfg(target_vendor = "apple")]
    pub(crate) fn read(file: &File, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        parts.iter_mut().find(|part| !part.is_empty()).map_or(Ok(0), |part| file.read_at(part, offset))
    }

    #[cfg(not(target_vendor = "apple"))]
    pub(crate) fn write(file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(file, parts, offset)?)
    }

    #[cfg(target_vendor = "apple")]
    pub(crate) fn write(file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        parts.iter().find(|part| !part.is_empty()).map_or(Ok(0), |part| file.write_at(part, offset))
    }

    pub(crate) fn for_this_user(options: &mut OpenOptions) {
        options.mode(0o600);
    }

    /// Makes a directory for this user alone, and the missing ones above it.
    pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    pub(crate) fn free_bytes(directory: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// How many files the process may have open, where there is a limit.
    pub(crate) fn file_limit() -> Option<usize> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
        usize::try_from(limit).ok()
    }

    /// Why somebody else may change what is in the directory, and what to do about it.
    pub(crate) fn exposure(directory: &Metadata) -> Option<&'static str> {
        let owner = directory.uid();
        if directory.mode() & 0o022 != 0 {
            return Some("other users can write to it, and so change what is read; run chmod go-w on it");
        }
        let is_own = owner == rustix::process::geteuid().as_raw() || owner == 0;
        (!is_own).then_some("it belongs to another user, who can change what is read; use a directory of your own")
    }
}

#[cfg(windows)]
pub(super) mod windows {
    use std::fs::{self, File, Metadata, OpenOptions};
    use std::io::{self, IoSlice, IoSliceMut};
    use std::os::windows::fs::FileExt;
    use std::path::Path;

    pub(crate) fn read_now(_: &File, _: &mut [IoSliceMut<'_>], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    pub(crate) fn read(file: &File, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        parts.iter_mut().find(|part| !part.is_empty()).map_or(Ok(0), |part| file.seek_read(part, offset))
    }

    pub(crate) fn write(file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        parts.iter().find(|part| !part.is_empty()).map_or(Ok(0), |part| file.seek_write(part, offset))
    }

    pub(crate) fn for_this_user(_: &mut OpenOptions) {}

    pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    /// Not known: the floor does not count on this system.
    pub(crate) fn free_bytes(_: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    pub(crate) fn file_limit() -> Option<usize> {
        None
    }

    pub(crate) fn exposure(_: &Metadata) -> Option<&'static str> {
        None
    }
}
