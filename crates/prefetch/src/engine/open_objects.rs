//! The objects that are open: who reads the same one shares it, and who has not read for a while gives memory back.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use object_store::path::Path;
use parking_lot::Mutex;

use crate::engine::ObjectEngine;

/// An object that nobody has read for so long gives back what it holds when others need it…
const IDLE: Duration = Duration::from_secs(1);
/// …and after so long as soon as anybody reads another one: who pauses for that long hardly notices a round trip.
const LONG_IDLE: Duration = Duration::from_secs(10);
/// Those who are idle are looked for at most this often.
const PAUSE: Duration = Duration::from_millis(50);

/// The open objects of one store.
#[derive(Debug, Default)]
pub(crate) struct OpenObjects(Mutex<OpenObjectsState>);

#[derive(Debug, Default)]
struct OpenObjectsState {
    all: Vec<Weak<ObjectEngine>>,
    /// The one that a new reader of a path may share.
    shared: HashMap<Path, Weak<ObjectEngine>>,
    /// From when on it is worth looking for idle ones again: where memory is short, and otherwise.
    look_again: [Duration; 2],
}

impl OpenObjects {
    /// `engine` is open from here on.
    pub(crate) fn add(&self, engine: &Arc<ObjectEngine>) {
        let mut open = self.0.lock();
        if open.all.len() == open.all.capacity() {
            open.all.retain(|engine| engine.strong_count() > 0);
            open.shared.retain(|_, engine| engine.strong_count() > 0);
        }
        open.all.push(Arc::downgrade(engine));
    }

    /// What readers of `path` share, if any do.
    pub(crate) fn shared(&self, path: &Path) -> Option<Arc<ObjectEngine>> {
        self.0.lock().shared.get(path)?.upgrade()
    }

    /// New readers of its path may share `engine`.
    pub(crate) fn share(&self, engine: &Arc<ObjectEngine>) {
        self.0.lock().shared.insert(engine.path.clone(), Arc::downgrade(engine));
    }

    /// New readers of `path` share nothing with those that are there.
    pub(crate) fn forget(&self, path: &Path) {
        self.0.lock().shared.remove(path);
    }

    /// Lets objects that nobody has read for a while give back what they hold: a short while where memory is `short`. Must not be
    /// called with any engine's lock held.
    pub(crate) fn reclaim(&self, now: Duration, short: bool) {
        let holding: Vec<(Duration, Arc<ObjectEngine>)> = {
            let mut open = self.0.lock();
            let look_again = &mut open.look_again[usize::from(!short)];
            if now < *look_again {
                return;
            }
            *look_again = now + if short { PAUSE } else { IDLE };
            let since = |engine: Arc<ObjectEngine>| Some((engine.holds_since()?, engine));
            open.all.iter().filter_map(Weak::upgrade).filter_map(since).collect()
        };
        let enough = if short { IDLE } else { LONG_IDLE };
        for (_, engine) in holding.iter().filter(|(since, _)| now.saturating_sub(*since) >= enough) {
            engine.dispatch(|planner, _, actions| planner.clear(actions));
        }
    }
}
