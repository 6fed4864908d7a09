//! Which version of each object is taken for the present one. Bounded; a racing answer never revives what a write dropped.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headstart_fetch_core::ObjectVersion;
use object_store::path::Path;
use object_store::{Attributes, ObjectMeta};
use parking_lot::Mutex;
use quick_cache::DefaultHashBuilder;
use quick_cache::sync::Cache;

use crate::lookup::memory_tier::{PageKey, PageLocation};
use crate::policy::freshness::KnownVersion;

/// Paths are spread over this many epochs. Two paths that share one cost, at worst, an answer that is not remembered.
const EPOCHS: usize = 1024;

/// What an answer told of an object.
#[derive(Debug)]
pub(crate) struct ObjectHead {
    /// The version's number: equal exactly where the version is, and never used again for another.
    pub(crate) id: u64,
    pub(crate) meta: ObjectMeta,
    pub(crate) attributes: Attributes,
    /// When the request was sent that showed this version to be the present one, by this cache or by a layer below.
    pub(crate) asked_at: Duration,
    /// The cache has no use for such answers (see [`KnownVersion`]).
    pub(crate) opaque: bool,
    pub(crate) version: ObjectVersion,
}

impl ObjectHead {
    pub(crate) fn has_validator(&self) -> bool {
        self.version.has_validator()
    }

    /// Where `page` of this version is to be found.
    pub(crate) fn place(&self, page: u64) -> PageLocation {
        PageLocation { key: PageKey { version: self.id, page }, size: self.meta.size }
    }

    pub(crate) fn known(&self) -> KnownVersion {
        let has_validator = self.has_validator();
        // The clients of `object_store` fill in the Unix epoch where an answer has no date.
        let gets_validator = !has_validator && self.meta.last_modified.timestamp() > 0;
        KnownVersion { asked_at: self.asked_at, has_validator, gets_validator, opaque: self.opaque }
    }
}

/// A request's place in history: what it may still say when its answer comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestStamp {
    /// The path's epoch when the request was sent.
    pub(crate) epoch: u64,
    /// When it was sent; of an answer, when that was confirmed.
    pub(crate) at: Duration,
}

/// A version that was asked for by its name.
#[derive(Debug, Clone)]
struct NamedHead {
    head: Arc<ObjectHead>,
    /// The path's epoch when it was learned: what makes the path's head worthless makes this worthless too.
    epoch: u64,
}

/// The heads of the objects in use.
pub(crate) struct VersionTable {
    heads: Cache<Path, Arc<ObjectHead>>,
    /// What answers told that were asked for by version. None of them ever becomes the present head.
    named: Cache<(Path, String), NamedHead>,
    /// Counts what made older answers worthless, for each group of paths. Its lock orders all changes to their heads.
    epochs: Box<[Mutex<u64>]>,
    hasher: DefaultHashBuilder,
    next_id: AtomicU64,
    /// See [`crate::mutants`].
    #[cfg(test)]
    pub(crate) by_path_alone: bool,
}

impl VersionTable {
    /// A table of at most about `objects` heads.
    pub(crate) fn new(objects: usize) -> Self {
        Self {
            heads: Cache::new(objects),
            named: Cache::new(objects),
            epochs: (0..EPOCHS).map(|_| Mutex::new(0)).collect(),
            hasher: DefaultHashBuilder::default(),
            next_id: AtomicU64::new(0),
            #[cfg(test)]
            by_path_alone: false,
        }
    }

    #[inline]
    pub(crate) fn get(&self, path: &Path) -> Option<Arc<ObjectHead>> {
        self.heads.get(path)
    }

    /// What is known of `path`: of its present version, or of the one that is called `version`.
    pub(crate) fn find(&self, path: &Path, version: Option<&str>) -> Option<Arc<ObjectHead>> {
        let present = self.heads.get(path);
        let Some(version) = version else { return present };
        let epoch = *self.epoch(path).lock();
        let named = self.named.get(&(path.clone(), version.to_owned()));
        let named = named.filter(|named| named.epoch == epoch).map(|named| named.head);
        let present = present.filter(|head| head.meta.version.as_deref() == Some(version));
        named.into_iter().chain(present).max_by_key(|head| head.asked_at)
    }

    /// To be called before a request for `path` is sent.
    pub(crate) fn asking(&self, path: &Path, now: Duration) -> RequestStamp {
        RequestStamp { epoch: *self.epoch(path).lock(), at: now }
    }

    /// Takes in an answer, and returns what it says.
    ///
    /// It becomes the path's head, or that of the version which was asked for by name, unless something happened to the path since the
    /// request was sent, or a later request has been answered already; it serves the calls that waited for it in any case.
    pub(crate) fn learn(
        &self,
        path: &Path,
        named: Option<&str>,
        asking: RequestStamp,
        meta: ObjectMeta,
        attributes: Attributes,
        opaque: bool,
    ) -> Arc<ObjectHead> {
        let version = ObjectVersion::of(&meta);
        // Of a store that ignores the name, nothing is known.
        let opaque = opaque || named.is_some_and(|named| meta.version.as_deref() != Some(named));
        let epoch = self.epoch(path).lock();
        let present = self.heads.get(path);
        let by_name = match &meta.version {
            Some(name) if named.is_some() || !self.named.is_empty() => {
                self.named.get(&(path.clone(), name.clone())).map(|named| named.head)
            }
            _ => None,
        };
        // One version has one number, whichever way it was asked for.
        let same = present.iter().chain(&by_name).find(|head| head.version.is_same(&version));
        let id = same.map_or_else(|| self.next_id.fetch_add(1, Ordering::Relaxed), |head| head.id);
        #[cfg(test)]
        let id = if self.by_path_alone { self.hasher.hash_one(path) } else { id };
        let head = Arc::new(ObjectHead { id, meta, attributes, asked_at: asking.at, opaque, version });
        let before = if named.is_some() { by_name } else { present };
        if *epoch == asking.epoch && before.is_none_or(|before| before.asked_at <= asking.at) {
            match named {
                None => self.heads.insert(path.clone(), Arc::clone(&head)),
                Some(name) => {
                    let named = NamedHead { head: Arc::clone(&head), epoch: *epoch };
                    self.named.insert((path.clone(), name.to_owned()), named);
                }
            }
        }
        head
    }

