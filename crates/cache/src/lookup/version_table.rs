//! The known versions of objects. The table is bounded, and answers from before a write never undo the write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::{hash::BuildHasher, sync::Arc, sync::OnceLock, time::Duration};

use headstart_fetch_core::ObjectVersion;
use headstart_fetch_core::internal::locks::Mutex;
use object_store::{Attributes, ObjectMeta, path::Path};
use quick_cache::{DefaultHashBuilder, sync::Cache};

use crate::disk::DiskObject;
use crate::lookup::{PageKey, PageLocation};
use crate::policy::{KnownVersion, SafetyRules};
use crate::trace_events;

/// Paths share this many epochs, by hash: at worst a write to one path keeps an answer for another from being kept.
const EPOCHS: usize = 1024;

/// One version of an object, as an answer showed it.
#[derive(Debug)]
pub(crate) struct ObjectHead {
    /// Number of the version. Equal versions have equal numbers; a number is never used again for another version.
    pub(crate) id: u64,
    pub(crate) meta: ObjectMeta,
    pub(crate) attributes: Attributes,
    /// When the request was sent that showed this version to be the present one, by this cache or by a layer below.
    pub(crate) asked_at: Duration,
    /// The object cannot be cached (see [`KnownVersion`]).
    pub(crate) uncacheable: bool,
    pub(crate) version: ObjectVersion,
    /// What it is called on disk, once that is needed; `None` if it is not kept there.
    pub(crate) on_disk: OnceLock<Option<DiskObject>>,
}

impl ObjectHead {
    /// The location of `page` of this version in the memory tier.
    pub(crate) fn locate(&self, page: u64) -> PageLocation {
        PageLocation { key: PageKey { version: self.id, page }, size: self.meta.size }
    }

    /// What decisions need to know of this version.
    pub(crate) fn summary(&self) -> KnownVersion {
        let has_validator = self.version.has_validator();
        // The clients of `object_store` fill in the Unix epoch where an answer has no date.
        let gets_validator = !has_validator && self.meta.last_modified.timestamp() > 0;
        KnownVersion { asked_at: self.asked_at, has_validator, gets_validator, uncacheable: self.uncacheable }
    }
}

/// When a request was sent. Decides whether its answer may replace what is known by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestStamp {
    /// The path's epoch when the request was sent.
    pub(crate) epoch: u64,
    /// Time of the request; of an answer, the time at which the version was confirmed.
    pub(crate) at: Duration,
}

/// A version that was requested by name.
#[derive(Debug, Clone)]
struct NamedHead {
    head: Arc<ObjectHead>,
    /// The path's epoch when the version was recorded. An event that drops the path's head drops this version too.
    epoch: u64,
}

/// The known versions of the objects in use.
pub(crate) struct VersionTable {
    heads: Cache<Path, Arc<ObjectHead>>,
    /// Versions that were requested by name. None of them ever becomes the present version.
    named: Cache<(Path, String), NamedHead>,
    /// One counter a group of paths, increased when older answers become worthless. Its lock orders changes of heads.
    epochs: Box<[Mutex<u64>]>,
    hasher: DefaultHashBuilder,
    next_id: AtomicU64,
    rules: SafetyRules,
}

impl VersionTable {
    /// A table of about `objects` heads at most.
    pub(crate) fn new(objects: usize, rules: SafetyRules) -> Self {
        Self {
            heads: Cache::new(objects),
            named: Cache::new(objects),
            epochs: (0..EPOCHS).map(|_| Mutex::new(0)).collect(),
            hasher: DefaultHashBuilder::default(),
            next_id: AtomicU64::new(0),
            rules,
        }
    }

    /// The present version of `path`, or the one called `version`.
    #[inline]
    pub(crate) fn find(&self, path: &Path, version: Option<&str>) -> Option<Arc<ObjectHead>> {
        let present = self.heads.get(path);
        let Some(version) = version else { return present };
        let epoch = *self.epoch(path).lock();
        let named = self.named.get(&(path.clone(), version.to_owned()));
        let named = named.filter(|named| named.epoch == epoch).map(|named| named.head);
        let present = present.filter(|head| head.meta.version.as_deref() == Some(version));
        named.into_iter().chain(present).max_by_key(|head| head.asked_at)
    }

    /// The stamp of a request for `path`; to be taken before the request is sent.
    pub(crate) fn stamp(&self, path: &Path, now: Duration) -> RequestStamp {
        RequestStamp { epoch: *self.epoch(path).lock(), at: now }
    }

    /// Takes in an answer, and returns the version that it shows.
    ///
    /// The version becomes the present one of `path`, or the one called `named`, unless a write or a later answer came
    /// first. The calls that waited for the answer use it in any case.
    pub(crate) fn record(
        &self,
        path: &Path,
        named: Option<&str>,
        stamp: RequestStamp,
        meta: ObjectMeta,
        attributes: Attributes,
        uncacheable: bool,
    ) -> Arc<ObjectHead> {
        let version = ObjectVersion::of(&meta);
        // A store that ignores the name may have answered with any version.
        let uncacheable = uncacheable || named.is_some_and(|named| meta.version.as_deref() != Some(named));
        let epoch = self.epoch(path).lock();
        let present = self.heads.get(path);
        let by_name = match &meta.version {
            Some(name) if named.is_some() || !self.named.is_empty() => {
                self.named.get(&(path.clone(), name.clone())).map(|named| named.head)
            }
            _ => None,
        };
        // A version keeps its number, whichever way it was requested.
        let same = present.iter().chain(&by_name).find(|head| head.version.is_same(&version));
        let id = match same {
            _ if !self.rules.key_by_version => self.hasher.hash_one(path),
            Some(head) => head.id,
            None => self.next_id.fetch_add(1, Ordering::Relaxed),
        };
        let (asked_at, on_disk) = (stamp.at, OnceLock::new());
        let head = Arc::new(ObjectHead { id, meta, attributes, asked_at, uncacheable, version, on_disk });
        let before = if named.is_some() { by_name } else { present };
        if *epoch != stamp.epoch || before.as_ref().is_some_and(|before| before.asked_at > stamp.at) {
            return head;
        }
        match named {
            None => self.heads.insert(path.clone(), Arc::clone(&head)),
            Some(name) => {
                let named = NamedHead { head: Arc::clone(&head), epoch: *epoch };
                self.named.insert((path.clone(), name.to_owned()), named);
            }
        }
        drop(epoch);
        if let Some(before) = before.filter(|before| before.id != id) {
            trace_events::version_changed(path, &before.version, &head.version);
        }
        head
    }

