//! `LocalBackend`: opens `file://` URLs.

use std::sync::Arc;

use headstart_fetch_core::{BackendProfile, ConfigError, internal::path_of_url_key};
use object_store::{ObjectStore, local::LocalFileSystem, path::Path};
use url::{Position, Url};

use crate::store::LocalStore;

/// A store of local files, and the file that a URL names.
#[derive(Debug, Clone)]
pub struct LocalBackend {
    store: Arc<LocalStore>,
    path: Path,
}

impl LocalBackend {
    /// Opens `file:///path`. Does not access the file: the first read shows whether it exists.
    ///
    /// # Errors
    /// [`ConfigError`]: the URL is invalid.
    pub fn from_url(url: &Url) -> Result<Self, ConfigError> {
        // The errors leave out the URL, which may contain a password.
        let bad = |allowed: &str| ConfigError::bad("url", format!("{}:…", url.scheme()), allowed);
        if url.scheme() != "file" {
            return Err(bad("expected file:///path"));
        }
        if url.host_str().is_some_and(|host| !host.is_empty()) {
            return Err(bad("expected three slashes and a path: a file URL has no host"));
        }
        let path = path_of_url_key(url[Position::BeforePath..].trim_start_matches('/'))?;
        Ok(Self { store: Arc::new(LocalStore::new(LocalFileSystem::new())), path })
    }

    /// The store for reads and writes. Its paths are absolute paths without the first slash.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as _
    }

    /// The profile of local files: no latency to hide, and one stream has the full rate. Requests are not pinned: every
    /// answer has the version and is compared anyway.
    #[must_use]
    pub fn profile(&self) -> BackendProfile {
        BackendProfile::local()
    }

    /// The file that the URL names; the root if the URL names no file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::{Error, ObjectStoreExt};

    fn open(url: &str) -> Result<LocalBackend, String> {
        LocalBackend::from_url(&url.parse().expect("a URL")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_names_a_file() {
        for (url, path) in [
            ("file:///a/b", "a/b"),
            ("file:///a%20b/%23%25?c#d", "a b/#%?c#d"),
            ("file:///ü", "ü"),
            ("file:///dir/", "dir"),
            ("file:///", ""),
        ] {
            assert_eq!(open(url).expect(url).path().as_ref(), path);
        }
    }

    #[test]
    fn invalid_urls_are_refused() {
        for (url, expected) in [
            ("file://host/a", "a file URL has no host"),
            ("https://host/a", "expected file:///path"),
            ("file:///a%00", "control character"),
        ] {
            let error = open(url).expect_err(url);
            assert!(error.contains(expected) && error.starts_with("option 'url' is "), "{error}");
        }
    }

    /// The documentation of the crate promises which overwrites are detected.
    #[tokio::test]
    async fn a_version_is_inode_size_and_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a file");
        let backend = open(&format!("file://{}/a%20file", folder.path().display())).expect("a URL");
        let store = backend.store();
        let tag = async || store.head(backend.path()).await.expect("there").e_tag.expect("files have tags");
        store.put(backend.path(), "one".into()).await.expect("written");
        let first = tag().await;
        assert_eq!(tag().await, first);
        store.put(backend.path(), "two".into()).await.expect("renamed into place");
        let second = tag().await;
        assert_ne!(second, first, "another inode, though size and perhaps time are the same");
        std::fs::write(&file, "three").expect("in place");
        let third = tag().await;
        assert_ne!(third, second, "another size");
        // A change in place that keeps size and time is not detected.
        let time = std::fs::metadata(&file).expect("there").modified().expect("a time");
        std::fs::write(&file, "THREE").expect("in place");
        std::fs::File::options().write(true).open(&file).expect("there").set_modified(time).expect("set back");
        assert_eq!(tag().await, third);
    }

    #[tokio::test]
    async fn a_missing_file_and_a_folder_are_errors() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, what) in [("nothing", "missing"), ("", "a folder")] {
            let backend = open(&format!("file://{}/{name}", folder.path().display())).expect("a URL");
            let error = backend.store().get_range(backend.path(), 0..1).await.expect_err(what);
            assert!(matches!(error, Error::NotFound { .. }), "{what}: {error:?}");
        }
    }
}
