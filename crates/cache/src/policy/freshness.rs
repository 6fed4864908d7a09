//! What to do with a call: bypass, open, validate or serve; whom to join; what to store. Pure.

use std::ops::Range;
use std::time::Duration;

use headstart_fetch_core::mutation::Fault;
use headstart_fetch_core::{CacheHint, byte_range};

use crate::config::Freshness;

/// A modification date younger than this is no validator yet (see [`headstart_fetch_core::ObjectVersion`]).
const DATE_SETTLES_AFTER: Duration = Duration::from_secs(2);

/// A version confirmed this recently is trusted to end where it ends. Readers of small files ask for more than there is, again and
/// again: with this they cost one HEAD a second at most, and an object that has grown is noticed a second late.
const END_SETTLES_FOR: Duration = Duration::from_secs(1);

/// How one call uses the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CachePlan {
    /// Neither look nor store.
    pub(crate) bypass: bool,
    /// Look for pages, heads and in_flight that are there already.
    pub(crate) look: bool,
    /// Store what is fetched.
    pub(crate) admit: bool,
    /// How long a head is trusted.
    pub(crate) freshness: Freshness,
    /// The call opens the object, in the sense of [`Freshness::OnOpen`].
    pub(crate) opens: bool,
    /// The caller has said that what is fetched will be read.
    pub(crate) announced: bool,
}

impl CachePlan {
    /// The plan for a call with `hint`; `head`: it asks for metadata alone.
    pub(crate) fn new(enabled: bool, freshness: Freshness, hint: Option<CacheHint>, head: bool) -> Self {
        let freshness = if hint == Some(CacheHint::Immutable) { Freshness::Immutable } else { freshness };
        Self {
            bypass: !enabled || hint == Some(CacheHint::Bypass),
            look: hint != Some(CacheHint::Refetch),
            admit: hint != Some(CacheHint::NoAdmit),
            freshness,
            opens: head,
            announced: false,
        }
    }

    /// Whether an answer to a request that was sent at `asked_at` may still be used at `now`.
    pub(crate) fn is_fresh(&self, asked_at: Duration, now: Duration) -> bool {
        match self.freshness {
            Freshness::Immutable => true,
            Freshness::Ttl(ttl) => now.saturating_sub(asked_at) < ttl,
            Freshness::EveryRead => false,
            Freshness::OnOpen => !self.opens,
        }
    }

    /// Whether bytes of an object may be kept: only what can be told from its next version, or never has one.
    pub(crate) fn may_keep(&self, has_validator: bool) -> bool {
        has_validator || self.freshness == Freshness::Immutable
    }
}

/// What is known of an object before a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownVersion {
    /// When the request was sent whose answer said so.
    pub(crate) asked_at: Duration,
    /// Its version can be told from others.
    pub(crate) has_validator: bool,
    /// It has no validator yet: its modification date will be one when it is old enough.
    pub(crate) gets_validator: bool,
    /// The cache has no use for it: its answers are local files, or ignore ranges.
    pub(crate) opaque: bool,
}

/// The first step of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstStep {
    /// The inner store answers alone.
    Bypass,
    /// Fetch what is wanted; the answer tells the version.
    Open,
    /// Serve from what is known.
    Serve,
    /// Find out first whether what is known still holds.
    Validate,
}

/// Decides the first step of a call.
pub(crate) fn first_step(plan: &CachePlan, known: Option<KnownVersion>, now: Duration) -> FirstStep {
    match known {
        _ if plan.bypass => FirstStep::Bypass,
        None => FirstStep::Open,
        Some(known) if known.opaque => FirstStep::Bypass,
        Some(known) if !plan.may_keep(known.has_validator) => {
            let is_settled = known.gets_validator && now.saturating_sub(known.asked_at) > DATE_SETTLES_AFTER;
            if is_settled { FirstStep::Open } else { FirstStep::Bypass }
        }
        Some(_) if !plan.look => FirstStep::Open,
        Some(known) if plan.is_fresh(known.asked_at, now) => FirstStep::Serve,
        Some(_) => FirstStep::Validate,
    }
}

/// Whether an object known to be of `size` since `asked_at` may have grown, so that the store is asked before a `range` that goes
/// beyond the known end is answered. A caller that reads there may know a newer version, from a list for example.
#[inline]
pub(crate) fn may_have_grown(
    plan: &CachePlan,
    size: u64,
    asked_at: Duration,
    range: &Range<u64>,
    now: Duration,
) -> bool {
    range.end > size
        && plan.freshness != Freshness::Immutable
        && (range.start >= size || now.saturating_sub(asked_at) >= END_SETTLES_FOR)
        && !Fault::TrustsTheEnd.is_back()
}

