//! What the layers tell each other: downwards in `GetOptions::extensions`, upwards in `GetResult::extensions`.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use object_store::{Extensions, GetOptions};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::internal::mutation::Mutation;

/// Why a request is made. Demand goes before speculation wherever something is scarce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Intent {
    /// Somebody waits for these bytes.
    #[default]
    Demand,
    /// Nobody has asked for these bytes yet.
    Speculative,
}

impl Intent {
    /// The intent `extensions` carry; demand once their [`Promotion`] has been used. Default: [`Intent::Demand`].
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        match extensions.get() {
            Some(Self::Speculative) if !Promotion::of(extensions).is_some_and(Promotion::is_promoted) => {
                Self::Speculative
            }
            _ => Self::Demand,
        }
    }
}

/// Turns a speculative request into a demanded one while it is under way.
///
/// Whoever asks for speculative bytes puts a clone beside [`Intent::Speculative`] and keeps one. Once somebody waits for the
/// bytes, [`Promotion::promote`] moves the request, wherever it waits, to the queue of those who are waited for.
#[derive(Debug, Clone, Default)]
pub struct Promotion(Arc<PromotionState>);

#[derive(Debug, Default)]
struct PromotionState {
    promoted: AtomicBool,
    changed: Notify,
}

impl Promotion {
    /// The promotion `extensions` carry, if any.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Somebody waits for the bytes now. There is no way back; doing it twice is harmless.
    pub fn promote(&self) {
        self.0.promoted.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Whether somebody waits for the bytes.
    #[must_use]
    pub fn is_promoted(&self) -> bool {
        self.0.promoted.load(Ordering::Acquire)
    }

    /// Waits until somebody waits for the bytes.
    ///
    /// # Cancel safety
    /// Cancel safe: it only watches.
    pub async fn promoted(&self) {
        // Made before the look at the flag: it hears of whatever comes after.
        let changed = self.0.changed.notified();
        if !self.is_promoted() {
            changed.await;
        }
    }
}

/// What a reader knows of its own future, in the words of `posix_fadvise(2)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AccessHint {
    /// Nothing: learn the pattern.
    #[default]
    Normal,
    /// Reads go on in order: read far ahead from the first one.
    Sequential,
    /// Reads follow no order: never read ahead.
    Random,
    /// These ranges will be read soon.
    WillNeed(Vec<Range<u64>>),
    /// These ranges will not be read again.
    DontNeed(Vec<Range<u64>>),
}

/// How one call is to use a cache on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheHint {
    /// Neither look nor store.
    Bypass,
    /// Look, but do not store what is missing.
    NoAdmit,
    /// Do not look; fetch and store anew.
    Refetch,
    /// The object never changes: never validate it.
    Immutable,
}

/// How the range of a request relates to what the user asked for. Servers refuse ranges for reasons of their own, and what a layer adds
/// must not make a read fail that would have been answered without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeOrigin {
    /// A layer above has chosen it (parts, pages, read-ahead). Where it is refused, that layer asks again; those below do not.
    Chosen,
    /// It is what the user asked for, after a range of ours was refused: the layers below send it as it is.
    Asked,
}

/// Marks a request whose memory an upper layer has already reserved: a byte is charged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserved;

/// Where an answer's bytes came from, counted while its body is read; complete when the body ends.
///
/// Every answer to a request that carries an [`Intent`] has one, where a layer below counts; others may. Clones share their
/// counts.
#[derive(Debug, Clone, Default)]
pub struct Origin(Arc<OriginCounts>);

#[derive(Debug, Default)]
struct OriginCounts {
    wire_bytes: AtomicU64,
    hit_bytes: AtomicU64,
}

impl Origin {
    /// The origin `extensions` carry, if any layer below reports one.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().cloned()
    }

    /// Bytes that crossed the wire for this answer, so far.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.0.wire_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that a cache had, so far.
    #[must_use]
    pub fn hit_bytes(&self) -> u64 {
        self.0.hit_bytes.load(Ordering::Relaxed)
    }

    /// OriginCounts `bytes` that crossed the wire.
    pub fn add_wire(&self, bytes: u64) {
        self.0.wire_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// OriginCounts `bytes` that a cache had.
    pub fn add_hit(&self, bytes: u64) {
        self.0.hit_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Until when the version of an answer may be taken for the present one; upwards, from a cache that trusts versions for a
/// time, in answers to requests that carry an [`Intent`]. Without one, nobody sets a limit.
///
/// Read-ahead above a cache keeps to this, so that its own time does not come on top of the cache's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshUntil(pub Instant);

/// When the request was sent whose answer showed that the version of this answer is the present one; upwards, in answers to
/// requests that carry an [`Intent`]. An answer without one comes from the store itself: it was confirmed when it was asked for.
///
/// Whoever trusts a version for a time counts from here, so that the times of several layers do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfirmedAt(pub Instant);

impl ConfirmedAt {
    /// When an answer with `extensions`, to a request sent at `asked_at`, was confirmed.
    #[must_use]
    pub fn of(extensions: &Extensions, asked_at: Instant) -> Instant {
        match extensions.get() {
            Some(Self(_)) if Mutation::ConfirmsNow.is_back() => Instant::now(),
            Some(Self(confirmed_at)) => asked_at.min(*confirmed_at),
            None => asked_at,
        }
    }
}

/// The CRC32C (Castagnoli) of a whole object, as the store knows it.
///
/// Travels upwards in `GetResult::extensions`: `object_store` has no attribute for it, but hands on the extensions of
/// the client's HTTP response, so an adapter's connector can put it there. GCS names it in every answer
/// (`x-goog-hash`); S3 only in answers to requests that ask for it with a signed header, which `object_store` cannot send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crc32c(pub u32);

/// Options for one bounded range, carrying `intent`: how one layer asks the next for bytes.
#[must_use]
pub fn ask(range: Range<u64>, intent: Intent) -> GetOptions {
    let mut options = GetOptions::new().with_range(Some(range));
    options.extensions.insert(intent);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_unless_said_otherwise() {
        assert_eq!(Intent::of(&Extensions::new()), Intent::Demand);
        assert_eq!(Intent::of(&ask(0..1, Intent::Speculative).extensions), Intent::Speculative);
    }

    #[tokio::test]
    async fn a_promoted_request_is_demand() {
        let mut options = ask(0..1, Intent::Speculative);
        let promotion = Promotion::default();
        options.extensions.insert(promotion.clone());
        assert_eq!(Intent::of(&options.extensions), Intent::Speculative);
        let watched = promotion.clone();
        let watch = tokio::spawn(async move { watched.promoted().await });
        tokio::task::yield_now().await;
        assert!(!watch.is_finished());
        promotion.promote();
        watch.await.expect("the watch ends");
        promotion.promoted().await;
        assert_eq!(Intent::of(&options.extensions), Intent::Demand);
    }

    #[test]
    fn clones_of_an_origin_share_their_counts() {
        let mut extensions = Extensions::new();
        let origin = Origin::default();
        extensions.insert(origin.clone());
        origin.add_wire(5);
        origin.add_hit(2);
        let seen = Origin::of(&extensions).expect("inserted above");
        assert_eq!((seen.wire_bytes(), seen.hit_bytes()), (5, 2));
    }
}
