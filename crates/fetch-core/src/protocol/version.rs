//! Versions of objects: how answers are compared, and how a request is pinned.

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use object_store::{GetOptions, ObjectMeta};
use serde::{Deserialize, Serialize};

use crate::error::ObjectChanged;
use crate::internal::mutation::Mutation;
use crate::request::refusals::Pinned;

/// A younger modification date does not identify a version. Dates count in whole seconds, so the object may be
/// overwritten again without a new date. That takes one second; the rest is for a client whose clock is ahead of
/// the store's, the margin of RFC 7232, section 2.2.2.
const DATE_SETTLES_AFTER: TimeDelta = TimeDelta::seconds(60);

/// Whether a store's `version` names one version for ever. S3 answers `null` for an object that was written without
/// versioning, and the next such write reuses that name.
pub fn is_lasting_version(version: &str) -> bool {
    !matches!(version, "" | "null")
}

/// Identifies one version of an object.
///
/// Two answers are of one version if the first of these that both have is equal: the version of the store, the
/// entity tag if it is strong, the modification date. GCS gives a generation and an entity tag; S3 and Azure an
/// entity tag, and a version in versioned buckets; local files an entity tag of inode, date and size; a web server
/// what its answers carry, perhaps nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectVersion {
    /// HTTP entity tag, quotes included.
    pub e_tag: Option<String>,
    /// The version of the store: GCS's generation, S3's `versionId` if it [lasts](is_lasting_version).
    pub version: Option<String>,
    /// The modification date, if the answer has one that is at least a minute old.
    pub last_modified: Option<DateTime<Utc>>,
    /// Length of the object in bytes.
    pub size: u64,
}

/// How a request for more bytes of a known version is pinned to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinBy {
    /// `If-Match` with the entity tag: after an overwrite the store answers 412. Works almost everywhere.
    #[default]
    ETag,
    /// The version of the store: after an overwrite a versioned bucket still serves the old bytes, an
    /// unversioned one answers 404.
    Version,
    /// Not at all. Answers are still compared.
    Unpinned,
}

impl ObjectVersion {
    /// The version of an answer.
    #[must_use]
    pub fn of(meta: &ObjectMeta) -> Self {
        // An empty tag identifies nothing.
        let e_tag = meta.e_tag.clone().filter(|e_tag| !e_tag.is_empty());
        let version = meta.version.clone().filter(|version| is_lasting_version(version));
        Self { e_tag, version, last_modified: settled_date(meta), size: meta.size }
    }

    /// Whether the version of an answer has a validator: as [`ObjectVersion::has_validator`] of it, which costs more.
    pub(crate) fn has_validator_in(meta: &ObjectMeta) -> bool {
        meta.version.as_ref().is_some_and(|version| is_lasting_version(version))
            || meta.e_tag.as_ref().is_some_and(|tag| !tag.is_empty() && !is_weak(tag))
            || settled_date(meta).is_some()
            || Mutation::ComparesSizeAlone.is_active()
    }

