//! Deletions through the cache are seen at once, also where they are reported as errors or not at all. They affect no
//! other path.

use std::sync::Arc;

use crate::common::{self, Mood, cache, content};
use futures::stream::{self, StreamExt};
use headstart_cache::{CacheStore, Freshness};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};

const LEN: usize = 1000;

/// A cache with `Freshness::Immutable` that has read `names`.
async fn having_read(names: &[&str]) -> (Arc<common::Double>, CacheStore) {
    let (double, store) = cache(Freshness::Immutable);
    for name in names {
        double.write(name, content(1, LEN)).await;
        read(&store, name).await;
    }
    double.forget_requests();
    (double, store)
}

async fn read(store: &CacheStore, name: &str) {
    let bytes = store.get_range(&Path::from(name), 0..LEN as u64).await.expect(name);
    assert_eq!(bytes, content(1, LEN));
}

async fn assert_gone(store: &CacheStore, name: &str) {
    let read = store.get_range(&Path::from(name), 0..LEN as u64).await;
    assert!(matches!(read, Err(Error::NotFound { .. })), "{name}: {read:?}");
}

#[tokio::test]
async fn deletions_that_happened_and_were_reported_as_errors_are_seen() {
    for mood in [Mood::Fail, Mood::RefuseDelete] {
        let (double, store) = having_read(&["a", "b"]).await;
        double.feel(mood);
        let paths = stream::iter(["a", "b"].map(|name| Ok(Path::from(name))));
        let outcomes: Vec<_> = store.delete_stream(paths.boxed()).collect().await;
        assert!(outcomes.len() == 2 && outcomes.iter().all(Result::is_err));
        double.feel(Mood::Well);
        assert_gone(&store, "a").await;
        assert_gone(&store, "b").await;
    }
}

#[tokio::test]
async fn deletions_of_a_dropped_stream_are_seen() {
    let (_double, store) = having_read(&["a", "b"]).await;
    let paths = stream::iter(["a", "b"].map(|name| Ok(Path::from(name)))).chain(stream::pending());
    let mut deleted = store.delete_stream(paths.boxed());
    deleted.next().await.expect("an outcome").expect("memory");
    drop(deleted);
    assert_gone(&store, "a").await;
}

/// A failed deletion has ended when it is reported: pages that are read after it stay when the next one fails.
#[tokio::test]
async fn a_failed_deletion_is_in_doubt_no_longer_than_it_is_under_way() {
    for mood in [Mood::Fail, Mood::RefuseDelete] {
        let (double, store) = having_read(&["a", "b"]).await;
        double.feel(mood);
        let (send, paths) = futures::channel::mpsc::unbounded();
        let mut deleted = store.delete_stream(paths.map(|name: &str| Ok(Path::from(name))).boxed());
        send.unbounded_send("a").expect("open");
        deleted.next().await.expect("an outcome").expect_err("refused");
        double.feel(Mood::Well);
        double.write("a", content(1, LEN)).await;
        read(&store, "a").await;
        double.forget_requests();
        send.unbounded_send("b").expect("open");
        deleted.next().await.expect("an outcome").expect_err("refused");
        read(&store, "a").await;
        assert_eq!(double.gets(), 0, "{mood:?}: a is still here");
        drop(deleted);
        read(&store, "a").await;
        assert_eq!(double.gets(), 0, "{mood:?}: and after the stream");
    }
}
