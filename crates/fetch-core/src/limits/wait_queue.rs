//! A FIFO wait queue with priorities: who waits, who was granted something and has not come for it yet.
//!
//! The owner keeps the queue under its lock together with what it grants, and calls [`QueuedWaiter::wake`] outside the
//! lock. A waiter that is dropped calls [`WaitQueue::leave`] and returns a grant that it no longer wants. To join, to
//! leave and to be served are each O(log n).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::{sync::Notify, sync::futures::Notified};

/// Identifies a waiter within its queue. Tickets are issued in order and never reused.
pub(crate) type Ticket = u64;

/// One waiter: what it wants, and how to wake it.
#[derive(Debug)]
pub(crate) struct QueuedWaiter<W> {
    pub(crate) wants: W,
    changed: Notify,
}

impl<W> QueuedWaiter<W> {
    pub(crate) fn new(wants: W) -> Arc<Self> {
        Arc::new(Self { wants, changed: Notify::new() })
    }

    /// Wakes the waiter: it was granted something, or is now the first of its priority.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits for [`QueuedWaiter::wake`]. A wake-up that came before the call counts.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

/// Waiters that want a `W` each, and the grants `G` that they have not claimed yet. Priority 0 is served first.
#[derive(Debug)]
pub(crate) struct WaitQueue<W, G> {
    latest_ticket: Ticket,
    waiting: BTreeMap<(u8, Ticket), Arc<QueuedWaiter<W>>>,
    granted: HashMap<Ticket, G>,
}

impl<W, G> Default for WaitQueue<W, G> {
    fn default() -> Self {
        Self { latest_ticket: 0, waiting: BTreeMap::new(), granted: HashMap::new() }
    }
}

impl<W, G> WaitQueue<W, G> {
    /// Adds `waiter` behind all others of `priority`.
    pub(crate) fn join(&mut self, priority: u8, waiter: &Arc<QueuedWaiter<W>>) -> Ticket {
        self.latest_ticket += 1;
        self.rejoin(priority, self.latest_ticket, waiter);
        self.latest_ticket
    }

    /// Puts `waiter` back to the place of its `ticket`: its grant was taken back before it was claimed.
    pub(crate) fn rejoin(&mut self, priority: u8, ticket: Ticket, waiter: &Arc<QueuedWaiter<W>>) {
        self.waiting.insert((priority, ticket), Arc::clone(waiter));
    }

    /// The waiter to be served next, with its priority.
    pub(crate) fn first(&self) -> Option<(u8, &Arc<QueuedWaiter<W>>)> {
        self.waiting.first_key_value().map(|((priority, _), waiter)| (*priority, waiter))
    }

    /// The first waiter of `priority`, with its ticket.
    pub(crate) fn first_of(&self, priority: u8) -> Option<(Ticket, &Arc<QueuedWaiter<W>>)> {
        let mut same = self.waiting.range((priority, 0)..=(priority, Ticket::MAX));
        same.next().map(|((_, ticket), waiter)| (*ticket, waiter))
    }

    /// Grants `grant` to the first waiter, which leaves the queue. The caller wakes it outside the lock.
    pub(crate) fn grant_first(&mut self, grant: G) -> Option<Arc<QueuedWaiter<W>>> {
        let ((_, ticket), waiter) = self.waiting.pop_first()?;
        self.granted.insert(ticket, grant);
        Some(waiter)
    }

    /// The waiter takes what it was granted, if anything.
    pub(crate) fn claim(&mut self, ticket: Ticket) -> Option<G> {
        self.granted.remove(&ticket)
    }

    /// Moves a waiter to the end of another priority. Returns its new ticket; `None` if it is not waiting any more.
    pub(crate) fn change_priority(&mut self, from: u8, ticket: Ticket, to: u8) -> Option<Ticket> {
        let waiter = self.waiting.remove(&(from, ticket))?;
        Some(self.join(to, &waiter))
    }

    /// The waiter gives up its place. Returns the grant that it has not claimed.
    pub(crate) fn leave(&mut self, priority: u8, ticket: Ticket) -> Option<G> {
        self.waiting.remove(&(priority, ticket));
        self.granted.remove(&ticket)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn has_unclaimed(&self) -> bool {
        !self.granted.is_empty()
    }
}
