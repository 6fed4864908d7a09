//! Tests of the recorder, in virtual time and over stores and disks that fail.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use headstart_sim::{LinkProfile, SimStore};
use headstart_trace::{CallKind, Keys, MAX_WAITING_CALLS, Trace, TraceCall, TraceRecorder};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;

/// A file in memory.
#[derive(Clone, Default)]
struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MemoryFile {
    fn trace(&self) -> Trace {
        Trace::read(&**self.0.lock()).expect("what was recorded can be read")
    }
}

fn recorded(store: impl ObjectStore) -> (TraceRecorder, MemoryFile) {
    let file = MemoryFile::default();
    (TraceRecorder::new(Arc::new(store), file.clone()).expect("memory has no limit"), file)
}

fn gcs() -> SimStore {
    SimStore::builder().profile(LinkProfile::gcs()).warm_connections(64).build()
}

const MIB: u64 = 1 << 20;

#[tokio::test(start_paused = true)]
async fn every_kind_of_read_is_recorded_with_its_times() {
    let (store, file) = recorded(gcs());
    let (path, missing) = (Path::from("synthetic/1MiB/a"), Path::from("missing"));
    store.head(&path).await.unwrap();
    tokio::time::sleep(Duration::from_millis(7)).await;
    store.get_range(&path, 100..200).await.unwrap();
    store.get_ranges(&path, &[0..10, 20..30]).await.unwrap();
    store
        .get_opts(&path, GetOptions::new().with_range(Some(GetRange::Suffix(8))))
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    store.get_opts(&path, GetOptions::new().with_range(Some(GetRange::Offset(MIB - 4)))).await.unwrap();
    store.get_opts(&path, GetOptions::new().with_if_match(Some("\"other\""))).await.unwrap_err();
    store.get(&missing).await.unwrap_err();
    store.put(&missing, "written".into()).await.unwrap();
    store.get(&missing).await.unwrap().bytes().await.unwrap();
    assert_eq!(store.finish().unwrap().calls, 8);

    let trace = file.trace();
    assert_eq!(trace.header.keys, Keys::Hashed);
    let shown = |call: &TraceCall| {
        let ask = (call.ranges.clone(), call.offset, call.suffix);
        (call.kind, ask, call.bytes, call.error.clone().unwrap_or_default())
    };
    let none = (vec![], None, None);
    assert_eq!(
        trace.calls.iter().map(shown).collect::<Vec<_>>(),
        [
            (CallKind::Head, none.clone(), 0, String::new()),
            (CallKind::Get, (vec![[100, 200]], None, None), 100, String::new()),
            (CallKind::GetRanges, (vec![[0, 10], [20, 30]], None, None), 20, String::new()),
            (CallKind::Get, (vec![], None, Some(8)), 8, String::new()),
            (CallKind::Get, (vec![], Some(MIB - 4), None), 0, String::new()),
            (CallKind::Get, none.clone(), 0, "Precondition".into()),
            (CallKind::Get, none.clone(), 0, "NotFound".into()),
            (CallKind::Get, none, 7, String::new()),
        ]
    );
    let range = &trace.calls[1];
    assert_eq!((range.size, range.after, range.wait_us, range.at_us), (Some(MIB), Some(0), 7_000, 37_000));
    assert!((30_000..32_000).contains(&range.first_us) && range.took_us >= range.first_us, "{range:?}");
    assert!(trace.calls[5].is_conditional && !trace.calls[6].is_conditional);
    let keys: Vec<&str> = trace.calls.iter().map(|call| call.key.as_str()).collect();
    assert!(keys[..6].iter().all(|key| *key == keys[0]) && keys[6] == keys[7] && keys[0] != keys[6]);
    assert!(!trace.calls.iter().any(|call| call.key.contains("synthetic")), "paths are not written");
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_when_its_body_was_read_or_dropped() {
    let (store, file) = recorded(gcs());
    let path = Path::from("synthetic/64MiB/a");
    let mut body = store.get(&path).await.unwrap().into_stream();
    let first = body.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let second = body.next().await.unwrap().unwrap();
    drop(body);
    tokio::time::timeout(Duration::from_millis(10), store.get(&path)).await.unwrap_err();
    store.finish().unwrap();
    let [read, given_up] = &file.trace().calls[..] else { panic!("two calls") };
    assert_eq!(read.bytes, (first.len() + second.len()) as u64);
    assert!(read.busy_us >= 500_000 && read.took_us > read.busy_us, "{read:?}");
    assert_eq!((given_up.error.as_deref(), given_up.took_us), (Some("dropped"), 10_000));
}

#[tokio::test(start_paused = true)]
async fn a_call_comes_after_the_last_call_of_its_task() {
    let (store, file) = recorded(gcs());
    let readers = (0..3).map(|reader: u64| {
        let store = store.clone();
        tokio::spawn(async move {
            let path = Path::from(format!("synthetic/1MiB/{reader}"));
            for n in 0..4 {
                store.get_range(&path, n * 100..(n + 1) * 100).await.unwrap();
                tokio::time::sleep(Duration::from_millis(reader)).await;
            }
        })
    });
    futures::future::join_all(readers.collect::<Vec<_>>()).await;
    store.finish().unwrap();
    let calls = file.trace().calls;
    for call in &calls {
        let Some(after) = call.after else { continue };
        assert_eq!(calls[usize::try_from(after).unwrap()].key, call.key, "{call:?}");
    }
    assert_eq!(calls.iter().filter(|call| call.after.is_none()).count(), 3);
}

#[tokio::test]
async fn an_error_of_the_disk_is_returned_by_finish_and_reads_continue() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.0.min(bytes.len());
            self.0 -= room;
            if room == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(room) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let inner = InMemory::new();
    inner.put(&"a".into(), "bytes".into()).await.unwrap();
    let store = TraceRecorder::new(Arc::new(inner), Full(500)).unwrap();
    for _ in 0..2 * MAX_WAITING_CALLS {
        assert_eq!(store.get_range(&"a".into(), 0..3).await.unwrap(), "byt");
    }
    assert_eq!(store.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(store.get_range(&"a".into(), 0..3).await.unwrap(), "byt");
    assert!(store.finish().is_err(), "it is already finished");
    assert!(TraceRecorder::new(Arc::new(InMemory::new()), Full(3)).is_err());
}

#[tokio::test]
async fn lost_calls_are_counted() {
    let inner = InMemory::new();
    inner.put(&"a".into(), "bytes".into()).await.unwrap();
    let (store, file) = recorded(inner);
    const CALLS: u64 = 20_000;
    for _ in 0..CALLS {
        store.get_range(&"a".into(), 0..3).await.unwrap();
    }
    let written = store.finish().unwrap();
    assert_eq!(written.calls + written.lost, CALLS);
    assert_eq!(file.trace().calls.len() as u64, written.calls);
}

#[tokio::test]
async fn dropping_the_last_clone_writes_the_rest() {
    let (store, file) = recorded(InMemory::new());
    let other = store.clone();
    other.get(&"a".into()).await.unwrap_err();
    drop(store);
    assert_eq!(file.trace().calls.len(), 0);
    drop(other);
    assert_eq!(file.trace().calls.len(), 1);
}

/// The `Debug` of `InMemory` shows its bytes, and that of some clients their credentials.
#[tokio::test]
async fn a_recorder_shows_the_store_below_by_its_display() {
    let inner = InMemory::new();
    inner.put(&Path::from("a"), "hunter2".into()).await.unwrap();
    assert!(format!("{inner:?}").contains("hunter2"));
    let (recorder, _file) = recorded(inner);
    assert!(format!("{recorder:?}").contains("InMemory"));
    assert!(!format!("{recorder:?} {recorder:#?}").contains("hunter2"));
}
