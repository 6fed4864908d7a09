//! Remembers which additions of our layers a store refuses, and leaves them out of later requests.
//!
//! **Pins.** Some servers answer 412 to their own entity tag (they want it without quotes, or refuse any), others
//! 400 or 501 to any `If-Match`. The plain client sends none, so a pin must not make a read fail. If one is
//! refused, a HEAD tells whether the object has changed. If not, this request and later ones to the store are sent
//! without a pin, and their answers are compared instead.
//!
//! **Entity tags.** Some clusters have a tag per replica, or a new one in each answer. If a tag differs while size
//! and settled modification date are equal, up to four HEADs tell: after an overwrite that kept the date, all show the
//! new tag. If they show different tags, or the previous one, tags are useless; dates are compared from then on, as
//! for stores without tags.
//!
//! **Ranges.** Parts, pages and read-ahead request other ranges than the caller. If such a range is refused, the
//! layer that chose it requests what its caller requested ([`RangeOrigin`]). If that is answered, the store refuses
//! our ranges.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures::FutureExt;
use object_store::{Error, Extensions, GetOptions, GetResult, ObjectMeta, ObjectStore, Result, path::Path};

use crate::error::{ExplainsError, FetchError, ObjectChanged, STATUS_PREFIX, is_past_end, sources};
use crate::protocol::{extensions::CacheHint, version::ObjectVersion};
use crate::request::retryable::is_transient;
use crate::trace_events;

/// In [`GetOptions::extensions`]: one of our layers has pinned the request to this version (see
/// [`ObjectVersion::pin`]).
#[derive(Debug, Clone)]
pub(crate) struct Pinned(pub(crate) ObjectVersion);

/// What one store has refused, as seen by one layer. Its atomics are relaxed: slightly outdated values are good enough.
#[derive(Debug, Default)]
pub struct Refusals {
    /// A pin was honoured.
    pinned: AtomicBool,
    pins: Omission,
    tags: AtomicBool,
    ends: Omission,
    ranges: Omission,
    heads: Omission,
}

/// How many requests leave something out after it was refused, before it is tried again. A temporary refusal must
/// not last for ever; if it is refused again, that costs two requests in this many.
const LEFT_OUT: u32 = 256;

/// HEADs that look for another tag before a difference counts as a change of the object. Beside other requests, two
/// HEADs may meet the same of two replicas by chance. Overwrites that keep size and date are rare, so four are cheap.
const TAG_HEADS: usize = 4;

/// Something that is left out of later requests after two refusals without an acceptance in between. One refusal
/// may be an accident.
#[derive(Debug, Default)]
struct Omission {
    was_refused: AtomicBool,
    times: AtomicU32,
}

impl Omission {
    fn refused(&self) {
        if self.was_refused.swap(true, Ordering::Relaxed) && self.times.load(Ordering::Relaxed) == 0 {
            self.was_refused.store(false, Ordering::Relaxed);
            self.times.store(LEFT_OUT, Ordering::Relaxed);
        }
    }

    fn granted(&self) {
        if self.was_refused.load(Ordering::Relaxed) {
            self.was_refused.store(false, Ordering::Relaxed);
        }
    }

    /// Whether it is left out of requests now.
    fn is_being_left_out(&self) -> bool {
        self.times.load(Ordering::Relaxed) > 0
    }

    /// Whether to leave it out of this request, too.
    fn is_left_out(&self) -> bool {
        self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |times| times.checked_sub(1)).is_ok()
    }
}

