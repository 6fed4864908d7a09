//! What passes, in the direction that the parent module names.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::recorder::Recorder;
use super::{Adapter, answer, inner, outer};
use outer::{
    Attribute, Attributes, CopyMode, CopyOptions, GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, RenameOptions, RenameTargetMode, TagSet, UpdateVersion,
    path::Path,
};

/// An adapter and the store below it, which has the object `a` of ten bytes.
async fn recorded() -> (Adapter, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let adapter = Adapter::new(recorder.clone());
    adapter.put(&"a".into(), "0123456789".into()).await.unwrap();
    take(&recorder);
    (adapter, recorder)
}

/// The calls since the last time.
fn take(recorder: &Recorder) -> Vec<String> {
    recorder.chunks.lock().unwrap().clear();
    recorder.extensions.lock().unwrap().clear();
    std::mem::take(&mut *recorder.calls.lock().unwrap())
}

fn numbered(number: u64) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(number);
    extensions
}

#[tokio::test]
async fn options_of_reads_pass() {
    let (store, below) = recorded().await;
    let date = store.head(&"a".into()).await.unwrap().last_modified;
    take(&below);
    for range in [None, Some(GetRange::Bounded(2..7)), Some(GetRange::Offset(4)), Some(GetRange::Suffix(3))] {
        for head in [false, true] {
            let options = GetOptions {
                if_match: Some("\"tag\"".into()),
                if_none_match: Some("\"none\"".into()),
                if_modified_since: Some(date),
                if_unmodified_since: Some(date),
                range: range.clone(),
                version: Some("7".into()),
                head,
                extensions: numbered(11),
            };
            let shown = format!("get a {options:?}");
            assert!(shown.contains("if_unmodified_since: Some(20"), "{shown}");
            store.get_opts(&"a".into(), options).await.unwrap();
            assert_eq!(*below.extensions.lock().unwrap(), [Some(11)]);
            assert_eq!(take(&below), [shown]);
        }
    }
    assert_eq!(store.get_ranges(&"a".into(), &[1..3, 8..9]).await.unwrap(), ["12", "8"]);
    assert_eq!(take(&below), ["get_ranges a [1..3, 8..9]"]);
}

#[tokio::test]
async fn options_of_writes_pass() {
    let (store, below) = recorded().await;
    let mut tags = TagSet::default();
    tags.push("a key", "välue&=+");
    tags.push("second", "");
    let attributes = Attributes::from_iter([(Attribute::Metadata("name".into()), "value")]);
    let version = UpdateVersion { e_tag: Some("0".into()), version: Some("3".into()) };
    for mode in [PutMode::Overwrite, PutMode::Create, PutMode::Update(version)] {
        let options = PutOptions { mode, tags: tags.clone(), attributes: attributes.clone(), extensions: numbered(1) };
        let shown = format!("put b {options:?}");
        // Memory refuses some of them; what counts is what it was asked.
        let _ = store.put_opts(&"b".into(), "b".into(), options).await;
        assert_eq!(*below.extensions.lock().unwrap(), [Some(1)]);
        assert_eq!(take(&below), [shown]);
    }
    let options = PutMultipartOptions { tags, attributes, extensions: numbered(2) };
    let shown = format!("put_multipart c {options:?}");
    let mut upload = store.put_multipart_opts(&"c".into(), options).await.unwrap();
    assert_eq!(*below.extensions.lock().unwrap(), [Some(2)]);
    let parts = [upload.put_part("one".into()), upload.put_part("two".into())];
    futures::future::try_join_all(parts).await.unwrap();
    let put = upload.complete().await.unwrap();
    assert_eq!(put.e_tag, store.head(&"c".into()).await.unwrap().e_tag);
    assert_eq!(take(&below)[..4], [&shown, "put_part", "put_part", "complete"]);
    assert_eq!(store.get(&"c".into()).await.unwrap().bytes().await.unwrap(), "onetwo");
    let mut upload = store.put_multipart(&"d".into()).await.unwrap();
    upload.put_part("lost".into()).await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(take(&below).last().unwrap(), "abort");
    store.head(&"d".into()).await.unwrap_err();
}