    /// Forgets what is known of the version of `path` that is called `version`, or of `path`: the store does not have it.
    pub(crate) fn gone(&self, path: &Path, version: Option<&str>) {
        match version {
            None => self.invalidate(path),
            Some(version) => {
                self.named.remove(&(path.clone(), version.to_owned()));
            }
        }
    }

    /// Forgets what is known of `path`, of all its versions, and whatever is on its way.
    pub(crate) fn invalidate(&self, path: &Path) {
        let mut epoch = self.epoch(path).lock();
        *epoch += 1;
        self.heads.remove(path);
    }

    /// Forgets what is known of `path` if it still is the version `id`, found to be the present one no more; or what is known of
    /// the version called `version`.
    pub(crate) fn forget(&self, path: &Path, version: Option<&str>, id: u64) {
        if version.is_some() {
            self.gone(path, version);
        }
        let mut epoch = self.epoch(path).lock();
        if self.heads.get(path).is_some_and(|head| head.id == id) {
            *epoch += 1;
            self.heads.remove(path);
        }
    }

    fn epoch(&self, path: &Path) -> &Mutex<u64> {
        let hash = self.hasher.hash_one(path);
        &self.epochs[usize::try_from(hash % EPOCHS as u64).expect("less than EPOCHS")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Utc;

    fn meta(tag: &str, size: u64) -> ObjectMeta {
        ObjectMeta { location: "a".into(), last_modified: Utc::now(), size, e_tag: Some(tag.into()), version: None }
    }

    fn learn(table: &VersionTable, asking: RequestStamp, tag: &str) -> u64 {
        table.learn(&"a".into(), None, asking, meta(tag, 1), Attributes::new(), false).id
    }

    fn present(table: &VersionTable) -> Option<u64> {
        table.get(&"a".into()).map(|head| head.id)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_same_version_keeps_its_number_and_a_new_one_gets_a_new_one() {
        let table = VersionTable::new(10);
        let one = learn(&table, table.asking(&"a".into(), at(0)), "1");
        assert_eq!(learn(&table, table.asking(&"a".into(), at(1)), "1"), one);
        let two = learn(&table, table.asking(&"a".into(), at(2)), "2");
        assert_ne!(one, two);
        assert_ne!(
            learn(&table, table.asking(&"a".into(), at(3)), "1"),
            one,
            "its pages may be long gone, its number is"
        );
    }

    #[test]
    fn an_answer_from_before_a_write_is_not_remembered() {
        let table = VersionTable::new(10);
        let asking = table.asking(&"a".into(), at(0));
        table.invalidate(&"a".into());
        learn(&table, asking, "1");
        assert_eq!(present(&table), None);
    }

    #[test]
    fn a_late_answer_does_not_replace_a_later_one() {
        let table = VersionTable::new(10);
        let (early, late) = (table.asking(&"a".into(), at(0)), table.asking(&"a".into(), at(1)));
        let two = learn(&table, late, "2");
        learn(&table, early, "1");
        assert_eq!(present(&table), Some(two));
    }

    #[test]
    fn only_the_version_meant_is_forgotten() {
        let table = VersionTable::new(10);
        let one = learn(&table, table.asking(&"a".into(), at(0)), "1");
        let two = learn(&table, table.asking(&"a".into(), at(1)), "2");
        table.forget(&"a".into(), None, one);
        assert_eq!(present(&table), Some(two));
        table.forget(&"a".into(), None, two);
        assert_eq!(present(&table), None);
    }

    #[test]
    fn a_version_asked_for_by_name_is_an_entry_of_its_own() {
        let (table, path) = (VersionTable::new(10), Path::from("a"));
        let learn = |named: Option<&str>, version: &str, seconds| {
            let meta = ObjectMeta { version: Some(version.into()), ..meta(version, 1) };
            let asking = table.asking(&path, at(seconds));
            table.learn(&path, named, asking, meta, Attributes::new(), false)
        };
        let old = learn(Some("1"), "1", 0);
        assert!(table.get(&path).is_none(), "it is not the present one");
        let new = learn(None, "2", 1);
        assert_ne!(old.id, new.id);
        assert_eq!(table.find(&path, Some("1")).map(|head| head.id), Some(old.id));
        assert_eq!(table.find(&path, Some("2")).map(|head| head.id), Some(new.id));
        assert!(table.find(&path, Some("3")).is_none());
        assert_eq!(learn(Some("2"), "2", 2).id, new.id, "one version, one number");
        assert_eq!(table.find(&path, Some("2")).map(|head| head.asked_at), Some(at(2)));
        assert_eq!(learn(None, "1", 3).id, old.id);
        assert!(learn(Some("4"), "1", 4).opaque, "the store ignores names");
        table.invalidate(&path);
        assert!(table.find(&path, Some("1")).is_none() && table.find(&path, None).is_none());
        learn(Some("1"), "1", 5);
        table.gone(&path, Some("1"));
        assert!(table.find(&path, Some("1")).is_none());
    }
}
