//! `object_store`'s integration tests over `SimStore`, without a link and over a link in virtual time.

use headstart_sim::{LinkProfile, SimStore};
use object_store::ObjectStore;
use object_store::integration::*;

/// The functions that take a `dyn ObjectStore`.
async fn conforms(fresh: impl Fn() -> SimStore) {
    put_get_delete_list(&fresh()).await;
    put_get_attributes(&fresh()).await;
    get_opts(&fresh()).await;
    put_opts(&fresh(), true).await;
    stream_get(&fresh()).await;
    list_uses_directories_correctly(&fresh()).await;
    list_with_delimiter(&fresh()).await;
    let missing = get_nonexistent_object(&fresh(), None).await.expect_err("nobody made it");
    assert!(matches!(missing, object_store::Error::NotFound { .. }), "{missing:?}");
    rename_and_copy(&fresh()).await;
    copy_if_not_exists(&fresh()).await;
    copy_rename_nonexistent_object(&fresh()).await;
    multipart_race_condition(&fresh(), true).await;
    multipart_out_of_order(&fresh()).await;
    list_with_offset_exclusivity(&fresh()).await;
}

#[tokio::test]
async fn a_versioned_bucket_conforms() {
    conforms(|| SimStore::builder().build()).await;
}

#[tokio::test]
async fn an_unversioned_bucket_conforms_but_for_old_versions() {
    // Leaves out `get_opts`, which reads an old version if versions are reported.
    let fresh = || SimStore::builder().versioned(false).build();
    put_get_delete_list(&fresh()).await;
    put_opts(&fresh(), true).await;
    rename_and_copy(&fresh()).await;
    copy_if_not_exists(&fresh()).await;
    multipart_race_condition(&fresh(), true).await;
}

#[tokio::test(start_paused = true)]
async fn a_bucket_behind_a_link_conforms() {
    conforms(|| SimStore::builder().profile(LinkProfile::wan().lognormal()).seed(1).build()).await;
}

/// Reads fail with the same error variants as those of `InMemory`.
#[tokio::test]
async fn reads_fail_like_those_of_memory() {
    use object_store::{GetOptions, GetRange, ObjectStoreExt, memory::InMemory, path::Path};
    let (sim, memory) = (SimStore::builder().build(), InMemory::new());
    let path = Path::from("a");
    for store in [&sim as &dyn ObjectStore, &memory] {
        store.put(&path, "0123456789".into()).await.unwrap();
        store.put(&Path::from("empty"), "".into()).await.unwrap();
    }
    let outcome = |result: object_store::Result<object_store::GetResult>| async {
        match result {
            Ok(answer) => Ok((answer.range.clone(), answer.meta.size, answer.bytes().await.unwrap())),
            Err(object_store::Error::Generic { source, .. }) => {
                Err(format!("generic: {source}").replace("generic: Invalid range: ", "generic: "))
            }
            Err(error) => Err(format!("{:?}", std::mem::discriminant(&error))),
        }
    };
    for range in [
        None,
        Some(GetRange::Bounded(0..10)),
        Some(GetRange::Bounded(3..7)),
        Some(GetRange::Bounded(3..70)),
        Some(GetRange::Bounded(10..11)),
        Some(GetRange::Bounded(100..110)),
        Some(GetRange::Bounded(5..5)),
        Some(GetRange::Bounded(std::ops::Range { start: 7, end: 5 })),
        Some(GetRange::Offset(4)),
        Some(GetRange::Offset(10)),
        Some(GetRange::Suffix(0)),
        Some(GetRange::Suffix(4)),
        Some(GetRange::Suffix(40)),
    ] {
        for key in ["a", "empty", "none"] {
            for (if_match, if_none_match) in [(None, None), (Some("other"), None), (None, Some("*"))] {
                let options = GetOptions::new()
                    .with_range(range.clone())
                    .with_if_match(if_match)
                    .with_if_none_match(if_none_match);
                let key = Path::from(key);
                assert_eq!(
                    outcome(sim.get_opts(&key, options.clone()).await).await,
                    outcome(memory.get_opts(&key, options).await).await,
                    "{key} {range:?} {if_match:?} {if_none_match:?}"
                );
            }
        }
    }
    let missing = sim.get_opts(&path, GetOptions::new().with_version(Some("no number"))).await.unwrap_err();
    assert!(matches!(missing, object_store::Error::NotFound { .. }));
}
