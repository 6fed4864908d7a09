//! Checksums of objects and of files of this machine, and the bytes of a file beside those of an object.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use headstart::object_store::GetResult;
use headstart_fetch_core::internal::Crc32c;

use crate::failure::{Failure, FailureKind};

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;

/// The CRC32C of an object that its store reports.
pub(crate) fn reported_crc32c(answer: &GetResult) -> Option<u32> {
    answer.extensions.get::<Crc32c>().map(|Crc32c(crc32c)| *crc32c)
}

/// The CRC32C of a file.
///
/// # Errors
/// The file cannot be read.
pub(crate) async fn crc32c_of_file(file: &Path) -> Result<u32, Failure> {
    let file = file.to_owned();
    blocking(move || {
        let failed = |error| Failure::file("read", &file, &error);
        let mut open = File::open(&file).map_err(failed)?;
        let (mut buffer, mut crc32c) = (vec![0; READ_BYTES], 0);
        loop {
            match open.read(&mut buffer).map_err(failed)? {
                0 => return Ok(crc32c),
                read => crc32c = crc32c::crc32c_append(crc32c, &buffer[..read]),
            }
        }
    })
    .await
}

/// Runs work that blocks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let lost = |error| Failure::new(FailureKind::Other, format!("The program failed: {error}."));
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}

/// A file whose bytes are compared with those of a stream, in order.
#[derive(Debug)]
pub(crate) struct ComparedFile {
    name: std::path::PathBuf,
    open: File,
    buffer: Vec<u8>,
    /// Bytes that were equal.
    pub(crate) equal_bytes: u64,
}

impl ComparedFile {
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn open(name: &Path) -> Result<Self, Failure> {
        let open = File::open(name).map_err(|error| Failure::file("read", name, &error))?;
        Ok(Self { name: name.to_owned(), open, buffer: Vec::new(), equal_bytes: 0 })
    }

    /// Compares the next bytes. Returns false where the file differs or ends; `equal_bytes` then says where.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) async fn has_next(self, bytes: Bytes) -> Result<(Self, bool), Failure> {
        blocking(move || self.compare(&bytes)).await
    }

    fn compare(mut self, bytes: &[u8]) -> Result<(Self, bool), Failure> {
        self.buffer.resize(bytes.len(), 0);
        let mut read = 0;
        while read < bytes.len() {
            match self.open.read(&mut self.buffer[read..]) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::file("read", &self.name, &error)),
            }
        }
        let equal = self.buffer[..read].iter().zip(bytes).take_while(|(one, other)| one == other).count();
        self.equal_bytes += equal as u64;
        Ok((self, equal == bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_summed_and_compared() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("f");
        std::fs::write(&file, b"0123456789").expect("written");
        assert_eq!(crc32c_of_file(&file).await, Ok(crc32c::crc32c(b"0123456789")));
        for (pieces, is_equal, at) in
            [(&["01234", "56789"][..], true, 10), (&["01x"], false, 2), (&["0123456789", "a"], false, 10)]
        {
            let mut compared = ComparedFile::open(&file).expect("opened");
            let mut all_equal = true;
            for piece in pieces {
                let (next, equal) = compared.has_next(Bytes::from_static(piece.as_bytes())).await.expect("read");
                (compared, all_equal) = (next, all_equal && equal);
            }
            assert_eq!((all_equal, compared.equal_bytes), (is_equal, at));
        }
    }
}
