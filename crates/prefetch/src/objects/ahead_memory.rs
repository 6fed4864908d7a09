//! The memory of one list of objects: its share of the stack's budget, and who waits for some.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headstart_fetch_core::internal::byte_range::in_memory;
use headstart_fetch_core::{MemoryBudget, Reservation};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Memory for bytes that the consumer of a list has not taken yet. It never queues in the budget: a queue there would
/// stop the reservations of all other readers, while this list can go on without memory, one object at a time.
#[derive(Debug)]
pub(super) struct AheadMemory {
    budget: Arc<MemoryBudget>,
    charged_bytes: AtomicU64,
    limit_bytes: AtomicU64,
    released: Notify,
}

impl AheadMemory {
    pub(super) fn new(budget: Arc<MemoryBudget>) -> Arc<Self> {
        let limit_bytes = AtomicU64::new(budget.limit_bytes() as u64);
        Arc::new(Self { budget, charged_bytes: AtomicU64::new(0), limit_bytes, released: Notify::new() })
    }

    /// The share of the budget from now on.
    pub(super) fn set_limit(&self, bytes: u64) {
        self.limit_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Reserves `bytes`, if they are free and within the share.
    pub(super) fn try_charge(self: &Arc<Self>, bytes: u64) -> Option<AheadCharge> {
        let after = self.charged_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if after > self.limit_bytes.load(Ordering::Relaxed) {
            return None;
        }
        let reservation = self.budget.try_reserve(in_memory(bytes))?;
        self.charged_bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(AheadCharge { memory: Arc::clone(self), reservations: vec![reservation] })
    }

    /// Waits until some of this memory is released, from the call on.
    pub(super) fn released(&self) -> Notified<'_> {
        self.released.notified()
    }

    /// Reserves `bytes` as soon as they are free, in no order. Looks again whenever this list has released some.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn charge(self: &Arc<Self>, bytes: u64) -> AheadCharge {
        loop {
            // Created before the look, so that no release is missed.
            let released = self.released();
            if let Some(charge) = self.try_charge(bytes) {
                return charge;
            }
            released.await;
        }
    }
}

/// Memory of a list in use. Dropping it releases it.
#[derive(Debug)]
pub(super) struct AheadCharge {
    memory: Arc<AheadMemory>,
    reservations: Vec<Reservation>,
}

impl AheadCharge {
    /// Bytes still reserved.
    pub(super) fn bytes(&self) -> u64 {
        self.reservations.iter().map(|reservation| reservation.bytes() as u64).sum()
    }

    /// Adds the memory of `other`.
    pub(super) fn merge(&mut self, mut other: Self) {
        self.reservations.append(&mut other.reservations);
    }

    /// Releases `bytes` of it, or all if it has fewer.
    pub(super) fn release(&mut self, bytes: u64) {
        let mut left = in_memory(bytes.min(self.bytes()));
        self.memory.charged_bytes.fetch_sub(left as u64, Ordering::Relaxed);
        while left > 0
            && let Some(reservation) = self.reservations.last_mut()
        {
            let released = left.min(reservation.bytes());
            reservation.release(released);
            left -= released;
            if reservation.bytes() == 0 {
                self.reservations.pop();
            }
        }
        self.memory.released.notify_waiters();
    }
}

impl Drop for AheadCharge {
    fn drop(&mut self) {
        self.release(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn memory_is_charged_within_the_share_and_released() {
        let budget = MemoryBudget::new(100);
        let memory = AheadMemory::new(Arc::clone(&budget));
        memory.set_limit(60);
        let mut charge = memory.try_charge(40).expect("40 of 60");
        assert!(memory.try_charge(21).is_none(), "beyond the share");
        charge.merge(memory.try_charge(20).expect("20 more"));
        assert_eq!((charge.bytes(), budget.used_bytes()), (60, 60));
        let mut waiting = Box::pin(memory.charge(30));
        assert!(waiting.as_mut().now_or_never().is_none());
        charge.release(30);
        assert_eq!((charge.bytes(), budget.used_bytes()), (30, 30));
        let other = waiting.await;
        drop(charge);
        assert_eq!((other.bytes(), budget.used_bytes()), (30, 30));
        drop(other);
        assert_eq!(budget.used_bytes(), 0);
        let _others = budget.try_reserve(90).expect("of the stack");
        assert!(memory.try_charge(11).is_none(), "not free");
        assert!(memory.try_charge(10).is_some());
    }
}
