//! Reads and writes at a position of a file, safe for concurrent use.

use std::fs::File;
use std::io::{ErrorKind, Result};

/// Reads into `buffer` from byte `at` until it is full or the file ends. Returns the number of bytes read.
pub(crate) fn read_up_to(file: &File, mut buffer: &mut [u8], mut at: u64) -> Result<usize> {
    let wanted = buffer.len();
    while !buffer.is_empty() {
        match read_at(file, buffer, at) {
            Ok(0) => break,
            Ok(bytes) => {
                buffer = &mut buffer[bytes..];
                at += bytes as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - buffer.len())
}

/// Writes all of `bytes` at byte `at`.
#[cfg(any(test, feature = "download"))]
pub(crate) fn write_all(file: &File, mut bytes: &[u8], mut at: u64) -> Result<()> {
    while !bytes.is_empty() {
        match write_at(file, bytes, at) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
use std::os::unix::fs::FileExt;

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> Result<usize> {
    file.read_at(buffer, at)
}

#[cfg(all(unix, any(test, feature = "download")))]
fn write_at(file: &File, bytes: &[u8], at: u64) -> Result<usize> {
    file.write_at(bytes, at)
}

/// Other systems have one position per file, not per call. This lock serialises the calls on all files.
#[cfg(not(unix))]
static ONE_AT_A_TIME: crate::internal::locks::Mutex<()> = crate::internal::locks::Mutex::new(());

#[cfg(not(unix))]
fn read_at(mut file: &File, buffer: &mut [u8], at: u64) -> Result<usize> {
    use std::io::{Read, Seek, SeekFrom};
    let _alone = ONE_AT_A_TIME.lock();
    file.seek(SeekFrom::Start(at))?;
    file.read(buffer)
}

#[cfg(all(not(unix), any(test, feature = "download")))]
fn write_at(mut file: &File, bytes: &[u8], at: u64) -> Result<usize> {
    use std::io::{Seek, SeekFrom, Write};
    let _alone = ONE_AT_A_TIME.lock();
    file.seek(SeekFrom::Start(at))?;
    file.write(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_any_order_is_read_back() {
        let file = tempfile::tempfile().unwrap();
        write_all(&file, b"world", 7).unwrap();
        write_all(&file, b"hello, ", 0).unwrap();
        let mut buffer = [0; 20];
        assert_eq!(read_up_to(&file, &mut buffer, 2).unwrap(), 10);
        assert_eq!(&buffer[..10], b"llo, world");
        assert_eq!(read_up_to(&file, &mut buffer, 12).unwrap(), 0);
    }
}
