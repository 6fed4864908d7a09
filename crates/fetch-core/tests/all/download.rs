//! Downloads: exact bytes of one version, resumable, and under the final name only when complete.

use std::fs;
use std::future::IntoFuture;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Altered, Bench, KEY, KIB, MIB, Setup, is_object_changed, path, settle};
use futures::FutureExt;
use headstart_fetch_core::{BackendProfile, DownloadError, FetchConfig, FetchStore, ObjectVersion};
use headstart_sim::{Content, ExternalChange, FaultEvent, FaultPlan, LinkProfile, ReadAnswer, When};
use object_store::{Error, ObjectStoreExt};
use parking_lot::Mutex;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tempfile::TempDir;
use tokio::time::timeout;

/// A directory to download to.
struct Place {
    directory: TempDir,
    file: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        Self { directory, file }
    }

    fn part(&self) -> PathBuf {
        self.directory.path().join("file.headstart-part")
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("file.headstart-journal")
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn cloud(size: u64) -> Setup {
    Setup { link: LinkProfile::gcs(), profile: BackendProfile::default(), concurrency: 32, size, ..Setup::default() }
}

#[track_caller]
fn assert_is(file: &FilePath, version: &ObjectVersion) {
    let bytes = fs::read(file).unwrap();
    assert_eq!(bytes.len() as u64, version.size);
    let generation = version.version.as_deref().unwrap().parse().unwrap();
    Content::new(KEY, generation).check(0, &bytes).unwrap_or_else(|wrong| panic!("{wrong:?}"));
}

/// Downloads for this long (in virtual time), then drops the future. Returns whether it was complete before.
async fn download_for(store: &FetchStore, file: &FilePath, life: Duration) -> bool {
    match timeout(life, store.download(&path(), file)).await {
        Ok(downloaded) => {
            downloaded.unwrap();
            true
        }
        Err(_) => false,
    }
}

/// A download of 24 MiB that was dropped when about half of it had been written.
async fn half_complete(bench: &Bench, place: &Place) {
    let written = Arc::new(tokio::sync::Notify::new());
    let half = Arc::clone(&written);
    let download = bench.store.download(&path(), &place.file).on_progress(move |progress| {
        if progress.written_bytes >= progress.total_bytes / 2 {
            half.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = written.notified() => {}
        downloaded = download.into_future() => panic!("through at once: {downloaded:?}"),
    }
    settle().await;
    assert_eq!(place.names(), ["file.headstart-journal", "file.headstart-part"]);
}

#[tokio::test(start_paused = true)]
async fn every_byte_arrives_and_nothing_else_is_left() {
    for size in [0, 1, MIB, 5 * MIB + 3, 40 * MIB + 1] {
        for budget_bytes in [512 << 20, 0] {
            let (bench, place) = (Setup { budget_bytes, ..cloud(size) }.build(), Place::new());
            let told = Arc::new(Mutex::new(Vec::new()));
            let tell = Arc::clone(&told);
            let download =
                bench.store.download(&path(), &place.file).on_progress(move |progress| tell.lock().push(progress));
            let got = download.await.unwrap();
            assert_is(&place.file, &got.version);
            assert_eq!(got.crc32c, crc32c::crc32c(&fs::read(&place.file).unwrap()), "{size} bytes");
            assert_eq!((got.version.size, got.resumed_bytes, got.verified), (size, 0, false));
            assert_eq!(place.names(), ["file"]);
            let told = told.lock();
            assert!(told.iter().all(|progress| progress.total_bytes == size));
            assert!(told.is_sorted_by_key(|progress| progress.written_bytes));
            assert_eq!(told.first().unwrap().written_bytes, 0);
            assert_eq!(told.last().unwrap().written_bytes, size);
            bench.assert_nothing_left("after the download");
        }
    }
}

/// About 120 ms pass for two connections and two first bytes; a whole download takes some 200 ms more.
#[tokio::test(start_paused = true)]
async fn killed_at_random_points_and_resumed_a_hundred_times() {
    let seed: u64 = rand_seed();
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed.to_le_bytes(); 4].concat());
    let mut up_to = |n: u64| random.next_u64() % n;
    let (bench, place) = (cloud(24 * MIB + 7).build(), Place::new());
    let (mut kills, mut through) = (0, 0);
    while kills < 100 {
        let is_through = download_for(&bench.store, &place.file, Duration::from_micros(up_to(200_000))).await;
        // A download that is killed after its last step has put the whole file in place.
        if is_through || place.file.exists() {
            through += 1;
            assert_eq!(place.names(), ["file"], "seed {seed}");
            let meta = bench.store.head(&path()).await.unwrap();
            assert_is(&place.file, &ObjectVersion::of(&meta));
            fs::remove_file(&place.file).unwrap();
            bench.sim.overwrite(KEY, None).unwrap();
        } else {
            kills += 1;
            // Sometimes the object changes between two downloads.
            if up_to(20) == 0 {
                bench.sim.overwrite(KEY, Some(20 * MIB + up_to(8 * MIB))).unwrap();
            }
        }
    }
    let got = bench.store.download(&path(), &place.file).await.unwrap();
    assert_is(&place.file, &got.version);
    assert_eq!(got.crc32c, crc32c::crc32c(&fs::read(&place.file).unwrap()), "seed {seed}");
    println!(
        "seed {seed}: {through} downloads came through; the last one had {} bytes to begin with",
        got.resumed_bytes
    );
    assert!(through > 0, "seed {seed}: no download was long enough");
    settle().await;
    bench.assert_nothing_left("at the end");
}

/// A random seed that differs in each process.
fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_not_fetched_again() {
    let (bench, place) = (cloud(24 * MIB).build(), Place::new());
    half_complete(&bench, &place).await;
    let before = bench.store.stats();
    let got = bench.store.download(&path(), &place.file).await.unwrap();
    let after = bench.store.stats();
    assert_is(&place.file, &got.version);
    assert!(got.resumed_bytes >= 12 * MIB, "{got:?}");
    assert_eq!(after.fetched_bytes - before.fetched_bytes, 24 * MIB - got.resumed_bytes);
    assert_eq!(after.heads - before.heads, 1);
}

/// After a crash the files may hold anything: the journal counts only where the bytes have the recorded checksum.
#[tokio::test(start_paused = true)]
async fn damage_is_noticed() {
    type Damage = fn(&Place);
    let damages: [(&str, Damage); 6] = [
        ("a byte flipped", |place| edit(&place.part(), |bytes| bytes[3_000_000] ^= 1)),
        ("zeros for bytes", |place| edit(&place.part(), |bytes| bytes[1 << 20..4 << 20].fill(0))),
        ("the file cut off", |place| edit(&place.part(), |bytes| bytes.truncate(5_000_000))),
        ("the file gone", |place| fs::remove_file(place.part()).unwrap()),
        ("the journal torn", |place| edit(&place.journal(), |bytes| bytes.truncate(bytes.len() - 4))),
        ("lines of nonsense", |place| {
            edit(&place.journal(), |bytes| bytes.extend(b"\xff\n[9,1,0]\n[0,99999999999,0]\n[0,17,5]\n[1,"));
        }),
    ];
    for (what, damage) in damages {
        let (bench, place) = (cloud(24 * MIB).build(), Place::new());
        half_complete(&bench, &place).await;
        damage(&place);
        // Torn lines are followed by valid ones if the next download is interrupted as well.
        download_for(&bench.store, &place.file, Duration::from_millis(80)).await;
        let got = bench.store.download(&path(), &place.file).await.unwrap();
        assert_is(&place.file, &got.version);
        assert_eq!(got.crc32c, crc32c::crc32c(&fs::read(&place.file).unwrap()), "{what}");
        assert_eq!(place.names(), ["file"], "{what}");
    }
}

fn edit(file: &FilePath, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    edit(&mut bytes);
    fs::write(file, bytes).unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_version_begins_anew() {
    for versioned in [false, true] {
        let (bench, place) = (Setup { versioned, ..cloud(24 * MIB) }.build(), Place::new());
        half_complete(&bench, &place).await;
        bench.sim.overwrite(KEY, Some(MIB)).unwrap();
        let got = bench.store.download(&path(), &place.file).await.unwrap();
        assert_eq!((got.version.size, got.resumed_bytes), (MIB, 0));
        assert_is(&place.file, &got.version);
        assert_eq!(place.names(), ["file"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_on_the_way_is_an_error_and_the_next_try_gets_the_new_object() {
    let change = ExternalChange::Overwrite { key: KEY.to_owned(), size: None };
    let faults = FaultPlan { script: vec![(When::Read(6), FaultEvent::Change(change))], ..FaultPlan::default() };
    let (bench, place) = (Setup { faults, ..cloud(64 * MIB) }.build(), Place::new());
    let failed = bench.store.download(&path(), &place.file).await.unwrap_err();
    let DownloadError::Store(error) = failed else { panic!("{failed}") };
    assert!(is_object_changed::<()>(&Err(error)));
    assert!(!place.file.exists());
    let got = bench.store.download(&path(), &place.file).await.unwrap();
    assert_is(&place.file, &got.version);
}

#[tokio::test(start_paused = true)]
async fn the_version_wanted_or_none() {
    let (bench, place) = (cloud(2 * MIB).build(), Place::new());
    let old = ObjectVersion::of(&bench.store.head(&path()).await.unwrap());
    let got = bench.store.download(&path(), &place.file).version(old.clone()).await.unwrap();
    assert_eq!(got.version, old);
    fs::remove_file(&place.file).unwrap();
    bench.sim.overwrite(KEY, None).unwrap();
    let failed = bench.store.download(&path(), &place.file).version(old).await.unwrap_err();
    let DownloadError::Store(error) = failed else { panic!("{failed}") };
    assert!(is_object_changed::<()>(&Err(error)));
    assert_eq!(place.names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_checksum_leaves_nothing() {
    let (bench, place) = (cloud(3 * MIB).build(), Place::new());
    fs::write(&place.file, "precious").unwrap();
    let failed = bench.store.download(&path(), &place.file).crc32c(1).await.unwrap_err();
    let DownloadError::Checksum { expected: 1, found, .. } = failed else { panic!("{failed}") };
    assert_eq!(place.names(), ["file"]);
    assert_eq!(fs::read(&place.file).unwrap(), b"precious");
    let got = bench.store.download(&path(), &place.file).crc32c(found).await.unwrap();
    assert!(got.verified);
    assert_is(&place.file, &got.version);
}

/// A body that repeatedly ends too early.
#[tokio::test(start_paused = true)]
async fn a_short_read_is_an_error() {
    let short = |read| (When::Read(read), FaultEvent::Answer(ReadAnswer::Short { after: 0.5 }));
    let faults = FaultPlan { script: (0..10_000).map(short).collect(), ..FaultPlan::default() };
    let (bench, place) = (Setup { faults, ..cloud(300 * KIB) }.build(), Place::new());
    let failed = bench.store.download(&path(), &place.file).await.unwrap_err();
    assert!(matches!(failed, DownloadError::Store(Error::Generic { .. })), "{failed}");
    assert!(!place.file.exists());
}

#[tokio::test(start_paused = true)]
async fn clear_errors() {
    let (bench, place) = (cloud(24 * MIB).build(), Place::new());
    let elsewhere = place.directory.path().join("none/file");
    let failed = bench.store.download(&path(), &elsewhere).await.unwrap_err();
    assert!(matches!(failed, DownloadError::NoDirectory { .. }), "{failed}");
    assert_eq!(failed.to_string(), format!("cannot download to {}: its directory does not exist", elsewhere.display()));

    let failed = bench.store.download(&path(), place.directory.path()).await.unwrap_err();
    assert!(matches!(failed, DownloadError::IsDirectory { .. }), "{failed}");

    let failed = bench.store.download(&"nothing".into(), &place.file).await.unwrap_err();
    assert!(matches!(failed, DownloadError::Store(Error::NotFound { .. })), "{failed}");
    assert_eq!(place.names(), [""; 0], "no file is left");

    fs::create_dir(place.part()).unwrap();
    let failed = bench.store.download(&path(), &place.file).await.unwrap_err();
    assert!(matches!(failed, DownloadError::Obstructed { found: "a directory", .. }), "{failed}");
    assert_eq!(
        failed.to_string(),
        format!(
            "cannot keep an unfinished download in {}: it is a directory, not a regular file; \
             remove it, or download to another name",
            place.part().display()
        )
    );
    fs::remove_dir(place.part()).unwrap();

    let mut first = Box::pin(bench.store.download(&path(), &place.file).into_future());
    assert!(timeout(Duration::from_millis(40), &mut first).await.is_err());
    let second = bench.store.download(&path(), &place.file).await.unwrap_err();
    assert!(matches!(second, DownloadError::Busy { .. }), "{second}");
    assert_is(&place.file, &first.await.unwrap().version);
}

/// A store of the same object that is unreachable at present.
fn unreachable(bench: &Bench) -> FetchStore {
    let refused = |_| Err(Error::Generic { store: "test", source: "no route to host".into() });
    let retries = 0;
    let config = FetchConfig { retries, ..FetchConfig::default() };
    FetchStore::new(Arc::new(Altered::named(bench.sim.to_string(), bench.sim.clone(), refused)), config)
        .expect("valid settings")
}

#[tokio::test(start_paused = true)]
async fn a_try_during_an_outage_keeps_what_an_earlier_one_has_fetched() {
    let (bench, place) = (cloud(24 * MIB).build(), Place::new());
    half_complete(&bench, &place).await;
    for _ in 0..3 {
        let failed = unreachable(&bench).download(&path(), &place.file).await.unwrap_err();
        assert!(matches!(failed, DownloadError::Store(Error::Generic { .. })), "{failed}");
        assert_eq!(place.names(), ["file.headstart-journal", "file.headstart-part"]);
    }
    // A failed download of another object does not remove them either.
    bench.store.download(&"nothing".into(), &place.file).await.unwrap_err();
    let got = bench.store.download(&path(), &place.file).await.unwrap();
    assert_is(&place.file, &got.version);
    assert!(got.resumed_bytes >= 12 * MIB, "{got:?}");
}

/// The same path, entity tag and size in another bucket is another object.
#[tokio::test(start_paused = true)]
async fn bytes_of_another_store_are_not_resumed() {
    let (bench, place) = (cloud(24 * MIB).build(), Place::new());
    half_complete(&bench, &place).await;
    let elsewhere = Altered::named("Bucket(other)".to_owned(), bench.sim.clone(), Ok);
    let other = FetchStore::new(Arc::new(elsewhere), FetchConfig::default()).expect("valid settings");
    assert_eq!(other.download(&path(), &place.file).await.unwrap().resumed_bytes, 0);
}

/// A journal of the format that did not name the store.
#[tokio::test(start_paused = true)]
async fn an_older_journal_begins_anew() {
    let (bench, place) = (cloud(24 * MIB).build(), Place::new());
    half_complete(&bench, &place).await;
    edit(&place.journal(), |bytes| {
        let text = String::from_utf8(std::mem::take(bytes)).unwrap();
        let (header, pieces) = text.split_once('\n').unwrap();
        let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
        header["headstart"] = 1.into();
        header.as_object_mut().unwrap().remove("store").expect("the journal names the store");
        *bytes = format!("{header}\n{pieces}").into_bytes();
    });
    let got = bench.store.download(&path(), &place.file).await.unwrap();
    assert_is(&place.file, &got.version);
    assert_eq!(got.resumed_bytes, 0);
    assert_eq!(place.names(), ["file"]);
}

#[cfg(unix)]
mod not_regular {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::os::unix::net::UnixListener;

    fn is_socket(file: &FilePath) -> bool {
        fs::symlink_metadata(file).unwrap().file_type().is_socket()
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_no_file_is_refused_and_left_alone() {
        let (bench, place) = (cloud(MIB).build(), Place::new());
        let _socket = UnixListener::bind(&place.file).unwrap();
        let failed = bench.store.download(&path(), &place.file).await.unwrap_err();
        assert!(matches!(failed, DownloadError::NotRegular { found: "a socket", .. }), "{failed}");
        assert!(is_socket(&place.file));
        assert_eq!(place.names(), ["file"]);

        let failed = bench.store.download(&path(), "/dev/null").await.unwrap_err();
        assert_eq!(
            failed.to_string(),
            "cannot download to /dev/null: it is a device, not a regular file; download to another name"
        );
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());

        let link = place.directory.path().join("link");
        symlink("nowhere", &link).unwrap();
        let failed = bench.store.download(&path(), &link).await.unwrap_err();
        assert!(matches!(failed, DownloadError::NotRegular { found: "a symbolic link to nothing", .. }), "{failed}");
        fs::remove_file(&link).unwrap();
        symlink("/dev/null", &link).unwrap();
        let failed = bench.store.download(&path(), &link).await.unwrap_err();
        assert!(matches!(failed, DownloadError::NotRegular { found: "a device", .. }), "{failed}");
    }

    /// The target becomes a socket during the download.
    #[tokio::test(start_paused = true)]
    async fn a_target_that_becomes_a_socket_is_refused_at_the_end() {
        let (bench, place) = (cloud(24 * MIB).build(), Place::new());
        half_complete(&bench, &place).await;
        let file = place.file.clone();
        let mut socket = None;
        let download = bench.store.download(&path(), &place.file).on_progress(move |_| {
            socket.get_or_insert_with(|| UnixListener::bind(&file).unwrap());
        });
        let failed = download.await.unwrap_err();
        assert!(matches!(failed, DownloadError::NotRegular { .. }), "{failed}");
        assert!(is_socket(&place.file));
        fs::remove_file(&place.file).unwrap();
        let got = bench.store.download(&path(), &place.file).await.unwrap();
        assert_eq!(got.resumed_bytes, 24 * MIB, "what was fetched is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_to_a_file_is_followed() {
        let (bench, place) = (cloud(MIB).build(), Place::new());
        let (folder, link) = (place.directory.path().join("folder"), place.directory.path().join("link"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("real"), "old").unwrap();
        symlink("folder/real", &link).unwrap();
        let got = bench.store.download(&path(), &link).await.unwrap();
        assert_is(&folder.join("real"), &got.version);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        symlink("folder", place.directory.path().join("file")).unwrap();
        let failed = bench.store.download(&path(), &place.file).await.unwrap_err();
        assert!(matches!(failed, DownloadError::IsDirectory { .. }), "{failed}");
    }

    /// Others who may write to the folder could make us overwrite any of our files by a link.
    #[tokio::test(start_paused = true)]
    async fn part_files_and_journals_that_are_links_are_refused() {
        let (bench, place) = (cloud(MIB).build(), Place::new());
        let precious = place.directory.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        for beside in [place.part(), place.journal()] {
            for to in ["precious", "nowhere"] {
                symlink(to, &beside).unwrap();
                let failed = bench.store.download(&path(), &place.file).await.unwrap_err();
                let DownloadError::Obstructed { path, found: "a symbolic link" } = &failed else { panic!("{failed}") };
                assert_eq!(*path, beside);
                fs::remove_file(&beside).unwrap();
            }
            let socket = UnixListener::bind(&beside).unwrap();
            let failed = bench.store.download(&path(), &place.file).await.unwrap_err();
            assert!(matches!(failed, DownloadError::Obstructed { found: "a socket", .. }), "{failed}");
            drop(socket);
            fs::remove_file(&beside).unwrap();
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert!(!place.directory.path().join("nowhere").exists());
        let got = bench.store.download(&path(), &place.file).await.unwrap();
        assert_is(&place.file, &got.version);
    }
}

#[test]
fn outside_a_runtime_it_is_an_error() {
    let (bench, place) = (cloud(1).build(), Place::new());
    let failed = bench.store.download(&path(), &place.file).into_future().now_or_never().unwrap().unwrap_err();
    assert!(failed.to_string().contains("no tokio runtime"), "{failed}");
}
