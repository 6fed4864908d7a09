//! What `cp` must do: downloads, uploads, copies that are interrupted and go on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::user::{self, CommandUser};
use super::{BUCKET, LARGE, LINES, MIB, OTHER, SPACED, StoredObject, bytes_of, content};
use crate::servers::ServerKind;

/// The rate of the link on which copies are interrupted: an upload takes a second, a download two thirds of one.
const SLOW_BYTES_PER_S: u64 = 30 << 20;

/// Runs all checks.
pub(super) fn check(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    downloads(user, objects)?;
    interrupted_download(user, objects)?;
    if user.kind == ServerKind::FakeGcs {
        return refused_upload(user);
    }
    uploads(user, objects)?;
    interrupted_upload(user)
}

fn downloads(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    let large = bytes_of(objects, LARGE)?;
    for verify in [&[][..], &["--verify"]] {
        user.run(&[&["cp", &user.url(LARGE), "file"], verify].concat())?.ok()?;
        ensure!(user.read("file")? == large, "cp wrote other bytes");
    }
    user.run(&["cp", &user.url(LARGE), "-"])?.gives(large)?;
    let below: BTreeMap<String, Vec<u8>> =
        objects.iter().filter_map(|(key, bytes)| Some((key.strip_prefix("dir/")?.to_owned(), bytes.clone()))).collect();
    let shown = user.run(&["cp", "-r", "-n", &user.url("dir"), "down"])?.text()?;
    ensure!(shown.lines().count() == 3 && !user.path("down").exists(), "cp --dry-run shows {shown}");
    let copied = user.run(&["cp", "-r", "--json", "--verify", &user.url("dir"), "down"])?.json()?;
    ensure!(copied["copied"] == 3 && copied["failed"] == 0, "cp -r copied {copied}");
    ensure!(files(&user.path("down"))? == below, "cp -r wrote other files");
    let again = user.run(&["cp", "-r", "--json", "--skip-same", &user.url("dir"), "down"])?.json()?;
    ensure!(again["skipped"] == 3 && again["copied"] == 0, "cp --skip-same copied again: {again}");
    user.write("down/lines.txt", "a longer file than that which the bucket has: no two lines of it are the same\n")?;
    let again = user.run(&["cp", "-r", "--json", "--skip-same", &user.url("dir"), "down"])?.json()?;
    ensure!(again["skipped"] == 2 && again["copied"] == 1, "cp --skip-same did not repair one file: {again}");
    ensure!(files(&user.path("down"))? == below, "cp --skip-same wrote other files");

    user.run(&["cp", &user.url("dir/*"), "pattern/"])?.ok()?;
    let names: Vec<_> = files(&user.path("pattern"))?.into_keys().collect();
    ensure!(names == ["large", "lines.txt"], "cp of a pattern wrote {names:?}");
    user.run(&["cp", &user.url(SPACED), &user.url(OTHER), "several/"])?.ok()?;
    let several = files(&user.path("several"))?;
    let expected = [("a b", SPACED), ("other", OTHER)];
    for (name, key) in expected {
        ensure!(several.get(name).map(Vec::as_slice) == Some(bytes_of(objects, key)?), "cp wrote another {name}");
    }
    ensure!(several.len() == expected.len(), "cp wrote {:?}", several.keys());
    Ok(())
}