    /// Whether `self` and `other` may be the same version: no validator that both have differs.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.size == other.size && self.compare(other) != Some(false)
    }

    /// Whether `self` and `other` are provably the same version: they have the same size, and a validator that
    /// both have is equal.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.size == other.size && self.compare(other) == Some(true)
    }

    /// Whether only the entity tag of `other` differs, while date and size are the same. Used for stores whose
    /// entity tags differ between replicas.
    pub(crate) fn differs_in_tag_alone(&self, other: &Self) -> bool {
        let without_tag = |version: &Self| Self { e_tag: None, ..version.clone() };
        self.version.is_none() && other.version.is_none() && without_tag(self).is_same(&without_tag(other))
    }

    /// Compares the first validator that both have; `None` if there is none.
    fn compare(&self, other: &Self) -> Option<bool> {
        if Mutation::ComparesSizeAlone.is_active() && self.version.is_none() && self.e_tag.is_none() {
            return Some(true);
        }
        if let (Some(a), Some(b)) = (&self.version, &other.version) {
            return Some(a == b);
        }
        if let (Some(a), Some(b)) = (&self.e_tag, &other.e_tag)
            && (a != b || !is_weak(a))
        {
            return Some(a == b);
        }
        // Lists and answers of one store may differ in whether they have fractions of a second.
        let seconds = |date: DateTime<Utc>| date.with_nanosecond(0).unwrap_or(date);
        let (a, b) = (self.last_modified?, other.last_modified?);
        Some(if a.nanosecond() == 0 || b.nanosecond() == 0 { seconds(a) == seconds(b) } else { a == b })
    }

    /// Whether anything but the size identifies this version. An object without a validator is fetched by one
    /// request per range, since nothing proves that two answers are of one version.
    #[must_use]
    pub fn has_validator(&self) -> bool {
        self.is_exact() || self.last_modified.is_some() || Mutation::ComparesSizeAlone.is_active()
    }

    /// Whether this identifies the exact bytes, across restarts too.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.version.is_some() || self.e_tag.as_ref().is_some_and(|tag| !is_weak(tag))
    }

    /// Checks that `meta` is provably of this version; if this version has no validator, that it may be.
    ///
    /// # Errors
    /// [`object_store::Error::Precondition`] with [`ObjectChanged`] as its source.
    pub fn check(&self, meta: &ObjectMeta) -> object_store::Result<()> {
        let found = Self::of(meta);
        let fits = if self.has_validator() { self.is_same(&found) } else { self.matches(&found) };
        if fits { Ok(()) } else { Err(ObjectChanged::new(&meta.location, self, Some(&found)).into()) }
    }

    /// Pins `options` to this version, unless the caller has pinned them. Returns whether they are pinned to this
    /// version now, by us or by the caller: a 404 or 412 then means that the object changed (see
    /// [`ObjectChanged::explain`]).
    ///
    /// A weak entity tag (`W/…`) never satisfies `If-Match`, so it is not used.
    pub fn pin(&self, by: PinBy, options: &mut GetOptions) -> bool {
        let e_tag = self.e_tag.as_ref().filter(|tag| !is_weak(tag));
        if options.version.is_some() {
            return options.version == self.version;
        }
        if options.if_match.is_some() {
            return options.if_match.as_ref() == e_tag;
        }
        match (by, &self.version, e_tag) {
            (PinBy::Version, Some(version), _) => options.version = Some(version.clone()),
            (PinBy::ETag | PinBy::Version, _, Some(e_tag)) => options.if_match = Some(e_tag.clone()),
            _ => return false,
        }
        options.extensions.insert(Pinned(self.clone()));
        true
    }
}

/// The date of an answer, if it is old enough to tell versions apart.
fn settled_date(meta: &ObjectMeta) -> Option<DateTime<Utc>> {
    let date = meta.last_modified;
    // The clients of `object_store` fill in the Unix epoch if an answer has no date.
    let is_given = date != DateTime::UNIX_EPOCH;
    (is_given && Utc::now() - date >= DATE_SETTLES_AFTER).then_some(date)
}

