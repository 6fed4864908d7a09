//! `cat` and `head`: bytes of objects to standard output.

use bytes::Bytes;
use clap::Args;
use futures::StreamExt;
use headstart::object_store::path::Path;
use headstart::object_store::{Error as StoreError, GetOptions, GetRange, ObjectStore};

use crate::failure::{Failure, FailureKind};
use crate::listing::find_objects;
use crate::policy::byte_span::ByteSpan;
use crate::session::{Session, Site};

/// Lines that `head` writes unless told otherwise.
const LINES: u64 = 10;

#[derive(Debug, Clone, Args)]
pub(crate) struct CatArgs {
    /// URLs or patterns of objects, or paths of files, written one after the other
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Only these bytes of each object: FIRST-LAST, FIRST- or -COUNT (the end), counted from 0, as in curl
    #[arg(short, long, value_name = "RANGE", allow_hyphen_values = true)]
    range: Option<ByteSpan>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct HeadArgs {
    /// URL of the object, or path of a file
    url: String,
    /// So many lines [default: 10]
    #[arg(short = 'n', long, value_name = "COUNT", conflicts_with = "bytes")]
    lines: Option<u64>,
    /// So many bytes
    #[arg(short = 'c', long, value_name = "COUNT")]
    bytes: Option<u64>,
}

/// Writes objects to standard output.
pub(crate) async fn cat(session: &Session, args: &CatArgs) -> Result<(), Failure> {
    for url in &args.urls {
        let site = session.site(url).await?;
        match site.pattern {
            // Without a HEAD: the answer shows whether the object is there.
            None => {
                site.check_one()?;
                cat_one(session, &site, &site.path, args.range).await?;
            }
            Some(_) => {
                for item in find_objects(session, &site).await? {
                    cat_one(session, &site, &item.meta.location, args.range).await?;
                }
            }
        }
    }
    Ok(())
}

async fn cat_one(session: &Session, site: &Site, path: &Path, span: Option<ByteSpan>) -> Result<(), Failure> {
    copy(site, path, span, |bytes| {
        session.output.bytes(&bytes)?;
        Ok(true)
    })
    .await
}

/// Writes the beginning of an object to standard output.
pub(crate) async fn head(session: &Session, args: &HeadArgs) -> Result<(), Failure> {
    let site = session.site(&args.url).await?;
    site.check_one()?;
    if let Some(count) = args.bytes {
        let Some(last) = count.checked_sub(1) else { return Ok(()) };
        let first_bytes = ByteSpan::Closed { first: 0, last: last.min(u64::MAX - 1) };
        return match cat_one(session, &site, &site.path, Some(first_bytes)).await {
            // An empty object has no first byte.
            Err(failure) if failure.kind == FailureKind::Usage => is_empty(&site).await.then_some(()).ok_or(failure),
            done => done,
        };
    }
    let mut left = args.lines.unwrap_or(LINES);
    if left == 0 {
        return Ok(());
    }
    copy(&site, &site.path, None, |bytes| {
        let end = end_of_lines(&bytes, &mut left);
        session.output.bytes(&bytes[..end])?;
        Ok(left > 0)
    })
    .await
}

async fn is_empty(site: &Site) -> bool {
    site.store.get_opts(&site.path, site.head_options()).await.is_ok_and(|answer| answer.meta.size == 0)
}

/// Where the lines end that are wanted; counts those that `bytes` ends.
fn end_of_lines(bytes: &[u8], left: &mut u64) -> usize {
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        *left -= 1;
        if *left == 0 {
            return at + 1;
        }
    }
    bytes.len()
}

/// Hands the bytes of an object to `take`, as long as it wants more.
async fn copy(
    site: &Site,
    path: &Path,
    span: Option<ByteSpan>,
    mut take: impl FnMut(Bytes) -> Result<bool, Failure> + Send,
) -> Result<(), Failure> {
    let shown = site.url_of(path);
    let failed = |error: &StoreError| Failure::store(&shown, error);
    let options = GetOptions { range: span.map(range), ..site.get_options() };
    let answer = match site.store.get_opts(path, options).await {
        // Azure has no requests for the end of an object.
        Err(StoreError::NotSupported { .. }) if matches!(span, Some(ByteSpan::Last(_))) => {
            let meta = site.store.get_opts(path, site.head_options()).await.map_err(|error| failed(&error))?.meta;
            let range = span.and_then(|span| span.within(meta.size)).map(GetRange::Bounded);
            let options = GetOptions { range, if_match: meta.e_tag, ..site.get_options() };
            site.store.get_opts(path, options).await
        }
        answer => answer,
    };
    let mut body = answer.map_err(|error| failed(&error))?.into_stream();
    while let Some(bytes) = body.next().await {
        if !take(bytes.map_err(|error| failed(&error))?)? {
            break;
        }
    }
    Ok(())
}

fn range(span: ByteSpan) -> GetRange {
    match span {
        ByteSpan::Closed { first, last } => GetRange::Bounded(first..last + 1),
        ByteSpan::From(first) => GetRange::Offset(first),
        ByteSpan::Last(count) => GetRange::Suffix(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_behind_their_line_feeds() {
        for (lines, pieces, expected) in
            [(2, &["a\nb\nc\n"][..], "a\nb\n"), (2, &["a", "\n", "b"], "a\nb"), (1, &["\n"], "\n")]
        {
            let (mut left, mut written) = (lines, String::new());
            for piece in pieces {
                if left > 0 {
                    written.push_str(&piece[..end_of_lines(piece.as_bytes(), &mut left)]);
                }
            }
            assert_eq!(written, expected);
        }
    }
}
