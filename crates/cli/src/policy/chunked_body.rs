//! The chunks in which SDKs of AWS send a body (`aws-chunked`): sizes in hexadecimal, data, and headers at the end.
//!
//! Signatures of chunks are skipped. Source: "Signature Calculations for the Authorization Header: Transferring Payload
//! in Multiple Chunks" in the documentation of Amazon S3.

use bytes::{Buf, Bytes};

/// The longest line of a size, its signature, or a header at the end.
const MOST_LINE_BYTES: usize = 4 << 10;

/// Takes the data out of chunks.
#[derive(Debug, Default)]
pub(crate) struct ChunkDecoder {
    state: State,
    /// The part of a line that has arrived.
    line: Vec<u8>,
    trailers: Trailers,
}

/// Headers after the data: names in lower case, and values.
type Trailers = Vec<(String, String)>;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// So many bytes of data are missing.
    Data(u64),
    /// The empty line after data.
    AfterData,
    Trailers,
    Done,
}

impl ChunkDecoder {
    /// The next piece of data in `input`, from which what was read is taken; `None` where all is read.
    ///
    /// # Errors
    /// The input is not in such chunks.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, &'static str> {
        while !input.is_empty() {
            self.state = match self.state {
                State::Data(missing) => {
                    let len = usize::try_from(missing).unwrap_or(usize::MAX).min(input.len());
                    let left = missing - len as u64;
                    self.state = if left == 0 { State::AfterData } else { State::Data(left) };
                    return Ok(Some(input.split_to(len)));
                }
                State::Done => return Err("bytes follow its last chunk"),
                State::Size | State::AfterData | State::Trailers => {
                    let Some(line) = self.take_line(input)? else { return Ok(None) };
                    self.after_line(&line)?
                }
            };
        }
        Ok(None)
    }

    /// The headers that followed the data.
    ///
    /// # Errors
    /// The last chunk has not arrived.
    pub(crate) fn finish(self) -> Result<Trailers, &'static str> {
        match self.state {
            State::Done => Ok(self.trailers),
            _ => Err("its last chunk is missing"),
        }
    }

    fn after_line(&mut self, line: &str) -> Result<State, &'static str> {
        match (self.state, line) {
            (State::Size, line) => {
                let size = line.split(';').next().unwrap_or_default();
                match u64::from_str_radix(size, 16) {
                    Ok(0) => Ok(State::Trailers),
                    Ok(size) => Ok(State::Data(size)),
                    Err(_) => Err("a chunk has no size"),
                }
            }
            (State::AfterData, "") => Ok(State::Size),
            (State::AfterData, _) => Err("a chunk is longer than its size"),
            (_, "") => Ok(State::Done),
            (_, header) => {
                let (name, value) = header.split_once(':').ok_or("a header after the last chunk has no value")?;
                self.trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                Ok(State::Trailers)
            }
        }
    }

    /// A whole line without its end.
    fn take_line(&mut self, input: &mut Bytes) -> Result<Option<String>, &'static str> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let len = end.unwrap_or(input.len());
        if self.line.len() + len > MOST_LINE_BYTES {
            return Err("a line between its chunks is too long");
        }
        self.line.extend_from_slice(&input.split_to(len));
        if end.is_none() {
            return Ok(None);
        }
        input.advance(1);
        let mut line = std::mem::take(&mut self.line);
        if line.pop() != Some(b'\r') {
            return Err("a line between its chunks has no end");
        }
        String::from_utf8(line).map(Some).map_err(|_| "a line between its chunks is no text")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &[u8], cut: usize) -> Result<(Vec<u8>, Trailers), &'static str> {
        let mut decoder = ChunkDecoder::default();
        let mut data = Vec::new();
        for piece in text.chunks(cut.max(1)) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(piece) = decoder.next(&mut input)? {
                data.extend_from_slice(&piece);
            }
            assert!(input.is_empty());
        }
        Ok((data, decoder.finish()?))
    }

    #[test]
    fn signatures_are_skipped_and_headers_kept() {
        let text =
            b"5;chunk-signature=ab\r\nhello\r\n1\r\n!\r\n0;chunk-signature=cd\r\nX-Amz-Checksum-CRC32: a==\r\n\r\n";
        let trailers = vec![("x-amz-checksum-crc32".to_owned(), "a==".to_owned())];
        assert_eq!(decoded(text, 1000), Ok((b"hello!".to_vec(), trailers)));
        assert_eq!(decoded(b"0\r\n\r\n", 1), Ok((Vec::new(), Vec::new())));
    }

    #[test]
    fn what_is_not_in_chunks_is_an_error() {
        for (text, says) in [
            (&b"hello"[..], "missing"),
            (b"hello\r\n", "no size"),
            (b"-5\r\nhello\r\n", "no size"),
            (b"\r\n", "no size"),
            (b"5\r\nhello!\r\n0\r\n\r\n", "longer"),
            (b"5\r\nhello\r\n", "missing"),
            (b"5\r\nhello\r\n0\r\n", "missing"),
            (b"5\nhello", "no end"),
            (b"0\r\nx\r\n\r\n", "no value"),
            (b"0\r\n\r\n0", "follow"),
            (b"\xff\r\n", "no text"),
            (&[b'a'; 5000], "too long"),
        ] {
            let error = decoded(text, 3).expect_err("no error");
            assert!(error.contains(says), "{}: {error}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn any_chunks_in_any_pieces_give_the_data(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8), cut in 1..40_usize,
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decoded(&text, cut), Ok((chunks.concat(), Vec::new())));
        }

        #[test]
        fn any_bytes_are_refused_or_decoded(text in prop::collection::vec(any::<u8>(), 0..200), cut in 1..40_usize) {
            let _ = decoded(&text, cut);
        }
    }
}
