//! The parts of one read, in the order of their bytes: arrived, in flight, and not sent yet.

use std::task::{Context, Poll, Waker};
use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;
use object_store::{Error, Result};
use tokio::task::AbortHandle;

use crate::limits::budget::Reservation;
use crate::policy::byte_range;
use crate::protocol::extensions::Promotion;
use crate::protocol::version::ObjectVersion;

/// What the first part may hold without a reservation: a few chunks, so that reading and receiving overlap.
const UNRESERVED_BYTES: u64 = 256 * 1024;

/// The parts that have been sent and not read, and the bytes that have not been requested.
#[derive(Default)]
pub(crate) struct Slots {
    /// Parts sent, in the order of their bytes. The reader reads the first one.
    pub(crate) line: VecDeque<Slot>,
    /// The part at the end of the object, if it was fetched first (the answer to a suffix).
    pub(crate) tail: Option<Slot>,
    /// Bytes not requested yet.
    pub(crate) unsent: Range<u64>,
    /// Known from the first answer on.
    pub(crate) version: Option<ObjectVersion>,
    /// The next byte for the reader.
    pub(crate) position: u64,
    /// Parts sent so far; also the number of the next one.
    pub(crate) sent: u64,
    pub(crate) failure: Option<Error>,
    /// The reader is gone or has got an error.
    pub(crate) closed: bool,
    pub(crate) reader: Option<Waker>,
}

/// One part.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) number: u64,
    pub(crate) range: Range<u64>,
    /// The next byte to arrive.
    pub(crate) at: u64,
    pub(crate) chunks: VecDeque<Bytes>,
    pub(crate) unread_bytes: u64,
    pub(crate) memory: PartMemory,
    /// The task has ended.
    pub(crate) done: bool,
    /// The waker of a task whose request failed before the size was known: the part may lie past the end of the object.
    pub(crate) failed: Option<Waker>,
    /// The waker of a task that waits until the reader has taken a chunk.
    pub(crate) drainer: Option<Waker>,
    pub(crate) task: Option<PartTask>,
    /// Used when the reader waits for this part: its request then waits for a permit as demand.
    pub(crate) promotion: Promotion,
}

/// What the bytes of a part are charged to.
#[derive(Default)]
pub(crate) enum PartMemory {
    /// A reservation of a layer above.
    Elsewhere,
    /// Our reservation. Each chunk handed on releases its share.
    Reserved(Reservation),
    /// Nothing: at most [`UNRESERVED_BYTES`] are held.
    #[default]
    Unreserved,
}

/// A task that is aborted when its owner is dropped.
pub(crate) struct PartTask(pub(crate) AbortHandle);

impl Drop for PartTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the slot did with a chunk.
pub(crate) enum PutOutcome {
    /// Kept. The task continues.
    Go,
    /// Kept. The task waits until the reader has taken a chunk.
    Full,
    /// Not kept: these bytes are not needed any more.
    Unwanted(u64),
}

impl Slots {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Slot> {
        self.line.iter().chain(&self.tail)
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.line.iter_mut().chain(&mut self.tail)
    }

    /// A number for the next part.
    pub(crate) fn number(&mut self) -> u64 {
        self.sent += 1;
        self.sent - 1
    }

    pub(crate) fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        self.all_mut().find(|slot| slot.number == number)
    }

    pub(crate) fn put(&mut self, number: u64, bytes: Bytes) -> PutOutcome {
        let Some(slot) = self.slot(number) else { return PutOutcome::Unwanted(bytes.len() as u64) };
        slot.at += bytes.len() as u64;
        slot.unread_bytes += bytes.len() as u64;
        slot.chunks.push_back(bytes);
        let full = slot.is_full();
        self.wake_reader_of(number);
        if full { PutOutcome::Full } else { PutOutcome::Go }
    }

    pub(crate) fn done(&mut self, number: u64) {
        if let Some(slot) = self.slot(number) {
            slot.done = true;
            self.wake_reader_of(number);
            self.forget_read();
        }
    }

    /// Drops parts that have been read to their end, so that the next one becomes the first.
    pub(crate) fn forget_read(&mut self) {
        while self.line.front().is_some_and(|head| head.done && head.chunks.is_empty()) {
            self.line.pop_front();
            if let Some(next) = self.line.front() {
                next.promotion.promote();
            }
        }
        if self.line.is_empty() && self.unsent.is_empty() {
            self.line.extend(self.tail.take());
        }
    }

    pub(crate) fn wake_reader_of(&mut self, number: u64) {
        let head = self.line.front().or(self.tail.as_ref());
        if head.is_some_and(|head| head.number == number) {
            self.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Waits until the first answer has told the version. Never ready for a part that was dropped: its task is aborted.
    pub(crate) fn poll_version(&mut self, number: u64, cx: &mut Context<'_>) -> Poll<ObjectVersion> {
        match (self.version.clone(), self.slot(number)) {
            (Some(version), Some(_)) => return Poll::Ready(version),
            (None, Some(slot)) => slot.failed = Some(cx.waker().clone()),
            (_, None) => {}
        }
        Poll::Pending
    }

    /// Waits until the slot has room, or is gone.
    pub(crate) fn poll_room(&mut self, number: u64, cx: &mut Context<'_>) -> Poll<()> {
        let Some(slot) = self.slot(number).filter(|slot| slot.is_full()) else { return Poll::Ready(()) };
        slot.drainer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next chunk for the reader.
    pub(crate) fn take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(error) = self.failure.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.line.is_empty() && self.unsent.is_empty() {
            return Poll::Ready(None);
        }
        // Without a first part, a task is about to send it.
        let Some(bytes) = self.line.front_mut().and_then(Slot::take) else {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        self.position += bytes.len() as u64;
        self.forget_read();
        Poll::Ready(Some(Ok(bytes)))
    }

    /// Removes what lies past the end of the object, at `size`. Returns the parts to drop.
    pub(crate) fn cut_off_at(&mut self, size: u64) -> Vec<Slot> {
        self.unsent.end = self.unsent.end.min(size).max(self.unsent.start);
        let mut beyond = Vec::new();
        while self.line.back().is_some_and(|last| last.range.start >= size) {
            beyond.extend(self.line.pop_back());
        }
        if let Some(last) = self.line.back_mut()
            && last.range.end > size
        {
            let excess = last.range.end - size;
            last.range.end = size;
            if let PartMemory::Reserved(reservation) = &mut last.memory {
                reservation.release(byte_range::in_memory(excess));
            }
        }
        beyond
    }
}

impl Slot {
    pub(crate) fn new(number: u64, range: Range<u64>, memory: PartMemory) -> Self {
        Self { number, at: range.start, range, memory, ..Self::default() }
    }

    /// Whether the request of the part is in flight or about to be sent.
    pub(crate) fn is_running(&self) -> bool {
        !self.done && self.failed.is_none()
    }

    pub(crate) fn is_full(&self) -> bool {
        matches!(self.memory, PartMemory::Unreserved) && self.unread_bytes >= UNRESERVED_BYTES
    }

    /// Takes the next chunk and releases its memory.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let bytes = self.chunks.pop_front()?;
        self.unread_bytes -= bytes.len() as u64;
        if let PartMemory::Reserved(reservation) = &mut self.memory {
            reservation.release(bytes.len());
        }
        if !self.is_full() {
            self.drainer.take().into_iter().for_each(Waker::wake);
        }
        Some(bytes)
    }
}