#[tokio::test]
async fn options_of_copies_pass() {
    let (store, below) = recorded().await;
    let (a, b): (Path, Path) = ("a".into(), "b".into());
    for mode in [CopyMode::Create, CopyMode::Overwrite] {
        let options = CopyOptions { mode, extensions: numbered(3) };
        let shown = format!("copy a b {options:?}");
        store.copy_opts(&a, &b, options).await.unwrap();
        assert_eq!(*below.extensions.lock().unwrap(), [Some(3)]);
        assert_eq!(take(&below), [shown]);
    }
    for target_mode in [RenameTargetMode::Overwrite, RenameTargetMode::Create] {
        let options = RenameOptions { target_mode, extensions: numbered(4) };
        let shown = format!("rename a b {options:?}");
        let renamed = store.rename_opts(&a, &b, options).await;
        assert_eq!(renamed.is_ok(), target_mode == RenameTargetMode::Overwrite, "{renamed:?}");
        assert_eq!(*below.extensions.lock().unwrap(), [Some(4)]);
        assert_eq!(take(&below), [shown]);
    }
    assert_eq!(store.get(&b).await.unwrap().bytes().await.unwrap(), "0123456789");
}

#[tokio::test]
async fn every_attribute_passes_both_ways() {
    let (store, _) = recorded().await;
    let attributes = Attributes::from_iter([
        (Attribute::ContentDisposition, "inline"),
        (Attribute::ContentEncoding, "gzip"),
        (Attribute::ContentLanguage, "de"),
        (Attribute::ContentType, "text/plain"),
        (Attribute::CacheControl, "no-store"),
        (Attribute::StorageClass, "COLD"),
        (Attribute::Metadata("Ä key".into()), "välue"),
    ]);
    store.put_opts(&"b".into(), "b".into(), attributes.clone().into()).await.unwrap();
    assert_eq!(store.get(&"b".into()).await.unwrap().attributes, attributes);
}

#[tokio::test]
async fn lists_and_deletions_pass() {
    let (store, below) = recorded().await;
    for name in ["dir/b", "dir/c", "dir/d/e"] {
        store.put(&name.into(), name.into()).await.unwrap();
    }
    take(&below);
    let dir: Path = "dir".into();
    let listed: Vec<_> = store.list(Some(&dir)).try_collect().await.unwrap();
    let sizes: Vec<_> = listed.iter().map(|meta| (meta.location.as_ref(), meta.size)).collect();
    assert_eq!(sizes, [("dir/b", 5), ("dir/c", 5), ("dir/d/e", 7)]);
    let after: Vec<_> = store.list_with_offset(Some(&dir), &"dir/b".into()).try_collect().await.unwrap();
    assert_eq!(after, listed[1..]);
    let level = store.list_with_delimiter(Some(&dir)).await.unwrap();
    assert_eq!((&level.objects[..], &level.common_prefixes[..]), (&listed[..2], &["dir/d".into()][..]));
    let shown = format!("{:?}", Some(&dir));
    let calls = ["list", "list_with_offset", "list_with_delimiter"].map(|call| format!("{call} {shown}"));
    assert_eq!(take(&below), [calls[0].clone(), format!("{} dir/b", calls[1]), calls[2].clone()]);

    let failure = outer::Error::NotSupported { source: "the list of paths ended early".into() };
    let paths = futures::stream::iter([Ok("dir/b".into()), Ok("dir/c".into()), Err(failure)]);
    let deleted: Vec<_> = store.delete_stream(paths.boxed()).collect().await;
    assert_eq!(take(&below), ["delete_stream"]);
    assert_eq!(deleted[..2].iter().map(|path| path.as_ref().unwrap().as_ref()).collect::<Vec<_>>(), ["dir/b", "dir/c"]);
    let failed = deleted[2].as_ref().unwrap_err();
    assert_eq!(failed.to_string(), "Operation not supported: the list of paths ended early");
    assert!(matches!(failed, outer::Error::NotSupported { .. }));
}

