//! What the commands must say on bad input: wrong URLs, no credentials, no such object, full disks, closed pipes.

use std::fs::OpenOptions;
use std::io::Read;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tokio::time::{Duration, Instant};

use super::user::{self, CommandUser};
use super::{LARGE, MIB, NONE, StoredObject, bytes_of};
use crate::servers::ServerKind;

/// An address of loopback at which nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

/// The most that a refusal may take: it must not look like a command that hangs.
const SOON: Duration = Duration::from_secs(20);

/// A device that is always full.
const FULL: &str = "/dev/full";

/// A file system of 16 MiB, mounted where only the command sees it; `$1` is the folder, then comes the command.
const SMALL_DISK: &str = "mount -t tmpfs -o size=16m tmpfs \"$1\" && shift && exec \"$@\"";

/// Runs all checks.
pub(super) fn check(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    missing(user)?;
    // What no server is asked about differs with the scheme alone.
    if user.kind == ServerKind::FakeGcs || user.is_s3() {
        wrong_arguments(user)?;
        no_credentials(user)?;
        nobody_listens(user)?;
    }
    closed_pipe(user)?;
    full_output(user)?;
    full_disk(user, objects)
}

/// Objects, prefixes and buckets that are not there.
fn missing(user: &CommandUser) -> Result<()> {
    user.write("some", "some")?;
    let no_bucket = format!("{}no-such-bucket/", user.scheme());
    for of in [&user.url(""), &no_bucket] {
        let none = format!("{of}{NONE}");
        for args in [
            &["cat", &none][..],
            &["head", &none],
            &["stat", &none],
            &["verify", &none, "some"],
            &["bench", "-y", &none],
            &["doctor", "-y", &none],
            &["warm", &none, "-o", "cache.disk_directory=cache"],
            &["trace", "record", "none.trace", "cat", &none],
        ] {
            user.run(args)?.fails(3, "does not exist")?;
        }
        if *of == no_bucket && user.kind == ServerKind::FakeGcs {
            user.skip("listings of a bucket that does not exist: fake-gcs-server answers 500, as if it had failed");
            continue;
        }
        let pattern = format!("{none}*");
        for args in [["cat", &pattern, "-q"], ["ls", &none, "-l"], ["du", &none, "-s"], ["cp", &none, "x"]] {
            user.run(&args)?.fails(3, "does not exist")?;
        }
    }
    ensure!(!user.path("x").exists(), "cp of a missing object left a file");
    user.run(&["verify", &user.url(LARGE), "no file"])?.fails(3, "no such file")?;
    user.run(&["cp", "no file", &user.url("x")])?.fails(3, "no such file")
}

fn wrong_arguments(user: &CommandUser) -> Result<()> {
    let (large, bucket) = (user.url(LARGE), user.url(""));
    for (args, says) in [
        (&["cat", "ftp://host/file"][..], "nsupported URL scheme"),
        (&["cat", user.scheme()], user.scheme().trim_end_matches("://")),
        (&["cat", &bucket], "Add its key"),
        (&["cat", "--range", "9-3", &large], "ends before it begins"),
        (&["cat", "--range", "99999999999-", &large], "does not have these bytes"),
        (&["ls", &format!("{large}?X-Amz-Signature=secret")], "is not used"),
        (&["cat", "-o", "moed=fetch", &large], "did you mean 'mode'?"),
        (&["cp", &bucket, "x"], "Add -r"),
        (&["cp", &large], "then where to"),
        (&["serve", &format!("{large}*")], "pattern"),
        (&["serve", "--listen", "0.0.0.0:0", &bucket], "0.0.0.0"),
        (&["fly"], "unrecognized subcommand"),
    ] {
        user.run(args)?.fails(2, says)?;
    }
    let json = user.run(&["stat", "--json", &bucket])?;
    let error: serde_json::Value = serde_json::from_str(&json.stderr).context("an error that is no JSON")?;
    ensure!(json.code == 2 && error["exit_code"] == 2, "{error}");
    user.write("file", "x")?;
    user.run(&["cp", &large, "file/x"])?.fails(6, "file")
}

