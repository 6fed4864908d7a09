//! Copies a file, standard input or an object of another store into a store.

use std::path::Path as FilePath;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use headstart::ObjectVersion;
use headstart::object_store::path::Path;
use headstart::object_store::{Attribute, Attributes, Error as StoreError, GetOptions, GetResult, ObjectStore};

use super::download::crc32c_of_object;
use super::sources::{CopyFrom, CopyItem};
use super::{CopiedObject, CopyCheck, Copying};
use crate::failure::{Failure, FailureKind};
use crate::file_crc::{crc32c_of_file, reported_crc32c};
use crate::progress::Progress;
use crate::session::Site;
use crate::upload::{Uploaded, read_all};

/// The key of a copy: the path `below` the target.
pub(super) fn key(site: &Site, below: &str) -> Path {
    match below {
        "" => site.path.clone(),
        // What a key cannot have is encoded.
        below => Path::parse(format!("{}/{below}", site.path))
            .unwrap_or_else(|_| below.split('/').fold(site.path.clone(), |path, segment| path.join(segment))),
    }
}

/// Writes an object.
pub(super) async fn to_store(copying: &Copying<'_>, site: &Site, progress: &Progress) -> Result<CopiedObject, Failure> {
    let item = &copying.source.items[copying.item];
    let path = key(site, copying.below);
    if copying.args.skip_same
        && let Some(bytes) = is_same(copying, item, site, &path).await?
    {
        return Ok(copying.skipped(bytes, progress));
    }
    let (uploaded, expected) = match &copying.source.from {
        CopyFrom::Stdin => {
            let body = read_all(&item.file, tokio::io::stdin());
            (send(copying, site, &path, body, Attributes::new(), progress).await?, None)
        }
        CopyFrom::Local => (send_file(copying, site, &path, item, progress).await?, None),
        CopyFrom::Remote(from) => send_object(copying, from, item, site, &path, progress).await?,
    };
    let shown = site.url_of(&path);
    if let Some(expected) = expected.filter(|expected| *expected != uploaded.crc32c) {
        let from = copying.source.shown_item(copying.item);
        return Err(damaged(&shown, &format!("{from} has the CRC32C {expected:08x}"), uploaded.crc32c));
    }
    let checked = check(copying, site, &path, &shown, uploaded).await?;
    Ok(CopiedObject {
        checked: Some(checked),
        crc32c: Some(format!("{:08x}", uploaded.crc32c)),
        ..copying.copied(uploaded.bytes)
    })
}

async fn send(
    copying: &Copying<'_>,
    site: &Site,
    path: &Path,
    body: BoxStream<'static, Result<Bytes, Failure>>,
    attributes: Attributes,
    progress: &Progress,
) -> Result<Uploaded, Failure> {
    let size = copying.source.items[copying.item].size;
    copying.session.uploads.upload(site, path, body, size, attributes, |bytes| progress.add(bytes)).await
}

/// Uploads a file that does not change meanwhile.
async fn send_file(
    copying: &Copying<'_>,
    site: &Site,
    path: &Path,
    item: &CopyItem,
    progress: &Progress,
) -> Result<Uploaded, Failure> {
    let failed = |error| Failure::file("read", &item.file, &error);
    let file = tokio::fs::File::open(&item.file).await.map_err(failed)?;
    let before = file.metadata().await.map_err(failed)?;
    // The check is part of the body, so that a file that has changed becomes no object.
    let (name, length) = (item.file.clone(), before.len());
    let is_file = before.is_file();
    let end = futures::stream::once(async move {
        let after = tokio::fs::metadata(&name).await.map_err(|error| Failure::file("read", &name, &error))?;
        match after.len() == length && after.modified().ok() == before.modified().ok() || !is_file {
            true => Ok(Bytes::new()),
            false => Err(changed(&name)),
        }
    });
    let body = read_all(&item.file, file).chain(end).boxed();
    let uploaded = send(copying, site, path, body, Attributes::new(), progress).await?;
    match uploaded.bytes == length || !is_file {
        true => Ok(uploaded),
        false => Err(changed(&item.file)),
    }
}

