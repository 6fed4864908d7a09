//! Who shares an object, and what is known of it.

use std::sync::Arc;

use headstart_fetch_core::mutation::Fault;
use headstart_fetch_core::{ConfirmedAt, FreshUntil, ObjectVersion, PinBy};
use object_store::path::Path;
use object_store::{Attributes, GetResult, ObjectMeta};
use parking_lot::MutexGuard;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{EngineState, KnownObject, ObjectEngine};
use crate::engine::store_shared::StoreShared;
use crate::planner::messages::{PlannerSettings, ReaderId};
use crate::reader::close_signal::CloseSignal;

impl ObjectEngine {
    /// Opens the object at `path` for one more reader, who may share what others have fetched of it lately. `meta` is what the reader
    /// knows of the object.
    pub(crate) fn open(
        common: &Arc<StoreShared>,
        path: Path,
        settings: PlannerSettings,
        meta: Option<&ObjectMeta>,
    ) -> (Arc<Self>, Arc<CloseSignal>) {
        let shares = settings.max_prefetch_bytes > 0 && !common.max_age.is_zero();
        let shared = shares.then(|| common.objects.shared(&path)).flatten();
        if let Some(engine) = shared
            && let Some(gate) = engine.join(meta)
        {
            return (engine, gate);
        }
        let engine = Self::new(Arc::clone(common), path, common.pin, settings);
        let gate = CloseSignal::new(engine.name_reader());
        if shares {
            common.objects.share(&engine);
        }
        (engine, gate)
    }

    /// One reader more, if what is here is fresh enough for it.
    fn join(&self, meta: Option<&ObjectMeta>) -> Option<Arc<CloseSignal>> {
        if self.runtime != Handle::try_current().ok().map(|runtime| runtime.id()) {
            return None;
        }
        let state = self.state.lock();
        let is_fresh = state.trusted_until.is_some_and(|until| self.common.now() < until);
        let fits = match (&state.known, meta) {
            (Some(known), Some(meta)) => known.version.check(meta).is_ok() && (is_fresh || known.version.is_exact()),
            (Some(_), None) => is_fresh,
            (None, meta) => meta.is_none(),
        };
        drop(state);
        fits.then(|| CloseSignal::new(self.name_reader()))
    }

    fn name_reader(&self) -> ReaderId {
        let mut state = self.state.lock();
        state.readers += 1;
        let reader = state.readers;
        state.planner.on_reader(reader);
        reader
    }

    /// `answer`, to a request sent at `asked_at`, showed a version. Fails where another one is known.
    pub(crate) fn learn(self: &Arc<Self>, answer: &GetResult, asked_at: Instant) -> object_store::Result<()> {
        // A cache below says how long it trusts what it says; its time and ours do not add up.
        let trusted_until = match answer.extensions.get() {
            Some(FreshUntil(until)) if !Fault::ConfirmsNow.is_back() => self.common.at(*until),
            _ => self.common.at(ConfirmedAt::of(&answer.extensions, asked_at)).saturating_add(self.common.max_age),
        };
        let mut state = self.state.lock();
        if let Some(known) = &state.known {
            self.common.refusals.check(&known.version, &answer.meta)?;
            // An answer that was asked for by version would come for ever, whatever has become of the object.
            if self.pin != PinBy::Version {
                state.trusted_until = state.trusted_until.max(Some(trusted_until));
            }
            return Ok(());
        }
        state.trusted_until = Some(trusted_until);
        self.know(state, &answer.meta, &answer.attributes);
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

    fn know(self: &Arc<Self>, mut state: MutexGuard<'_, EngineState>, meta: &ObjectMeta, attributes: &Attributes) {
        let known =
            KnownObject { version: ObjectVersion::of(meta), meta: meta.clone(), attributes: attributes.clone() };
        let is_provable = self.common.is_provable(&known.version);
        state.known = Some(Arc::new(known));
        drop(state);
        if !is_provable {
            // Like a file: every read asks for itself.
            self.dispatch(|planner, _, actions| {
                planner.on_local(actions);
                planner.clear(actions);
            });
        }
        let inputs = self.common.planner_inputs(self.id, &self.prefix);
        self.dispatch(|planner, now, actions| planner.on_size(now, meta.size, &inputs, actions));
    }
}
