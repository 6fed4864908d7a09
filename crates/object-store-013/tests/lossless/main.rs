//! Nothing is lost, copied or held back on the way through an adapter.

#![allow(clippy::duplicate_mod, reason = "both directions pass the same cases")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod new_as_old;
mod old_as_new;

use headstart_object_store_013::{Store013, Store014, object_store, object_store_013};
use object_store_013::ObjectStoreExt;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Paths are not encoded again, whatever characters they were made of.
    #[test]
    fn paths_pass_unchanged(
        segments in prop::collection::vec("\\PC{0,12}|[\\x00-\\x7f]{0,8}|\\.{1,3}|%[0-9A-F]{2}", 0..5),
    ) {
        use headstart_object_store_013::{into_013, into_014};
        let new: object_store::path::Path = segments.iter().map(String::as_str).collect();
        let old = into_013::path(&new).unwrap();
        prop_assert_eq!(old.as_ref(), new.as_ref());
        prop_assert_eq!(into_014::path(&old).unwrap(), new);
    }
}

/// A program's 0.13 store below headstart, and headstart as 0.13 above it.
#[tokio::test]
async fn headstart_between_two_adapters_reads_and_writes() {
    let old = std::sync::Arc::new(object_store_013::memory::InMemory::new());
    let below = std::sync::Arc::new(Store014::new(old.clone()));
    let headstart = headstart::Headstart::builder().environment([]).store(below).build().await.unwrap();
    let store = Store013::new(std::sync::Arc::new(headstart));
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    store.put(&"a/b".into(), bytes.clone().into()).await.unwrap();
    assert_eq!(old.get(&"a/b".into()).await.unwrap().bytes().await.unwrap(), bytes);
    for start in (0..1_100_000).step_by(100_000) {
        let read = store.get_range(&"a/b".into(), start as u64..start as u64 + 70_000).await.unwrap();
        assert!(read == bytes[start..start + 70_000], "{start}");
    }
    assert_eq!(store.to_string(), "Store013(Headstart(PrefetchStore(FetchStore(Store014(InMemory)))))");
}
