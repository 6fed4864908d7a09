//! The mutex of state that several tasks share. In unit tests `shuttle` decides which task gets the lock next.

#[cfg(not(test))]
pub(crate) use crate::internal::locks::Mutex;

#[cfg(test)]
pub(crate) use explored::{ExploredMutex as Mutex, explore};

#[cfg(test)]
mod explored;