#[tokio::test]
async fn payloads_and_bodies_are_the_same_bytes_and_are_not_held_back() {
    let (store, below) = recorded().await;
    let pieces = [Bytes::from(vec![1; 70_000]), Bytes::from(vec![2; 5])];
    let payload: PutPayload = pieces.iter().cloned().collect();
    store.put(&"b".into(), payload.clone()).await.unwrap();
    let mut upload = store.put_multipart(&"c".into()).await.unwrap();
    upload.put_part(payload).await.unwrap();
    let addresses = |chunks: &[Bytes]| chunks.iter().map(|chunk| (chunk.as_ptr() as usize, chunk.len())).collect();
    let (given, got): (Vec<_>, Vec<_>) = (addresses(&pieces), addresses(&below.chunks.lock().unwrap()));
    assert_eq!(got, [given.clone(), given.clone()].concat());

    let (sender, chunks) = futures::channel::mpsc::unbounded();
    *below.body.lock().unwrap() = Some(chunks.boxed());
    let mut body = store.get(&"a".into()).await.unwrap().into_stream();
    for (piece, address) in pieces.iter().zip(given) {
        assert!(body.next().now_or_never().is_none(), "nothing has arrived");
        sender.unbounded_send(Ok(piece.clone())).unwrap();
        let chunk = body.next().now_or_never().expect("it has arrived").unwrap().unwrap();
        assert_eq!((chunk.as_ptr() as usize, chunk.len()), address);
    }
    sender
        .unbounded_send(Err(inner::Error::Generic { store: "S3", source: io::Error::other("reset").into() }))
        .unwrap();
    let error = body.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, outer::Error::Generic { store: "S3", .. }), "{error:?}");
    assert_eq!(error.source().unwrap().downcast_ref::<io::Error>().unwrap().to_string(), "reset");
    drop(body);
    assert!(sender.is_closed(), "dropping the body drops that of the store");
}

#[tokio::test]
async fn local_files_stay_files() {
    let folder = tempfile::tempdir().unwrap();
    let files = inner::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let store = Adapter::new(Arc::new(files));
    store.put(&"a".into(), "0123456789".into()).await.unwrap();
    let options = GetOptions::new().with_range(Some(2..5));
    let answer = store.get_opts(&"a".into(), options).await.unwrap();
    assert!(matches!(&answer.payload, GetResultPayload::File(_, path) if path.ends_with("a")));
    assert_eq!(answer.bytes().await.unwrap(), "234");
}

/// An error of every variant that can be made, and whether its source can be found.
fn errors() -> Vec<(inner::Error, bool)> {
    use inner::Error;
    let path = || "a".to_owned();
    let source = || Box::new(io::Error::other("the source"));
    let invalid = |path: &str| Error::from(inner::path::Path::parse(path).expect_err("invalid"));
    vec![
        (Error::Generic { store: "S3", source: source() }, true),
        (Error::NotFound { path: path(), source: source() }, true),
        (Error::NotSupported { source: source() }, true),
        (Error::AlreadyExists { path: path(), source: source() }, true),
        (Error::Precondition { path: path(), source: source() }, true),
        (Error::NotModified { path: path(), source: source() }, true),
        (Error::PermissionDenied { path: path(), source: source() }, true),
        (Error::Unauthenticated { path: path(), source: source() }, true),
        (Error::NotImplemented { operation: "fly".into(), implementer: "S3".into() }, false),
        (Error::UnknownConfigurationKey { store: "S3", key: "colour".into() }, false),
        (invalid("a//b"), false),
        (invalid("a/../b"), false),
        (invalid("a/\u{7}"), false),
        (inner::path::Path::from_url_path("%ff").expect_err("no text").into(), false),
        (inner::path::Path::from_filesystem_path("/does/not/exist").expect_err("no file").into(), false),
    ]
}

#[tokio::test]
async fn errors_keep_their_variant_and_their_source() {
    let (store, below) = recorded().await;
    for (error, has_source) in errors() {
        let shown = (error.to_string(), format!("{error:?}"));
        *below.error.lock().unwrap() = Some(error);
        let error = store.get(&"a".into()).await.unwrap_err();
        assert_eq!((error.to_string(), format!("{error:?}")), shown);
        if has_source {
            let source = error.source().unwrap().downcast_ref::<io::Error>().expect("the same value");
            assert_eq!(source.to_string(), "the source");
        }
    }
    let panicked = tokio::spawn(async { panic!("on purpose") }).await.unwrap_err();
    let error = answer::error(inner::Error::JoinError { source: panicked });
    assert!(matches!(&error, outer::Error::JoinError { source } if source.is_panic()), "{error:?}");

    *below.error.lock().unwrap() =
        Some(inner::Error::NotImplemented { operation: "l".into(), implementer: "r".into() });
    let error = store.list(None).try_next().await.unwrap_err();
    assert!(matches!(error, outer::Error::NotImplemented { .. }));
}
