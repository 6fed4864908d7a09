//! What reads of a simulated bucket take, step by step. The tests of Lance use this file too.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use headstart_sim::{RequestCounts, SimStore};

/// What a step took: requests, and virtual time.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) counts: RequestCounts,
    pub(crate) elapsed: Duration,
}

/// The steps of one mode, in their order.
pub(crate) struct Steps {
    store: SimStore,
    pub(crate) all: Vec<Step>,
}

impl Steps {
    /// No steps yet, of reads of `store`.
    pub(crate) fn of(store: &SimStore) -> Self {
        Self { store: store.clone(), all: Vec::new() }
    }

    /// Runs `work`, and notes what it took.
    pub(crate) async fn step<T>(&mut self, name: &'static str, work: impl Future<Output = T>) -> T {
        self.store.log().clear();
        let since = self.store.elapsed();
        let done = work.await;
        self.all.push(Step { name, counts: self.store.log().counts(), elapsed: self.store.elapsed() - since });
        done
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all.iter().try_for_each(|Step { name, counts, elapsed }| {
            let (gets, mb, ms) = (counts.gets, counts.bytes_sent as f64 / 1e6, elapsed.as_millis());
            write!(f, "| {name}: {gets} GETs, {mb:.1} MB, {ms} ms ")
        })
    }
}
