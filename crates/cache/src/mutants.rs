//! Mistakes that caches make, to be made on purpose: a suite that does not notice them proves nothing. In tests alone.

use std::sync::Arc;

use object_store::ObjectStore;
use tokio::sync::{Mutex, MutexGuard};

use crate::config::CacheConfig;
use crate::store::CacheStore;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Fills go without `if_match`, and their answers are taken at their word.
    TrustsAnswers,
    /// Pages are found by path, whatever the version.
    KeysByPathAlone,
    /// What is known is forgotten before a write in place of after it.
    InvalidatesBefore,
    /// A reader waits for its bytes with a lock in hand.
    WaitsUnderLock,
}

/// The mistake that an engine makes.
#[derive(Default)]
pub(crate) struct Mutation {
    mutant: Option<Mutant>,
    lock: Mutex<()>,
}

impl Mutation {
    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The lock of [`Mutant::WaitsUnderLock`].
    pub(crate) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        if self.is(Mutant::WaitsUnderLock) { Some(self.lock.lock().await) } else { None }
    }
}

impl CacheStore {
    /// A cache that makes this mistake, if any.
    pub(crate) fn mutated(inner: Arc<dyn ObjectStore>, config: CacheConfig, mutant: Option<Mutant>) -> Self {
        let mut store = Self::new(inner, config).expect("a good config");
        let engine = Arc::get_mut(&mut store.engine).expect("nobody else has it");
        engine.mutation.mutant = mutant;
        engine.table.by_path_alone = mutant == Some(Mutant::KeysByPathAlone);
        store
    }
}
