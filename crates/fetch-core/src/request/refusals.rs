//! What a store has refused of what our layers add to requests: it is not added again.
//!
//! **Pins.** Some servers answer 412 to their own entity tag (they want it without quotes, or refuse any), others 400 or 501 to any
//! `If-Match`. The bare client sends none, so a pin must not make a read fail: where one is refused, a HEAD tells whether the object
//! has changed. If not, the request is sent without the pin, and its answer is compared instead, from then on for every
//! request to this store.
//!
//! **Entity tags.** Some clusters have a tag for each replica, or a new one for each answer. Where a tag differs, and size and settled
//! modification date do not, two HEADs tell: after an overwrite that kept the date both show the new tag. Where they show different tags, or the one
//! of before, tags tell nothing, and dates are compared from then on, as over stores without tags.
//!
//! **Ranges.** Parts, pages and read-ahead ask for other ranges than the caller. Where such a range is refused, the layer
//! that chose it asks for what its caller asked for ([`RangeOrigin`]). If that is answered, the store does not like our ranges.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use object_store::path::Path;
use object_store::{Error, Extensions, GetOptions, GetResult, ObjectMeta, ObjectStore, Result};

use crate::error::{ExplainsError, FetchError, ObjectChanged, is_past_end, sources};
use crate::protocol::extensions::CacheHint;
use crate::protocol::version::ObjectVersion;
use crate::request::retryable::is_transient;

/// In [`GetOptions::extensions`]: one of our layers has pinned this request to this version (see [`ObjectVersion::pin`]).
#[derive(Debug, Clone)]
pub(crate) struct Pinned(pub(crate) ObjectVersion);

/// What one store has refused, as far as one layer has seen. The refusals of a moment ago are enough: nothing waits for them.
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

/// How often something is left out after refusals, before it is tried once more: what was refused for a reason of that moment must not be
/// missing for ever, and where it is refused again, that is two requests in as many.
const LEFT_OUT: u32 = 256;

/// Something that is left out of the next requests, once it was refused twice and not granted in between: one refusal may be an accident.
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

    /// Whether to leave it out once more.
    fn is_left_out(&self) -> bool {
        self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |times| times.checked_sub(1)).is_ok()
    }
}

