//! `verify`: compares an object with a file.

use std::path::{Path as FilePath, PathBuf};

use clap::Args;
use futures::StreamExt;
use headstart::object_store::{GetOptions, ObjectStore};
use serde::Serialize;

use crate::failure::{Failure, FailureKind};
use crate::file_crc::{ComparedFile, crc32c_of_file, reported_crc32c};
use crate::policy::text;
use crate::progress::Progress;
use crate::session::{Session, Site};

#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    /// URL of the object
    url: String,
    /// The file
    file: PathBuf,
    /// Compare every byte, also where the store reports a CRC32C
    #[arg(long)]
    read: bool,
}

/// The result of a comparison.
#[derive(Debug, Serialize)]
struct Comparison {
    url: String,
    file: String,
    is_same: bool,
    /// `crc32c`, `bytes` or `length`: what was compared.
    compared: &'static str,
    /// The first byte that differs, where bytes were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_difference: Option<u64>,
}

/// Compares an object with a file.
pub(crate) async fn run(session: &Session, args: &VerifyArgs) -> Result<(), Failure> {
    let site = session.site(&args.url).await?;
    site.check_one()?;
    let length = file_length(&args.file).await?;
    let comparison = |is_same, compared, first_difference| Comparison {
        url: args.url.clone(),
        file: args.file.display().to_string(),
        is_same,
        compared,
        first_difference,
    };
    let answer = site.stack.get_opts(&site.path, site.head_options()).await.map_err(|error| site.failure(&error))?;
    if answer.meta.size != length {
        let what = format!("{} and {} bytes long", text::count(answer.meta.size), text::count(length));
        return finish(session, comparison(false, "length", None), &what);
    }
    if let Some(expected) = reported_crc32c(&answer).filter(|_| !args.read) {
        let found = crc32c_of_file(&args.file).await?;
        let what = format!("their CRC32C is {expected:08x} and {found:08x}");
        return finish(session, comparison(found == expected, "crc32c", None), &what);
    }
    let difference = compare_bytes(session, &site, &args.file, answer.meta.e_tag, length).await?;
    let what = difference.map(|at| format!("the first difference is at byte {}", text::count(at))).unwrap_or_default();
    finish(session, comparison(difference.is_none(), "bytes", difference), &what)
}

async fn file_length(file: &FilePath) -> Result<u64, Failure> {
    let found = tokio::fs::metadata(file).await.map_err(|error| Failure::file("read", file, &error))?;
    match found.is_file() {
        true => Ok(found.len()),
        false => Err(Failure::usage(format!("{} is not a regular file.", file.display()))),
    }
}

/// Where the object and the file differ.
async fn compare_bytes(
    session: &Session,
    site: &Site,
    file: &FilePath,
    e_tag: Option<String>,
    length: u64,
) -> Result<Option<u64>, Failure> {
    let progress = Progress::of_bytes(&session.output, Some(length));
    let strong = e_tag.filter(|tag| !tag.starts_with("W/"));
    let options = GetOptions { if_match: strong, ..site.get_options() };
    let answer = site.store.get_opts(&site.path, options).await.map_err(|error| site.failure(&error))?;
    let mut compared = ComparedFile::open(file)?;
    let mut body = answer.into_stream();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|error| site.failure(&error))?;
        progress.add(bytes.len() as u64);
        let is_equal;
        (compared, is_equal) = compared.has_next(bytes).await?;
        if !is_equal {
            return Ok(Some(compared.equal_bytes));
        }
    }
    Ok((compared.equal_bytes != length).then_some(compared.equal_bytes))
}

fn finish(session: &Session, comparison: Comparison, difference: &str) -> Result<(), Failure> {
    let Comparison { url, file, is_same, compared, .. } = &comparison;
    if !is_same {
        if session.output.is_json() {
            session.output.line(String::new, &comparison)?;
        }
        return Err(Failure::new(FailureKind::Different, format!("{url} and {file} differ: {difference}.")));
    }
    let how = if *compared == "crc32c" { "by their CRC32C" } else { "in every byte" };
    session.output.line(|| text::name(&format!("{url} and {file} are the same, {how}")), &comparison)
}
