//! A reader for threads without a runtime: `std::io::{Read, Seek, BufRead}`.

use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::runtime::Handle;

use crate::reader::Reader;
use crate::reader::cursor::offset_from;

/// A [`Reader`] for threads that may block. Made by [`Reader::blocking`].
///
/// Its calls panic on a thread that drives a runtime's tasks; [`Reader::blocking`] refuses those.
#[derive(Debug)]
pub struct BlockingReader {
    pub(super) reader: Reader,
    pub(super) runtime: Handle,
}

impl BlockingReader {
    /// [`Reader::read_at`], blocking.
    ///
    /// # Errors
    /// As [`Reader::read_at`].
    pub fn read_at(&self, range: Range<u64>) -> object_store::Result<Bytes> {
        self.runtime.block_on(self.reader.read_at(range))
    }

    /// The object's length in bytes.
    ///
    /// # Errors
    /// As [`Reader::size`].
    pub fn size(&self) -> object_store::Result<u64> {
        self.runtime.block_on(self.reader.size())
    }

    /// The asynchronous reader.
    #[must_use]
    pub fn into_inner(self) -> Reader {
        self.reader
    }
}

impl Read for BlockingReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.reader.read(buf))
    }
}

impl BufRead for BlockingReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.runtime.block_on(self.reader.fill_buf())
    }

    fn consume(&mut self, amount: usize) {
        self.reader.cursor.consume(amount);
    }
}

impl Seek for BlockingReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::Current(offset) => offset_from(self.reader.cursor.position, offset)?,
            SeekFrom::End(offset) => offset_from(self.size().map_err(io::Error::from)?, offset)?,
        };
        self.reader.cursor.seek(position);
        Ok(position)
    }
}
