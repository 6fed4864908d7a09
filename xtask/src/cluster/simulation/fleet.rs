//! The workers of a simulation, their caches, and the counts of what they read.

use foldhash::fast::FixedState;
use headstart_affinity::{Workers, score};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter, unsync::Cache};

use super::files::{FileRank, Files, HitRatio};
use crate::numbers::to_float;

/// Whole files, evicted by `quick_cache` as the pages of Headstart's memory tier.
type FileCache = Cache<FileRank, u64, FileBytes, FixedState, Evicted>;

#[derive(Debug, Clone)]
struct FileBytes;

impl Weighter<FileRank, u64> for FileBytes {
    fn weight(&self, _: &FileRank, bytes: &u64) -> u64 {
        *bytes
    }
}

/// Collects the files that an insertion evicts.
#[derive(Debug, Clone)]
struct Evicted;

impl Lifecycle<FileRank, u64> for Evicted {
    type RequestState = Vec<FileRank>;

    fn on_evict(&self, evicted: &mut Vec<FileRank>, file: FileRank, _: u64) {
        evicted.push(file);
    }
}

/// Whose bytes a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caches {
    /// Each worker has its own.
    OfWorkers,
    /// All workers share one, and reach every byte of it.
    Shared,
}

/// What was read in an hour.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Hour {
    pub(super) requests: u64,
    pub(super) hits: u64,
    pub(super) bytes: u64,
    pub(super) hit_bytes: u64,
    /// Bytes fetched although another worker held them.
    pub(super) held_elsewhere_bytes: u64,
    /// Bytes fetched because the last worker that held them left.
    pub(super) lost_bytes: u64,
    /// Bytes that the workers that left had in their caches.
    pub(super) left_bytes: u64,
    /// The most requests of a worker, as a multiple of the mean.
    pub(super) most_requests: f64,
    /// The most bytes of a worker, as a multiple of the mean.
    pub(super) most_bytes: f64,
}

impl Hour {
    pub(super) fn hit_ratio(&self) -> HitRatio {
        HitRatio {
            requests: to_float(self.hits) / to_float(self.requests),
            bytes: to_float(self.hit_bytes) / to_float(self.bytes),
        }
    }

    pub(super) fn fetched_bytes(&self) -> u64 {
        self.bytes - self.hit_bytes
    }

    /// Bytes fetched because of where reads went, not because the file was new or evicted everywhere.
    pub(super) fn moved_bytes(&self) -> u64 {
        self.held_elsewhere_bytes + self.lost_bytes
    }
}

struct Worker {
    id: String,
    cache: FileCache,
    requests: u64,
    bytes: u64,
}

/// Workers in the order of their ids, which is the order in which they joined.
pub(super) struct Fleet<'a> {
    files: &'a Files,
    cache_bytes: u64,
    workers: Vec<Worker>,
    /// Takes the place of the workers' caches.
    shared: Option<FileCache>,
    placement: Workers,
    joined: u64,
    /// In how many caches each file is.
    holders: Vec<u32>,
    /// Files whose last holder left, and that were not fetched since.
    lost: Vec<bool>,
    hour: Hour,
}

impl<'a> Fleet<'a> {
    /// `count` workers with empty caches of `cache_bytes` each.
    pub(super) fn new(files: &'a Files, count: usize, cache_bytes: u64, caches: Caches) -> Self {
        let (holders, lost) = (vec![0; files.count()], vec![false; files.count()]);
        let mut fleet = Self {
            files,
            cache_bytes,
            workers: Vec::new(),
            shared: None,
            placement: Workers::default(),
            joined: 0,
            holders,
            lost,
            hour: Hour::default(),
        };
        if caches == Caches::Shared {
            fleet.shared = Some(fleet.cache(cache_bytes * count as u64));
        }
        (0..count).for_each(|_| fleet.add());
        fleet.place();
        fleet
    }

    /// The workers as the placement sees them. Their indexes are those of `read` and `replace`.
    pub(super) fn placement(&self) -> &Workers {
        &self.placement
    }

    /// A worker leaves with its cache, and a new one joins with an empty one.
    pub(super) fn replace(&mut self, worker: usize) {
        let left = self.workers.remove(worker);
        let held: Vec<(FileRank, u64)> = match &mut self.shared {
            None => left.cache.iter().map(|(file, bytes)| (*file, *bytes)).collect(),
            Some(shared) => {
                // Each worker holds an equal share of the files. Which ones differs with every worker that leaves.
                let workers = self.workers.len() as u64 + 1;
                let is_here = |file: &FileRank| score(self.joined, self.files.key(*file)).is_multiple_of(workers);
                let held = shared.iter().filter(|(file, _)| is_here(file)).map(|(file, bytes)| (*file, *bytes));
                let held: Vec<_> = held.collect();
                for (file, _) in &held {
                    shared.remove(file);
                }
                held
            }
        };
        for (file, bytes) in held {
            self.hour.left_bytes += bytes;
            self.holders[file as usize] -= 1;
            self.lost[file as usize] |= self.holders[file as usize] == 0;
        }
        self.add();
        self.place();
    }

