//! Finds the objects that an argument names: one, all below a prefix, or those that match a pattern.

use futures::{StreamExt, TryStreamExt};
use globset::{GlobBuilder, GlobMatcher};
use headstart::object_store::path::Path;
use headstart::object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::failure::Failure;
use crate::progress::Progress;
use crate::session::{Session, Site};

/// Empty objects that are looked at together.
pub(crate) const HEADS_AT_ONCE: usize = 32;

/// An object that was found.
#[derive(Debug, Clone)]
pub(crate) struct FoundItem {
    pub(crate) meta: ObjectMeta,
    /// Its path below the prefix.
    pub(crate) relative: String,
}

/// Everything below the prefix of `site`, or what matches its pattern, in the order of keys.
///
/// # Errors
/// The store cannot be listed, or the pattern cannot be used.
pub(crate) async fn find_below(session: &Session, site: &Site) -> Result<Vec<FoundItem>, Failure> {
    let matcher = site.pattern.as_deref().map(|pattern| matcher(&site.shown, pattern)).transpose()?;
    let prefix = (!site.path.is_root()).then_some(&site.path);
    let progress = Progress::of_items(&session.output, "objects found");
    let mut listed = site.stack.list(prefix);
    let mut found = Vec::new();
    while let Some(meta) = listed.try_next().await.map_err(|error| site.failure(&error))? {
        let Some(relative) = relative(&meta.location, &site.path) else { continue };
        if matcher.as_ref().is_none_or(|matcher| matcher.is_match(&relative)) {
            found.push(FoundItem { meta, relative });
            progress.add(1);
        }
    }
    progress.end();
    found.sort_by(|one, other| one.meta.location.cmp(&other.meta.location));
    Ok(found)
}

/// `found` without the markers of directories: empty objects whose key ends with a slash, which the consoles of clouds
/// and Hadoop write. Paths have no such slash, so no request reads them.
pub(crate) async fn without_markers(site: &Site, found: Vec<FoundItem>) -> Vec<FoundItem> {
    let kept = futures::stream::iter(found).map(async |item| {
        let is_marker = item.meta.size == 0 && is_marker(&site.stack, &item.meta.location).await;
        (!is_marker).then_some(item)
    });
    kept.buffered(HEADS_AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Whether an empty object that was listed as `path` is the marker of a directory: its key has a slash more. An object
/// that was deleted meanwhile counts as one.
pub(crate) async fn is_marker(store: &dyn ObjectStore, path: &Path) -> bool {
    matches!(store.head(path).await, Err(StoreError::NotFound { .. }))
}

/// The one object that `site` names; `None` where there is none, or `site` is a pattern.
///
/// # Errors
/// Those of the store.
pub(crate) async fn find_one(site: &Site) -> Result<Option<FoundItem>, Failure> {
    if site.path.is_root() || site.pattern.is_some() {
        return Ok(None);
    }
    match site.stack.get_opts(&site.path, site.head_options()).await {
        Ok(answer) => {
            let relative = site.path.filename().unwrap_or_default().to_owned();
            Ok(Some(FoundItem { meta: answer.meta, relative }))
        }
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(site.failure(&error)),
    }
}

/// The objects of an argument of a command that reads whole objects: one, or what matches a pattern.
///
/// # Errors
/// There are none.
pub(crate) async fn find_objects(session: &Session, site: &Site) -> Result<Vec<FoundItem>, Failure> {
    let found = match site.pattern {
        Some(_) => without_markers(site, find_below(session, site).await?).await,
        None => {
            site.check_one()?;
            find_one(site).await?.into_iter().collect()
        }
    };
    match found.is_empty() {
        true => Err(not_found(site)),
        false => Ok(found),
    }
}

/// Nothing has the name, or matches the pattern, of `site`.
pub(crate) fn not_found(site: &Site) -> Failure {
    let source = "not found".into();
    site.failure(&StoreError::NotFound { path: site.path.to_string(), source })
}

/// `path` below `prefix`; `None` for `prefix` itself.
fn relative(path: &Path, prefix: &Path) -> Option<String> {
    let parts = path.prefix_match(prefix)?;
    let relative = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
    (!relative.is_empty()).then_some(relative)
}

/// `*` and `?` match within a segment, `**` across segments, `[…]` one of some characters, `{a,b}` one of some texts.
fn matcher(shown: &str, pattern: &str) -> Result<GlobMatcher, Failure> {
    // Keys may have backslashes, which stand for themselves.
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(false).build();
    let glob = glob.map_err(|error| Failure::usage(format!("{shown} is no pattern: {}.", error.kind())))?;
    Ok(glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_paths() {
        for (pattern, path, matches) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("*.gz", "x.gz", true),
            ("2*/?.gz", "24/a.gz", true),
            ("**/x", "a/b/x", true),
            ("**/x", "x", true),
            ("[ab]", "b", true),
            ("{a,b}*", "bc", true),
            ("a[*]", "a*", true),
            ("a[*]", "ab", false),
            ("a\\b", "a\\b", true),
        ] {
            let matcher = matcher("gs://b/x", pattern).expect(pattern);
            assert_eq!(matcher.is_match(path), matches, "{pattern} {path}");
        }
        assert!(matcher("gs://b/[", "[").is_err());
    }

    #[test]
    fn paths_are_relative_to_whole_segments() {
        let relative = |path: &str, prefix: &str| relative(&path.into(), &prefix.into());
        assert_eq!(relative("a/b/c", "a").as_deref(), Some("b/c"));
        assert_eq!(relative("ab/c", "a"), None);
        assert_eq!(relative("a", "a"), None);
        assert_eq!(relative("a", "").as_deref(), Some("a"));
    }
}
