//! How a call uses the cache, and whether a known version may be served, validated or must be passed by.

use std::{ops::Range, time::Duration};

use headstart_fetch_core::{CacheHint, internal::mutation::Mutation};

use crate::config::Freshness;

/// How long an answer without a validator is believed where the object gets one with age: its modification date becomes
/// one when it is a minute old (see [`headstart_fetch_core::ObjectVersion`]). Then the store is asked again.
const BELIEVED_WITHOUT_VALIDATOR: Duration = Duration::from_secs(2);

/// For this long after a version was confirmed, its known end is trusted. Readers of small files repeatedly ask for
/// more bytes than exist: they cost at most one HEAD a second, and growth is noticed at most a second late.
const END_SETTLES_FOR: Duration = Duration::from_secs(1);

/// How one call uses the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CachePlan {
    /// Use the cache neither for reading nor for storing.
    pub(crate) bypass: bool,
    /// Use cached pages, known versions and requests in flight.
    pub(crate) reads_cache: bool,
    /// Store the fetched pages.
    pub(crate) admit: bool,
    /// How long a version is trusted.
    pub(crate) freshness: Freshness,
    /// The call opens the object, in the sense of [`Freshness::OnOpen`].
    pub(crate) opens: bool,
    /// The caller has announced that the fetched pages will be read.
    pub(crate) announced: bool,
}

impl CachePlan {
    /// The plan for a call with `hint`; `head`: it asks for metadata only.
    pub(crate) fn new(freshness: Freshness, hint: Option<CacheHint>, head: bool) -> Self {
        let freshness = if hint == Some(CacheHint::Immutable) { Freshness::Immutable } else { freshness };
        Self {
            bypass: hint == Some(CacheHint::Bypass),
            reads_cache: hint != Some(CacheHint::Refetch),
            admit: hint != Some(CacheHint::NoAdmit),
            freshness,
            opens: head,
            announced: false,
        }
    }

    /// Whether the answer to a request sent at `asked_at` may still be used at `now`.
    pub(crate) fn is_fresh(&self, asked_at: Duration, now: Duration) -> bool {
        match self.freshness {
            Freshness::Immutable => true,
            Freshness::Ttl(ttl) => now.saturating_sub(asked_at) < ttl,
            Freshness::EveryRead => false,
            Freshness::OnOpen => !self.opens,
        }
    }

    /// Whether bytes of an object may be kept: its version can be told from the next one, or there never is a next one.
    pub(crate) fn may_keep(&self, has_validator: bool) -> bool {
        has_validator || self.freshness == Freshness::Immutable
    }

    /// Whether the store is asked before a `range` beyond the known end is answered: the object, of `size` bytes at
    /// `asked_at`, may have grown, and the caller may know a newer version, for example from a listing.
    #[inline]
    pub(crate) fn may_have_grown(&self, size: u64, asked_at: Duration, range: &Range<u64>, now: Duration) -> bool {
        range.end > size
            && self.freshness != Freshness::Immutable
            && (range.start >= size || now.saturating_sub(asked_at) >= END_SETTLES_FOR)
            && !Mutation::TrustsTheEnd.is_active()
    }
}

/// The known version of an object, as far as decisions need it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownVersion {
    /// When the request was sent whose answer showed this version.
    pub(crate) asked_at: Duration,
    /// The version can be told from others.
    pub(crate) has_validator: bool,
    /// There is no validator yet, but the modification date becomes one when it is old enough.
    pub(crate) gets_validator: bool,
    /// The object cannot be cached: its answers are local files, or ignore ranges.
    pub(crate) uncacheable: bool,
}

/// The first step of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstStep {
    /// Hand the call to the inner store.
    Bypass,
    /// Send the caller's request; its answer shows the version.
    Open,
    /// Serve the known version.
    Serve,
    /// Check first whether the known version is still the present one.
    Validate,
}