    /// A worker reads a whole file: from its cache, or from the store into its cache.
    pub(super) fn read(&mut self, worker: usize, file: FileRank) {
        let bytes = self.files.bytes(file);
        let worker = &mut self.workers[worker];
        worker.requests += 1;
        worker.bytes += bytes;
        self.hour.requests += 1;
        self.hour.bytes += bytes;
        let cache = self.shared.as_mut().unwrap_or(&mut worker.cache);
        if cache.get(&file).is_some() {
            self.hour.hits += 1;
            self.hour.hit_bytes += bytes;
            return;
        }
        let (holders, lost) = (&mut self.holders, &mut self.lost[file as usize]);
        if holders[file as usize] > 0 {
            self.hour.held_elsewhere_bytes += bytes;
        } else if std::mem::take(lost) {
            self.hour.lost_bytes += bytes;
        }
        holders[file as usize] += 1;
        let mut evicted = Vec::new();
        cache.insert_with_lifecycle(file, bytes, &mut evicted);
        for file in evicted {
            holders[file as usize] -= 1;
        }
    }

    /// The counts since the last call.
    pub(super) fn take_hour(&mut self) -> Hour {
        let mut hour = std::mem::take(&mut self.hour);
        let most = |of: fn(&Worker) -> u64, all: u64| {
            let most = self.workers.iter().map(of).max().unwrap_or(0);
            to_float(most) * to_float(self.workers.len() as u64) / to_float(all)
        };
        hour.most_requests = most(|worker| worker.requests, hour.requests);
        hour.most_bytes = most(|worker| worker.bytes, hour.bytes);
        for worker in &mut self.workers {
            (worker.requests, worker.bytes) = (0, 0);
        }
        hour
    }

    fn add(&mut self) {
        self.joined += 1;
        // The cache of a fleet that shares one is never used.
        let bytes = if self.shared.is_some() { 1 } else { self.cache_bytes };
        let id = format!("worker-{:08}", self.joined);
        self.workers.push(Worker { id, cache: self.cache(bytes), requests: 0, bytes: 0 });
    }

    fn place(&mut self) {
        self.placement = Workers::new(self.workers.iter().map(|worker| worker.id.as_str()));
    }

    fn cache(&self, bytes: u64) -> FileCache {
        let items = self.files.count() as u64 * bytes / self.files.total_bytes().max(1) + 1;
        let mut options = OptionsBuilder::new();
        options.weight_capacity(bytes).estimated_items_capacity(usize::try_from(items).unwrap_or(usize::MAX)).shards(1);
        let options = options.build().expect("both capacities are set");
        Cache::with_options(options, FileBytes, FixedState::default(), Evicted)
    }

    /// In how many caches each file is, counted anew.
    #[cfg(test)]
    pub(super) fn count_holders(&self) -> Vec<u32> {
        let mut holders = vec![0; self.files.count()];
        let caches = self.workers.iter().map(|worker| &worker.cache).chain(&self.shared);
        caches.flat_map(|cache| cache.iter()).for_each(|(file, _)| holders[*file as usize] += 1);
        holders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_counted_by_where_the_bytes_were() {
        let files = Files::new(100, 1).expect("files");
        let bytes = files.bytes(7);
        let mut fleet = Fleet::new(&files, 2, files.total_bytes() * 2, Caches::OfWorkers);
        for worker in [0, 0, 1] {
            fleet.read(worker, 7);
        }
        let hour = fleet.take_hour();
        assert_eq!((hour.requests, hour.hits, hour.bytes, hour.hit_bytes), (3, 1, 3 * bytes, bytes));
        assert_eq!((hour.held_elsewhere_bytes, hour.lost_bytes, hour.left_bytes), (bytes, 0, 0));
        assert!((hour.most_requests - 4.0 / 3.0).abs() < 1e-9 && (hour.most_bytes - 4.0 / 3.0).abs() < 1e-9);

        // Both leave, one after the other. The second was the last holder.
        fleet.replace(0);
        fleet.replace(0);
        fleet.read(0, 7);
        fleet.read(0, 8);
        let hour = fleet.take_hour();
        assert_eq!((hour.hits, hour.held_elsewhere_bytes, hour.lost_bytes, hour.left_bytes), (0, 0, bytes, 2 * bytes));
    }

    #[test]
    fn holders_are_those_of_the_caches() {
        const SEED: u64 = 3;
        let files = Files::new(2000, SEED).expect("files");
        for caches in [Caches::OfWorkers, Caches::Shared] {
            let mut fleet = Fleet::new(&files, 10, files.total_bytes() / 100, caches);
            for (n, file) in files.reads(SEED).expect("reads").take(50_000).enumerate() {
                fleet.read(n % 10, file);
                if n % 5000 == 0 {
                    fleet.replace(n / 5000);
                }
            }
            assert_eq!(fleet.holders, fleet.count_holders(), "seed {SEED}, {caches:?}");
            let hour = fleet.take_hour();
            assert!(hour.hits > 0 && hour.left_bytes > 0 && hour.lost_bytes > 0, "seed {SEED}: {hour:?}");
            assert_eq!(hour.held_elsewhere_bytes > 0, caches == Caches::OfWorkers, "seed {SEED}: {hour:?}");
        }
    }
}
