//! Many ranges in one call, and ranges longer than the object.

mod common;

use common::{MIB, cache, content};
use headstart_cache::Freshness;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const A: &str = "a";

fn path() -> Path {
    Path::from(A)
}

#[tokio::test]
async fn a_range_longer_than_the_object_costs_no_more_than_the_object() {
    for end in [100 << 20, 1 << 40, u64::MAX] {
        let (double, store) = cache(Freshness::default());
        let data = content(1, MIB);
        double.write(A, data.clone()).await;
        let parts = store.get_ranges(&path(), &[0..end]).await.expect("there");
        assert!(parts == [data.clone()]);
        assert!(double.gets() <= 2, "{} GETs", double.gets());
        let parts = store.get_ranges(&path(), &[5..end, 0..end]).await.expect("there");
        assert!(parts == [data.slice(5..), data.clone()]);
        store.warm(&path(), &[0..end]).await.expect("there");
        assert!(store.get_range(&path(), 7..end).await.expect("there") == data.slice(7..));
        assert!(double.gets() <= 2, "{} GETs", double.gets());
    }
}

#[tokio::test]
async fn ranges_of_a_long_unknown_object_are_read_whole() {
    let (double, store) = cache(Freshness::default());
    let data = content(1, 20 * MIB);
    double.write(A, data.clone()).await;
    let parts = store.get_ranges(&path(), &[3 << 20..1 << 40, 0..10]).await.expect("there");
    assert!(parts == [data.slice(3 << 20..), data.slice(..10)]);
    assert_eq!((double.gets(), double.heads()), (4, 0), "three windows, and the first page");
}