fn changed(file: &FilePath) -> Failure {
    let what = "changed while it was uploaded. Run the command again once nobody writes to it.";
    Failure::new(FailureKind::Changed, format!("{} {what}", file.display()))
}

/// Copies an object of a store. Returns the checksum that its store reports.
async fn send_object(
    copying: &Copying<'_>,
    from: &Site,
    item: &CopyItem,
    site: &Site,
    path: &Path,
    progress: &Progress,
) -> Result<(Uploaded, Option<u32>), Failure> {
    let shown = copying.source.shown_item(copying.item);
    let answer = from.store.get_opts(&item.path, from.get_options()).await;
    let answer = answer.map_err(|error| Failure::store(&shown, &error))?;
    let named = reported_crc32c(&answer);
    // Each provider has storage classes of its own.
    let is_of_object = |(name, _): &(&Attribute, _)| **name != Attribute::StorageClass;
    let attributes = answer.attributes.iter().filter(is_of_object).map(|(name, value)| (name.clone(), value.clone()));
    let attributes: Attributes = attributes.collect();
    let body = answer.into_stream().map_err(move |error| Failure::store(&shown, &error)).boxed();
    Ok((send(copying, site, path, body, attributes, progress).await?, named))
}

/// Checks what the store has now.
async fn check(
    copying: &Copying<'_>,
    site: &Site,
    path: &Path,
    shown: &str,
    uploaded: Uploaded,
) -> Result<CopyCheck, Failure> {
    let answer = head(site, path).await.map_err(|error| Failure::store(shown, &error))?;
    if answer.meta.size != uploaded.bytes {
        let what = format!("{} bytes were sent, and the store has {}", uploaded.bytes, answer.meta.size);
        return Err(Failure::new(
            FailureKind::Different,
            format!("{shown} is not what was uploaded: {what}. Somebody else may have written it. Copy it again."),
        ));
    }
    if let Some(found) = reported_crc32c(&answer) {
        return match found == uploaded.crc32c {
            true => Ok(CopyCheck::Crc32c),
            false => Err(damaged(shown, &format!("the store reports the CRC32C {found:08x}"), uploaded.crc32c)),
        };
    }
    if !copying.args.verify {
        return Ok(CopyCheck::Length);
    }
    let found = crc32c_of_object(site, path, shown, &ObjectVersion::of(&answer.meta)).await?;
    match found == uploaded.crc32c {
        true => Ok(CopyCheck::ReadBack),
        false => Err(damaged(shown, &format!("the store has bytes with the CRC32C {found:08x}"), uploaded.crc32c)),
    }
}

fn damaged(shown: &str, what: &str, sent: u32) -> Failure {
    let message = format!("{shown} is not what was uploaded: {what}, and the bytes that were sent have {sent:08x}.");
    Failure::new(FailureKind::Different, format!("{message} Copy it again."))
}

async fn head(site: &Site, path: &Path) -> Result<GetResult, StoreError> {
    site.stack.get_opts(path, GetOptions::new().with_head(true)).await
}

/// The length of the object at `path`, if it is the source already: of the same length, and with the same CRC32C or,
/// where the stores report none, not older.
async fn is_same(copying: &Copying<'_>, item: &CopyItem, site: &Site, path: &Path) -> Result<Option<u64>, Failure> {
    let found = match head(site, path).await {
        Ok(found) => found,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(Failure::store(&site.url_of(path), &error)),
    };
    if Some(found.meta.size) != item.size {
        return Ok(None);
    }
    let source = match (&copying.source.from, reported_crc32c(&found)) {
        (CopyFrom::Local, Some(_)) => Some(crc32c_of_file(&item.file).await?),
        (CopyFrom::Remote(from), Some(_)) => head(from, &item.path).await.ok().as_ref().and_then(reported_crc32c),
        _ => None,
    };
    let is_same = match (source, reported_crc32c(&found)) {
        (Some(source), Some(target)) => source == target,
        _ => is_not_older(found.meta.last_modified, item.changed),
    };
    Ok(is_same.then_some(found.meta.size))
}

/// Stores keep whole seconds.
fn is_not_older(target: DateTime<Utc>, source: Option<DateTime<Utc>>) -> bool {
    source.is_some_and(|source| target.timestamp() >= source.timestamp())
}
