//! The open objects of one store: which readers share an object, and which idle objects give memory back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use headstart_fetch_core::internal::locks::Mutex;
use object_store::path::Path;

use crate::engine::ObjectEngine;

/// When memory is short, an object gives back its bytes after so long without a read.
const IDLE: Duration = Duration::from_secs(1);
/// Otherwise, after so long, as soon as another object is read. After such a pause one more round trip is hardly
/// noticed.
const LONG_IDLE: Duration = Duration::from_secs(10);
/// Idle objects are looked for at most this often.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(crate) struct OpenObjects {
    state: Mutex<OpenObjectsState>,
    /// When to look for idle objects again, in nanoseconds since the store was made: where memory is short, and
    /// otherwise. Every read looks at it.
    look_again_ns: [AtomicU64; 2],
}

#[derive(Debug, Default)]
struct OpenObjectsState {
    all: Vec<Weak<ObjectEngine>>,
    /// The object that a new reader of the path may share.
    shared: HashMap<Path, Weak<ObjectEngine>>,
}

impl OpenObjects {
    pub(crate) fn add(&self, engine: &Arc<ObjectEngine>) {
        let mut open = self.state.lock();
        if open.all.len() == open.all.capacity() {
            open.all.retain(|engine| engine.strong_count() > 0);
            open.shared.retain(|_, engine| engine.strong_count() > 0);
        }
        open.all.push(Arc::downgrade(engine));
    }

    /// The object that a new reader of `path` may share.
    pub(crate) fn shared(&self, path: &Path) -> Option<Arc<ObjectEngine>> {
        self.state.lock().shared.get(path)?.upgrade()
    }

    /// New readers of its path may share `engine`.
    pub(crate) fn share(&self, engine: &Arc<ObjectEngine>) {
        self.state.lock().shared.insert(engine.path.clone(), Arc::downgrade(engine));
    }

    /// New readers of `path` share nothing with the present ones.
    pub(crate) fn forget(&self, path: &Path) {
        self.state.lock().shared.remove(path);
    }

    /// Lets objects give back their bytes that were not read for a while; a short while where memory is `short`. Must
    /// not be called with an engine's lock held.
    pub(crate) fn reclaim(&self, now: Duration, short: bool) {
        let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let look_again_ns = &self.look_again_ns[usize::from(!short)];
        let next_ns = nanos(now + if short { PAUSE } else { IDLE });
        let is_due = |at_ns: u64| (at_ns <= nanos(now)).then_some(next_ns);
        if look_again_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_err() {
            return;
        }
        let holding: Vec<(Duration, Arc<ObjectEngine>)> = {
            let open = self.state.lock();
            let since = |engine: Arc<ObjectEngine>| Some((engine.idle_since()?, engine));
            open.all.iter().filter_map(Weak::upgrade).filter_map(since).collect()
        };
        let enough = if short { IDLE } else { LONG_IDLE };
        for (_, engine) in holding.iter().filter(|(since, _)| now.saturating_sub(*since) >= enough) {
            engine.dispatch(|planner| planner.clear());
        }
    }
}
