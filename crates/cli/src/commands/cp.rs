//! `cp`: finds what to copy, plans it, and copies many objects at once.

mod download;
mod sources;
mod upload;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use clap::Args;
use futures::{FutureExt, StreamExt};
use serde::Serialize;
use tokio::time::Instant;

use self::sources::{CopyFrom, CopyInput, find_sources};
use crate::failure::{Failure, FailureKind};
use crate::policy::copy_plan::{self, CopyTarget, PlannedCopy};
use crate::policy::place::{self, Place};
use crate::policy::text;
use crate::progress::Progress;
use crate::session::{Session, Site};

/// Objects that are copied at once. Each is fetched in as many parts as the link has room for.
const JOBS: usize = 16;

#[derive(Debug, Clone, Args)]
#[command(
    override_usage = "headstart cp [OPTIONS] <SRC>... <DST>",
    after_long_help = "\
One object is copied to the target itself, or into it where it is a directory, a bucket, or ends with a slash. With \
-r, a pattern or several sources, the target is a directory or prefix, and is made where it is missing: what lies \
below a source goes below the target under the same relative path (of several sources with -r, each below its own \
name).

An interrupted download goes on where it stopped when the command is given again, also after kill -9: its bytes are in \
NAME.headstart-part beside the target until it is complete. An upload appears with its last byte or not at all, and \
begins again. To pass over what is there already, add --skip-same.

Symbolic links to files are followed, those to directories are not."
)]
pub(crate) struct CpArgs {
    /// URLs, patterns or paths to copy, and at the end where to copy them; - is standard input or output
    // One argument, so that options may stand between sources and target.
    #[arg(required = true, value_names = ["SRC", "DST"], num_args = 1..)]
    places: Vec<String>,
    /// Copy everything below the sources, which are directories or prefixes
    #[arg(short, long)]
    recursive: bool,
    /// Compare every copy with its source, where the store reports no CRC32C by reading it a second time
    #[arg(long)]
    verify: bool,
    /// Pass over what is there already: same length, and the same CRC32C or, where the store reports none, not older
    #[arg(long)]
    skip_same: bool,
    /// Objects that are copied at once
    #[arg(short, long, value_name = "COUNT", default_value_t = JOBS, value_parser = parse_jobs)]
    jobs: usize,
    /// Show what would be copied, and copy nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=1000) => Ok(jobs),
        _ => Err("expected 1 to 1000".to_owned()),
    }
}

/// Where copies go.
#[derive(Clone)]
enum CopyTo {
    Stdout,
    Local(PathBuf),
    Remote(Box<Site>),
}

/// How a copy was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CopyCheck {
    /// The store reports a CRC32C, and it is equal.
    Crc32c,
    /// The bytes were read a second time, and are equal.
    ReadBack,
    /// The length is equal. The store reports no checksum.
    Length,
}

/// One object that was copied.
#[derive(Debug, Clone, Serialize)]
struct CopiedObject {
    from: String,
    to: String,
    bytes: u64,
    /// Bytes that an earlier, interrupted copy had written.
    #[serde(skip_serializing_if = "is_zero")]
    resumed_bytes: u64,
    /// `None`: it was there already, or nothing was copied.
    checked: Option<CopyCheck>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crc32c: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    skipped: bool,
}

