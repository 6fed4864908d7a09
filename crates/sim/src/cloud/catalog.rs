//! The objects of a bucket and their versions.
//!
//! A *synthetic* object has a size and the bytes of its [`Content`], and stores nothing. Every object with a name of
//! the form `synthetic/<size>/<anything>` exists from the start, with [`FIRST_GENERATION`] and the size in its name
//! (`4096`, `64KiB`, `1GiB`, `1GB`). It is not listed until it is first written to.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::Attributes;
use parking_lot::Mutex;

pub use super::condition::{CatalogError, CatalogResult, WriteCondition};
use super::generation::{EPOCH, FIRST_GENERATION, Generation, GenerationBytes};
use super::uploads::Uploads;
use crate::policy::{content::Content, faults::ExternalChange};

/// Whether a bucket keeps generations that were overwritten or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versioning {
    /// They can be read by their number.
    #[default]
    Kept,
    /// They are gone.
    Off,
}

/// A query for a page of a listing.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Prefix of the listed keys.
    pub prefix: String,
    /// The listed keys come after this key.
    pub start_after: Option<String>,
    /// The delimiter that ends common prefixes; `None` lists every key.
    pub delimiter: Option<String>,
    /// The most keys and prefixes in a page; 0 means 1,000.
    pub max_keys: usize,
}

/// A page of a listing, in the order of keys.
#[derive(Debug, Clone, Default)]
pub struct ListPage {
    /// The objects.
    pub objects: Vec<(String, Arc<Generation>)>,
    /// The common prefixes, delimiter included.
    pub prefixes: Vec<String>,
    /// The `start_after` of the next page; `None` on the last page.
    pub next: Option<String>,
}

/// A bucket.
#[derive(Debug)]
pub struct Catalog {
    state: Mutex<CatalogState>,
}

#[derive(Debug)]
struct CatalogState {
    versioning: Versioning,
    next_generation: u64,
    objects: BTreeMap<String, CatalogObject>,
    uploads: Uploads,
}

/// An object that was written to. A deleted object stays as a tombstone: it may have older generations, and a synthetic
/// object must not reappear.
#[derive(Debug, Default)]
struct CatalogObject {
    live: Option<Arc<Generation>>,
    older: Vec<Arc<Generation>>,
}

impl Catalog {
    /// An empty bucket.
    #[must_use]
    pub fn new(versioning: Versioning) -> Self {
        let (objects, uploads) = (BTreeMap::new(), Uploads::default());
        Self { state: Mutex::new(CatalogState { versioning, next_generation: FIRST_GENERATION + 1, objects, uploads }) }
    }

    /// Whether the bucket keeps older generations.
    #[must_use]
    pub fn versioning(&self) -> Versioning {
        self.state.lock().versioning
    }

    /// Adds a synthetic object of `size` bytes, dated [`EPOCH`].
    pub fn add_synthetic(&self, key: &str, size: u64) -> Arc<Generation> {
        self.write_synthetic(key, size, EPOCH)
    }

    /// Overwrites an object with a new synthetic generation; `None` keeps its size.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] where the object does not exist and `size` is `None`.
    pub fn overwrite_synthetic(&self, key: &str, size: Option<u64>, now: DateTime<Utc>) -> CatalogResult {
        let size = size.map_or_else(|| self.get(key, None).map(|live| live.size), Ok)?;
        Ok(self.write_synthetic(key, size, now))
    }

