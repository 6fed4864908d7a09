//! What is served: a bucket, or a prefix of it, and pages of its listing.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use headstart::Headstart;
use headstart::object_store::path::Path;
use headstart::object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, Result};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::refusal::RefusedRequest;
use crate::listing::{HEADS_AT_ONCE, is_marker};
use crate::policy::served_page::{PageQuery, ServedPage};
use crate::policy::{place, text};
use crate::session::Session;

/// How long the rest of a listing is kept for the next page, and of how many listings.
const KEPT_FOR: Duration = Duration::from_secs(60);
const MOST_KEPT: usize = 8;
/// Listings with more names are not kept: these take about 50 MB.
const MOST_NAMES: usize = 200_000;

/// The names directly below a directory, in order: objects, and common prefixes without metadata.
type Names = Arc<Vec<(String, Option<ObjectMeta>)>>;

/// The bucket that is served.
pub(super) struct Served {
    pub(super) session: Arc<Session>,
    pub(super) stack: Headstart,
    pub(super) bucket: String,
    /// Only what lies below is served; the root is all of the bucket.
    pub(super) prefix: Path,
    store_url: String,
    /// By which clients reach the endpoint: `http` or `https`.
    pub(super) scheme: &'static str,
    /// Directories that were listed for a page, the latest at the back.
    listed: Mutex<VecDeque<(String, Instant, Names)>>,
}

impl Served {
    pub(super) fn new(
        session: Arc<Session>,
        stack: Headstart,
        bucket: String,
        prefix: Path,
        store_url: String,
        scheme: &'static str,
    ) -> Self {
        Self { session, stack, bucket, prefix, store_url, scheme, listed: Mutex::default() }
    }

    /// The URL of a key, for messages.
    pub(super) fn url_of(&self, key: &str) -> String {
        place::url_of(&self.store_url, key)
    }

    /// Whether versions are the generations of Google Cloud Storage.
    pub(super) fn has_generations(&self) -> bool {
        self.store_url.starts_with("gs:")
    }

    /// The answer to a failure of the store at `key`.
    pub(super) fn refusal(&self, key: &str, error: &StoreError) -> RefusedRequest {
        RefusedRequest::store(&self.url_of(key), key, error)
    }

    /// Tells the user of a request that fails, where the failure is the store's.
    pub(super) fn note(&self, refusal: &RefusedRequest) {
        if refusal.is_failure() {
            self.session.output.note(&format!("headstart: {}", text::name(refusal.message())));
        }
    }

    /// # Errors
    /// `bucket` is another one.
    pub(super) fn check_bucket(&self, bucket: &str) -> Result<(), RefusedRequest> {
        match bucket == self.bucket {
            true => Ok(()),
            false => Err(RefusedRequest::no_such_bucket(bucket)),
        }
    }

    /// The path of a key of `bucket`.
    ///
    /// # Errors
    /// It is not served. Keys that [`Path`] cannot express, such as those with an empty segment, are not.
    pub(super) fn path(&self, bucket: &str, key: &str) -> Result<Path, RefusedRequest> {
        self.check_bucket(bucket)?;
        match Path::parse(key) {
            Ok(path) if path.as_ref() == key && self.has(key) => Ok(path),
            _ => Err(RefusedRequest::no_such_key(key)),
        }
    }

    /// Whether a key, or a prefix of keys with a slash at its end, lies below the prefix that is served.
    fn has(&self, key: &str) -> bool {
        let served = self.prefix.as_ref();
        served.is_empty() || key.strip_prefix(served).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// A page of the listing, without the markers of directories, which nobody could read.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn list(&self, query: &PageQuery) -> Result<ServedPage<ObjectMeta>> {
        let mut page = self.list_all(query).await?;
        let empty = page.objects.iter().filter(|(_, meta)| meta.size == 0).map(|(_, meta)| meta.location.clone());
        let looks: Vec<_> = empty.map(|path| self.marker(path)).collect();
        let markers: BTreeSet<Path> =
            futures::stream::iter(looks).buffer_unordered(HEADS_AT_ONCE).filter_map(std::future::ready).collect().await;
        page.objects.retain(|(_, meta)| !markers.contains(&meta.location));
        Ok(page)
    }

    /// `path`, where it was listed as an empty object and is the marker of a directory.
    async fn marker(&self, path: Path) -> Option<Path> {
        is_marker(&self.stack, &path).await.then_some(path)
    }

