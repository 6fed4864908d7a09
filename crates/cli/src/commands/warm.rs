//! `warm`: fetches objects into the cache on disk, for the programs of this machine that read them later.

use clap::Args;
use futures::{FutureExt, StreamExt};
use headstart::{Headstart, Mode, Source};
use serde::Serialize;

use crate::failure::{Failure, FailureKind};
use crate::listing::{FoundItem, find_below, find_objects, without_markers};
use crate::policy::text;
use crate::progress::Progress;
use crate::session::{Session, Site};

/// Objects that are fetched at once.
const JOBS: usize = 8;

#[derive(Debug, Clone, Args)]
pub(crate) struct WarmArgs {
    /// URLs or patterns of objects
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Everything below the URLs, which are buckets or prefixes
    #[arg(short, long)]
    recursive: bool,
}

/// What a URL has brought into the cache.
#[derive(Debug, Serialize)]
struct WarmedObjects {
    url: String,
    objects: u64,
    bytes: u64,
    /// Bytes that were not in the cache.
    fetched_bytes: u64,
    /// Pages that the disk did not take: it is full of pages that are used more often, or it fails.
    pages_not_written: u64,
}

/// Fetches objects into the cache.
pub(crate) async fn run(session: &Session, args: &WarmArgs) -> Result<(), Failure> {
    for url in &args.urls {
        let site = session.site_of(url, |builder| builder.mode(Mode::Cached)).await?;
        check_directory(&site)?;
        let found = match args.recursive {
            true => without_markers(&site, find_below(session, &site).await?).await,
            false => find_objects(session, &site).await?,
        };
        let warmed = warm(session, &site, url, &found).await?;
        session.output.line(|| line(&warmed), &warmed)?;
        if warmed.pages_not_written > 0 {
            let pages = text::counted(warmed.pages_not_written, "page was", "pages were");
            session.output.note(&format!(
                "{pages} not written: the cache is full of pages that are used more often, or the disk fails. Raise \
                 cache.disk_bytes, or see `headstart cache stat`."
            ));
        }
    }
    Ok(())
}

/// Without a directory, what is fetched would be lost with this process.
fn check_directory(site: &Site) -> Result<(), Failure> {
    if site.local.is_some() {
        return Err(Failure::usage(format!("{} is a file of this machine, which is not cached.", site.shown)));
    }
    let has_directory = |setting: &headstart::Setting| {
        setting.key == "cache.disk_directory" && setting.source != Source::Default && !setting.value.is_empty()
    };
    match site.stack.effective_config().iter().any(has_directory) {
        true => Ok(()),
        false => Err(Failure::usage(
            "There is no directory for the cache. Name one that the programs that read later name too: \
             -o cache.disk_directory=DIRECTORY, or in the configuration file.",
        )),
    }
}

async fn warm(session: &Session, site: &Site, url: &str, found: &[FoundItem]) -> Result<WarmedObjects, Failure> {
    let bytes = found.iter().map(|item| item.meta.size).sum();
    let progress = Progress::of_bytes(&session.output, Some(bytes));
    let not_written = not_written(&site.stack);
    // By number: a closure over references is too general for the compiler.
    let fetches = (0..found.len()).map(|at| {
        let (item, progress) = (&found[at], &progress);
        let path = &item.meta.location;
        async move {
            // A range of an empty object would begin past its end.
            if item.meta.size == 0 {
                return Ok(0);
            }
            let fetched = site.stack.warm(path, &[0..u64::MAX]).await;
            progress.add(item.meta.size);
            fetched.map_err(|error| Failure::open(&site.url_of(path), &error))
        }
        .boxed()
    });
    let mut fetches = futures::stream::iter(fetches).buffer_unordered(JOBS);
    let mut fetched_bytes = 0;
    while let Some(fetched) = fetches.next().await {
        fetched_bytes += fetched?;
    }
    drop(fetches);
    // What waits is written now, so that the count below is that of these objects.
    site.stack.close().await;
    if site.stack.stats().cache.is_none() {
        return Err(Failure::new(FailureKind::Usage, "The cache is off. Leave out -o cache=off."));
    }
    let pages_not_written = self::not_written(&site.stack).saturating_sub(not_written);
    Ok(WarmedObjects { url: url.to_owned(), objects: found.len() as u64, bytes, fetched_bytes, pages_not_written })
}

/// Pages that the disk has not taken since the stack was built.
fn not_written(stack: &Headstart) -> u64 {
    let disk = stack.stats().cache.and_then(|cache| cache.disk);
    disk.map_or(0, |disk| disk.not_admitted + disk.dropped)
}

fn line(warmed: &WarmedObjects) -> String {
    let objects = text::counted(warmed.objects, "object", "objects");
    let (all, fetched) = (text::size(warmed.bytes), text::size(warmed.fetched_bytes));
    text::name(&format!("{}: {objects} of {all} in the cache, {fetched} of it new", warmed.url))
}
