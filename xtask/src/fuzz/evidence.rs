//! Which versions the bytes of one answer can belong to.

use headstart_sim::Content;

use super::{Checked, Failure, History, Span, Version};

/// Bytes compared at a time to tell a torn answer from one with wrong bytes.
const PIECE_BYTES: usize = 512;

/// The name from which all contents are derived, together with their number.
const NAME: &str = "fuzz";

pub(crate) fn content(version: &Version) -> Content {
    Content::new(NAME, version.content)
}

/// What one answer has shown so far.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    key: usize,
    /// The versions that agree with all bytes so far.
    pub(crate) versions: Vec<Version>,
    /// The versions were not narrowed yet, so that versions stored since the call began count too.
    is_open: bool,
    /// The answer's offset; `None` before it is known.
    pub(crate) start: Option<u64>,
    pub(crate) seen: u64,
}

impl Evidence {
    /// No bytes of `key` have been seen.
    pub(crate) fn new(history: &History, key: usize) -> Self {
        Self { key, versions: history.versions(key).collect(), is_open: true, start: None, seen: 0 }
    }

    /// The answer belongs to one of `versions`.
    pub(crate) fn narrow(&mut self, versions: Vec<Version>) {
        (self.versions, self.is_open) = (versions, false);
    }

    /// The answer has ended. Without a byte that narrowed them, all versions so far count.
    pub(crate) fn end(&mut self, history: &History) {
        if self.is_open {
            self.versions = history.versions(self.key).collect();
        }
    }

    /// The evidence of a complete answer that starts at byte `start`.
    pub(crate) fn of(history: &History, key: usize, start: u64, bytes: &[u8]) -> Checked<Self> {
        let mut evidence = Self::new(history, key);
        evidence.start = Some(start);
        evidence.take(history, bytes)?;
        Ok(evidence)
    }

    /// Whether an answer to `span` identifies a version. An answer without bytes does so only at its end.
    pub(crate) fn proves(&self, span: &Span, is_whole: bool) -> bool {
        self.seen > 0 || is_whole && !span.is_empty()
    }

    /// Records the next chunk.
    ///
    /// # Errors
    /// If no single version agrees with all bytes.
    pub(crate) fn take(&mut self, history: &History, chunk: &[u8]) -> Checked {
        if chunk.is_empty() {
            return Ok(());
        }
        let at = self.start.unwrap_or(0) + self.seen;
        self.seen += chunk.len() as u64;
        if std::mem::take(&mut self.is_open) {
            self.versions = history.versions(self.key).collect();
        }
        let before = std::mem::take(&mut self.versions);
        self.versions = before.iter().copied().filter(|version| agrees(version, at, chunk)).collect();
        if !self.versions.is_empty() {
            return Ok(());
        }
        let of = |piece_at, piece: &[u8]| history.versions(self.key).find(|version| agrees(version, piece_at, piece));
        let mut runs: Vec<(u64, Option<Version>)> = Vec::new();
        for (index, piece) in chunk.chunks(PIECE_BYTES).enumerate() {
            let piece_at = at + (index * PIECE_BYTES) as u64;
            let version = of(piece_at, piece);
            if runs.last().is_none_or(|(_, last)| *last != version) {
                runs.push((piece_at, version));
            }
        }
        let class = if is_mixed(history, self.key, at, chunk) { "torn" } else { "wrong bytes" };
        let runs: Vec<String> = runs.iter().map(|(at, version)| format!("from {at}: {}", name(*version))).collect();
        let before: Vec<String> = before.iter().map(|version| name(Some(*version))).collect();
        Err(Failure::new(class, format!("k{}: {}; before: {}", self.key, runs.join(", "), before.join(" or "))))
    }
}

/// Whether every byte belongs to some version. 512 matching bytes are no coincidence.
fn is_mixed(history: &History, key: usize, at: u64, bytes: &[u8]) -> bool {
    let mut known = vec![false; bytes.len()];
    for version in history.versions(key).filter(|version| version.size > at) {
        let end = version.size.min(at + bytes.len() as u64);
        let right = content(&version).bytes(at..end);
        let same = right.iter().zip(bytes).map(|(right, byte)| right == byte);
        known.iter_mut().zip(same).for_each(|(known, same)| *known |= same);
    }
    known.into_iter().all(|known| known)
}

fn agrees(version: &Version, at: u64, bytes: &[u8]) -> bool {
    at + bytes.len() as u64 <= version.size && content(version).check(at, bytes).is_ok()
}

/// A version as failures show it.
pub(crate) fn name(version: Option<Version>) -> String {
    let Some(Version { content, token, size }) = version else { return "nothing".into() };
    format!("v{token} (bytes {content}, {size} long)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn bytes_tell_their_version() {
        let mut history = History::new(&[Some(1000)]);
        let second = history.written(1000);
        history.store(0, Duration::from_secs(1), Some(second));
        let first = history.versions(0).next().expect("it is there");
        let bytes = |version: &Version, range| content(version).bytes(range);
        let mut evidence = Evidence::of(&history, 0, 100, &bytes(&first, 100..200)).expect("right");
        assert_eq!(evidence.versions, [first]);
        evidence.take(&history, &bytes(&first, 200..300)).expect("right");
        let torn = evidence.take(&history, &bytes(&second, 300..400)).expect_err("of another version");
        assert_eq!(torn.class, "torn");
        let shifted = Evidence::of(&history, 0, 100, &bytes(&first, 101..201)).expect_err("shifted");
        assert_eq!(shifted.class, "wrong bytes");
        let nothing = Evidence::of(&history, 0, 2000, b"").expect("no bytes, no wrong bytes");
        assert_eq!(nothing.versions, [first, second]);
    }
}