    async fn list_all(&self, query: &PageQuery) -> Result<ServedPage<ObjectMeta>> {
        let served = self.prefix.as_ref();
        let is_above = !self.has(query.directory()) && served.starts_with(&query.prefix);
        match query.delimiter.as_deref() {
            _ if !is_above && !self.has(query.directory()) => Ok(ServedPage::new()),
            Some("/") if is_above => self.list_above(query).await,
            Some("/") => self.list_directory(query).await,
            _ if is_above => {
                let mut page = ServedPage::new();
                match self.take_served_object(query, &mut page).await? {
                    ControlFlow::Continue(()) => self.walk(query, served, page).await,
                    ControlFlow::Break(()) => Ok(page),
                }
            }
            _ => self.walk(query, query.directory(), ServedPage::new()).await,
        }
    }

    /// Adds to a page the objects at any depth below `directory`, as they are listed by the store.
    async fn walk(
        &self,
        query: &PageQuery,
        directory: &str,
        mut page: ServedPage<ObjectMeta>,
    ) -> Result<ServedPage<ObjectMeta>> {
        let directory = Path::parse(directory)?;
        let prefix = (!directory.is_root()).then_some(&directory);
        let offset = query.offset().and_then(|offset| Path::parse(offset).ok());
        let mut listed = match offset.filter(|offset| offset.as_ref().len() > directory.as_ref().len()) {
            Some(offset) => self.stack.list_with_offset(prefix, &offset),
            None => self.stack.list(prefix),
        };
        while let Some(meta) = listed.try_next().await? {
            let key = meta.location.to_string();
            if page.take(query, &key, Some(meta)).is_break() {
                break;
            }
        }
        Ok(page)
    }

    /// A page of what lies directly below a directory. The store lists all of it; further pages are made of the same.
    async fn list_directory(&self, query: &PageQuery) -> Result<ServedPage<ObjectMeta>> {
        let directory = query.directory();
        let kept = if query.after.is_some() { self.kept(directory) } else { None };
        let names = match kept {
            Some(names) => names,
            None => {
                let path = Path::parse(directory)?;
                let found = self.stack.list_with_delimiter((!path.is_root()).then_some(&path)).await?;
                let prefixes = found.common_prefixes.iter().map(|path| (format!("{path}/"), None));
                let objects = found.objects.into_iter().map(|meta| (meta.location.to_string(), Some(meta)));
                let mut names: Vec<_> = prefixes.chain(objects).filter(|(name, _)| self.has(name)).collect();
                names.sort_by(|one, other| one.0.cmp(&other.0));
                Arc::new(names)
            }
        };
        let mut page = ServedPage::new();
        let _ = names.iter().try_for_each(|(name, meta)| page.take(query, name, meta.clone()));
        if page.next.is_some() && names.len() <= MOST_NAMES {
            self.keep(directory, names);
        }
        Ok(page)
    }

    /// A page above the prefix that is served: what leads to it.
    async fn list_above(&self, query: &PageQuery) -> Result<ServedPage<ObjectMeta>> {
        let mut page = ServedPage::new();
        let object = self.take_served_object(query, &mut page).await?;
        if object.is_continue() && self.stack.list(Some(&self.prefix)).try_next().await?.is_some() {
            let _ = page.take(query, &format!("{}/", self.prefix), None);
        }
        Ok(page)
    }

    /// Adds the object whose key is the prefix that is served, where there is one.
    async fn take_served_object(
        &self,
        query: &PageQuery,
        page: &mut ServedPage<ObjectMeta>,
    ) -> Result<ControlFlow<()>> {
        match self.stack.head(&self.prefix).await {
            Ok(meta) => Ok(page.take(query, self.prefix.as_ref(), Some(meta))),
            Err(StoreError::NotFound { .. }) => Ok(ControlFlow::Continue(())),
            Err(error) => Err(error),
        }
    }

    fn kept(&self, directory: &str) -> Option<Names> {
        let mut listed = self.listed.lock();
        listed.retain(|(_, at, _)| at.elapsed() < KEPT_FOR);
        listed.iter().rfind(|(name, ..)| name == directory).map(|(.., names)| Arc::clone(names))
    }

    fn keep(&self, directory: &str, names: Names) {
        let mut listed = self.listed.lock();
        let at = match listed.iter().position(|(name, ..)| name == directory) {
            // Its age counts from the listing.
            Some(known) => listed.remove(known).filter(|(.., known)| Arc::ptr_eq(known, &names)).map(|(_, at, _)| at),
            None => None,
        };
        listed.push_back((directory.to_owned(), at.unwrap_or_else(Instant::now), names));
        if listed.len() > MOST_KEPT {
            listed.pop_front();
        }
    }
}
