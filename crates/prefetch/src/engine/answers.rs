//! What answers of the store tell about an object: its version and length, its source, and how long it may be served.
//! And who may share the object: readers that open it while its version is trusted.

use std::sync::Arc;
use std::time::Duration;

use headstart_fetch_core::internal::mutation::Mutation;
use headstart_fetch_core::internal::{ConfirmedAt, FreshUntil, LocalFile};
use headstart_fetch_core::{ObjectVersion, PinBy};
use object_store::path::Path;
use object_store::{Attributes, GetResult, ObjectMeta, Result};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{EngineState, KnownObject, ObjectEngine};
use crate::engine::part_buffer::PartBuffer;
use crate::engine::store_shared::StoreShared;
use crate::planner::messages::{PlannerSettings, ReaderId};
use crate::planner::parts::PartId;
use crate::reader::close_signal::CloseSignal;
use crate::store::stats::add;

impl ObjectEngine {
    /// Opens the object at `path` for one more reader, which shares the engine of other readers where their version is
    /// fresh enough. `meta` is the reader's own knowledge of the object.
    pub(crate) fn open(
        shared: &Arc<StoreShared>,
        path: Path,
        settings: PlannerSettings,
        meta: Option<&ObjectMeta>,
    ) -> (Arc<Self>, Arc<CloseSignal>) {
        let may_share = settings.max_prefetch_bytes > 0 && !shared.max_age.is_zero();
        if let Some(engine) = may_share.then(|| shared.objects.shared(&path)).flatten()
            && let Some(signal) = engine.join(meta)
        {
            return (engine, signal);
        }
        let engine = Self::new(Arc::clone(shared), path, shared.pin, settings);
        let signal = CloseSignal::new(engine.new_reader());
        if may_share {
            shared.objects.share(&engine);
        }
        (engine, signal)
    }

    /// Adds one reader, if the known version is fresh enough for it.
    fn join(&self, meta: Option<&ObjectMeta>) -> Option<Arc<CloseSignal>> {
        if self.runtime != Handle::try_current().ok().map(|runtime| runtime.id()) {
            return None;
        }
        let state = self.state.lock();
        let is_fresh = state.trusted_until.is_some_and(|until| self.shared.now() < until);
        let fits = match (self.known(), meta) {
            (Some(known), Some(meta)) => known.version.check(meta).is_ok() && (is_fresh || known.version.is_exact()),
            (Some(_), None) => is_fresh,
            (None, meta) => meta.is_none(),
        };
        drop(state);
        fits.then(|| CloseSignal::new(self.new_reader()))
    }

    fn new_reader(&self) -> ReaderId {
        let mut state = self.state.lock();
        state.readers += 1;
        let reader = state.readers;
        state.planner.on_reader(reader);
        reader
    }

    /// Takes in the answer to the request of part `id`, which was sent at `asked_at`.
    ///
    /// # Errors
    /// `Precondition` with [`ObjectChanged`](headstart_fetch_core::ObjectChanged) where another version is known.
    pub(crate) fn on_answered(self: &Arc<Self>, id: PartId, answer: &GetResult, asked_at: Instant) -> Result<()> {
        let is_local = LocalFile::is_source_of(answer);
        let expires_at = answer.extensions.get().map(|FreshUntil(until)| self.shared.at(*until));
        if self.pin == PinBy::Version
            && !is_local
            && expires_at.is_none()
            && let Some(known) = self.known()
        {
            // Nothing is learned from it, so the lock is not needed.
            return self.shared.refusals.check(&known.version, &answer.meta);
        }
        let mut state = self.state.lock();
        self.learn_locked(&mut state, answer, asked_at)?;
        if is_local || expires_at.is_some() {
            self.dispatch_locked(&mut state, |planner| {
                if is_local {
                    planner.on_local();
                }
                if let Some(expires_at) = expires_at {
                    planner.on_fresh_until(id, expires_at);
                }
            });
        }
        Ok(())
    }

    /// Takes in the version that `answer` shows, to a request sent at `asked_at`.
    ///
    /// # Errors
    /// As [`ObjectEngine::on_answered`].
    pub(crate) fn learn_version(self: &Arc<Self>, answer: &GetResult, asked_at: Instant) -> Result<()> {
        self.learn_locked(&mut self.state.lock(), answer, asked_at)
    }

    fn learn_locked(self: &Arc<Self>, state: &mut EngineState, answer: &GetResult, asked_at: Instant) -> Result<()> {
        let trusted_until = self.trusted_until(answer, asked_at);
        if let Some(known) = self.known() {
            self.shared.refusals.check(&known.version, &answer.meta)?;
            // A request pinned by version is answered even after the object was overwritten, so it confirms nothing.
            if self.pin != PinBy::Version {
                state.trusted_until = state.trusted_until.max(Some(trusted_until));
            }
            return Ok(());
        }
        state.trusted_until = Some(trusted_until);
        self.set_known(state, &answer.meta, &answer.attributes);
        Ok(())
    }

    /// Until when the version of `answer` may be taken for the present one. A cache below states its own limit; the
    /// time it trusts and `max_age` do not add up.
    fn trusted_until(&self, answer: &GetResult, asked_at: Instant) -> Duration {
        match answer.extensions.get() {
            Some(FreshUntil(until)) if !Mutation::ConfirmsNow.is_active() => self.shared.at(*until),
            _ => self.shared.at(ConfirmedAt::of(&answer.extensions, asked_at)).saturating_add(self.shared.max_age),
        }
    }

    /// Takes in metadata that a reader brought along, of any age.
    ///
    /// # Errors
    /// As [`ObjectEngine::on_answered`].
    pub(crate) fn set_meta(self: &Arc<Self>, meta: &ObjectMeta) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(known) = self.known() {
            return known.version.check(meta);
        }
        self.set_known(&mut state, meta, &Attributes::new());
        Ok(())
    }

    fn set_known(self: &Arc<Self>, state: &mut EngineState, meta: &ObjectMeta, attributes: &Attributes) {
        let known =
            KnownObject { version: ObjectVersion::of(meta), meta: meta.clone(), attributes: attributes.clone() };
        let is_provable = self.shared.is_provable(&known.version);
        if self.known.set(Arc::new(known)).is_err() {
            return;
        }
        if !is_provable {
            // As for a local file, each read sends its own request.
            self.dispatch_locked(state, |planner| {
                planner.on_local();
                planner.clear();
            });
        }
        let inputs = self.planner_inputs();
        self.dispatch_locked(state, |planner| planner.on_size(meta.size, &inputs));
    }

    /// `bytes` more of part `id` have arrived. The planner learns up to where, unless the request is run by the read
    /// that waits for all of it.
    pub(crate) fn on_filled(&self, id: PartId, filled_to: Option<u64>, bytes: u64) {
        add(&self.shared.counters.fetched_bytes, bytes);
        if let Some(filled_to) = filled_to {
            self.state.lock().planner.on_filled(id, filled_to);
        }
    }

    /// The request of part `id` has filled `buffer`: with fewer bytes than requested where the object ended before.
    pub(crate) fn on_complete(self: &Arc<Self>, id: PartId, buffer: &PartBuffer) {
        let bytes = buffer.complete();
        let mut state = self.state.lock();
        if let Some(filled_to) = buffer.unreported() {
            state.planner.on_filled(id, filled_to);
        }
        if let Some(held) = state.held.get_mut(&id) {
            held.shrink_charge(bytes);
        }
        self.dispatch_locked(&mut state, |planner| planner.on_complete(id, || self.planner_inputs()));
    }
}
