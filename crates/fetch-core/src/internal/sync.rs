//! The mutex of state that several tasks share. In unit tests `shuttle` decides which task gets the lock next. In other
//! tests, which have the feature `mutation`, locks are counted, so that a test can say how many a read takes.

#[cfg(not(any(test, feature = "mutation")))]
pub use crate::internal::locks::Mutex;

#[cfg(all(not(test), feature = "mutation"))]
pub use counted::{CountedMutex as Mutex, locks};

#[cfg(test)]
pub(crate) use explored::{ExploredMutex as Mutex, explore};

#[cfg(test)]
mod explored;

#[cfg(all(not(test), feature = "mutation"))]
mod counted {
    use std::{cell::Cell, fmt};

    use crate::internal::locks::{self, MutexGuard};

    thread_local!(static LOCKS: Cell<u64> = const { Cell::new(0) });

    /// How often this thread has locked any [`CountedMutex`].
    pub fn locks() -> u64 {
        LOCKS.get()
    }

    /// A mutex that counts.
    #[derive(Default)]
    pub struct CountedMutex<T: ?Sized>(locks::Mutex<T>);

    impl<T> CountedMutex<T> {
        /// A mutex around `value`.
        pub const fn new(value: T) -> Self {
            Self(locks::Mutex::new(value))
        }
    }

    impl<T: ?Sized> CountedMutex<T> {
        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            LOCKS.set(LOCKS.get() + 1);
            self.0.lock()
        }

        /// Takes the lock if it is free.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            LOCKS.set(LOCKS.get() + 1);
            self.0.try_lock()
        }

        /// The value; nobody else has the mutex.
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut()
        }
    }

    impl<T: ?Sized + fmt::Debug> fmt::Debug for CountedMutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }
}
