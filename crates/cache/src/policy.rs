//! The decisions of the cache, without I/O, clock, lock or task.
//!
//! | file | decides |
//! |---|---|
//! | `freshness.rs` | whether a known version may be served, has to be validated, or is passed by |
//! | `joining.rs` | whether a read waits for a request in flight or sends its own |
//! | `page.rs` | which pages a range needs, which missing pages share a request, how far ahead it is joined |
//!
//! What is evicted is decided by `quick_cache`, as `lookup/memory_tier.rs` configures it.

pub(crate) mod freshness;
mod joining;
pub(crate) mod page;

pub(crate) use self::freshness::{CachePlan, FirstStep, KnownVersion};
pub(crate) use self::joining::{OpeningRequest, worth_joining};
pub(crate) use self::page::{PageNeed, PageSize, WINDOW_BYTES};

/// The rules that keep answers correct: [`SafetyRules::ALL`]. Tests break one each, and check that the suite notices.
///
/// Plain flags: none is read on the hit path, so generics or dynamic dispatch would gain nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SafetyRules {
    /// A fill is pinned to its version, and its answer is compared with that version.
    pub(crate) verify_fills: bool,
    /// Pages are stored under the version of their object, not under its path alone.
    pub(crate) key_by_version: bool,
    /// A write drops the known version of its path when it ends, not when it begins.
    pub(crate) invalidate_after_write: bool,
}

impl SafetyRules {
    pub(crate) const ALL: Self = Self { verify_fills: true, key_by_version: true, invalidate_after_write: true };
}
