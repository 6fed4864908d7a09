//! What the other commands must do: `warm`, `cache`, `trace`, `bench`, `doctor`, `serve`, `config`, and documents.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, ensure};

use super::user::{self, CommandUser};
use super::{BUCKET, LARGE, LINES, MIB, NONE, StoredObject, bytes_of};

/// Where `serve` exports metrics.
const METRICS: &str = "unix:metrics.sock";

/// More than the heads of some answers, and less than a page.
const HEADS_BYTES: u64 = 16 << 10;

/// Runs all checks.
pub(super) fn check(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    cache_on_disk(user, objects)?;
    recordings(user, objects)?;
    measurements(user)?;
    endpoint(user, objects)?;
    settings(user)?;
    documents(user)
}

/// `warm`, a read by another process, and `cache stat`, `verify` and `clear`.
fn cache_on_disk(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    let option = ["-o", "cache.disk_directory=cache"];
    let url = user.url("dir");
    let bytes: usize = objects.iter().filter(|(key, _)| key.starts_with("dir/")).map(|(_, bytes)| bytes.len()).sum();
    let warm = || user.run(&[&["warm", "--json", "-r", &url], &option[..]].concat())?.json();
    let first = warm()?;
    ensure!(first["objects"] == 3 && first["bytes"] == bytes && first["fetched_bytes"] == bytes, "warm: {first}");
    let again = warm()?;
    ensure!(again["fetched_bytes"] == 0, "warm fetched again: {again}");
    let before = user.link.down_bytes();
    let cat = ["cat", &user.url(LARGE), "-o", "mode=cached"];
    user.run(&[&cat[..], &option].concat())?.gives(bytes_of(objects, LARGE)?)?;
    let read = user.link.down_bytes() - before;
    ensure!(read < HEADS_BYTES, "a read from a warm cache got {read} bytes of the server");

    let stat = user.run_bare(&["cache", "stat", "--json", "cache"])?.json()?;
    ensure!(stat["page_bytes"] == bytes && stat["open_caches"] == 0, "cache stat: {stat}");
    let verified = user.run_bare(&["cache", "verify", "cache"])?.text()?;
    ensure!(verified.contains("no damage"), "cache verify: {verified}");
    let segment = std::fs::read_dir(user.path("cache"))?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut segments = segment.filter(|path| path.extension().is_some_and(|extension| extension == "segment"));
    let segment = segments.next().context("the cache has no segment")?;
    let mut damaged = std::fs::read(&segment)?;
    let at = damaged.len() - 1000;
    damaged[at] ^= 1;
    std::fs::write(&segment, damaged)?;
    user.run_bare(&["cache", "verify", "cache"])?.fails(5, "has damage")?;
    user.run(&[&cat[..], &option].concat())?.gives(bytes_of(objects, LARGE)?)?;
    user.run_bare(&["cache", "clear", "cache"])?.ok()?;
    let stat = user.run_bare(&["cache", "stat", "--json", "cache"])?.json()?;
    ensure!(stat["pages"] == 0, "cache clear left {stat}");
    user.run_bare(&["cache", "stat", NONE])?.fails(3, "no such directory")
}

/// `trace record`, `show` and `replay`.
fn recordings(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    let large = bytes_of(objects, LARGE)?;
    let record = ["trace", "record", "t.jsonl", "cat", "--range", "1048576-2097151", &user.url(LARGE)];
    user.run(&record)?.gives(&large[MIB..2 * MIB])?;
    let shown = user.run_bare(&["trace", "show", "--json", "t.jsonl"])?.json()?;
    ensure!(shown["calls"]["get"] == 1 && shown["bytes"] == MIB, "trace show: {shown}");
    let calls = user.run_bare(&["trace", "show", "--calls", "t.jsonl"])?.text()?;
    ensure!(calls.contains("1048576..2097152"), "trace show --calls: {calls}");
    let systems = user.run_bare(&["trace", "replay", "--json", "t.jsonl"])?.json_lines()?;
    let raw = systems.iter().find(|system| system["system"] == "raw").context("no bare client in the replay")?;
    ensure!(raw["gets"] == 1 && raw["read_bytes"] == MIB && systems.len() == 4, "trace replay: {raw}");
    user.run_bare(&["trace", "show", "none.jsonl"])?.fails(3, "none.jsonl")
}

