//! The locks of `std`, without poisoning: a panic of one task does not make those of others fail.
//!
//! A lock of `std` is a word of its own. `parking_lot` keeps its waiters in one table of the whole process. A forked
//! child inherits this table with waiters that do not exist there, in memory that is used again, and perhaps locked
//! for ever; the Python package must work in forked children.

#[cfg(feature = "mutation")]
use std::cell::Cell;
pub use std::sync::MutexGuard;
use std::sync::{self, PoisonError, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::Duration;

#[cfg(feature = "mutation")]
thread_local!(static TAKEN: Cell<u64> = const { Cell::new(0) });

/// How often this thread has taken, or tried to take, any [`Mutex`]: tests promise how many a read takes.
#[cfg(feature = "mutation")]
pub fn locks_taken() -> u64 {
    TAKEN.get()
}

fn count() {
    #[cfg(feature = "mutation")]
    TAKEN.set(TAKEN.get() + 1);
}

/// Mutual exclusion.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// What it protected.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// What it protects, without locking: nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else has the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        count();
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, if nobody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        count();
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Wakes threads that wait for a change of what a [`Mutex`] protects.
#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

impl Condvar {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    /// Unlocks, waits to be notified or for this time at most, and locks again.
    pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, most: Duration) -> MutexGuard<'a, T> {
        self.0.wait_timeout(guard, most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }
}

/// Many readers or one writer.
#[derive(Debug, Default)]
pub struct RwLock<T: ?Sized>(sync::RwLock<T>);

impl<T> RwLock<T> {
    /// An unlocked lock.
    pub const fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody reads or writes.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_panic_under_a_lock_does_not_poison_it() {
        let (mutex, lock) = (Arc::new(Mutex::new(1)), Arc::new(RwLock::new(1)));
        let (mutex_there, lock_there) = (Arc::clone(&mutex), Arc::clone(&lock));
        let thread = std::thread::spawn(move || {
            let (_mutex, _lock) = (mutex_there.lock(), lock_there.write());
            panic!("expected: a panic under both locks");
        });
        thread.join().expect_err("it panicked");
        *mutex.lock() += 1;
        *lock.write() += 1;
        assert_eq!((*mutex.lock(), *lock.read()), (2, 2));
        assert!(mutex.try_lock().is_some());
    }

    #[test]
    fn a_waiter_is_notified_and_waits_no_longer_than_it_says() {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let there = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut done = there.0.lock();
            while !*done {
                done = there.1.wait_for(done, Duration::from_secs(60));
            }
        });
        *shared.0.lock() = true;
        shared.1.notify_one();
        thread.join().expect("it was notified");
        let held = shared.1.wait_for(shared.0.lock(), Duration::from_millis(1));
        assert!(*held);
        assert!(shared.0.try_lock().is_none(), "locked again after the wait");
    }
}
