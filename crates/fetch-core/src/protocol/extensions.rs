//! What layers tell each other: down in `GetOptions::extensions`, up in `GetResult::extensions`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{ops::Range, sync::Arc};

use object_store::{Extensions, GetOptions};
use tokio::{sync::Notify, time::Instant};

use crate::internal::mutation::Mutation;

/// Why a request is sent. Demand is served before speculation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Intent {
    /// A reader waits for these bytes.
    #[default]
    Demand,
    /// No reader has asked for these bytes yet.
    Speculative,
}

impl Intent {
    /// The intent in `extensions`; demand once their [`Promotion`] has been used. Default: [`Intent::Demand`].
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

/// Turns a speculative request into a demanded one while it is in flight.
///
/// The sender puts a clone beside [`Intent::Speculative`] and keeps one. When a reader waits for the bytes,
/// [`Promotion::promote`] moves the request to the demand queue.
#[derive(Debug, Clone, Default)]
pub struct Promotion(Arc<PromotionState>);

#[derive(Debug, Default)]
struct PromotionState {
    promoted: AtomicBool,
    changed: Notify,
}

impl Promotion {
    /// The promotion in `extensions`, if any.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// A reader waits for the bytes now. This cannot be undone; repeating it has no effect.
    pub fn promote(&self) {
        self.0.promoted.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Whether a reader waits for the bytes.
    pub fn is_promoted(&self) -> bool {
        self.0.promoted.load(Ordering::Acquire)
    }

    /// Waits until a reader waits for the bytes.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn promoted(&self) {
        // Created before the flag is read, so that no later promotion is missed.
        let changed = self.0.changed.notified();
        if !self.is_promoted() {
            changed.await;
        }
    }
}

/// How a reader is going to read, in the words of `posix_fadvise(2)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AccessHint {
    /// Nothing is known: learn the pattern.
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

/// How one call uses a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheHint {
    /// Neither look up nor store.
    Bypass,
    /// Look up, but do not store what is missing.
    NoAdmit,
    /// Do not look up; fetch and store anew.
    Refetch,
    /// The object never changes: never validate it.
    Immutable,
}

/// Who chose the range of a request. Servers refuse some ranges, and a range chosen by a layer must not make a read
/// fail that would have been answered without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeOrigin {
    /// A layer above chose it (parts, pages, read-ahead). If it is refused, that layer sends another request;
    /// the layers below do not.
    Chosen,
    /// The user chose it, and a range of our choice was refused before. The layers below send it unchanged.
    Asked,
}

/// Marks a request whose memory a layer above has reserved. A byte is charged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserved;

/// Where the bytes of an answer came from. Counted while the body is read; complete when the body ends.
///
/// Every answer to a request with an [`Intent`] carries one if a layer below counts; other answers may. Clones
/// share their counts.
#[derive(Debug, Clone, Default)]
pub struct Origin(Arc<OriginCounts>);

#[derive(Debug, Default)]
struct OriginCounts {
    wire_bytes: AtomicU64,
    hit_bytes: AtomicU64,
}

impl Origin {
    /// The origin in `extensions`, if a layer below reports one.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().cloned()
    }

    /// Bytes from the network so far.
    pub fn wire_bytes(&self) -> u64 {
        self.0.wire_bytes.load(Ordering::Relaxed)
    }

    /// Bytes from a cache so far.
    pub fn hit_bytes(&self) -> u64 {
        self.0.hit_bytes.load(Ordering::Relaxed)
    }

    /// Counts `bytes` from the network.
    pub fn add_wire(&self, bytes: u64) {
        self.0.wire_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` from a cache.
    pub fn add_hit(&self, bytes: u64) {
        self.0.hit_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Until when the version of an answer may be taken for the current one. A cache that trusts versions for a time
/// adds it to answers to requests with an [`Intent`]. Without it there is no limit.
///
/// Read-ahead above a cache keeps this limit, so that the two trust times do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshUntil(pub Instant);

/// When the version of an answer was confirmed as current: the time at which the confirming request was sent. A
/// cache adds it to answers to requests with an [`Intent`]. An answer without it comes from the store and was
/// confirmed when it was requested.
///
/// A layer that trusts a version for a time counts from here, so that the times of several layers do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfirmedAt(pub Instant);

impl ConfirmedAt {
    /// When the answer with `extensions` to a request sent at `asked_at` was confirmed.
    pub fn of(extensions: &Extensions, asked_at: Instant) -> Instant {
        match extensions.get() {
            Some(Self(_)) if Mutation::ConfirmsNow.is_active() => Instant::now(),
            Some(Self(confirmed_at)) => asked_at.min(*confirmed_at),
            None => asked_at,
        }
    }
}

/// The bytes of an answer are slices of pages that a cache keeps. Layers above hand them on and do not copy them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CachedPages;

/// The CRC32C (Castagnoli) of a whole object, as the store reports it.
///
/// It travels up in `GetResult::extensions`. `object_store` has no attribute for it, but passes on the extensions
/// of the HTTP response, where the connector of an adapter can put it. GCS reports it in every answer
/// (`x-goog-hash`); S3 only if a signed header asks for it, which `object_store` cannot send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crc32c(pub u32);

/// Options of a request for one range, with `intent`.
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