/// All files below a folder by their paths, with their bytes.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder)?.to_str().context("a name that is not UTF-8")?.to_owned();
                found.insert(name, std::fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

/// A download that Ctrl-C ends leaves nothing under its name, and goes on where it stopped.
fn interrupted_download(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    std::fs::create_dir(user.path("interrupted"))?;
    user.link.set_bytes_per_s(SLOW_BYTES_PER_S);
    let url = user.url(LARGE);
    let args = ["cp", "--json", &url, "interrupted/file"];
    let child = user::start(&mut user.command(&args))?;
    let journal = user.path("interrupted/file.headstart-journal");
    // The journal lists what is written: some mebibytes.
    user.wait_until("a part of the download", || {
        ensure!(!user.path("interrupted/file").exists(), "the download ended before it could be interrupted");
        Ok(std::fs::read(&journal).is_ok_and(|journal| journal.len() > 200))
    })?;
    user::signal(child.id(), "INT")?;
    let ended = user::wait(child, "an interrupted download".to_owned())?;
    ensure!((ended.code, &*ended.stderr) == (130, ""), "it ended with {}: {}", ended.code, ended.stderr);
    ensure!(!user.path("interrupted/file").exists(), "an interrupted download left a file under its name");
    user.link.set_bytes_per_s(0);
    let copied = user.run(&args)?.json_lines()?;
    let resumed = copied[0]["resumed_bytes"].as_u64().unwrap_or(0);
    ensure!(resumed >= MIB as u64, "the download did not go on where it stopped: {}", copied[0]);
    let left = files(&user.path("interrupted"))?;
    ensure!(left.keys().eq(["file"]), "a resumed download left {:?}", left.keys());
    ensure!(left["file"] == bytes_of(objects, LARGE)?, "a resumed download has other bytes");
    Ok(())
}

fn uploads(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    let parts = content(4, 30 * MIB);
    user.write("up/parts", &parts)?;
    user.write("up/sub/small one", "small")?;
    user.write("up/empty", "")?;
    let copied = user.run(&["cp", "-r", "--json", "--verify", "up", &user.url("up")])?.json()?;
    ensure!(copied["copied"] == 3 && copied["failed"] == 0, "cp -r uploaded {copied}");
    for (key, bytes) in [("up/parts", &*parts), ("up/sub/small one", b"small"), ("up/empty", b"")] {
        user.run(&["cat", &user.url(key)])?.gives(bytes)?;
    }
    let again = user.run(&["cp", "-r", "--json", "--skip-same", "up", &user.url("up")])?.json()?;
    ensure!(again["skipped"] == 3 && again["copied"] == 0, "cp --skip-same uploaded again: {again}");
    user.run(&["cp", &user.url(LARGE), &user.url("up/copy")])?.ok()?;
    user.run(&["cat", &user.url("up/copy")])?.gives(bytes_of(objects, LARGE)?)?;
    user.run(&["cp", &user.url(LINES), &user.url("up/")])?.ok()?;
    user.run(&["cat", &user.url("up/lines.txt")])?.gives(bytes_of(objects, LINES)?)
}

/// An upload that Ctrl-C ends leaves no object and no parts.
fn interrupted_upload(user: &CommandUser) -> Result<()> {
    user.link.set_bytes_per_s(SLOW_BYTES_PER_S);
    let before = user.link.up_bytes();
    let url = user.url("up/interrupted");
    let child = user::start(&mut user.command(&["cp", "up/parts", &url]))?;
    user.wait_until("a part of the upload", || Ok(user.link.up_bytes() - before > 12 * MIB as u64))?;
    user::signal(child.id(), "INT")?;
    let ended = user::wait(child, "an interrupted upload".to_owned())?;
    user.link.set_bytes_per_s(0);
    ensure!((ended.code, &*ended.stderr) == (130, ""), "it ended with {}: {}", ended.code, ended.stderr);
    user.run(&["stat", &url])?.fails(3, "does not exist")?;
    let (status, uploads) = user.http("GET", &format!("{}/{BUCKET}?uploads", user.server_url), None)?;
    let uploads = String::from_utf8_lossy(&uploads).into_owned();
    ensure!(status == 200 && uploads.contains("ListMultipartUploadsResult"), "{status}: {uploads}");
    ensure!(!uploads.contains("<UploadId>"), "an interrupted upload left parts: {uploads}");
    user.run(&["cp", "--verify", "up/parts", &url])?.ok()?;
    user.run(&["cat", &url])?.gives(&user.read("up/parts")?)
}

/// fake-gcs-server refuses uploads. The command says what the server says, and there is no object.
fn refused_upload(user: &CommandUser) -> Result<()> {
    user.write("some", "some")?;
    let url = user.url("up");
    user.run(&["cp", "some", &url])?.fails(8, "invalid uploadType")?;
    user.run(&["stat", &url])?.fails(3, "does not exist")?;
    user.skip("uploads: fake-gcs-server has no uploads by GCS's XML API, by which object_store writes");
    Ok(())
}