impl Refusals {
    /// `get_opts` of `store`, without the pin if the store refuses pins. The answer to a request that one of
    /// our layers has pinned is of that version in any case.
    ///
    /// # Errors
    /// Those of the store; [`ObjectChanged`] if the answer to a request without its pin is of another version.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn get_opts(&self, store: &dyn ObjectStore, path: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(Pinned(version)) = options.extensions.get() else {
            return store.get_opts(path, options).await.map(|answer| self.without_tag(answer));
        };
        // The store honours pins and names versions: the present pin is not refused, so no other request follows.
        let is_safe = version.version.is_some() && self.pinned.load(Ordering::Relaxed);
        if is_safe && options.version.is_some() && !self.pins.is_being_left_out() {
            let answer = store.get_opts(path, options).await?;
            self.pins.granted();
            return Ok(self.without_tag(answer));
        }
        let version = version.clone();
        // Boxed, because its refusals are rare and large.
        self.get_pinned(store, path, options, version).boxed().await
    }

    /// The same for a request that was pinned to `version`.
    async fn get_pinned(
        &self,
        store: &dyn ObjectStore,
        path: &Path,
        options: GetOptions,
        version: ObjectVersion,
    ) -> Result<GetResult> {
        let by_useless_tag = options.version.is_none() && self.tags.load(Ordering::Relaxed);
        if !by_useless_tag && !self.pins.is_left_out() {
            let error = match store.get_opts(path, options.clone()).await {
                Ok(answer) => {
                    self.pinned.store(true, Ordering::Relaxed);
                    self.pins.granted();
                    return Ok(self.without_tag(answer));
                }
                Err(error) => error,
            };
            // If pins are honoured, only an entity tag can be another replica's: a store that names
            // versions has changed the object.
            let is_honoured = self.pinned.load(Ordering::Relaxed);
            let may_be_replica = says_another_version(&error) && version.differs_in_tag_alone(&version);
            if !may_be_the_pin(&error) || is_honoured && !may_be_replica {
                return Err(error);
            }
            let extensions = &options.extensions;
            match head(store, path, extensions).await {
                Ok(found) if version.is_same(&found) => {
                    trace_events::pins_refused(path, &error);
                    self.pins.refused();
                }
                Ok(found) if self.tags_tell_nothing(store, path, &version, &found, extensions).await => {}
                Ok(found) => return Err(ObjectChanged::new(path, &version, Some(&found)).into()),
                Err(_) => return Err(error),
            }
        }
        let extensions = options.extensions.clone();
        let mut unpinned = GetOptions { if_match: None, version: None, ..options };
        unpinned.extensions.remove::<Pinned>();
        let answer = self.without_tag(store.get_opts(path, unpinned).await?);
        let found = ObjectVersion::of(&answer.meta);
        if version.is_same(&found) || self.tags_tell_nothing(store, path, &version, &found, &extensions).await {
            return Ok(self.without_tag(answer));
        }
        version.check(&answer.meta)?;
        Ok(answer)
    }

    /// Whether `found` differs from `known` only in its entity tag, and tags of this store are useless: a few HEADs
    /// tell.
    ///
    /// # Cancel safety
    /// Cancel safe.
    async fn tags_tell_nothing(
        &self,
        store: &dyn ObjectStore,
        path: &Path,
        known: &ObjectVersion,
        found: &ObjectVersion,
        extensions: &Extensions,
    ) -> bool {
        if !known.differs_in_tag_alone(found) {
            return false;
        }
        let mut first_tag = None;
        for _ in 0..TAG_HEADS {
            let tag = match head(store, path, extensions).await {
                Ok(now) if known.is_same(&now) || known.differs_in_tag_alone(&now) => now.e_tag,
                _ => return false,
            };
            // After an overwrite all show the tag that was found.
            if tag == known.e_tag || *first_tag.get_or_insert_with(|| tag.clone()) != tag {
                trace_events::entity_tags_ignored(path);
                self.tags.store(true, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    /// Checks that `meta` is of `version`, by its date if tags of this store are useless.
    ///
    /// # Errors
    /// [`object_store::Error::Precondition`] with [`ObjectChanged`] as its source.
    pub fn check(&self, version: &ObjectVersion, meta: &ObjectMeta) -> Result<()> {
        let is_by_date = self.tags.load(Ordering::Relaxed) && version.differs_in_tag_alone(&ObjectVersion::of(meta));
        if is_by_date { Ok(()) } else { version.check(meta) }
    }

    /// Finds out whether `changed` was a change, or entity tags of this store are useless.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn look_at_tags(&self, store: &dyn ObjectStore, path: &Path, changed: &Error, extensions: &Extensions) {
        if let Some(ObjectChanged { expected, found: Some(found), .. }) = ObjectChanged::find(changed) {
            self.tags_tell_nothing(store, path, expected, found, extensions).await;
        }
    }

    /// Removes the entity tag of `answer` if tags of this store are useless and it has a date.
    fn without_tag(&self, mut answer: GetResult) -> GetResult {
        if self.tags.load(Ordering::Relaxed) && ObjectVersion::of(&answer.meta).last_modified.is_some() {
            answer.meta.e_tag = None;
        }
        answer
    }

    /// A range of our choice up to `asked_end` was refused, and the range of the caller was answered. The
    /// object has `size` bytes.
    pub fn refused_range(&self, asked_end: u64, size: u64) {
        if asked_end >= size {
            // The refused range reached an end that was not known, or was the whole object. An empty
            // object has no range at all.
            if size > 0 {
                self.ends.refused();
            }
        } else {
            self.ranges.refused();
        }
    }

    /// Whether only ranges of callers may be requested, of objects whose size is known or not.
    pub fn refuses_ours(&self, is_known: bool) -> bool {
        self.refuses_ranges() || !is_known && self.refuses_ends()
    }

    /// A range of our choice was refused, and the range of a caller was answered. The size of the object was
    /// known before or not.
    pub fn refused_ours(&self, was_known: bool, size: u64) {
        self.refused_range(if was_known { 0 } else { u64::MAX }, size);
    }

    /// A range of our choice was answered.
    pub fn granted_range(&self) {
        self.ends.granted();
        self.ranges.granted();
    }

    /// Whether ranges that reach or pass the end of an object are refused. Then, only ranges of callers may be
    /// requested of objects of unknown size.
    pub fn refuses_ends(&self) -> bool {
        self.refuses_ranges() || self.ends.is_left_out()
    }

    /// Whether ranges of our choice are refused within objects, too. Then, only ranges of callers may be requested.
    pub fn refuses_ranges(&self) -> bool {
        self.ranges.is_left_out()
    }

    /// A HEAD was refused, and the GET after it was answered.
    pub fn refused_head(&self) {
        self.heads.refused();
    }

    /// A HEAD was answered.
    pub fn granted_head(&self) {
        self.heads.granted();
    }

    /// Whether HEAD requests are refused.
    pub fn refuses_heads(&self) -> bool {
        self.heads.is_left_out()
    }
}

/// The version that a HEAD past all caches shows. It is not retried.
async fn head(store: &dyn ObjectStore, path: &Path, extensions: &Extensions) -> Result<ObjectVersion> {
    let mut head = GetOptions::new().with_head(true);
    head.extensions = extensions.clone();
    head.extensions.remove::<Pinned>();
    head.extensions.insert(CacheHint::Refetch);
    head.extensions.insert(ExplainsError);
    Ok(ObjectVersion::of(&store.get_opts(path, head).await?.meta))
}

/// Whether `error` is a 404 or 412: the version that a request names may be gone.
pub(crate) fn says_another_version(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. } | Error::Precondition { .. })
}

