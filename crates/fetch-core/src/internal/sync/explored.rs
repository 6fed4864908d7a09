//! A mutex that lets `shuttle` choose the next owner. Unit tests of the other crates include this file by its path.

use std::{cell::Cell, fmt};

use parking_lot::MutexGuard;

thread_local!(static EXPLORING: Cell<bool> = const { Cell::new(false) });

/// A `parking_lot` mutex. While schedules are explored, every attempt to lock it lets other tasks run first.
pub(crate) struct ExploredMutex<T: ?Sized>(parking_lot::Mutex<T>);

impl<T> ExploredMutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        if !EXPLORING.get() {
            return self.0.lock();
        }
        loop {
            shuttle::thread::yield_now();
            if let Some(guard) = self.0.try_lock() {
                return guard;
            }
        }
    }
}

impl<T: Default> Default for ExploredMutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> fmt::Debug for ExploredMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// Runs `test` under this many random schedules, from a fixed seed.
pub(crate) fn explore(schedules: usize, test: impl Fn() + Send + Sync + 'static) {
    EXPLORING.set(true);
    let mut config = shuttle::Config::new();
    config.max_steps = shuttle::MaxSteps::FailAfter(200_000);
    let scheduler = shuttle::scheduler::RandomScheduler::new_from_seed(0x6865_6164, schedules);
    shuttle::Runner::new(scheduler, config).run(test);
    EXPLORING.set(false);
}
