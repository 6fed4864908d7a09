//! `cargo xtask cli`: the command `headstart` as a process, over third-party servers.
//!
//! Every command runs over fake-gcs-server and moto by all schemes, with every byte checked, and then on bad input.
//! What a server cannot do is printed as skipped. A command that `headstart --help` names and that no check has run is
//! an error.

mod copies;
mod failures;
mod link;
mod reads;
mod tools;
mod user;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::link::CountedLink;
use self::user::CommandUser;
use crate::servers::{self, LinkShape, RunningServer, ServerKind};

/// Servers that were not written here, and the schemes by which they are read.
const WAYS: [(ServerKind, &str); 3] =
    [(ServerKind::FakeGcs, "gs://"), (ServerKind::Moto, "s3://"), (ServerKind::Moto, "gs://")];

/// Without a hyphen: object_store encodes it in URLs of GCS, and moto does not decode names of buckets.
const BUCKET: &str = "bucket";
const MIB: usize = 1 << 20;

/// The objects of the bucket, in the order of a listing. What is below `dir` is copied together.
const LARGE: &str = "dir/large";
const LINES: &str = "dir/lines.txt";
const SPACED: &str = "dir/sub/a b";
const EMPTY: &str = "empty";
const OTHER: &str = "other";

/// A key that no object has.
const NONE: &str = "none";

/// An object: its key and bytes.
type StoredObject = (&'static str, Vec<u8>);

/// Builds the command by `command_line`, and runs it over every server.
pub(crate) fn run(command_line: fn() -> Result<PathBuf>) -> Result<()> {
    ensure!(
        WAYS.iter().all(|(kind, _)| kind.is_installed()),
        "the servers are not installed: run `cargo xtask servers --install`"
    );
    let program = command_line()?;
    let started = Instant::now();
    let ran = Mutex::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // At once, since each command waits for its server.
    let ways = futures::future::join_all(WAYS.map(|(kind, scheme)| over(kind, scheme, &program, &ran)));
    runtime.block_on(servers::until_interrupted(ways))?.into_iter().collect::<Result<()>>()?;
    let (commands, ran) = (commands(&program)?, ran.into_inner());
    let left_out: Vec<&str> = commands.iter().filter(|name| !ran.contains(*name)).map(String::as_str).collect();
    ensure!(left_out.is_empty(), "these commands were never run: {}", left_out.join(", "));
    println!("all commands passed in {:.1} s: {}", started.elapsed().as_secs_f64(), commands.join(", "));
    Ok(())
}

/// Runs all checks over a server of its own. Adds the commands that were run to `ran`.
async fn over(kind: ServerKind, scheme: &str, program: &Path, ran: &Mutex<BTreeSet<String>>) -> Result<()> {
    let server = RunningServer::start(kind, LinkShape::default()).await?;
    let started = Instant::now();
    server.make_bucket(BUCKET).await?;
    let objects = objects();
    for (key, bytes) in &objects {
        server.write(BUCKET, key, bytes.clone().into()).await?;
    }
    let ways = server.how_to_read(BUCKET, "");
    let how = ways.into_iter().find(|how| how.url.starts_with(scheme)).context("the server has no such scheme")?;
    let link = CountedLink::start(&server.url()).await?;
    let user = CommandUser::new(kind, program, how, &server.url(), link)?;
    let checks = move || check(&user, &objects).with_context(|| user.name()).map(|()| (user.name(), user.ran()));
    let (name, commands) = tokio::task::spawn_blocking(checks).await??;
    ran.lock().extend(commands);
    println!("{name}: passed in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn check(user: &CommandUser, objects: &[StoredObject]) -> Result<()> {
    reads::check(user, objects)?;
    tools::check(user, objects)?;
    copies::check(user, objects)?;
    failures::check(user, objects)
}

/// Objects whose sizes differ, and of which one needs several requests.
fn objects() -> [StoredObject; 5] {
    let lines: String = (0..30).map(|n| format!("line {n}\n")).collect();
    [
        (LARGE, content(1, 20 * MIB + 7)),
        (LINES, lines.into_bytes()),
        (SPACED, content(2, 1000)),
        (EMPTY, Vec::new()),
        (OTHER, content(3, 1)),
    ]
}

/// Bytes that differ with the seed and the place.
fn content(seed: u64, size: usize) -> Vec<u8> {
    let word = |n: u64| (n ^ (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..).flat_map(word).take(size).collect()
}

/// The bytes of one of `objects`.
fn bytes_of<'a>(objects: &'a [StoredObject], key: &str) -> Result<&'a [u8]> {
    let found = objects.iter().find(|(name, _)| *name == key);
    Ok(&found.with_context(|| format!("there is no {key}"))?.1)
}

/// The commands that `headstart --help` lists, but for `help`.
fn commands(program: &Path) -> Result<Vec<String>> {
    let output = Command::new(program).arg("--help").env_clear().output().context("cannot run the command")?;
    let help = String::from_utf8(output.stdout)?;
    let listed = help.split_once("Commands:\n").context("the help lists no commands")?.1;
    // Each is indented by two columns; longer descriptions go on further to the right.
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    let names: Vec<String> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    ensure!(names.len() >= 10, "the help lists only {names:?}");
    Ok(names)
}