/// Whether an entity tag is weak: objects with it are equivalent, but not necessarily equal.
fn is_weak(e_tag: &str) -> bool {
    e_tag.starts_with("W/") && !Mutation::TrustsWeakTags.is_active()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `at`: milliseconds since a date long ago.
    fn version(e_tag: Option<&str>, version: Option<&str>, at: Option<i64>, size: u64) -> ObjectVersion {
        let last_modified = at.map(|at| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1_000_000 + at));
        ObjectVersion { e_tag: e_tag.map(Into::into), version: version.map(Into::into), last_modified, size }
    }

    fn meta(last_modified: DateTime<Utc>, e_tag: Option<&str>, version: Option<&str>) -> ObjectMeta {
        let (e_tag, version) = (e_tag.map(Into::into), version.map(Into::into));
        ObjectMeta { location: "a".into(), last_modified, size: 9, e_tag, version }
    }

    #[test]
    fn versions_match_unless_something_known_differs_and_are_the_same_only_where_something_proves_it() {
        let one = version(Some("a"), Some("1"), Some(0), 9);
        let weak = version(Some("W/\"a\""), None, Some(0), 9);
        let dated = version(None, None, Some(0), 9);
        let bare = version(None, None, None, 9);
        for (a, b, matches, same) in [
            (&one, version(Some("a"), Some("1"), Some(0), 9), true, true),
            (&one, version(Some("b"), Some("1"), Some(5000), 9), true, true),
            (&one, version(Some("a"), Some("2"), Some(0), 9), false, false),
            (&one, version(Some("a"), None, Some(5000), 9), true, true),
            (&one, version(Some("b"), None, Some(0), 9), false, false),
            (&one, version(None, None, Some(0), 9), true, true),
            (&one, version(None, None, Some(1000), 9), false, false),
            (&one, version(None, None, None, 9), true, false),
            (&one, version(Some("a"), Some("1"), Some(0), 8), false, false),
            (&weak, version(Some("W/\"a\""), None, Some(0), 9), true, true),
            (&weak, version(Some("W/\"a\""), None, Some(1000), 9), false, false),
            (&weak, version(Some("W/\"a\""), None, None, 9), true, false),
            (&weak, version(Some("W/\"b\""), None, Some(0), 9), false, false),
            (&dated, version(None, None, Some(250), 9), true, true),
            (&version(None, None, Some(750), 9), version(None, None, Some(250), 9), false, false),
            (&bare, version(None, None, None, 9), true, false),
        ] {
            assert_eq!((a.matches(&b), a.is_same(&b)), (matches, same), "{a:?} {b:?}");
            assert_eq!((b.matches(a), b.is_same(a)), (matches, same), "{b:?} {a:?}");
        }
        assert_eq!([&one, &weak, &dated, &bare].map(ObjectVersion::has_validator), [true, true, true, false]);
        assert_eq!([&one, &weak, &dated, &bare].map(ObjectVersion::is_exact), [true, false, false, false]);
    }

    #[test]
    fn only_a_date_that_is_given_and_a_minute_old_counts() {
        let counts = |date| ObjectVersion::of(&meta(date, Some("W/\"1\""), None)).has_validator();
        assert!(!counts(DateTime::UNIX_EPOCH));
        assert!(!counts(Utc::now()));
        assert!(!counts(Utc::now() - TimeDelta::seconds(50)));
        assert!(!counts(Utc::now() + TimeDelta::hours(1)));
        assert!(counts(Utc::now() - TimeDelta::seconds(61)));
    }

    #[test]
    fn the_version_of_an_object_written_without_versioning_identifies_nothing() {
        let meta = |e_tag| meta(DateTime::UNIX_EPOCH, Some(e_tag), Some("null"));
        let one = ObjectVersion::of(&meta("\"a\""));
        assert!(one.check(&meta("\"a\"")).is_ok());
        assert!(one.check(&meta("\"b\"")).is_err());
        let mut options = GetOptions::default();
        assert!(one.pin(PinBy::Version, &mut options));
        assert_eq!((options.version, options.if_match.as_deref()), (None, Some("\"a\"")));
        assert!(!ObjectVersion::of(&meta("W/\"a\"")).is_exact());
    }

    #[test]
    fn an_answer_that_proves_nothing_fails_the_check_of_a_version_with_a_validator() {
        let bare = meta(DateTime::UNIX_EPOCH, None, None);
        assert!(version(Some("a"), None, None, 9).check(&bare).is_err());
        assert!(version(None, None, None, 9).check(&bare).is_ok());
        assert!(version(None, None, None, 8).check(&bare).is_err());
    }

    #[test]
    fn a_pin_never_replaces_the_callers_own() {
        let known = version(Some("\"a\""), Some("7"), None, 9);
        for (by, e_tag, generation) in
            [(PinBy::ETag, Some("\"a\""), None), (PinBy::Version, None, Some("7")), (PinBy::Unpinned, None, None)]
        {
            let mut options = GetOptions::default();
            assert_eq!(known.pin(by, &mut options), by != PinBy::Unpinned);
            assert_eq!((options.if_match.as_deref(), options.version.as_deref()), (e_tag, generation));
        }
        for (e_tag, generation, is_of_known) in [
            (Some("\"mine\""), None, false),
            (Some("\"a\""), None, true),
            (None, Some("8"), false),
            (None, Some("7"), true),
        ] {
            let mut mine = GetOptions::default().with_if_match(e_tag).with_version(generation);
            assert_eq!(known.pin(PinBy::ETag, &mut mine), is_of_known);
            assert_eq!((mine.if_match.as_deref(), mine.version.as_deref()), (e_tag, generation));
        }
    }

    #[test]
    fn a_weak_tag_is_no_pin() {
        let mut options = GetOptions::default();
        assert!(!version(Some("W/\"a\""), None, None, 1).pin(PinBy::ETag, &mut options));
        assert_eq!(options.if_match, None);
    }
}
