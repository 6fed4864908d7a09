//! Who shares an object, and what is known of it.

use std::sync::Arc;

use headstart_fetch_core::{ObjectVersion, PinBy};
use object_store::path::Path;
use object_store::{Attributes, ObjectMeta};
use parking_lot::MutexGuard;
use tokio::runtime::Handle;

use super::{Engine, Known, State};
use crate::common::Common;
use crate::gate::Gate;
use crate::plan::{ReaderId, Settings};

impl Engine {
    /// Opens the object at `path` for one more reader, who may share what others have fetched of it lately. `meta` is what the reader
    /// knows of the object.
    pub(crate) fn open(
        common: &Arc<Common>,
        path: Path,
        settings: Settings,
        meta: Option<&ObjectMeta>,
    ) -> (Arc<Self>, Arc<Gate>) {
        let shares = settings.max_prefetch_bytes > 0 && !common.max_age.is_zero();
        let shared = shares.then(|| common.objects.shared(&path)).flatten();
        if let Some(engine) = shared
            && let Some(gate) = engine.join(meta)
        {
            return (engine, gate);
        }
        let engine = Self::new(Arc::clone(common), path, common.pin, settings);
        let gate = Gate::new(engine.name_reader());
        if shares {
            common.objects.share(&engine);
        }
        (engine, gate)
    }

    /// One reader more, if what is here is fresh enough for it.
    fn join(&self, meta: Option<&ObjectMeta>) -> Option<Arc<Gate>> {
        if self.runtime != Handle::try_current().ok().map(|runtime| runtime.id()) {
            return None;
        }
        let state = self.state.lock();
        let age = state.confirmed_at.map(|at| self.common.now().saturating_sub(at));
        let is_fresh = age.is_some_and(|age| age < self.common.max_age);
        let fits = match (&state.known, meta) {
            (Some(known), Some(meta)) => known.version.check(meta).is_ok() && (is_fresh || known.version.is_exact()),
            (Some(_), None) => is_fresh,
            (None, meta) => meta.is_none(),
        };
        drop(state);
        fits.then(|| Gate::new(self.name_reader()))
    }

    fn name_reader(&self) -> ReaderId {
        let mut state = self.state.lock();
        state.readers += 1;
        let reader = state.readers;
        state.planner.on_reader(reader);
        reader
    }

    /// An answer showed `meta`. Fails where another version is known.
    pub(crate) fn learn(self: &Arc<Self>, meta: &ObjectMeta, attributes: &Attributes) -> object_store::Result<()> {
        let mut state = self.state.lock();
        if let Some(known) = &state.known {
            known.version.check(meta)?;
            // An answer that was asked for by version would come for ever, whatever has become of the object.
            if self.pin != PinBy::Version {
                state.confirmed_at = Some(self.common.now());
            }
            return Ok(());
        }
        state.confirmed_at = Some(self.common.now());
        self.know(state, meta, attributes);
        Ok(())
    }

    /// A reader knows `meta` from elsewhere, however old that is. Fails where another version is known.
    pub(crate) fn is_told(self: &Arc<Self>, meta: &ObjectMeta) -> object_store::Result<()> {
        let state = self.state.lock();
        match &state.known {
            Some(known) => known.version.check(meta),
            None => {
                self.know(state, meta, &Attributes::new());
                Ok(())
            }
        }
    }

    fn know(self: &Arc<Self>, mut state: MutexGuard<'_, State>, meta: &ObjectMeta, attributes: &Attributes) {
        let known = Known { version: ObjectVersion::of(meta), meta: meta.clone(), attributes: attributes.clone() };
        state.known = Some(Arc::new(known));
        drop(state);
        let around = self.common.surroundings(self.id, &self.prefix);
        self.tell(|planner, now, actions| planner.on_size(now, meta.size, &around, actions));
    }
}