impl CopiedObject {
    /// A copy, apart from how it went.
    fn new(source: &CopyInput, item: usize, to: &CopyTo, below: &str, bytes: u64) -> Self {
        Self {
            from: source.shown_item(item),
            to: shown_target(to, below),
            bytes,
            resumed_bytes: 0,
            checked: None,
            crc32c: None,
            skipped: false,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What has been copied so far.
#[derive(Debug, Default, Serialize)]
struct CopySummary {
    copied: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
}

/// Copies objects.
pub(crate) async fn run(session: &Session, args: &CpArgs) -> Result<(), Failure> {
    let Some((target, sources)) = args.places.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        return Err(Failure::usage("Name what to copy, and then where to: headstart cp SRC... DST"));
    };
    let to = open_target(session, target).await?;
    let sources = find_sources(session, sources, args.recursive).await?;
    let found: usize = sources.iter().map(|source| source.items.len()).sum();
    if matches!(to, CopyTo::Stdout) && found > 1 {
        return Err(Failure::usage("Several objects cannot be copied to standard output. Use headstart cat."));
    }
    let facts = target_facts(target, &to).await;
    let described: Vec<_> = sources.iter().map(CopyInput::describe).collect();
    let plan = copy_plan::plan(&described, facts).map_err(Failure::usage)?;
    check_plan(&sources, &plan, &to, target)?;
    if args.dry_run {
        return show_plan(session, &sources, &plan, &to);
    }
    make_copies(session, args, &sources, plan, &to).await
}

async fn open_target(session: &Session, target: &str) -> Result<CopyTo, Failure> {
    match place::parse(target) {
        Place::Stream => Ok(CopyTo::Stdout),
        Place::Local(path) => Ok(CopyTo::Local(path.into())),
        Place::Remote(remote) if remote.pattern.is_some() || remote.generation.is_some() => {
            Err(Failure::usage(format!(
                "{target} is a pattern or names a generation, and no target. Write %3F, %2A and %5B for ?, * and [."
            )))
        }
        Place::Remote(_) => Ok(CopyTo::Remote(Box::new(session.site(target).await?))),
    }
}

async fn target_facts(target: &str, to: &CopyTo) -> CopyTarget {
    let ends_with_slash = target.ends_with('/');
    match to {
        CopyTo::Stdout => CopyTarget { is_directory: false, is_file: true, is_local: true },
        CopyTo::Local(path) => {
            let found = tokio::fs::metadata(path).await.ok();
            let is_directory = ends_with_slash || found.as_ref().is_some_and(std::fs::Metadata::is_dir);
            CopyTarget { is_directory, is_file: found.is_some() && !is_directory, is_local: true }
        }
        CopyTo::Remote(site) => {
            CopyTarget { is_directory: ends_with_slash || site.path.is_root(), is_file: false, is_local: false }
        }
    }
}

/// Refuses what no copy should do.
fn check_plan(sources: &[CopyInput], plan: &[PlannedCopy], to: &CopyTo, target: &str) -> Result<(), Failure> {
    for copy in plan {
        let source = &sources[copy.source];
        match (to, &source.from) {
            (CopyTo::Local(_), CopyFrom::Local) => {
                let what = "are both on this machine. Use cp, which is made for that.";
                return Err(Failure::usage(format!("{} and {target} {what}", source.shown)));
            }
            (CopyTo::Local(_), _) if !copy.to.is_empty() => {
                copy_plan::check_file_name(&copy.to).map_err(Failure::usage)?;
            }
            (CopyTo::Remote(site), CopyFrom::Remote(from)) => {
                let path = upload::key(site, &copy.to);
                if from.store_url == site.store_url && path == source.items[copy.item].path {
                    let what = "is the source and the target";
                    return Err(Failure::usage(format!("{} {what}.", site.url_of(&path))));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn show_plan(session: &Session, sources: &[CopyInput], plan: &[PlannedCopy], to: &CopyTo) -> Result<(), Failure> {
    for copy in plan {
        let source = &sources[copy.source];
        let bytes = source.items[copy.item].size.unwrap_or(0);
        let copied = CopiedObject::new(source, copy.item, to, &copy.to, bytes);
        session.output.line(|| text::name(&format!("{} -> {}", copied.from, copied.to)), &copied)?;
    }
    Ok(())
}

/// The place of a copy: the path `below` the target.
fn shown_target(to: &CopyTo, below: &str) -> String {
    match to {
        CopyTo::Stdout => "-".to_owned(),
        CopyTo::Local(path) => local_target(path, below).display().to_string(),
        CopyTo::Remote(site) => site.url_of(&upload::key(site, below)),
    }
}

fn local_target(path: &std::path::Path, below: &str) -> PathBuf {
    match below {
        "" => path.to_owned(),
        below => below.split('/').fold(path.to_owned(), |path, segment| path.join(segment)),
    }
}

async fn make_copies(
    session: &Session,
    args: &CpArgs,
    sources: &[CopyInput],
    plan: Vec<PlannedCopy>,
    to: &CopyTo,
) -> Result<(), Failure> {
    let started = Instant::now();
    let sizes: Option<u64> = plan.iter().map(|copy| sources[copy.source].items[copy.item].size).sum();
    let progress = Progress::of_bytes(&session.output, sizes);
    let (summary, count) = (CopySummary::default(), plan.len());
    let first_failure: Mutex<Option<Failure>> = Mutex::new(None);
    // By number: a closure over references is too general for the compiler.
    let copies = (0..count).map(|at| {
        let copy = &plan[at];
        let copying = Copying { session, args, source: &sources[copy.source], item: copy.item, to, below: &copy.to };
        let (progress, summary, first_failure) = (&progress, &summary, &first_failure);
        async move {
            let done = copying.run(progress).await.and_then(|copied| {
                let counter = if copied.skipped { &summary.skipped } else { &summary.copied };
                counter.fetch_add(1, Relaxed);
                if !copied.skipped {
                    summary.bytes.fetch_add(copied.bytes, Relaxed);
                }
                progress.say(format!("{}/{count}", summary.copied.load(Relaxed) + summary.skipped.load(Relaxed)));
                match session.output.is_json() {
                    true => session.output.line(String::new, &copied),
                    false => Ok(()),
                }
            });
            let Err(failure) = done else { return Ok(()) };
            summary.failed.fetch_add(1, Relaxed);
            // What would fail for all others too ends the command.
            if matches!(failure.kind, FailureKind::File | FailureKind::Denied | FailureKind::ClosedPipe) || count == 1 {
                return Err(failure);
            }
            progress.above(|| session.output.failure(&failure));
            if let Ok(mut first) = first_failure.lock() {
                first.get_or_insert(failure);
            }
            Ok(())
        }
        .boxed()
    });
    let mut copies = futures::stream::iter(copies).buffer_unordered(args.jobs);
    while let Some(done) = copies.next().await {
        done?;
    }
    drop(copies);
    progress.end();
    let elapsed = started.elapsed();
    tell(session, &summary, elapsed)?;
    match first_failure.into_inner().ok().flatten() {
        // It has been printed.
        Some(Failure { kind, .. }) => {
            let failed = text::counted(summary.failed.load(Relaxed), "object was", "objects were");
            Err(Failure::new(kind, format!("{failed} not copied. Run the command again with --skip-same for these.")))
        }
        None => Ok(()),
    }
}

fn tell(session: &Session, summary: &CopySummary, elapsed: std::time::Duration) -> Result<(), Failure> {
    if session.output.is_json() {
        return session.output.line(String::new, summary);
    }
    if session.output.shows_progress() {
        let bytes = summary.bytes.load(Relaxed);
        let copied = text::counted(summary.copied.load(Relaxed), "object", "objects");
        let skipped = match summary.skipped.load(Relaxed) {
            0 => String::new(),
            count => format!(", {} there already", text::count(count)),
        };
        let rate = text::rate(bytes as f64 / elapsed.as_secs_f64().max(1e-3));
        session.output.note(&format!("{copied}, {} in {} ({rate}){skipped}", text::size(bytes), text::time(elapsed)));
    }
    Ok(())
}

/// One copy.
struct Copying<'a> {
    session: &'a Session,
    args: &'a CpArgs,
    source: &'a CopyInput,
    item: usize,
    to: &'a CopyTo,
    below: &'a str,
}

impl Copying<'_> {
    async fn run(&self, progress: &Progress) -> Result<CopiedObject, Failure> {
        match (self.to, &self.source.from) {
            (CopyTo::Local(target), CopyFrom::Remote(site)) => {
                download::to_file(self, site, &local_target(target, self.below), progress).await
            }
            (CopyTo::Stdout, CopyFrom::Remote(site)) => download::to_stdout(self, site, progress).await,
            (CopyTo::Remote(site), _) => upload::to_store(self, site, progress).await,
            _ => Err(Failure::usage("Standard input can only be copied to a URL.")),
        }
    }

    /// The result, apart from how it went.
    fn copied(&self, bytes: u64) -> CopiedObject {
        CopiedObject::new(self.source, self.item, self.to, self.below, bytes)
    }

    fn skipped(&self, bytes: u64, progress: &Progress) -> CopiedObject {
        progress.add(bytes);
        CopiedObject { skipped: true, ..self.copied(bytes) }
    }
}
