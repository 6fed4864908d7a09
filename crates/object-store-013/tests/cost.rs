//! What a call takes besides that of the wrapped store, in allocations, which do not depend on the machine.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use futures::FutureExt;
use headstart_object_store_013::{Store013, Store014, object_store, object_store_013};

/// Allocations of `call`, on average.
fn allocations(call: impl Fn()) -> u64 {
    const CALLS: u64 = 100;
    call();
    let counted = allocation_counter::measure(|| (0..CALLS).for_each(|_| call()));
    assert_eq!(counted.count_current, 0, "memory is lost");
    counted.count_total / CALLS
}

/// The allocations of the calls of a store of one version: `get_range`, `head` and `get_ranges`.
macro_rules! counts {
    ($version:ident, $store:expr) => {{
        use $version::ObjectStoreExt;
        let store: &dyn $version::ObjectStore = $store;
        let path = $version::path::Path::from("tables/events/part-00017.parquet");
        [
            allocations(|| drop(store.get_range(&path, 2..5).now_or_never().expect("memory never waits").unwrap())),
            allocations(|| drop(store.head(&path).now_or_never().expect("memory never waits").unwrap())),
            allocations(|| drop(store.get_ranges(&path, &[2..5]).now_or_never().expect("memory never waits").unwrap())),
        ]
    }};
}

#[test]
fn a_call_takes_few_allocations() {
    const MOST: [u64; 3] = [3, 3, 1];
    let new = Arc::new(object_store::memory::InMemory::new());
    let old = Arc::new(object_store_013::memory::InMemory::new());
    {
        use object_store::ObjectStoreExt;
        let path = "tables/events/part-00017.parquet".into();
        new.put(&path, "0123456789".into()).now_or_never().unwrap().unwrap();
    }
    {
        use object_store_013::ObjectStoreExt;
        let path = "tables/events/part-00017.parquet".into();
        old.put(&path, "0123456789".into()).now_or_never().unwrap().unwrap();
    }
    let ways = [
        ("0.14 as 0.13", counts!(object_store, &*new), counts!(object_store_013, &Store013::new(new.clone()))),
        ("0.13 as 0.14", counts!(object_store_013, &*old), counts!(object_store, &Store014::new(old.clone()))),
    ];
    for (way, bare, adapted) in ways {
        for (n, call) in ["get_range", "head", "get_ranges"].into_iter().enumerate() {
            let more = adapted[n] - bare[n];
            println!("{way}: {call} takes {} allocations, {} without; promised {} more", adapted[n], bare[n], MOST[n]);
            assert!(more <= MOST[n], "{way}: {call} takes {more} more");
        }
    }
}
