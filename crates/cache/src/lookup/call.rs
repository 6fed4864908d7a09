//! What one call asks for: an object, perhaps a version of it, a range and preconditions.

use std::{ops::Range, sync::Arc};

use headstart_fetch_core::internal::{Origin, Promotion, is_lasting_version};
use headstart_fetch_core::{FetchError, Intent};
use object_store::{Extensions, GetOptions, GetRange, Result, path::Path};

use super::ObjectHead;
use crate::policy::CachePlan;

/// A read of one object, by one call of the wrapper.
pub(crate) struct CacheCall {
    pub(crate) path: Path,
    /// The version that the caller names, if any.
    pub(crate) version: Option<String>,
    pub(crate) plan: CachePlan,
    /// Sent with every request, except for the [`Promotion`]: each fetch of a speculative call has one of its own.
    pub(crate) extensions: Extensions,
    pub(crate) origin: Origin,
}

impl CacheCall {
    /// A call for `path`. However often it is retried, it is one call with one origin.
    pub(crate) fn new(path: &Path, version: Option<String>, plan: CachePlan, extensions: Extensions) -> Arc<Self> {
        Arc::new(Self { path: path.clone(), version, plan, extensions, origin: Origin::default() })
    }

    /// Whether bytes of the version `head` may be kept.
    pub(crate) fn may_keep(&self, head: &ObjectHead) -> bool {
        self.plan.may_keep(head.version.has_validator())
    }

    /// Whether the call is speculative: nobody waits for its bytes yet.
    pub(crate) fn is_speculative(&self) -> bool {
        Intent::of(&self.extensions) == Intent::Speculative
    }

    /// Tells when somebody begins to wait for the bytes of a speculative call.
    pub(crate) fn promotion(&self) -> Option<&Promotion> {
        Promotion::of(&self.extensions).filter(|_| self.is_speculative())
    }
}

pub(crate) fn has_preconditions(options: &GetOptions) -> bool {
    options.if_match.is_some()
        || options.if_none_match.is_some()
        || options.if_modified_since.is_some()
        || options.if_unmodified_since.is_some()
}

/// Whether these options mean the same on every store. Empty or reversed ranges, and ranges of a HEAD, do not.
pub(crate) fn is_portable(options: &GetOptions) -> bool {
    let is_portable_range = match &options.range {
        None => true,
        Some(_) if options.head => false,
        Some(GetRange::Bounded(range)) => range.start < range.end,
        Some(GetRange::Suffix(n)) => *n > 0,
        Some(GetRange::Offset(_)) => true,
    };
    is_portable_range && options.version.as_deref().is_none_or(is_lasting_version)
}

/// The bytes that `range` selects of an object of `size` bytes.
pub(crate) fn resolve(range: Option<&GetRange>, size: u64) -> Result<Range<u64>> {
    let Some(range) = range else { return Ok(0..size) };
    let start = match range {
        GetRange::Bounded(range) => range.start,
        GetRange::Offset(start) => *start,
        GetRange::Suffix(_) => 0,
    };
    range.as_range(size).map_err(|_| FetchError::PastEnd { start, size }.into())
}
