//! `cache`: looks at the directory of a cache, checks it, or empties it.

use std::io::ErrorKind;
use std::path::{Path as FilePath, PathBuf};

use clap::{Args, Subcommand};
use headstart::{CacheDirectory, ConfigError, DiskCheck, DiskCleared, DiskContents};

use crate::failure::{Failure, FailureKind};
use crate::file_crc::blocking;
use crate::policy::text;
use crate::progress::Progress;
use crate::session::Session;

#[derive(Debug, Clone, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum CacheCommand {
    /// Show what is in it, and who uses it
    Stat(DirectoryArgs),
    /// Read every page and compare it with its checksum; changes nothing
    Verify(DirectoryArgs),
    /// Delete all pages; programs that use it go on, and fetch what they read
    Clear(DirectoryArgs),
}

#[derive(Debug, Clone, Args)]
struct DirectoryArgs {
    /// The directory, as given in cache.disk_directory
    directory: PathBuf,
}

/// Runs a subcommand.
pub(crate) async fn run(session: &Session, args: &CacheArgs) -> Result<(), Failure> {
    match &args.command {
        CacheCommand::Stat(args) => {
            let contents = on_directory(&args.directory, |directory| directory.contents()).await?;
            session.output.line(|| describe(&contents), &contents)
        }
        CacheCommand::Verify(args) => verify(session, &args.directory).await,
        CacheCommand::Clear(args) => {
            let cleared = on_directory(&args.directory, |directory| directory.clear()).await?;
            session.output.line(|| describe_cleared(&cleared), &cleared)
        }
    }
}

/// Opens a directory and works on it.
async fn on_directory<T: Send + 'static>(
    path: &FilePath,
    work: impl FnOnce(CacheDirectory) -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let path = path.to_owned();
    blocking(move || {
        let directory = CacheDirectory::open(&path).map_err(|error| cannot_open(&path, &error))?;
        work(directory).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => Failure::new(
                FailureKind::Other,
                format!("A program is making room in {} now. Run the command again.", path.display()),
            ),
            _ => Failure::file("read or change", &path, &error),
        })
    })
    .await
}

fn cannot_open(path: &FilePath, error: &ConfigError) -> Failure {
    let why = match error {
        ConfigError::BadValue { allowed, .. } => allowed.clone(),
        other => other.to_string(),
    };
    let kind = if path.exists() { FailureKind::Usage } else { FailureKind::NotFound };
    Failure::new(kind, format!("{} cannot be used: {why}.", path.display()))
}

async fn verify(session: &Session, path: &FilePath) -> Result<(), Failure> {
    let progress = Progress::of_bytes(&session.output, None);
    let bar = progress.clone();
    let check = on_directory(path, move |directory| directory.check(|read, _| bar.set(read))).await?;
    progress.end();
    session.output.line(|| describe_check(&check), &check)?;
    match check.damaged_pages + check.damaged_segments {
        0 => Ok(()),
        _ => Err(Failure::new(
            FailureKind::Different,
            format!(
                "{} has damage. Programs notice it when they read a page, and fetch the page again; \
                 `headstart cache clear` removes it all. Check the disk.",
                path.display()
            ),
        )),
    }
}

fn describe(contents: &DiskContents) -> String {
    text::fields([
        ("Pages", format!("{} of {}", text::count(contents.pages), text::size(contents.page_bytes))),
        ("Files", text::size(contents.file_bytes)),
        ("Segments", segments(contents)),
        ("In use by", text::counted(contents.open_caches, "cache", "caches")),
        ("Free space", text::size(contents.free_bytes)),
    ])
}

fn segments(contents: &DiskContents) -> String {
    let mut shown = text::count(contents.segments);
    for (count, what) in
        [(contents.open_segments, "being written"), (contents.set_aside_segments, "more set aside as damaged")]
    {
        if count > 0 {
            shown.push_str(&format!(", {} {what}", text::count(count)));
        }
    }
    shown
}

fn describe_check(check: &DiskCheck) -> String {
    let pages = text::counted(check.pages, "page", "pages");
    let damage = match (check.damaged_pages, check.damaged_segments) {
        (0, 0) => "no damage".to_owned(),
        (pages, 0) => format!("{} damaged", text::count(pages)),
        (pages, segments) => {
            let segments = text::counted(segments, "segment", "segments");
            format!("{} damaged, and {segments} that cannot be read", text::count(pages))
        }
    };
    format!("{pages} of {}: {damage}", text::size(check.page_bytes))
}

fn describe_cleared(cleared: &DiskCleared) -> String {
    let kept = match cleared.kept_segments {
        0 => String::new(),
        count => {
            let segments = text::counted(count, "segment is", "segments are");
            format!("; {segments} being written by programs, and stay")
        }
    };
    format!("{} freed{kept}", text::size(cleared.file_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_cache_is_refused() {
        let error = ConfigError::bad("disk_directory", "/x", "there is no such directory");
        let failure = cannot_open(FilePath::new("/does/not/exist"), &error);
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert_eq!(failure.message, "/does/not/exist cannot be used: there is no such directory.");
    }
}
