//! Copies an object to a file or to standard output.

use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use headstart::ObjectVersion;
use headstart::object_store::ObjectStore;
use headstart::object_store::path::Path;

use super::{CopiedObject, CopyCheck, Copying};
use crate::failure::{Failure, FailureKind};
use crate::file_crc::{crc32c_of_file, reported_crc32c};
use crate::progress::Progress;
use crate::session::Site;

/// Downloads into `file`, which appears with its last byte.
pub(super) async fn to_file(
    copying: &Copying<'_>,
    site: &Site,
    file: &FilePath,
    progress: &Progress,
) -> Result<CopiedObject, Failure> {
    let item = &copying.source.items[copying.item];
    let shown = copying.source.shown_item(copying.item);
    if copying.args.skip_same
        && let Some(bytes) = is_same(site, &item.path, item.changed, file, item.size).await?
    {
        return Ok(copying.skipped(bytes, progress));
    }
    if let Some(directory) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(directory).await.map_err(|error| Failure::file("make", directory, &error))?;
    }
    let (told, bar) = (AtomicU64::new(0), progress.clone());
    let download = site.stack.download(&item.path, file).on_progress(move |at| {
        bar.add(at.written_bytes.saturating_sub(told.swap(at.written_bytes, Relaxed)));
    });
    let download = match &site.generation {
        None => download,
        Some(_) => download.version(version_of(site, &item.path, &shown).await?),
    };
    let done = download.await.map_err(|error| Failure::download(&shown, &error))?;
    let mut checked = if done.verified { CopyCheck::Crc32c } else { CopyCheck::Length };
    if copying.args.verify && !done.verified {
        let again = crc32c_of_object(site, &item.path, &shown, &done.version).await?;
        if again != done.crc32c {
            return Err(Failure::new(
                FailureKind::Different,
                format!("{shown} gave other bytes when it was read a second time. {} may be damaged.", file.display()),
            ));
        }
        checked = CopyCheck::ReadBack;
    }
    Ok(CopiedObject {
        resumed_bytes: done.resumed_bytes,
        checked: Some(checked),
        crc32c: Some(format!("{:08x}", done.crc32c)),
        ..copying.copied(done.version.size)
    })
}

/// Writes the object to standard output.
pub(super) async fn to_stdout(
    copying: &Copying<'_>,
    site: &Site,
    progress: &Progress,
) -> Result<CopiedObject, Failure> {
    let item = &copying.source.items[copying.item];
    let shown = copying.source.shown_item(copying.item);
    let failed = |error| Failure::store(&shown, &error);
    let answer = site.store.get_opts(&item.path, site.get_options()).await.map_err(failed)?;
    let named = reported_crc32c(&answer);
    let (mut bytes, mut crc32c) = (0, 0);
    let mut body = answer.into_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(failed)?;
        copying.session.output.bytes(&piece)?;
        bytes += piece.len() as u64;
        crc32c = crc32c::crc32c_append(crc32c, &piece);
        progress.add(piece.len() as u64);
    }
    if let Some(expected) = named
        && expected != crc32c
    {
        return Err(Failure::new(
            FailureKind::Different,
            format!("{shown} has the CRC32C {expected:08x}, and the bytes that were written have {crc32c:08x}."),
        ));
    }
    let checked = Some(if named.is_some() { CopyCheck::Crc32c } else { CopyCheck::Length });
    Ok(CopiedObject { checked, crc32c: Some(format!("{crc32c:08x}")), ..copying.copied(bytes) })
}

async fn version_of(site: &Site, path: &Path, shown: &str) -> Result<ObjectVersion, Failure> {
    let answer = site.stack.get_opts(path, site.head_options()).await.map_err(|error| Failure::store(shown, &error))?;
    Ok(ObjectVersion::of(&answer.meta))
}

/// The checksum of an object's bytes, which are read.
pub(super) async fn crc32c_of_object(
    site: &Site,
    path: &Path,
    shown: &str,
    version: &ObjectVersion,
) -> Result<u32, Failure> {
    let failed = |error| Failure::store(shown, &error);
    let answer = site.stack.get_opts(path, site.get_options()).await.map_err(failed)?;
    if version.has_validator() {
        version.check(&answer.meta).map_err(failed)?;
    }
    let mut body = answer.into_stream();
    let mut crc32c = 0;
    while let Some(piece) = body.next().await {
        crc32c = crc32c::crc32c_append(crc32c, &piece.map_err(failed)?);
    }
    Ok(crc32c)
}

/// The length of `file`, if it is the object already: of the same length, and with the CRC32C that the store reports
/// or, where it reports none, not older than the object.
pub(super) async fn is_same(
    site: &Site,
    path: &Path,
    changed: Option<DateTime<Utc>>,
    file: &FilePath,
    size: Option<u64>,
) -> Result<Option<u64>, Failure> {
    let Ok(found) = tokio::fs::metadata(file).await else { return Ok(None) };
    if !found.is_file() || Some(found.len()) != size {
        return Ok(None);
    }
    let named = match site.stack.get_opts(path, site.head_options()).await {
        Ok(answer) => reported_crc32c(&answer),
        Err(error) => return Err(Failure::store(&site.url_of(path), &error)),
    };
    let is_same = match named {
        Some(expected) => crc32c_of_file(file).await? == expected,
        None => match (found.modified().map(DateTime::<Utc>::from), changed) {
            (Ok(written), Some(changed)) => written >= changed,
            _ => false,
        },
    };
    Ok(is_same.then_some(found.len()))
}
