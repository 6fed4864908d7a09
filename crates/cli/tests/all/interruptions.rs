//! Interrupted copies, closed pipes, full disks, refused and missing credentials.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::common::{self, Bucket, MIB, Place, answering, bytes, files, signal, wait, wait_until};
use headstart_sim::RequestKind;
use headstart_sim::server::Dialect;
use rustix::process::Signal;

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Starts a download of 12 MiB at 8 MB/s, and waits until a part of it is in the file.
fn half_a_download(place: &Place, bucket: &Bucket) -> Child {
    let child = start(bucket.command(place, &["cp", &bucket.url("k"), "k"]));
    let part = place.path("k.headstart-journal");
    // The journal lists what is written: some mebibytes.
    wait_until("a part of the download", || std::fs::read(&part).is_ok_and(|journal| journal.len() > 200));
    child
}

#[test]
fn an_interrupted_or_killed_download_leaves_no_file_and_goes_on() {
    for (kill, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, -1)] {
        let (place, bucket) = (Place::new(), Bucket::slow(Dialect::Gcs, 8e6));
        let content = bucket.put_large("k", 12 * MIB);
        let child = half_a_download(&place, &bucket);
        signal(&child, kill);
        let ran = wait(child);
        assert_eq!((ran.code, ran.stderr.as_str()), (code, ""));
        assert!(!place.path("k").exists(), "half a file under its name");
        let json = bucket.run(&place, &["cp", "--json", &bucket.url("k"), "k"]).json();
        assert!(json[0]["resumed_bytes"].as_u64().unwrap() >= MIB as u64, "{}", json[0]);
        assert_eq!(json[0]["checked"], "crc32c");
        let left: Vec<_> = files(place.folder.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, ["k"]);
        assert!(std::fs::read(place.path("k")).unwrap() == content);
    }
}

#[test]
fn an_interrupted_upload_leaves_no_object_and_no_parts() {
    for (dialect, kill, code) in [(Dialect::S3, Signal::INT, 130), (Dialect::Gcs, Signal::HUP, 129)] {
        let (place, bucket) = (Place::new(), Bucket::slow(dialect, 20e6));
        let file = place.write("f", bytes(1, 60 * MIB));
        let child = start(bucket.command(&place, &["cp", &file, &bucket.url("k")]));
        let multipart = || {
            let log = bucket.server.log().snapshot();
            log.into_iter().filter(|it| it.kind == RequestKind::Multipart).collect::<Vec<_>>()
        };
        wait_until("two parts", || multipart().len() >= 3);
        signal(&child, kill);
        let ran = wait(child);
        assert_eq!((ran.code, ran.stderr.as_str()), (code, ""));
        assert!(!bucket.has("k"));
        // The last request of the upload, which no part follows, aborts it.
        let requests = multipart();
        assert!(requests.len() >= 4, "{requests:?}");
        assert!(requests.iter().any(|it| it.ended_at.is_some() && Some(it.at) == requests.last().map(|it| it.at)));
        bucket.run(&place, &["cp", &file, &bucket.url("k")]).ok();
        assert!(bucket.get(&place, "k") == bytes(1, 60 * MIB));
    }
}

#[test]
fn a_closed_pipe_ends_the_command_quietly() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    bucket.put_large("large", 64 * MIB);
    for n in 0..3000 {
        bucket.put(&format!("many/{n:0100}"), "");
    }
    for args in
        [&["cat", "gs://bucket/large"][..], &["cp", "gs://bucket/large", "-"], &["ls", "-r", "gs://bucket/many"]]
    {
        let mut child = start(bucket.command(&place, args));
        let mut stdout = child.stdout.take().unwrap();
        let mut some = [0; 1000];
        stdout.read_exact(&mut some).unwrap();
        drop(stdout);
        let ran = wait(child);
        assert_eq!((ran.code, ran.stderr.as_str()), (141, ""), "{args:?}");
    }
    // A full device is told.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = bucket.command(&place, &["cat", "gs://bucket/large"]);
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    wait(child).fails(6, &["Standard output cannot be written"]);
}

#[test]
fn a_reader_that_pauses_is_interrupted_too() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    bucket.put_large("large", 64 * MIB);
    let mut child = start(bucket.command(&place, &["cat", "gs://bucket/large"]));
    // Nobody reads on, so the command is blocked in a write.
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    signal(&child, Signal::INT);
    wait_until("the end of the command", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// A small file system, where the user may mount one.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path, bytes: usize) -> Option<Self> {
        std::fs::create_dir(path).unwrap();
        let options = format!("size={bytes},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).output();
    }
}

#[test]
fn a_full_disk_is_told_and_the_download_goes_on_where_there_is_room() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    let content = bucket.put_large("k", 12 * MIB);
    let path = place.path("small");
    let Some(_disk) = SmallDisk::mount(&path, 16 * MIB) else {
        return println!("SKIPPED: this user may not mount a file system");
    };
    std::fs::write(path.join("ballast"), vec![1; 10 * MIB]).unwrap();
    let ran = bucket.run(&place, &["cp", &bucket.url("k"), "small/"]);
    ran.fails(6, &["small/k", "no space left", "Make room"]);
    assert!(!path.join("k").exists());
    std::fs::remove_file(path.join("ballast")).unwrap();
    let json = bucket.run(&place, &["cp", "--json", &bucket.url("k"), "small/"]).json();
    assert!(json[0]["resumed_bytes"].as_u64().unwrap() > 0, "{}", json[0]);
    assert!(std::fs::read(path.join("k")).unwrap() == content);
}

#[test]
fn refused_and_missing_credentials_say_which_to_give() {
    let place = Place::new();
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let url = answering(status, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
        let endpoint = format!("s3.endpoint={url}");
        let keys = ["-o", "s3.access_key_id=me", "-o", "s3.secret_access_key=hunter2", "-o", "s3.region=eu-west-1"];
        for command in [&["cat", "s3://b/k"][..], &["ls", "s3://b"], &["cp", "s3://b/k", "x"]] {
            let ran = place.run(&[&keys[..], &["-o", &endpoint], command].concat());
            assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
            ran.fails(4, &["AWS_ACCESS_KEY_ID", "s3.anonymous=on"]);
        }
        let endpoint = format!("gcs.endpoint={url}");
        place.run(&["-o", &endpoint, "cat", "gs://b/k"]).fails(4, &["gcloud auth", "gcs.anonymous=on"]);
    }
    // There is no metadata service (see `Place::command`), and no credentials.
    let began = common::now();
    for (url, says) in [("s3://b/k", "AWS_ACCESS_KEY_ID"), ("gs://b/k", "gcloud auth")] {
        place.run(&["cat", url]).fails(4, &["There are no credentials", says]);
    }
    assert!(began.elapsed().as_secs() < 20, "no minutes of retries");
    // A server that is gone.
    let endpoint = "gcs.endpoint=http://127.0.0.1:1";
    let ran = place.run(&["-o", endpoint, "-o", "fetch.retries=1", "cat", "gs://b/k"]);
    ran.fails(8, &["gs://b/k cannot be read"]);
}
