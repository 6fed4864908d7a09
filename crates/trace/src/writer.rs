//! Writes entries in a thread of its own, so that no read waits for a disk.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::entry::Entry;
use crate::ledger::Ledger;
use crate::trace::{Header, write_line};

/// Entries handed over at once.
const BATCH: usize = 256;

/// Batches that may wait for the thread.
const BATCHES: usize = 256;

/// Calls that may wait to be written; more are lost, and counted.
pub const MOST_WAITING: usize = BATCH * BATCHES;

/// A crash loses the calls of the last so much time.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What a recorder has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Calls in the file.
    pub calls: u64,
    /// Calls that were not written, because the disk did not keep up.
    pub lost: u64,
}

/// What is shared between the calls.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) ledger: Ledger,
    waiting: Vec<Entry>,
}

/// The thread, and the way to it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) open: Arc<Mutex<Open>>,
    lost: AtomicU64,
    /// `None` once it is finished.
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug)]
struct Thread {
    sender: SyncSender<Message>,
    /// How many calls it has written.
    handle: JoinHandle<io::Result<u64>>,
}

#[derive(Debug)]
enum Message {
    Batch(Vec<Entry>),
    Finish,
}

impl Writer {
    /// Writes the header, and starts the thread.
    pub(crate) fn start(mut file: impl Write + Send + 'static, header: &Header) -> io::Result<Self> {
        write_line(&mut file, header)?;
        file.flush()?;
        let open = Arc::new(Mutex::new(Open { ledger: Ledger::new(), waiting: Vec::with_capacity(BATCH) }));
        let (sender, receiver) = sync_channel(BATCHES);
        let shared = Arc::downgrade(&open);
        let handle =
            thread::Builder::new().name("headstart-trace".into()).spawn(move || write_all(file, &receiver, &shared))?;
        Ok(Self { open, lost: AtomicU64::new(0), thread: Mutex::new(Some(Thread { sender, handle })) })
    }

    /// Takes in an entry: without the lock but for a moment, and never waiting for the thread.
    pub(crate) fn push(&self, open: &mut Open, entry: Entry) {
        open.waiting.push(entry);
        if open.waiting.len() < BATCH {
            return;
        }
        let batch = mem::replace(&mut open.waiting, Vec::with_capacity(BATCH));
        if let Some(thread) = &*self.thread.lock()
            && thread.sender.try_send(Message::Batch(batch)).is_err()
        {
            self.lost.fetch_add(BATCH as u64, Ordering::Relaxed);
        }
        // Where there is no thread any more, the trace had been finished before this batch was full.
    }

    /// Waits until all is written. Entries that come later are not.
    pub(crate) fn finish(&self) -> io::Result<Written> {
        let (thread, rest) = {
            // Both at once: a batch that fills up meanwhile belongs to one side or the other.
            let mut open = self.open.lock();
            (self.thread.lock().take(), mem::take(&mut open.waiting))
        };
        let Some(Thread { sender, handle }) = thread else {
            return Err(io::Error::other("the trace has been finished before"));
        };
        // Where the thread has ended, it says why below.
        let _ = sender.send(Message::Batch(rest)).and_then(|()| sender.send(Message::Finish));
        let calls = handle.join().map_err(|_| io::Error::other("the thread that writes the trace panicked"))??;
        Ok(Written { calls, lost: self.lost.load(Ordering::Relaxed) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Whoever wants to know calls `finish`.
        let _ = self.finish();
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread that waits for a disk has the machine's time")]
fn write_all(mut file: impl Write, receiver: &Receiver<Message>, open: &Weak<Mutex<Open>>) -> io::Result<u64> {
    let mut calls = 0;
    let mut write = |file: &mut dyn Write, batch: Vec<Entry>| {
        calls += batch.len() as u64;
        batch.iter().try_for_each(|entry| write_line(&mut *file, &entry.call()))
    };
    let mut flushed = Instant::now();
    loop {
        match receiver.recv_timeout(FLUSH_EVERY.saturating_sub(flushed.elapsed())) {
            Ok(Message::Batch(batch)) => write(&mut file, batch)?,
            Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let waiting = open.upgrade().map(|open| mem::take(&mut open.lock().waiting));
                write(&mut file, waiting.unwrap_or_default())?;
                file.flush()?;
                flushed = Instant::now();
            }
        }
    }
    file.flush()?;
    Ok(calls)
}