/// Whether `error` may be a refusal of the range: another range of the same object may be answered. Excludes errors
/// in which the client reports another problem.
pub fn may_be_the_range(error: &Error) -> bool {
    match error {
        Error::Generic { .. } => match FetchError::find(error) {
            Some(ours) => matches!(ours, FetchError::WrongRange { .. } | FetchError::PastEnd { .. }),
            None => !is_transient(error) && sources(error).all(|cause| may_be_about_range(&cause.to_string())),
        },
        Error::NotSupported { .. } | Error::NotImplemented { .. } => true,
        _ => false,
    }
}

fn may_be_about_range(said: &str) -> bool {
    if let Some(status) = said.strip_prefix(STATUS_PREFIX) {
        return ["400", "416", "501"].iter().any(|refused| status.starts_with(refused));
    }
    let is_about_another = said.starts_with("HTTP error: ")
        || said.starts_with("Received redirect without LOCATION")
        || said.starts_with("Invalid last modified ")
        || said.starts_with("Invalid content length ")
        || said.starts_with("Content-Length Header missing");
    !is_about_another
}

/// Whether `error` may be a refusal of the pin, judged by the statuses with which servers refuse what they do not
/// support.
fn may_be_the_pin(error: &Error) -> bool {
    match error {
        error if says_another_version(error) => ObjectChanged::find(error).is_none(),
        Error::NotSupported { .. } => false,
        _ => {
            let has_status = |cause: &(dyn std::error::Error + 'static)| cause.to_string().starts_with(STATUS_PREFIX);
            may_be_the_range(error) && !is_past_end(error) && sources(error).any(has_status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_twice_is_left_out_for_a_while() {
        let refusals = Refusals::default();
        refusals.refused_head();
        assert!(!refusals.refuses_heads(), "once may be an accident");
        refusals.granted_head();
        refusals.refused_head();
        assert!(!refusals.refuses_heads(), "it was granted in between");
        refusals.refused_head();
        let left_out = std::iter::repeat_with(|| refusals.refuses_heads()).take_while(|refuses| *refuses).count();
        assert_eq!(left_out, LEFT_OUT as usize);
        assert!(!refusals.refuses_heads(), "until it is refused again");
    }

    #[test]
    fn a_refused_end_leaves_ranges_within_objects() {
        let refusals = Refusals::default();
        let twice = |end, size| (0..2).for_each(|_| refusals.refused_range(end, size));
        twice(100, 0);
        assert!(!refusals.refuses_ends(), "an empty object has no range anywhere");
        twice(100, 100);
        assert!(refusals.refuses_ends() && !refusals.refuses_ranges());
        twice(99, 100);
        assert!(refusals.refuses_ends() && refusals.refuses_ranges());
    }
}
