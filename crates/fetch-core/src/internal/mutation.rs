//! Mutations: faults of the past that tests switch on again, to prove that a fuzzer or test would catch them.
//! Without the feature `mutation` all are off and cost nothing.

/// A fault that was fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutation {
    /// Versions without an entity tag or version are compared by size alone.
    ComparesSizeAlone,
    /// A weak entity tag identifies a version.
    TrustsWeakTags,
    /// A cached answer counts as confirmed now.
    ConfirmsNow,
    /// A part that the object has lost fails with the range error of the store.
    TellsRangeErrors,
    /// A read past the end of a known version is refused without a request that asks whether the object has grown.
    TrustsTheEnd,
    /// A failed or dropped deletion keeps what is known about its path.
    ForgetsDeletedOnly,
    /// A body that was polled once and left alone keeps its permit.
    KeepsPermits,
    /// A window of the cache continues without memory after a while, instead of waiting for its consumer.
    IgnoresTheBudget,
    /// Work on a runtime that has stopped is waited for.
    TrustsRuntimes,
    /// A fetch that is only queued counts as stalled after the stall timeout.
    QueueingStalls,
    /// Errors of a request go to all waiters that joined it, whatever they requested.
    SharesRangeErrors,
    /// Ranges are not cut at the end of the object before they are divided into requests.
    SizesByTheRange,
    /// One error on the first request of an open-ended read ends reading in parts.
    GivesUpParts,
    /// A permit is held during a retry pause.
    HoldsPermitsInPauses,
    /// Many ranges of one call are all requested at once.
    AsksAllAtOnce,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: [Self; 15] = [
        Self::ComparesSizeAlone,
        Self::TrustsWeakTags,
        Self::ConfirmsNow,
        Self::TellsRangeErrors,
        Self::TrustsTheEnd,
        Self::ForgetsDeletedOnly,
        Self::KeepsPermits,
        Self::IgnoresTheBudget,
        Self::TrustsRuntimes,
        Self::QueueingStalls,
        Self::SharesRangeErrors,
        Self::SizesByTheRange,
        Self::GivesUpParts,
        Self::HoldsPermitsInPauses,
        Self::AsksAllAtOnce,
    ];

    /// Whether a test has switched the mutation on.
    #[inline]
    pub fn is_active(self) -> bool {
        #[cfg(feature = "mutation")]
        return active::PRESENT.get() & (1 << self as u32) != 0;
        #[cfg(not(feature = "mutation"))]
        return false;
    }
}

#[cfg(feature = "mutation")]
mod active {
    use std::cell::Cell;

    use super::Mutation;

    thread_local!(pub(super) static PRESENT: Cell<u32> = const { Cell::new(0) });

    impl Mutation {
        /// Switches the mutation on for everything that runs on this thread, until the returned guard is dropped.
        #[must_use = "dropping it removes the fault"]
        pub fn activate(self) -> ActiveMutation {
            PRESENT.set(PRESENT.get() | 1 << self as u32);
            ActiveMutation(self)
        }
    }

    /// A mutation that is on.
    #[derive(Debug)]
    pub struct ActiveMutation(Mutation);

    impl Drop for ActiveMutation {
        fn drop(&mut self) {
            PRESENT.set(PRESENT.get() & !(1 << self.0 as u32));
        }
    }
}

#[cfg(feature = "mutation")]
pub use active::ActiveMutation;
