//! Which version of an object bytes belong to, and how a request is pinned to it.

use object_store::{GetOptions, ObjectMeta};
use serde::{Deserialize, Serialize};

use crate::error::ObjectChanged;

/// What tells one version of an object from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectVersion {
    /// HTTP entity tag, quotes included.
    pub e_tag: Option<String>,
    /// The store's own version: GCS's generation, S3's `versionId`.
    pub version: Option<String>,
    /// Length of the object in bytes.
    pub size: u64,
}

/// How a request for further bytes of a known version is pinned to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinBy {
    /// `If-Match` with the entity tag: an overwrite is refused with 412. Works almost everywhere.
    #[default]
    ETag,
    /// The store's version: after an overwrite a versioned bucket still serves the old bytes, an unversioned one answers 404.
    Version,
    /// Not at all; answers are still compared.
    Unpinned,
}

impl ObjectVersion {
    /// The version an answer belongs to.
    #[must_use]
    pub fn of(meta: &ObjectMeta) -> Self {
        Self { e_tag: meta.e_tag.clone(), version: meta.version.clone(), size: meta.size }
    }

    /// Whether `self` and `other` can be the same version: nothing that both know differs.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        fn agree(a: Option<&String>, b: Option<&String>) -> bool {
            !matches!((a, b), (Some(a), Some(b)) if a != b)
        }
        self.size == other.size
            && agree(self.e_tag.as_ref(), other.e_tag.as_ref())
            && agree(self.version.as_ref(), other.version.as_ref())
    }

    /// Whether it tells the very bytes: objects with the same exact version are the same.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.version.is_some() || self.e_tag.as_ref().is_some_and(|tag| !tag.starts_with("W/"))
    }

    /// Fails with [`ObjectChanged`] where `meta` is of another version.
    ///
    /// # Errors
    /// [`object_store::Error::Precondition`] with [`ObjectChanged`] as its source.
    pub fn check(&self, meta: &ObjectMeta) -> object_store::Result<()> {
        let found = Self::of(meta);
        if self.matches(&found) { Ok(()) } else { Err(ObjectChanged::new(&meta.location, self, Some(&found)).into()) }
    }

    /// Pins `options` to this version, unless the caller has pinned them already.
    /// Returns whether a pin was added: a 404 or 412 is then ours to explain (see [`ObjectChanged::explain`]).
    ///
    /// A weak entity tag (`W/…`) never satisfies `If-Match`, so it is not used.
    pub fn pin(&self, by: PinBy, options: &mut GetOptions) -> bool {
        if options.version.is_some() || options.if_match.is_some() {
            return false;
        }
        let e_tag = self.e_tag.as_ref().filter(|tag| !tag.starts_with("W/"));
        match (by, &self.version, e_tag) {
            (PinBy::Version, Some(version), _) => options.version = Some(version.clone()),
            (PinBy::ETag | PinBy::Version, _, Some(e_tag)) => options.if_match = Some(e_tag.clone()),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(e_tag: Option<&str>, version: Option<&str>, size: u64) -> ObjectVersion {
        ObjectVersion { e_tag: e_tag.map(Into::into), version: version.map(Into::into), size }
    }

    #[test]
    fn versions_match_unless_something_known_differs() {
        let one = version(Some("a"), Some("1"), 9);
        for (other, same) in [
            (version(Some("a"), Some("1"), 9), true),
            (version(None, Some("1"), 9), true),
            (version(None, None, 9), true),
            (version(Some("b"), Some("1"), 9), false),
            (version(Some("a"), Some("2"), 9), false),
            (version(Some("a"), Some("1"), 8), false),
        ] {
            assert_eq!(one.matches(&other), same, "{other:?}");
        }
    }

    #[test]
    fn a_pin_never_replaces_the_callers_own() {
        let known = version(Some("\"a\""), Some("7"), 9);
        for (by, e_tag, generation) in
            [(PinBy::ETag, Some("\"a\""), None), (PinBy::Version, None, Some("7")), (PinBy::Unpinned, None, None)]
        {
            let mut options = GetOptions::default();
            assert_eq!(known.pin(by, &mut options), by != PinBy::Unpinned);
            assert_eq!((options.if_match.as_deref(), options.version.as_deref()), (e_tag, generation));
        }
        let mut mine = GetOptions::default().with_if_match(Some("\"mine\""));
        assert!(!known.pin(PinBy::ETag, &mut mine));
        assert_eq!(mine.if_match.as_deref(), Some("\"mine\""));
    }

    #[test]
    fn a_weak_tag_is_no_pin() {
        let mut options = GetOptions::default();
        assert!(!version(Some("W/\"a\""), None, 1).pin(PinBy::ETag, &mut options));
        assert_eq!(options.if_match, None);
    }
}