/// Short runs of `bench` and `doctor`.
fn measurements(user: &CommandUser) -> Result<()> {
    let url = user.url(LARGE);
    user.run(&["bench", &url])?.fails(2, "Add --yes")?;
    let runs = user.run(&["bench", "--yes", "--json", "--seconds", "0.05", &url])?.json_lines()?;
    ensure!(runs.len() == 13, "bench made {} runs", runs.len());
    for run in &runs {
        ensure!(run["read_bytes"].as_u64() > Some(0), "bench read nothing: {run}");
    }
    let again =
        runs.iter().find(|run| run["mode"] == "cached" && run["pattern"] == "again").context("no second pass")?;
    // Bytes of the first pass may still arrive.
    ensure!(again["gets"] == 0, "the second pass of bench was not cached: {again}");
    let found = user.run(&["doctor", "--yes", "--json", "--seconds", "0.05", &url])?.json()?;
    let findings = &found["findings"];
    ensure!(findings["rates"].as_array().is_some_and(|rates| rates.len() == 7), "doctor measured {findings}");
    ensure!(findings["honours_ranges"] == true, "doctor finds no ranges: {findings}");
    ensure!(findings["addresses"][0] == "127.0.0.1", "doctor finds another address: {findings}");
    ensure!(found["advice"].as_array().is_some_and(|advice| !advice.is_empty()), "doctor gives no advice: {found}");
    Ok(())
}

/// `serve` answers plain HTTP, `top` shows what was read, and both end.
fn endpoint(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--metrics", METRICS, &user.url("")];
    let mut child = user::start(&mut user.command(&serve))?;
    let mut address = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut address)?;
    let served = || -> Result<()> {
        let url = |key: &str| format!("{}/{BUCKET}/{}", address.trim_end(), key.replace(' ', "%20"));
        ensure!(address.starts_with("http://127.0.0.1:"), "serve printed '{address}'");
        for (key, bytes) in objects {
            let (status, body) = user.http("GET", &url(key), None)?;
            ensure!(status == 200 && body == *bytes, "serve answered {status} and {} bytes of {key}", body.len());
        }
        let (status, body) = user.http("GET", &url(LARGE), Some("bytes=1048576-9999999"))?;
        let expected = &bytes_of(objects, LARGE)?[MIB..10_000_000];
        ensure!(status == 206 && body == expected, "serve answered {status} to a range");
        for (method, key, expected) in [("GET", NONE, 404), ("HEAD", LINES, 200), ("PUT", LINES, 405)] {
            let (status, _) = user.http(method, &url(key), None)?;
            ensure!(status == expected, "serve answered {status} to {method} {key}");
        }
        let (status, _) = user.http("GET", &url(LARGE), Some("bytes=99999999-"))?;
        ensure!(status == 416, "serve answered {status} to a range past the end");
        let figures = user.run_bare(&["top", "--json", "--once", "--interval", "0.2", METRICS])?.json()?;
        let read = objects.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + expected.len();
        let delivered = figures["delivered_bytes"]["total"].as_f64();
        ensure!(delivered == Some(read as f64), "{read} bytes were read, and top shows {figures}");
        Ok(())
    };
    let served = served();
    user::signal(child.id(), "TERM")?;
    let ended = user::wait(child, "headstart serve".to_owned())?;
    served.with_context(|| format!("serve said: {}", ended.stderr))?;
    ensure!(ended.code == 0, "serve ended with {}: {}", ended.code, ended.stderr);
    Ok(())
}

/// `config` shows what was set, and hides secrets.
fn settings(user: &CommandUser) -> Result<()> {
    user.write("config.toml", "mode = 'cached'\n[fetch]\nconcurrency = 7\n")?;
    let url = user.url(LARGE);
    let args = ["config", "--json", "--config", "config.toml", "-o", "fetch.concurrency=9", &url];
    let lines = user.run(&args)?.json_lines()?;
    let find = |key: &str| lines.iter().find(|line| line["key"] == key).with_context(|| format!("config lacks {key}"));
    let endpoint = if user.is_s3() { "s3.endpoint" } else { "gcs.endpoint" };
    for (key, value, source) in
        [("mode", "cached", "file"), ("fetch.concurrency", "9", "explicit"), (endpoint, user.link.url(), "explicit")]
    {
        let line = find(key)?;
        ensure!(line["value"] == value && line["source"] == source, "config shows {line}");
    }
    if user.is_s3() {
        let line = find("s3.secret_access_key")?;
        ensure!(line["value"] == "***", "config shows a secret: {line}");
    }
    user.run(&["config", "-o", "moed=cached"])?.fails(2, "did you mean 'mode'?")
}

/// What is made from the definitions of the arguments.
fn documents(user: &CommandUser) -> Result<()> {
    user.run_bare(&["man", "man1"])?.ok()?;
    ensure!(user.read("man1/headstart-cp.1")?.starts_with(b".ie"), "man wrote no manual page");
    for shell in ["bash", "zsh", "fish"] {
        let script = user.run_bare(&["completions", shell])?.text()?;
        ensure!(script.contains("headstart"), "completions wrote nothing for {shell}");
    }
    Ok(())
}
