//! The lock of what several tasks share; tests let `shuttle` choose who gets it next.

#[cfg(not(test))]
pub(crate) use parking_lot::Mutex;

#[cfg(test)]
pub(crate) use explored::{Mutex, explore};

#[cfg(test)]
#[path = "../../../fetch-core/src/explored.rs"]
mod explored;
