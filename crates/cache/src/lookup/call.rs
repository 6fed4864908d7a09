//! One call, as far as its fetches need to know it.

use std::sync::Arc;

use headstart_fetch_core::{Intent, Origin, Promotion};
use object_store::Extensions;
use object_store::path::Path;

use crate::policy::freshness::CachePlan;

/// A read of one object, by one call of the wrapper.
pub(crate) struct ReadCall {
    pub(crate) path: Path,
    /// The version that the caller names, if any.
    pub(crate) version: Option<String>,
    pub(crate) plan: CachePlan,
    /// Go down with every request, but for the [`Promotion`]: each fetch of a speculative call has one of its own.
    pub(crate) extensions: Extensions,
    pub(crate) origin: Origin,
}

impl ReadCall {
    /// A call for `path`. It is one call, with one origin, however often it has to begin anew.
    pub(crate) fn new(path: &Path, version: Option<String>, plan: CachePlan, extensions: Extensions) -> Arc<Self> {
        Arc::new(Self { path: path.clone(), version, plan, extensions, origin: Origin::default() })
    }

    /// Nobody waits for its bytes yet.
    pub(crate) fn is_ahead(&self) -> bool {
        Intent::of(&self.extensions) == Intent::Speculative
    }

    /// Tells when somebody comes to wait for them.
    pub(crate) fn promotion(&self) -> Option<&Promotion> {
        Promotion::of(&self.extensions).filter(|_| self.is_ahead())
    }
}