/// Decides the first step of a call.
pub(crate) fn first_step(plan: &CachePlan, known: Option<KnownVersion>, now: Duration) -> FirstStep {
    match known {
        _ if plan.bypass => FirstStep::Bypass,
        None => FirstStep::Open,
        Some(known) if known.uncacheable => FirstStep::Bypass,
        Some(known) if !plan.may_keep(known.has_validator) => {
            let is_settled = known.gets_validator && now.saturating_sub(known.asked_at) > BELIEVED_WITHOUT_VALIDATOR;
            if is_settled { FirstStep::Open } else { FirstStep::Bypass }
        }
        Some(_) if !plan.reads_cache => FirstStep::Open,
        Some(known) if plan.is_fresh(known.asked_at, now) => FirstStep::Serve,
        Some(_) => FirstStep::Validate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(freshness: Freshness) -> CachePlan {
        CachePlan::new(freshness, None, false)
    }

    #[test]
    fn freshness_is_counted_from_when_the_request_was_sent() {
        let head = |freshness| CachePlan::new(freshness, None, true);
        for (plan, age, fresh) in [
            (plan(Freshness::Immutable), 1000 * SECOND, true),
            (plan(Freshness::Ttl(SECOND)), SECOND / 2, true),
            (plan(Freshness::Ttl(SECOND)), SECOND, false),
            (plan(Freshness::Ttl(Duration::ZERO)), Duration::ZERO, false),
            (plan(Freshness::EveryRead), Duration::ZERO, false),
            (plan(Freshness::OnOpen), 1000 * SECOND, true),
            (head(Freshness::OnOpen), Duration::ZERO, false),
            (head(Freshness::Ttl(SECOND)), SECOND / 2, true),
        ] {
            assert_eq!(plan.is_fresh(SECOND, SECOND + age), fresh, "{plan:?} after {age:?}");
        }
    }

    #[test]
    fn first_steps() {
        let known = KnownVersion { asked_at: SECOND, has_validator: true, gets_validator: false, uncacheable: false };
        let bare = KnownVersion { has_validator: false, ..known };
        let dated = KnownVersion { gets_validator: true, ..bare };
        let ttl = Freshness::Ttl(SECOND);
        let hinted = |hint| CachePlan::new(ttl, Some(hint), false);
        for (plan, known, now, step) in [
            (plan(ttl), None, SECOND, FirstStep::Open),
            (plan(ttl), Some(known), SECOND, FirstStep::Serve),
            (plan(ttl), Some(known), 2 * SECOND, FirstStep::Validate),
            (plan(ttl), Some(bare), SECOND, FirstStep::Bypass),
            (plan(ttl), Some(bare), 9 * SECOND, FirstStep::Bypass),
            (plan(ttl), Some(dated), 3 * SECOND, FirstStep::Bypass),
            (plan(ttl), Some(dated), 4 * SECOND, FirstStep::Open),
            (plan(Freshness::Immutable), Some(bare), SECOND, FirstStep::Serve),
            (plan(Freshness::Immutable), Some(KnownVersion { uncacheable: true, ..known }), SECOND, FirstStep::Bypass),
            (hinted(CacheHint::Bypass), Some(known), SECOND, FirstStep::Bypass),
            (hinted(CacheHint::Refetch), Some(known), SECOND, FirstStep::Open),
            (hinted(CacheHint::NoAdmit), Some(known), SECOND, FirstStep::Serve),
            (hinted(CacheHint::Immutable), Some(known), 9 * SECOND, FirstStep::Serve),
        ] {
            assert_eq!(first_step(&plan, known, now), step, "{plan:?} {known:?}");
        }
    }

    #[test]
    fn a_range_beyond_the_end_asks_whether_the_object_has_grown() {
        let ttl = Freshness::Ttl(9 * SECOND);
        for (freshness, range, age, asks) in [
            (ttl, 0..10, 5 * SECOND, false),
            (ttl, 0..11, 5 * SECOND, true),
            (ttl, 0..11, SECOND / 2, false),
            (ttl, 10..11, SECOND / 2, true),
            (Freshness::OnOpen, 10..11, SECOND / 2, true),
            (Freshness::Immutable, 10..11, 5 * SECOND, false),
        ] {
            assert_eq!(plan(freshness).may_have_grown(10, SECOND, &range, SECOND + age), asks, "{range:?} {age:?}");
        }
    }
}
