//! What a copy copies: the objects or files that each source names.

use std::path::{Path as FilePath, PathBuf};

use chrono::{DateTime, Utc};
use headstart::object_store::path::Path;

use crate::failure::Failure;
use crate::file_crc::blocking;
use crate::listing::{FoundItem, find_below, find_one, not_found, without_markers};
use crate::policy::copy_plan::CopySource;
use crate::policy::place::{self, Place};
use crate::session::{Session, Site};

/// Where a source is.
pub(super) enum CopyFrom {
    Stdin,
    Local,
    Remote(Box<Site>),
}

/// A source, with what was found there.
pub(super) struct CopyInput {
    pub(super) from: CopyFrom,
    pub(super) shown: String,
    pub(super) items: Vec<CopyItem>,
    name: String,
    is_one: bool,
}

/// An object or file to copy.
pub(super) struct CopyItem {
    /// Its key, where it is an object.
    pub(super) path: Path,
    /// Its path, where it is a file.
    pub(super) file: PathBuf,
    /// Unknown of standard input.
    pub(super) size: Option<u64>,
    pub(super) changed: Option<DateTime<Utc>>,
    relative: String,
}

impl CopyInput {
    /// What the plan has to know.
    pub(super) fn describe(&self) -> CopySource {
        let is_pattern = matches!(&self.from, CopyFrom::Remote(site) if site.pattern.is_some());
        CopySource {
            shown: self.shown.clone(),
            name: self.name.clone(),
            is_one: self.is_one,
            is_pattern,
            found: self.items.iter().map(|item| item.relative.clone()).collect(),
        }
    }

    /// An item, as it is shown.
    pub(super) fn shown_item(&self, item: usize) -> String {
        match &self.from {
            CopyFrom::Stdin => "-".to_owned(),
            CopyFrom::Local => self.items[item].file.display().to_string(),
            CopyFrom::Remote(site) => site.url_of(&self.items[item].path),
        }
    }
}

/// Finds all sources.
pub(super) async fn find_sources(
    session: &Session,
    places: &[String],
    recursive: bool,
) -> Result<Vec<CopyInput>, Failure> {
    let mut sources = Vec::new();
    for shown in places {
        sources.push(match place::parse(shown) {
            Place::Stream => stdin(shown),
            Place::Local(path) => local(shown, path.into(), recursive).await?,
            Place::Remote(_) => remote(session, shown, recursive).await?,
        });
    }
    Ok(sources)
}

fn stdin(shown: &str) -> CopyInput {
    let item = CopyItem {
        path: Path::ROOT,
        file: "standard input".into(),
        size: None,
        changed: None,
        relative: "stdin".to_owned(),
    };
    let (shown, name) = (shown.to_owned(), "stdin".to_owned());
    CopyInput { from: CopyFrom::Stdin, shown, items: vec![item], name, is_one: true }
}

async fn remote(session: &Session, shown: &str, recursive: bool) -> Result<CopyInput, Failure> {
    let site = session.site(shown).await?;
    let (shown, name) = (shown.to_owned(), site.path.filename().unwrap_or_default().to_owned());
    if recursive || site.pattern.is_some() {
        let mut found = without_markers(&site, find_below(session, &site).await?).await;
        // A prefix that is the key of an object is an object.
        let one = if found.is_empty() { find_one(&site).await? } else { None };
        let is_one = one.is_some();
        found.extend(one);
        let items = found.into_iter().map(item).collect();
        return Ok(CopyInput { from: CopyFrom::Remote(Box::new(site)), shown, items, name, is_one });
    }
    if site.path.is_root() {
        return Err(Failure::usage(format!("{shown} is a bucket. Add -r to copy everything in it.")));
    }
    let Some(found) = find_one(&site).await? else {
        // The error says whether this is a prefix.
        return Err(match find_below(session, &site).await? {
            found if found.is_empty() => not_found(&site),
            _ => Failure::usage(format!("{shown} is a prefix. Add -r to copy everything below it.")),
        });
    };
    Ok(CopyInput { from: CopyFrom::Remote(Box::new(site)), shown, items: vec![item(found)], name, is_one: true })
}

fn item(found: FoundItem) -> CopyItem {
    let FoundItem { meta, relative } = found;
    let (size, changed) = (Some(meta.size), Some(meta.last_modified));
    CopyItem { path: meta.location, file: PathBuf::new(), size, changed, relative }
}

async fn local(shown: &str, path: PathBuf, recursive: bool) -> Result<CopyInput, Failure> {
    let found = tokio::fs::metadata(&path).await.map_err(|error| Failure::file("read", &path, &error))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_one = !found.is_dir();
    let items = match is_one {
        true => vec![file_item(path, &found, name.clone())],
        false if !recursive => {
            return Err(Failure::usage(format!("{shown} is a directory. Add -r to copy everything below it.")));
        }
        false => blocking(move || walk(&path)).await?,
    };
    Ok(CopyInput { from: CopyFrom::Local, shown: shown.to_owned(), items, name, is_one })
}

fn file_item(file: PathBuf, found: &std::fs::Metadata, relative: String) -> CopyItem {
    let changed = found.modified().ok().map(DateTime::<Utc>::from);
    // A pipe has a length of zero, and ends where its writer ends.
    let size = found.is_file().then_some(found.len());
    CopyItem { path: Path::ROOT, file, size, changed, relative }
}

/// All regular files below a directory, in the order of their paths.
fn walk(root: &FilePath) -> Result<Vec<CopyItem>, Failure> {
    let mut items = Vec::new();
    let mut directories = vec![(root.to_owned(), String::new())];
    while let Some((directory, below)) = directories.pop() {
        let entries = std::fs::read_dir(&directory).map_err(|error| Failure::file("list", &directory, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Failure::file("list", &directory, &error))?;
            let path = entry.path();
            let name = entry.file_name().into_string().map_err(|_| {
                Failure::usage(format!(
                    "{} has a name that is not UTF-8, which no key can have. Rename it.",
                    path.display()
                ))
            })?;
            let relative = if below.is_empty() { name } else { format!("{below}/{name}") };
            // Of the entry itself, without following a link.
            let kind = entry.file_type().map_err(|error| Failure::file("read", &path, &error))?;
            if kind.is_dir() {
                directories.push((path, relative));
                continue;
            }
            match std::fs::metadata(&path) {
                Ok(found) if found.is_file() => items.push(file_item(path, &found, relative)),
                // Pipes, sockets, links to directories, and links to nothing.
                Ok(_) => {}
                Err(_) if kind.is_symlink() => {}
                Err(error) => return Err(Failure::file("read", &path, &error)),
            }
        }
    }
    items.sort_by(|one, other| one.relative.cmp(&other.relative));
    Ok(items)
}