impl Refusals {
    /// `get_opts` of `store`, without the pin where that has turned out to be refused. Answers to requests that one of our layers has pinned
    /// are of that version, pinned or not.
    ///
    /// # Errors
    /// The store's own; [`ObjectChanged`] where the answer to a request without its pin is of another version.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn get_opts(&self, store: &dyn ObjectStore, path: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(Pinned(version)) = options.extensions.get().cloned() else {
            return store.get_opts(path, options).await.map(|answer| self.without_tag(answer));
        };
        let extensions = options.extensions.clone();
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
            // Where pins are honoured, only a tag can be of another replica: a store that names versions has changed.
            let is_honoured = self.pinned.load(Ordering::Relaxed);
            let may_be_replica = says_another_version(&error) && version.differs_in_tag_alone(&version);
            if !may_be_the_pin(&error) || is_honoured && !may_be_replica {
                return Err(error);
            }
            match head(store, path, &extensions).await {
                Ok(found) if version.is_same(&found) => {
                    tracing::debug!(%path, %error, "the store refuses requests for a version: answers are compared instead");
                    self.pins.refused();
                }
                Ok(found) if self.tags_tell_nothing(store, path, &version, &found, &extensions).await => {}
                Ok(found) => return Err(ObjectChanged::new(path, &version, Some(&found)).into()),
                Err(_) => return Err(error),
            }
        }
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

    /// Whether `found` differs from `known` in its entity tag alone, and tags of this store tell nothing: two HEADs find out.
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
        let mut tags = Vec::new();
        for _ in 0..2 {
            match head(store, path, extensions).await {
                Ok(now) if known.is_same(&now) || known.differs_in_tag_alone(&now) => tags.push(now.e_tag),
                _ => return false,
            }
        }
        // After an overwrite both show the tag that was found.
        let tells_nothing = tags[0] != tags[1] || tags[0] == known.e_tag;
        if tells_nothing {
            tracing::debug!(%path, "entity tags of this store tell nothing: dates are compared instead");
            self.tags.store(true, Ordering::Relaxed);
        }
        tells_nothing
    }

    /// Fails with [`ObjectChanged`] unless `meta` is of `version`, by its date where tags of this store tell nothing.
    ///
    /// # Errors
    /// [`object_store::Error::Precondition`] with [`ObjectChanged`] as its source.
    pub fn check(&self, version: &ObjectVersion, meta: &ObjectMeta) -> Result<()> {
        let is_by_date = self.tags.load(Ordering::Relaxed) && version.differs_in_tag_alone(&ObjectVersion::of(meta));
        if is_by_date { Ok(()) } else { version.check(meta) }
    }

    /// After `changed`: finds out whether that was a change at all, or tags of this store tell nothing.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn look_at_tags(&self, store: &dyn ObjectStore, path: &Path, changed: &Error, extensions: &Extensions) {
        if let Some(ObjectChanged { expected, found: Some(found), .. }) = ObjectChanged::find(changed) {
            self.tags_tell_nothing(store, path, expected, found, extensions).await;
        }
    }

    /// `answer` without its entity tag, where tags of this store tell nothing and its date does.
    fn without_tag(&self, mut answer: GetResult) -> GetResult {
        if self.tags.load(Ordering::Relaxed) && ObjectVersion::of(&answer.meta).last_modified.is_some() {
            answer.meta.e_tag = None;
        }
        answer
    }

    /// A range of ours up to `asked_end` was refused, and what the caller asked for was answered: the object has `size` bytes.
    pub fn refused_range(&self, asked_end: u64, size: u64) {
        if asked_end >= size {
            // It was the end that nobody knew, or that the range was all of the object. An empty object has no range anywhere.
            if size > 0 {
                self.ends.refused();
            }
        } else {
            self.ranges.refused();
        }
    }

    /// Whether only what callers ask for is asked for, of objects whose size is known or not.
    pub fn refuses_ours(&self, is_known: bool) -> bool {
        self.refuses_ranges() || !is_known && self.refuses_ends()
    }

    /// A range of ours was refused, and what a caller asked for was answered; the size of the object was known before or not.
    pub fn refused_ours(&self, was_known: bool, size: u64) {
        self.refused_range(if was_known { 0 } else { u64::MAX }, size);
    }

    /// A range that the caller did not ask for was answered.
    pub fn granted_range(&self) {
        self.ends.granted();
        self.ranges.granted();
    }

    /// Whether ranges that reach the end of an object, or go past it, are refused: where its size is not known, only what the caller asked
    /// for is asked for.
    pub fn refuses_ends(&self) -> bool {
        self.refuses_ranges() || self.ends.is_left_out()
    }

    /// Whether ranges of ours are refused within objects too: only what callers ask for is asked for.
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

/// What a HEAD past all caches shows of the object. It is not tried again.
async fn head(store: &dyn ObjectStore, path: &Path, extensions: &Extensions) -> Result<ObjectVersion> {
    let mut head = GetOptions::new().with_head(true);
    head.extensions = extensions.clone();
    head.extensions.remove::<Pinned>();
    head.extensions.insert(CacheHint::Refetch);
    head.extensions.insert(ExplainsError);
    Ok(ObjectVersion::of(&store.get_opts(path, head).await?.meta))
}

fn says_another_version(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. } | Error::Precondition { .. })
}

/// Whether `error` may be a refusal of a range: another range of the same object may be answered. Errors in which the client says that
/// something else is wrong are none.
#[must_use]
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
    if let Some(status) = said.strip_prefix("Server returned non-2xx status code: ") {
        return ["400", "416", "501"].iter().any(|refused| status.starts_with(refused));
    }
    let is_about_another = said.starts_with("HTTP error: ")
        || said.starts_with("Received redirect without LOCATION")
        || said.starts_with("Invalid last modified ")
        || said.starts_with("Invalid content length ")
        || said.starts_with("Content-Length Header missing");
    !is_about_another
}

/// Whether `error` may be a refusal of the pin: by a status that servers give for what they do not know.
fn may_be_the_pin(error: &Error) -> bool {
    match error {
        error if says_another_version(error) => ObjectChanged::find(error).is_none(),
        Error::NotSupported { .. } => false,
        _ => {
            may_be_the_range(error) && !is_past_end(error) && sources(error).any(|cause| is_status(&cause.to_string()))
        }
    }
}

fn is_status(said: &str) -> bool {
    said.starts_with("Server returned non-2xx status code: ")
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
