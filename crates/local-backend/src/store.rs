//! `LocalStore`: a `LocalFileSystem` with faster small reads.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::{fmt, ops::Range, path::PathBuf, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use headstart_fetch_core::internal::{LocalFile, byte_range, forward_object_store};
use object_store::{
    Attributes, Extensions, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore, Result,
    local::LocalFileSystem, path::Path,
};
use tokio::runtime::Handle;

/// Reads up to this size take less time than a switch to a blocking thread and back.
const SMALL_BYTES: u64 = 1024 * 1024;

/// A store of local files. Small ranges are opened and read in one task on a blocking thread, where `LocalFileSystem`
/// uses two. All other calls go to `LocalFileSystem`.
#[derive(Debug, Clone)]
pub(crate) struct LocalStore {
    inner: Arc<LocalFileSystem>,
}

impl LocalStore {
    pub(crate) fn new(inner: LocalFileSystem) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Reads a small range of a regular file. Returns `None` for other requests and on every error; `LocalFileSystem`
    /// then serves the call, with its errors.
    async fn read_small(&self, location: &Path, options: &GetOptions) -> Option<GetResult> {
        let Some(GetRange::Bounded(range)) = &options.range else { return None };
        let small = range.start < range.end && byte_range::len(range) <= SMALL_BYTES;
        if !small || options.head || options.version.is_some() {
            return None;
        }
        let file = self.inner.path_to_filesystem(location).ok()?;
        let wanted = range.clone();
        let (metadata, bytes) = match Handle::try_current() {
            Ok(runtime) => runtime.spawn_blocking(move || read(file, &wanted)).await.ok()??,
            Err(_) => read(file, &wanted)?,
        };
        let meta = meta(&metadata, location)?;
        options.check_preconditions(&meta).ok()?;
        let range = range.start..range.start + bytes.len() as u64;
        let mut extensions = Extensions::new();
        extensions.insert(LocalFile::default());
        let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
        Some(GetResult { payload, meta, range, attributes: Attributes::new(), extensions })
    }
}

/// Reads the part of `range` that the file has, and its metadata. Both come from the open file, so they are of one
/// version.
fn read(path: PathBuf, range: &Range<u64>) -> Option<(Metadata, Bytes)> {
    // Checked before opening, since opening a pipe blocks until its other end is open.
    std::fs::metadata(&path).ok().filter(Metadata::is_file)?;
    let mut file = File::open(path).ok()?;
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    let end = range.end.min(metadata.len());
    let mut bytes = vec![0; byte_range::in_memory(end.checked_sub(range.start).filter(|len| *len > 0)?)];
    file.seek(SeekFrom::Start(range.start)).ok()?;
    // Fails if the file was truncated meanwhile; `LocalFileSystem` then returns its error.
    file.read_exact(&mut bytes).ok()?;
    Some((metadata, bytes.into()))
}

/// The metadata that `LocalFileSystem` returns for the same file; a test compares both.
fn meta(metadata: &Metadata, location: &Path) -> Option<ObjectMeta> {
    let modified = metadata.modified().ok()?;
    let micros = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_micros();
    let (inode, size) = (inode(metadata), metadata.len());
    Some(ObjectMeta {
        location: location.clone(),
        last_modified: modified.into(),
        size,
        e_tag: Some(format!("\"{inode:x}-{micros:x}-{size:x}\"")),
        version: None,
    })
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for LocalStore {
    forward_object_store!(self => self.inner; writes, lists);

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.read_small(location, &options).await {
            Some(answer) => Ok(answer),
            None => self.inner.get_opts(location, options).await,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;

    const LEN: u64 = 100_000;

    /// A folder with a file, as a `LocalStore` and as a `LocalFileSystem`.
    fn stores() -> (tempfile::TempDir, LocalStore, LocalFileSystem) {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || LocalFileSystem::new_with_prefix(folder.path()).expect("it is there");
        let (ours, plain) = (LocalStore::new(open()), open());
        std::fs::write(folder.path().join("a"), (0..LEN).map(|n| (n % 251) as u8).collect::<Vec<_>>())
            .expect("written");
        std::fs::create_dir(folder.path().join("dir")).expect("made");
        (folder, ours, plain)
    }

    /// The result of a read as text: metadata and bytes, or the error.
    async fn outcome(store: &dyn ObjectStore, path: &str, options: GetOptions) -> Result<String, String> {
        let answer = store.get_opts(&path.into(), options).await.map_err(|error| error.to_string())?;
        let (meta, range, attributes) = (answer.meta.clone(), answer.range.clone(), answer.attributes.clone());
        let bytes = answer.bytes().await.map_err(|error| error.to_string())?;
        Ok(format!("{meta:?} {range:?} {attributes:?} {bytes:?}"))
    }

    #[tokio::test]
    async fn results_equal_those_of_local_file_system() {
        let (_folder, ours, plain) = stores();
        let tag = plain.head(&"a".into()).await.expect("there").e_tag.expect("files have tags");
        let asked = |range: Range<u64>| GetOptions::new().with_range(Some(range));
        for path in ["a", "dir", "missing", "dir/missing"] {
            for options in [
                asked(0..1),
                asked(5..70_000),
                asked(99_999..200_000),
                asked(0..LEN),
                asked(LEN..LEN + 1),
                asked(LEN + 5..LEN + 9),
                asked(7..7),
                asked(0..u64::MAX),
                GetOptions::new(),
                GetOptions::new().with_head(true),
                GetOptions::new().with_range(Some(GetRange::Suffix(3))),
                GetOptions::new().with_range(Some(GetRange::Offset(99_990))),
                asked(0..9).with_if_match(Some(&tag)),
                asked(0..9).with_if_match(Some("\"other\"")),
                asked(0..9).with_if_none_match(Some(&tag)),
                asked(0..9).with_if_none_match(Some("\"other\"")),
            ] {
                let (ours, plain) =
                    (outcome(&ours, path, options.clone()).await, outcome(&plain, path, options.clone()).await);
                assert_eq!(ours, plain, "{path} {options:?}");
            }
        }
    }

    #[tokio::test]
    async fn small_ranges_are_marked_as_files_and_read_outside_a_runtime_too() {
        let (_folder, ours, _) = stores();
        let options = GetOptions::new().with_range(Some(10..20));
        let answer = ours.get_opts(&"a".into(), options.clone()).await.expect("there");
        assert!(LocalFile::is_source_of(&answer) && matches!(answer.payload, GetResultPayload::Stream(_)));
        let answer = std::thread::spawn(move || futures::executor::block_on(outcome(&ours, "a", options)));
        assert!(answer.join().expect("no panic").is_ok());
    }
}
