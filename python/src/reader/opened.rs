//! The reader of one process: its reads, and the version that it must read.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use headstart::object_store::ObjectMeta;
use headstart::object_store::path::Path;
use headstart::{ObjectChanged, ObjectVersion};
use tokio::sync::{Mutex, watch};

use crate::answers::Outcome;
use crate::buffer;
use crate::errors::Failure;
use crate::recipe::OpenStore;

/// The first read of an object of unknown length, where all of it is wanted: one GET brings small objects.
const FIRST_READ_BYTES: u64 = 1 << 20;

/// The reader of one process.
pub(super) struct Opened {
    pub(super) reader: headstart::Reader,
    pub(super) store: Arc<OpenStore>,
    /// The version that must be read.
    expected: Option<ObjectVersion>,
    /// The version of the first answer.
    pub(super) seen: OnceLock<ObjectVersion>,
    /// Held by a read that moves the position, so that concurrent reads get different bytes.
    turn: Mutex<()>,
    /// Whether the file was closed: ends the calls that wait.
    is_closed: watch::Sender<bool>,
}

impl Opened {
    pub(super) fn new(reader: headstart::Reader, store: Arc<OpenStore>, expected: Option<ObjectVersion>) -> Self {
        let (seen, turn) = (OnceLock::new(), Mutex::default());
        Self { reader, store, expected, seen, turn, is_closed: watch::Sender::new(false) }
    }

    /// Waits for `call`, until the file is closed.
    pub(super) async fn until_closed<T>(&self, call: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let mut is_closed = self.is_closed.subscribe();
        tokio::select! {
            done = call => done,
            _ = is_closed.wait_for(|is_closed| *is_closed) => Err(Failure::Closed),
        }
    }

    pub(super) fn close(&self) {
        self.is_closed.send_replace(true);
        self.reader.close();
    }

    pub(super) async fn read_at(&self, start: u64, end: u64) -> Outcome<Vec<Bytes>> {
        if end < u64::MAX || self.seen.get().is_some() || self.expected.is_some() {
            return self.read_range(start, end).await;
        }
        // The answer tells the length, so that the rest is fetched in parallel. A HEAD would take as long.
        let mut chunks = self.read_range(start, start.saturating_add(FIRST_READ_BYTES)).await?;
        let read = length(&chunks);
        if read == FIRST_READ_BYTES {
            chunks.extend(self.read_range(start + read, end).await?);
        }
        Ok(chunks)
    }

    async fn read_range(&self, start: u64, end: u64) -> Outcome<Vec<Bytes>> {
        let chunks = self.reader.chunks_at(start..end.max(start)).await?;
        if !chunks.is_empty() && self.seen.get().is_none() {
            // Needs no request after an answer.
            self.version().await?;
        }
        Ok(chunks)
    }

    /// Reads up to `most` bytes from the position on, and moves it.
    pub(super) async fn read_on(&self, position: &AtomicU64, most: u64) -> Outcome<Vec<Bytes>> {
        let _turn = self.turn.lock().await;
        let at = position.load(Ordering::Relaxed);
        let chunks = self.read_at(at, at.saturating_add(most)).await?;
        position.store(at.saturating_add(length(&chunks)), Ordering::Relaxed);
        Ok(chunks)
    }

    /// The version that is read. Checks that it is the one that the parent has read.
    pub(super) async fn version(&self) -> Outcome<ObjectVersion> {
        let found = self.reader.version().await?;
        if let Some(expected) = &self.expected
            && !(expected.matches(&found) && expected.size == found.size)
        {
            return Err(Failure::Store(ObjectChanged::new(self.reader.path(), expected, Some(&found)).into()));
        }
        Ok(self.seen.get_or_init(|| found).clone())
    }
}

fn length(chunks: &[Bytes]) -> u64 {
    chunks.iter().map(|chunk| chunk.len() as u64).sum()
}

/// The metadata of an object of this version, to open it without a request.
pub(super) fn meta_of(location: Path, version: ObjectVersion) -> ObjectMeta {
    let ObjectVersion { e_tag, version, last_modified, size } = version;
    // The Unix epoch stands for an unknown date.
    ObjectMeta { location, last_modified: last_modified.unwrap_or_default(), size, e_tag, version }
}

/// One buffer of all chunks; without a copy where there is one.
pub(super) fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    match chunks.len() {
        0 | 1 => chunks.pop().unwrap_or_default(),
        _ => buffer::concat(&chunks),
    }
}