/// Without keys the client would ask the metadata service of a cloud, which is not here.
fn no_credentials(user: &CommandUser) -> Result<()> {
    let url = user.url(LARGE);
    let endpoint = format!("s3.endpoint={}", user.link.url());
    let (args, says) = match user.is_s3() {
        true => (vec!["-o", &endpoint], "AWS_ACCESS_KEY_ID"),
        // An endpoint by http:// is an emulator, which needs none. So this is the real one, which is not asked.
        false => (vec![], "gcloud auth"),
    };
    for command in [&["cat", &url][..], &["ls", &url], &["cp", &url, "x"], &["stat", &url], &["doctor", "-y", &url]] {
        let began = Instant::now();
        user.run_bare(&[command, &args].concat())?.fails(4, says)?;
        ensure!(began.elapsed() < SOON, "{command:?} took {:?} to find no credentials", began.elapsed());
    }
    Ok(())
}

fn nobody_listens(user: &CommandUser) -> Result<()> {
    let url = user.url(LARGE);
    let endpoint = format!("{}.endpoint={NOBODY}", if user.is_s3() { "s3" } else { "gcs" });
    let mut options = vec!["-o", &endpoint, "-o", "fetch.retries=1"];
    if user.is_s3() {
        options.extend(["-o", "s3.access_key_id=any", "-o", "s3.secret_access_key=any"]);
    }
    // Listings and uploads are tried for some seconds by the client, so one way to a server is enough.
    let commands = [&["cat", &url][..], &["stat", &url], &["ls", &url], &["cp", "some", &url]];
    for command in &commands[..if user.is_s3() { 4 } else { 2 }] {
        let began = Instant::now();
        user.run_bare(&[command, &*options].concat())?.fails(8, &url)?;
        ensure!(began.elapsed() < SOON, "{command:?} took {:?} to find nobody", began.elapsed());
    }
    Ok(())
}

/// As by `headstart cat URL | head -c 10`.
fn closed_pipe(user: &CommandUser) -> Result<()> {
    let url = user.url(LARGE);
    for args in [["cat", &url, "-q"], ["cp", &url, "-"]] {
        let mut child = user::start(&mut user.command(&args))?;
        let mut stdout = child.stdout.take().context("no output")?;
        stdout.read_exact(&mut [0; 10])?;
        drop(stdout);
        let ended = user::wait(child, args.join(" "))?;
        ensure!((ended.code, &*ended.stderr) == (141, ""), "{args:?}: {} {}", ended.code, ended.stderr);
    }
    Ok(())
}

/// Standard output that takes no byte.
fn full_output(user: &CommandUser) -> Result<()> {
    let Ok(full) = OpenOptions::new().write(true).open(FULL) else {
        user.skip(&format!("a full standard output: this system has no {FULL}"));
        return Ok(());
    };
    let mut command = user.command(&["cat", &user.url(LARGE)]);
    let child = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).spawn()?;
    user::wait(child, format!("headstart cat > {FULL}"))?.fails(6, "Standard output cannot be written")
}

/// A download that finds no room says so, and leaves nothing under its name. Where there is room, it succeeds.
fn full_disk(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    std::fs::create_dir(user.path("small"))?;
    let unshare = |command: &Command| {
        let mut unshared = Command::new("unshare");
        unshared.args(["--user", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh", "small"]);
        unshared.arg(command.get_program()).args(command.get_args());
        unshared.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        unshared.current_dir(user.path(""));
        unshared
    };
    if !unshare(&Command::new("true")).env("PATH", "/usr/bin:/bin").output().is_ok_and(|ran| ran.status.success()) {
        user.skip("a full disk: this user may not mount a file system, even in a namespace of its own");
        return Ok(());
    }
    let ran = user::finish(unshare(&user.command(&["cp", &user.url(LARGE), "small/file"])))?;
    ran.fails(6, "no space left")?;
    let large = bytes_of(objects, LARGE)?;
    ensure!(large.len() > 16 * MIB && !user.path("small/file").exists(), "a full disk has a file");
    user.run(&["cp", &user.url(LARGE), "small/file"])?.ok()?;
    ensure!(user.read("small/file")? == large, "cp wrote other bytes");
    Ok(())
}
