//! `ls`: what is in a bucket or below a prefix.

use clap::Args;
use headstart::object_store::{ObjectMeta, ObjectStore};
use serde::Serialize;

use crate::failure::Failure;
use crate::listing::{find_below, find_one, not_found};
use crate::policy::text;
use crate::session::{Session, Site};

#[derive(Debug, Clone, Args)]
pub(crate) struct LsArgs {
    /// URLs of buckets, prefixes, objects or patterns, or paths of directories
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Also show sizes in bytes and the times of the last change
    #[arg(short, long)]
    long: bool,
    /// Everything below, at any depth
    #[arg(short, long)]
    recursive: bool,
}

/// One line of a listing.
#[derive(Debug, Serialize)]
struct ListedObject {
    url: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_prefix: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e_tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl ListedObject {
    fn object(site: &Site, meta: ObjectMeta) -> Self {
        Self {
            url: site.url_of(&meta.location),
            is_prefix: false,
            size: Some(meta.size),
            last_modified: Some(seconds(&meta)),
            e_tag: meta.e_tag,
            version: meta.version,
        }
    }

    fn prefix(url: String) -> Self {
        Self { url, is_prefix: true, size: None, last_modified: None, e_tag: None, version: None }
    }

    /// The cells of its line.
    fn cells(&self) -> Vec<String> {
        let size = self.size.map(|size| size.to_string()).unwrap_or_default();
        vec![size, self.last_modified.clone().unwrap_or_default(), text::name(&self.url)]
    }
}

/// When an object was changed, to the second.
pub(crate) fn seconds(meta: &ObjectMeta) -> String {
    meta.last_modified.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Lists objects.
pub(crate) async fn run(session: &Session, args: &LsArgs) -> Result<(), Failure> {
    for url in &args.urls {
        let site = session.site(url).await?;
        let listed = list(session, &site, args.recursive).await?;
        if args.long && !session.output.is_json() {
            let rows: Vec<_> = listed.iter().map(ListedObject::cells).collect();
            for (line, object) in text::table(&rows, &[true, false, false]).lines().zip(&listed) {
                session.output.line(|| line.to_owned(), object)?;
            }
            continue;
        }
        for object in &listed {
            session.output.line(|| text::name(&object.url), object)?;
        }
    }
    Ok(())
}

async fn list(session: &Session, site: &Site, recursive: bool) -> Result<Vec<ListedObject>, Failure> {
    let listed: Vec<_> = if recursive || site.pattern.is_some() {
        find_below(session, site).await?.into_iter().map(|item| ListedObject::object(site, item.meta)).collect()
    } else {
        let prefix = (!site.path.is_root()).then_some(&site.path);
        let found = site.stack.list_with_delimiter(prefix).await.map_err(|error| site.failure(&error))?;
        let prefixes = found.common_prefixes.iter().map(|path| ListedObject::prefix(site.url_of(path) + "/"));
        let objects = found.objects.into_iter().map(|meta| ListedObject::object(site, meta));
        let mut listed: Vec<_> = prefixes.chain(objects).collect();
        listed.sort_by(|one, other| one.url.cmp(&other.url));
        listed
    };
    if !listed.is_empty() || site.path.is_root() && site.pattern.is_none() {
        return Ok(listed);
    }
    // No prefix: perhaps an object.
    match find_one(site).await? {
        Some(item) => Ok(vec![ListedObject::object(site, item.meta)]),
        None if site.local.as_ref().is_some_and(|path| path.is_dir()) => Ok(listed),
        None => Err(not_found(site)),
    }
}
