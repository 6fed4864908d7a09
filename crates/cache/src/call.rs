//! One call, as far as its fetches need to know it.

use std::sync::Arc;

use headstart_fetch_core::{Intent, Origin, Promotion};
use object_store::Extensions;
use object_store::path::Path;

use crate::policy::Plan;

/// A read of one object, by one call of the wrapper.
pub(crate) struct Call {
    pub(crate) path: Path,
    pub(crate) plan: Plan,
    /// Go down with every request. Those of a speculative call hold a [`Promotion`]: another call may come to wait for them.
    pub(crate) extensions: Extensions,
    pub(crate) origin: Origin,
}

impl Call {
    /// A call for `path`. It is one call, with one origin, however often it has to begin anew.
    pub(crate) fn new(path: &Path, plan: Plan, mut extensions: Extensions) -> Arc<Self> {
        if Intent::of(&extensions) == Intent::Speculative && Promotion::of(&extensions).is_none() {
            extensions.insert(Promotion::default());
        }
        Arc::new(Self { path: path.clone(), plan, extensions, origin: Origin::default() })
    }

    /// What turns the requests of this call into demand; `None` where they are that already.
    pub(crate) fn promotion(&self) -> Option<&Promotion> {
        Promotion::of(&self.extensions).filter(|_| Intent::of(&self.extensions) == Intent::Speculative)
    }
}
