//! Writes records in a separate thread, so that no read waits for the disk.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{call::CallRecord, order::CallOrder};
use crate::trace::{TraceHeader, write_line};

/// Records that are handed to the thread at once.
const BATCH_CALLS: usize = 256;

/// The most batches that wait for the thread.
const MAX_WAITING_BATCHES: usize = 256;

/// The most calls that wait to be written. Further calls are lost and counted.
pub const MAX_WAITING_CALLS: usize = BATCH_CALLS * MAX_WAITING_BATCHES;

/// Time between flushes: a crash loses at most the calls of this time.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Totals of a finished trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceSummary {
    /// Calls in the file.
    pub calls: u64,
    /// Calls that were lost because the disk did not keep up.
    pub lost: u64,
}

/// State shared by all calls.
#[derive(Debug)]
pub(super) struct RecorderState {
    pub(super) order: CallOrder,
    waiting: Vec<CallRecord>,
}

/// The handle of the writing thread.
#[derive(Debug)]
pub(super) struct TraceWriter {
    pub(super) state: Arc<Mutex<RecorderState>>,
    lost: AtomicU64,
    /// `None` once the trace is finished.
    thread: Mutex<Option<WriterThread>>,
}

#[derive(Debug)]
struct WriterThread {
    sender: SyncSender<WriterMessage>,
    /// Returns the number of written calls.
    handle: JoinHandle<io::Result<u64>>,
}

#[derive(Debug)]
enum WriterMessage {
    Batch(Vec<CallRecord>),
    Finish,
}

impl TraceWriter {
    /// Writes the header and starts the thread.
    pub(super) fn start(mut file: impl Write + Send + 'static, header: &TraceHeader) -> io::Result<Self> {
        write_line(&mut file, header)?;
        file.flush()?;
        let state =
            Arc::new(Mutex::new(RecorderState { order: CallOrder::new(), waiting: Vec::with_capacity(BATCH_CALLS) }));
        let (sender, receiver) = sync_channel(MAX_WAITING_BATCHES);
        let shared = Arc::downgrade(&state);
        let handle =
            thread::Builder::new().name("headstart-trace".into()).spawn(move || write_all(file, &receiver, &shared))?;
        Ok(Self { state, lost: AtomicU64::new(0), thread: Mutex::new(Some(WriterThread { sender, handle })) })
    }

    /// Adds a record. Never waits for the thread: a full queue loses the batch.
    pub(super) fn push(&self, state: &mut RecorderState, record: CallRecord) {
        state.waiting.push(record);
        if state.waiting.len() < BATCH_CALLS {
            return;
        }
        let batch = mem::replace(&mut state.waiting, Vec::with_capacity(BATCH_CALLS));
        if let Some(thread) = &*self.thread.lock()
            && thread.sender.try_send(WriterMessage::Batch(batch)).is_err()
        {
            self.lost.fetch_add(BATCH_CALLS as u64, Ordering::Relaxed);
        }
        // Without a thread the trace is finished, and the batch is not part of it.
    }

    /// Waits until all records are written. Later records are discarded.
    pub(super) fn finish(&self) -> io::Result<TraceSummary> {
        let (thread, rest) = {
            // Takes both under one lock, so that no batch is written twice or lost.
            let mut state = self.state.lock();
            (self.thread.lock().take(), mem::take(&mut state.waiting))
        };
        let Some(WriterThread { sender, handle }) = thread else {
            return Err(io::Error::other("the trace is already finished"));
        };
        // An error means that the thread has ended; `join` returns its error.
        let _ = sender.send(WriterMessage::Batch(rest)).and_then(|()| sender.send(WriterMessage::Finish));
        let calls = handle.join().map_err(|_| io::Error::other("the thread that writes the trace panicked"))??;
        Ok(TraceSummary { calls, lost: self.lost.load(Ordering::Relaxed) })
    }
}

impl Drop for TraceWriter {
    fn drop(&mut self) {
        // Callers that need the result call `finish`.
        let _ = self.finish();
    }
}

#[expect(clippy::disallowed_methods, reason = "flushes follow wall time, also under a paused clock")]
fn write_all(
    mut file: impl Write,
    receiver: &Receiver<WriterMessage>,
    state: &Weak<Mutex<RecorderState>>,
) -> io::Result<u64> {
    let mut calls = 0;
    let mut write = |file: &mut dyn Write, batch: Vec<CallRecord>| {
        calls += batch.len() as u64;
        batch.iter().try_for_each(|record| write_line(&mut *file, &record.to_call()))
    };
    let mut flushed = Instant::now();
    loop {
        match receiver.recv_timeout(FLUSH_EVERY.saturating_sub(flushed.elapsed())) {
            Ok(WriterMessage::Batch(batch)) => write(&mut file, batch)?,
            Ok(WriterMessage::Finish) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let waiting = state.upgrade().map(|state| mem::take(&mut state.lock().waiting));
                write(&mut file, waiting.unwrap_or_default())?;
                file.flush()?;
                flushed = Instant::now();
            }
        }
    }
    file.flush()?;
    Ok(calls)
}