/// What a request asks of an object whose size is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OpenRequest {
    /// Metadata.
    Head,
    /// Everything.
    Whole,
    /// These bytes, as far as they exist.
    Bounded(Range<u64>),
    /// Everything from this byte on.
    From(u64),
    /// The last bytes, this many.
    Last(u64),
}

impl OpenRequest {
    /// The most bytes that the answer brings, where that is known.
    pub(crate) fn most_bytes(&self) -> Option<u64> {
        match self {
            Self::Head => Some(0),
            Self::Bounded(range) => Some(byte_range::len(range)),
            Self::Last(bytes) => Some(*bytes),
            Self::Whole | Self::From(_) => None,
        }
    }
}

/// Whether waiting for the answer to `running` brings something that `wanted` asks for.
///
/// Where one cannot know before the size is known, the answer is no: a second request costs less than a wait in error.
pub(crate) fn worth_joining(running: &OpenRequest, wanted: &OpenRequest) -> bool {
    use OpenRequest::{Bounded, From, Head, Last, Whole};
    match (running, wanted) {
        (_, Head) => true,
        (Head, _) | (Bounded(_), Last(_)) | (Last(_), Bounded(_)) => false,
        (Bounded(a), Bounded(b)) => byte_range::intersection(a, b).is_some(),
        (Bounded(a), From(from)) | (From(from), Bounded(a)) => *from < a.end,
        (Whole, _) | (_, Whole) | (From(_) | Last(_), From(_) | Last(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(freshness: Freshness) -> CachePlan {
        CachePlan::new(true, freshness, None, false)
    }

    #[test]
    fn freshness_is_counted_from_when_the_request_was_sent() {
        let head = |freshness| CachePlan::new(true, freshness, None, true);
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
        let known = KnownVersion { asked_at: SECOND, has_validator: true, gets_validator: false, opaque: false };
        let dated = KnownVersion { has_validator: false, gets_validator: true, ..known };
        let ttl = Freshness::Ttl(SECOND);
        let hinted = |hint| CachePlan::new(true, ttl, Some(hint), false);
        for (plan, known, now, step) in [
            (plan(ttl), None, SECOND, FirstStep::Open),
            (plan(ttl), Some(known), SECOND, FirstStep::Serve),
            (plan(ttl), Some(known), 2 * SECOND, FirstStep::Validate),
            (plan(ttl), Some(KnownVersion { has_validator: false, ..known }), SECOND, FirstStep::Bypass),
            (plan(ttl), Some(KnownVersion { has_validator: false, ..known }), 9 * SECOND, FirstStep::Bypass),
            (plan(ttl), Some(dated), 3 * SECOND, FirstStep::Bypass),
            (plan(ttl), Some(dated), 4 * SECOND, FirstStep::Open),
            (
                plan(Freshness::Immutable),
                Some(KnownVersion { has_validator: false, ..known }),
                SECOND,
                FirstStep::Serve,
            ),
            (plan(Freshness::Immutable), Some(KnownVersion { opaque: true, ..known }), SECOND, FirstStep::Bypass),
            (hinted(CacheHint::Bypass), Some(known), SECOND, FirstStep::Bypass),
            (hinted(CacheHint::Refetch), Some(known), SECOND, FirstStep::Open),
            (hinted(CacheHint::NoAdmit), Some(known), SECOND, FirstStep::Serve),
            (hinted(CacheHint::Immutable), Some(known), 9 * SECOND, FirstStep::Serve),
            (CachePlan::new(false, ttl, None, false), Some(known), SECOND, FirstStep::Bypass),
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
            assert_eq!(may_have_grown(&plan(freshness), 10, SECOND, &range, SECOND + age), asks, "{range:?} {age:?}");
        }
    }

    #[test]
    fn requests_that_overlap_are_joined() {
        use OpenRequest::{Bounded, From, Head, Last, Whole};
        for (running, wanted, join) in [
            (Bounded(0..10), Bounded(9..20), true),
            (Bounded(0..10), Bounded(10..20), false),
            (Bounded(0..10), From(9), true),
            (From(10), Bounded(0..10), false),
            (Bounded(0..10), Last(5), false),
            (Bounded(0..10), Whole, true),
            (Last(5), From(0), true),
            (Last(5), Last(9), true),
            (Bounded(0..10), Head, true),
            (Head, Whole, false),
        ] {
            assert_eq!(worth_joining(&running, &wanted), join, "{running:?} {wanted:?}");
        }
    }
}