    /// Drops what is known of `path`, or of its version called `named`: the store does not have it.
    pub(crate) fn remove(&self, path: &Path, named: Option<&str>) {
        match named {
            None => self.invalidate(path),
            Some(name) => drop(self.named.remove(&(path.clone(), name.to_owned()))),
        }
    }

    /// Drops all versions of `path`, and the answers to requests that are in flight for it.
    pub(crate) fn invalidate(&self, path: &Path) {
        let mut epoch = self.epoch(path).lock();
        *epoch += 1;
        self.heads.remove(path);
    }

    /// Drops the present version of `path` if its number still is `id`, and the version called `named`, if any.
    pub(crate) fn forget(&self, path: &Path, named: Option<&str>, id: u64) {
        if named.is_some() {
            self.remove(path, named);
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

    fn meta(tag: &str) -> ObjectMeta {
        ObjectMeta { location: "a".into(), last_modified: Utc::now(), size: 1, e_tag: Some(tag.into()), version: None }
    }

    fn stamp(table: &VersionTable, seconds: u64) -> RequestStamp {
        table.stamp(&"a".into(), Duration::from_secs(seconds))
    }

    /// Records the answer `tag`; returns the number of its version.
    fn record(table: &VersionTable, stamp: RequestStamp, tag: &str) -> u64 {
        table.record(&"a".into(), None, stamp, meta(tag), Attributes::new(), false).id
    }

    fn record_at(table: &VersionTable, seconds: u64, tag: &str) -> u64 {
        record(table, stamp(table, seconds), tag)
    }

    fn table() -> VersionTable {
        VersionTable::new(10, SafetyRules::ALL)
    }

    fn present(table: &VersionTable) -> Option<u64> {
        table.find(&"a".into(), None).map(|head| head.id)
    }

    #[test]
    fn the_same_version_keeps_its_number_and_a_new_one_gets_a_new_one() {
        let table = table();
        let one = record_at(&table, 0, "1");
        assert_eq!(record_at(&table, 1, "1"), one);
        assert_ne!(record_at(&table, 2, "2"), one);
        assert_ne!(record_at(&table, 3, "1"), one, "its pages may be evicted: a number is not used twice");
    }

    #[test]
    fn an_answer_from_before_a_write_is_not_remembered() {
        let table = table();
        let stamp = stamp(&table, 0);
        table.invalidate(&"a".into());
        record(&table, stamp, "1");
        assert_eq!(present(&table), None);
    }

    #[test]
    fn a_late_answer_does_not_replace_a_later_one() {
        let table = table();
        let (early, late) = (stamp(&table, 0), stamp(&table, 1));
        let two = record(&table, late, "2");
        record(&table, early, "1");
        assert_eq!(present(&table), Some(two));
    }

    #[test]
    fn only_the_version_meant_is_forgotten() {
        let table = table();
        let one = record_at(&table, 0, "1");
        let two = record_at(&table, 1, "2");
        table.forget(&"a".into(), None, one);
        assert_eq!(present(&table), Some(two));
        table.forget(&"a".into(), None, two);
        assert_eq!(present(&table), None);
    }

    #[test]
    fn a_version_asked_for_by_name_is_an_entry_of_its_own() {
        let (table, path) = (table(), Path::from("a"));
        let record = |named: Option<&str>, version: &str, seconds| {
            let meta = ObjectMeta { version: Some(version.into()), ..meta(version) };
            table.record(&path, named, stamp(&table, seconds), meta, Attributes::new(), false)
        };
        let old = record(Some("1"), "1", 0);
        assert!(table.find(&path, None).is_none(), "it is not the present one");
        let new = record(None, "2", 1);
        assert_ne!(old.id, new.id);
        assert_eq!(table.find(&path, Some("1")).map(|head| head.id), Some(old.id));
        assert_eq!(table.find(&path, Some("2")).map(|head| head.id), Some(new.id));
        assert!(table.find(&path, Some("3")).is_none());
        assert_eq!(record(Some("2"), "2", 2).id, new.id, "one version, one number");
        assert_eq!(table.find(&path, Some("2")).map(|head| head.asked_at), Some(Duration::from_secs(2)));
        assert_eq!(record(None, "1", 3).id, old.id);
        assert!(record(Some("4"), "1", 4).uncacheable, "the store ignores the name");
        table.invalidate(&path);
        assert!(table.find(&path, Some("1")).is_none() && table.find(&path, None).is_none());
        record(Some("1"), "1", 5);
        table.remove(&path, Some("1"));
        assert!(table.find(&path, Some("1")).is_none());
    }
}
