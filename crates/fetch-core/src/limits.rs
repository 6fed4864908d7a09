//! Limits on what may be in flight: permits for requests and a budget for memory, each with a FIFO wait queue.

pub(crate) mod budget;
pub(crate) mod call_activity;
pub(crate) mod permit_state;
pub(crate) mod permits;
pub(crate) mod wait_queue;
