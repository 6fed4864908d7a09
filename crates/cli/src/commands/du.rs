//! `du`: how many objects there are, and how many bytes they have.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::listing::{FoundItem, find_below, find_one, not_found};
use crate::policy::{place, text};
use crate::session::Session;

#[derive(Debug, Clone, Args)]
pub(crate) struct DuArgs {
    /// URLs of buckets, prefixes or patterns, or paths of directories
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Only the sum, without a line for each directory directly below
    #[arg(short, long)]
    summarize: bool,
}

/// The sum of some objects.
#[derive(Debug, Default, Serialize)]
struct DirectoryUsage {
    url: String,
    objects: u64,
    bytes: u64,
}

impl DirectoryUsage {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn cells(&self) -> Vec<String> {
        vec![text::size(self.bytes), text::counted(self.objects, "object", "objects"), text::name(&self.url)]
    }
}

/// Sums up objects.
pub(crate) async fn run(session: &Session, args: &DuArgs) -> Result<(), Failure> {
    for url in &args.urls {
        let site = session.site(url).await?;
        let mut found = find_below(session, &site).await?;
        if found.is_empty() && !site.path.is_root() {
            found.extend(find_one(&site).await?);
            if found.is_empty() {
                return Err(not_found(&site));
            }
        }
        let base = site.url_of(&site.path);
        let base = if base.ends_with('/') { base } else { format!("{base}/") };
        let is_local = site.local.is_some();
        let url_below = |name: &str| if is_local { format!("{base}{name}/") } else { place::url_of(&base, name) + "/" };
        let usages = sum(&found, url_below, url, args.summarize);
        let rows: Vec<_> = usages.iter().map(DirectoryUsage::cells).collect();
        for (line, usage) in text::table(&rows, &[true, true, false]).lines().zip(&usages) {
            session.output.line(|| line.to_owned(), usage)?;
        }
    }
    Ok(())
}

/// The sum of each directory directly below, whose URL follows from its name, and then of everything, which is `shown`.
fn sum(found: &[FoundItem], url_below: impl Fn(&str) -> String, shown: &str, summarize: bool) -> Vec<DirectoryUsage> {
    let mut directories: BTreeMap<&str, DirectoryUsage> = BTreeMap::new();
    let mut all = DirectoryUsage { url: shown.to_owned(), ..DirectoryUsage::default() };
    for item in found {
        all.add(item.meta.size);
        if let Some((directory, _)) = item.relative.split_once('/')
            && !summarize
        {
            let usage = directories.entry(directory).or_default();
            usage.url = url_below(directory);
            usage.add(item.meta.size);
        }
    }
    directories.into_values().chain([all]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart::object_store::ObjectMeta;

    #[test]
    fn directories_and_the_whole_are_summed() {
        let item = |relative: &str, size| FoundItem {
            meta: ObjectMeta {
                location: relative.into(),
                last_modified: chrono::DateTime::UNIX_EPOCH,
                size,
                e_tag: None,
                version: None,
            },
            relative: relative.to_owned(),
        };
        let found = [item("a/x", 1), item("a/y/z", 2), item("b/x", 4), item("c", 8)];
        let sums = |summarize| -> Vec<_> {
            let usages = sum(&found, |name| format!("gs://b/{name}/"), "gs://b", summarize);
            usages.into_iter().map(|usage| (usage.url, usage.objects, usage.bytes)).collect()
        };
        let all = ("gs://b".to_owned(), 4, 15);
        assert_eq!(sums(true), vec![all.clone()]);
        assert_eq!(sums(false), [("gs://b/a/".to_owned(), 2, 3), ("gs://b/b/".to_owned(), 1, 4), all]);
    }
}
