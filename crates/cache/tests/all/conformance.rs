//! The functions of `object_store::integration` that take a `dyn ObjectStore`, through the cache.

use std::sync::Arc;

use headstart_cache::{CacheConfig, CacheStore, Freshness};
use object_store::integration::*;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

fn over(inner: Arc<dyn ObjectStore>, freshness: Freshness) -> CacheStore {
    CacheStore::new(inner, CacheConfig { freshness, ..CacheConfig::default() }).expect("a good config")
}

/// Runs all of these functions. Every write goes through the cache, so they pass with each freshness.
async fn conforms(make: impl Fn() -> CacheStore, memory: bool) {
    put_get_delete_list(&make()).await;
    if memory {
        // Local files have neither attributes nor conditional puts.
        put_get_attributes(&make()).await;
        put_opts(&make(), true).await;
    } else {
        put_opts(&make(), false).await;
    }
    get_opts(&make()).await;
    stream_get(&make()).await;
    list_uses_directories_correctly(&make()).await;
    list_with_delimiter(&make()).await;
    list_with_offset_exclusivity(&make()).await;
    rename_and_copy(&make()).await;
    copy_if_not_exists(&make()).await;
    copy_rename_nonexistent_object(&make()).await;
    multipart_race_condition(&make(), true).await;
    multipart_out_of_order(&make()).await;
    get_nonexistent_object(&make(), None).await.expect_err("there is none");
}

#[tokio::test]
async fn over_memory() {
    for freshness in [Freshness::EveryRead, Freshness::default(), Freshness::OnOpen, Freshness::Immutable] {
        conforms(|| over(Arc::new(InMemory::new()), freshness), true).await;
    }
}

#[tokio::test]
async fn over_local_files() {
    let dirs = std::cell::RefCell::new(Vec::new());
    let make = || {
        let dir = tempfile::tempdir().expect("a folder");
        let local = LocalFileSystem::new_with_prefix(dir.path()).expect("the folder is there");
        dirs.borrow_mut().push(dir);
        over(Arc::new(local), Freshness::default())
    };
    conforms(make, false).await;
}

#[tokio::test]
async fn files_are_handed_on_untouched() {
    let dir = tempfile::tempdir().expect("a folder");
    let local = LocalFileSystem::new_with_prefix(dir.path()).expect("the folder is there");
    let store = over(Arc::new(local), Freshness::default());
    store.put(&"a".into(), "abcdef".into()).await.expect("written");
    for _ in 0..2 {
        let result = store.get(&"a".into()).await.expect("there");
        assert!(matches!(result.payload, object_store::GetResultPayload::File(..)));
        assert_eq!(store.get_range(&"a".into(), 1..3).await.expect("there"), "bc");
    }
    assert_eq!(store.stats().held_pages, 0);
}

#[test]
fn its_name_says_what_it_wraps() {
    let store = over(Arc::new(InMemory::new()), Freshness::default());
    assert_eq!(store.to_string(), "CacheStore(InMemory)");
    assert!(format!("{store:?}").contains("held_bytes"));
}
