//! How objects and pages are called on disk: by hashes that are the same in all processes, and name no paths.

use headstart_fetch_core::ObjectVersion;
use object_store::path::Path;

use super::policy::entry::DiskKey;

/// One version of an object, as the directory knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskObject {
    digest: [u8; 32],
    path_tag: u32,
}

/// One page, as the directory knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskPage {
    pub(crate) key: DiskKey,
    pub(crate) path_tag: u32,
    /// Bytes of the page.
    pub(crate) bytes: u32,
}

/// Calls objects of one store by their names on disk.
#[derive(Debug, Clone)]
pub(crate) struct DiskNames {
    store: String,
    page_bytes: u64,
}

impl DiskNames {
    pub(crate) fn new(store: &str, page_bytes: u64) -> Self {
        Self { store: store.to_owned(), page_bytes }
    }

    /// The tag of a path, whatever its version.
    pub(crate) fn path_tag(&self, path: &Path) -> u32 {
        tag(&self.path_digest(path))
    }

    /// The name of a version of an object. `None` where nothing identifies its exact bytes across restarts: it has
    /// neither a version nor a strong entity tag.
    pub(crate) fn object(&self, path: &Path, version: &ObjectVersion) -> Option<DiskObject> {
        let (kind, token) = match (&version.version, &version.e_tag) {
            _ if !version.is_exact() => return None,
            (Some(version), _) => (b'v', version),
            (None, Some(e_tag)) => (b'e', e_tag),
            (None, None) => return None,
        };
        let path_digest = self.path_digest(path);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&path_digest).update(&version.size.to_le_bytes()).update(&self.page_bytes.to_le_bytes());
        hasher.update(&[kind]).update(token.as_bytes());
        Some(DiskObject { digest: *hasher.finalize().as_bytes(), path_tag: tag(&path_digest) })
    }

    fn path_digest(&self, path: &Path) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        // The length in front keeps "ab" and "c" apart from "a" and "bc".
        hasher.update(&(self.store.len() as u64).to_le_bytes()).update(self.store.as_bytes());
        hasher.update(path.as_ref().as_bytes());
        *hasher.finalize().as_bytes()
    }
}

impl DiskObject {
    /// The page `page` of `bytes`; `None` for one beyond the first 2^32.
    pub(crate) fn page(&self, page: u64, bytes: u64) -> Option<DiskPage> {
        let (page, bytes) = (u32::try_from(page).ok()?, u32::try_from(bytes).ok()?);
        Some(DiskPage { key: DiskKey { digest: self.digest, page }, path_tag: self.path_tag, bytes })
    }
}

fn tag(digest: &[u8; 32]) -> u32 {
    let mut first = [0; 4];
    first.copy_from_slice(&digest[..4]);
    u32::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: Option<&str>, e_tag: Option<&str>, size: u64) -> ObjectVersion {
        let (version, e_tag) = (version.map(Into::into), e_tag.map(Into::into));
        ObjectVersion { e_tag, version, last_modified: None, size }
    }

    #[test]
    fn everything_that_tells_bytes_apart_is_in_the_name() {
        let names = |store: &str, page_bytes| DiskNames::new(store, page_bytes);
        let one = |store: &str, page_bytes, path: &str, v: ObjectVersion| {
            names(store, page_bytes).object(&path.into(), &v).expect("exact")
        };
        let all = [
            one("s", 1, "a", version(Some("1"), None, 9)),
            one("t", 1, "a", version(Some("1"), None, 9)),
            one("s", 2, "a", version(Some("1"), None, 9)),
            one("s", 1, "b", version(Some("1"), None, 9)),
            one("s", 1, "a", version(Some("2"), None, 9)),
            one("s", 1, "a", version(Some("1"), None, 8)),
            one("s", 1, "a", version(None, Some("1"), 9)),
            one("sa", 1, "", version(Some("1"), None, 9)),
        ];
        for (n, object) in all.iter().enumerate() {
            assert_eq!(all.iter().filter(|other| *other == object).count(), 1, "{n}");
        }
        // The entity tag may change from one interface of a store to the other; the version does not.
        assert_eq!(all[0], one("s", 1, "a", version(Some("1"), Some("x"), 9)));
    }

    #[test]
    fn names_are_the_same_in_every_process() {
        let object = DiskNames::new("gs://b", 65_536).object(&"a/b".into(), &version(Some("7"), None, 9));
        let object = object.expect("exact");
        assert_eq!(object.path_tag, 0xb184_d693);
        assert_eq!(DiskNames::new("gs://b", 65_536).path_tag(&"a/b".into()), object.path_tag);
    }

    #[test]
    fn what_does_not_identify_bytes_has_no_name() {
        for (v, has_name) in [
            (version(None, None, 9), false),
            (version(None, Some("W/\"1\""), 9), false),
            (version(None, Some("\"1\""), 9), true),
        ] {
            assert_eq!(DiskNames::new("s", 1).object(&"a".into(), &v).is_some(), has_name, "{v:?}");
        }
    }
}