    /// Finds the live generation of an object, or the generation with a number.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub fn get(&self, key: &str, generation: Option<u64>) -> CatalogResult {
        let state = self.state.lock();
        let found = match state.objects.get(key) {
            Some(object) => object.find(generation),
            None => Generation::by_name(key).filter(|named| generation.is_none_or(|number| number == named.number)),
        };
        found.ok_or_else(|| CatalogError::NotFound(key.to_owned()))
    }

    /// Writes an object.
    ///
    /// # Errors
    /// [`CatalogError::AlreadyExists`] or [`CatalogError::Precondition`] where `condition` does not hold.
    pub fn put(
        &self,
        key: &str,
        bytes: Bytes,
        attributes: Attributes,
        condition: &WriteCondition,
        now: DateTime<Utc>,
    ) -> CatalogResult {
        let size = bytes.len() as u64;
        self.state.lock().write(key, size, |_| GenerationBytes::Stored(bytes), attributes, condition, now)
    }

    /// Copies the live generation of `from`, attributes included, to `to`. The condition is one on `to`.
    /// The copy of a synthetic object has the bytes of its source.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] where `from` does not exist; [`CatalogError::AlreadyExists`] or
    /// [`CatalogError::Precondition`] where `condition` does not hold.
    pub fn copy(&self, from: &str, to: &str, condition: &WriteCondition, now: DateTime<Utc>) -> CatalogResult {
        let source = self.get(from, None)?;
        let (body, attributes) = (source.body.clone(), source.attributes.clone());
        self.state.lock().write(to, source.size, |_| body, attributes, condition, now)
    }

    /// Deletes the live generation of an object; returns whether it existed.
    pub fn delete(&self, key: &str) -> bool {
        let mut state = self.state.lock();
        let versioning = state.versioning;
        state.object(key).retire(versioning)
    }

    /// Makes a change by another client. A change of an object that does not exist has no effect.
    pub(crate) fn apply(&self, change: &ExternalChange, now: DateTime<Utc>) {
        match change {
            ExternalChange::Overwrite { key, size } => drop(self.overwrite_synthetic(key, *size, now)),
            ExternalChange::Delete { key } => drop(self.delete(key)),
        }
    }

    /// Lists a page of the live objects.
    #[must_use]
    pub fn list(&self, query: &ListQuery) -> ListPage {
        let limit = if query.max_keys == 0 { 1000 } else { query.max_keys };
        let after = query.start_after.as_deref().unwrap_or_default();
        let delimiter = query.delimiter.as_deref().filter(|text| !text.is_empty());
        let state = self.state.lock();
        let mut page = ListPage::default();
        let mut last = None;
        let from = query.prefix.as_str().max(after).to_owned();
        for (key, object) in state.objects.range(from..).take_while(|(key, _)| key.starts_with(&query.prefix)) {
            let Some(live) = object.live.as_ref().filter(|_| query.start_after.is_none() || key.as_str() > after)
            else {
                continue;
            };
            let rest = &key[query.prefix.len()..];
            let folded =
                delimiter.and_then(|text| rest.find(text).map(|at| &key[..query.prefix.len() + at + text.len()]));
            let same_as_last = folded.is_some() && folded == page.prefixes.last().map(String::as_str);
            if !same_as_last {
                if page.objects.len() + page.prefixes.len() == limit {
                    page.next = last;
                    break;
                }
                match folded {
                    Some(prefix) => page.prefixes.push(prefix.to_owned()),
                    None => page.objects.push((key.clone(), Arc::clone(live))),
                }
            }
            // After a page that ends with a common prefix, the next page starts after the last key with that prefix.
            last = Some(key.clone());
        }
        page
    }

    /// Begins a multipart upload and returns its id.
    pub fn begin_upload(&self, key: &str, attributes: Attributes) -> String {
        self.state.lock().uploads.begin(key, attributes)
    }

    /// Stores a part of an upload, replacing an earlier part with its number, and returns its entity tag.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchUpload`].
    pub fn put_part(&self, upload: &str, part: usize, bytes: Bytes) -> CatalogResult<String> {
        self.state.lock().uploads.put_part(upload, part, bytes)
    }

    /// Writes an object from parts of an upload, given by number and entity tag in the order of their bytes.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchUpload`], [`CatalogError::NoSuchPart`]; where `condition` does not hold,
    /// [`CatalogError::AlreadyExists`] or [`CatalogError::Precondition`]. The upload stays open on every error.
    pub fn complete_upload(
        &self,
        upload: &str,
        parts: &[(usize, String)],
        condition: &WriteCondition,
        now: DateTime<Utc>,
    ) -> CatalogResult {
        let mut state = self.state.lock();
        let (key, attributes, bytes) = state.uploads.assemble(upload, parts)?;
        let size = bytes.len() as u64;
        let made = state.write(&key, size, |_| GenerationBytes::Stored(bytes), attributes, condition, now)?;
        state.uploads.remove(upload)?;
        Ok(made)
    }

    /// Discards an upload and its parts.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchUpload`].
    pub fn abort_upload(&self, upload: &str) -> CatalogResult<()> {
        self.state.lock().uploads.remove(upload)
    }

    fn write_synthetic(&self, key: &str, size: u64, now: DateTime<Utc>) -> Arc<Generation> {
        let body = |number| GenerationBytes::Synthetic(Content::new(key, number));
        self.state
            .lock()
            .write(key, size, body, Attributes::default(), &WriteCondition::Always, now)
            .expect("a write without a condition succeeds")
    }
}

impl CatalogState {
    /// The one function that creates generations.
    fn write(
        &mut self,
        key: &str,
        size: u64,
        body: impl FnOnce(u64) -> GenerationBytes,
        attributes: Attributes,
        condition: &WriteCondition,
        now: DateTime<Utc>,
    ) -> CatalogResult {
        let (number, versioning) = (self.next_generation, self.versioning);
        let object = self.object(key);
        condition.check(key, object.live.as_deref())?;
        object.retire(versioning);
        let made = Generation::new(number, size, body(number), attributes, now);
        object.live = Some(Arc::clone(&made));
        self.next_generation += 1;
        Ok(made)
    }

    /// The entry of `key`, created if it is missing.
    fn object(&mut self, key: &str) -> &mut CatalogObject {
        self.objects
            .entry(key.to_owned())
            .or_insert_with(|| CatalogObject { live: Generation::by_name(key), older: Vec::new() })
    }
}

impl CatalogObject {
    fn find(&self, generation: Option<u64>) -> Option<Arc<Generation>> {
        match generation {
            None => self.live.clone(),
            Some(number) => self.older.iter().chain(&self.live).find(|one| one.number == number).cloned(),
        }
    }

    /// Ends the live generation; returns whether there was one.
    fn retire(&mut self, versioning: Versioning) -> bool {
        let retired = self.live.take();
        let existed = retired.is_some();
        if versioning == Versioning::Kept {
            self.older.extend(retired);
        }
        existed
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
