//! Which worker holds which key, while workers join and leave.

use std::collections::BTreeMap;

use crate::rendezvous::{BALANCE, Workers, share_bytes};

/// A key that has another worker now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMove {
    /// The [hash](crate::FileKey::hash) of the key.
    pub key: u64,
    /// The worker that had it.
    pub from: String,
    /// The worker that has it now; `None` if no worker is left.
    pub to: Option<String>,
}

/// Which worker holds which key. Unlike [`Workers::assign`], it remembers, so that a change of the workers moves few
/// keys.
///
/// The same calls in the same order lead to the same placement in every process.
#[derive(Debug, Clone)]
pub struct Placement {
    workers: Workers,
    balance: f64,
    /// The size and the worker of each key, by hash.
    keys: BTreeMap<u64, (u64, usize)>,
    /// Bytes of each worker.
    loads: Vec<u128>,
    total_bytes: u128,
}

impl Placement {
    /// No keys, and the workers with these ids.
    pub fn new<I: Into<String>>(ids: impl IntoIterator<Item = I>) -> Self {
        let workers = Workers::new(ids);
        let loads = vec![0; workers.ids().len()];
        Self { workers, balance: BALANCE, keys: BTreeMap::new(), loads, total_bytes: 0 }
    }

    /// The workers.
    #[must_use]
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// The worker that holds `key`, if it was placed.
    #[must_use]
    pub fn worker(&self, key: u64) -> Option<&str> {
        self.keys.get(&key).map(|(_, worker)| self.workers.ids()[*worker].as_str())
    }

    /// The bytes that the worker `id` holds.
    #[must_use]
    pub fn load_bytes(&self, id: &str) -> u128 {
        self.index(id).map_or(0, |worker| self.loads[worker])
    }

    /// Places a key of `bytes` bytes, or finds where it is. `None` without workers.
    pub fn place(&mut self, key: u64, bytes: u64) -> Option<&str> {
        if self.workers.ids().is_empty() {
            return None;
        }
        if !self.keys.contains_key(&key) {
            self.total_bytes += u128::from(bytes);
            self.put(key, bytes, self.most_bytes());
        }
        self.worker(key)
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: u64) {
        if let Some((bytes, worker)) = self.keys.remove(&key) {
            self.total_bytes -= u128::from(bytes);
            self.loads[worker] -= u128::from(bytes);
        }
    }

    /// A worker joins: takes the keys that rank it before the worker that has them. Where a worker then has more than
    /// its share, which has become smaller, the keys that rank it last move on. Joining twice changes nothing.
    pub fn join(&mut self, id: &str) -> Vec<KeyMove> {
        if self.index(id).is_some() {
            return Vec::new();
        }
        self.change_workers(self.workers.ids().iter().map(String::as_str).chain([id]).map(str::to_owned).collect());
        let Some(joined) = self.index(id) else { return Vec::new() };
        let wins = |key: u64, from: usize| self.workers.rank(joined, key) < self.workers.rank(from, key);
        let won = self.keys.iter().filter(|(key, (_, from))| wins(**key, *from));
        let mut won: Vec<u64> = won.map(|(key, _)| *key).collect();
        // Those that rank it highest first, up to its share.
        won.sort_unstable_by_key(|key| self.workers.rank(joined, *key));
        let most_bytes = self.most_bytes();
        let mut moves = Vec::new();
        for key in won {
            if self.loads[joined] + u128::from(self.keys[&key].0) <= most_bytes {
                moves.push(self.move_to(key, joined));
            }
        }
        for worker in 0..self.loads.len() {
            moves.extend(self.shed(worker, most_bytes));
        }
        moves
    }

    /// A worker leaves: its keys move, and no others.
    pub fn leave(&mut self, id: &str) -> Vec<KeyMove> {
        let Some(left) = self.index(id) else { return Vec::new() };
        let mut orphans: Vec<(u64, u64)> = Vec::new();
        self.keys.retain(|key, (bytes, worker)| {
            let stays = *worker != left;
            if !stays {
                orphans.push((*key, *bytes));
            }
            stays
        });
        self.change_workers(self.workers.ids().iter().filter(|other| *other != id).cloned().collect());
        // The share is that of all keys, not of those placed again so far.
        let most_bytes = self.most_bytes();
        let has_workers = !self.workers.ids().is_empty();
        orphans.sort_unstable_by_key(|(key, bytes)| (std::cmp::Reverse(*bytes), *key));
        let mut moves = Vec::new();
        for (key, bytes) in orphans {
            if has_workers {
                self.put(key, bytes, most_bytes);
            } else {
                self.total_bytes -= u128::from(bytes);
            }
            moves.push(KeyMove { key, from: id.to_owned(), to: self.worker(key).map(str::to_owned) });
        }
        moves
    }

    /// Gives a key that nobody has to a worker with room.
    fn put(&mut self, key: u64, bytes: u64, most_bytes: u128) {
        let worker = self.workers.with_room(key, bytes, &self.loads, most_bytes);
        self.keys.insert(key, (bytes, worker));
        self.loads[worker] += u128::from(bytes);
    }

    fn most_bytes(&self) -> u128 {
        share_bytes(self.total_bytes, self.workers.ids().len(), self.balance)
    }

    fn index(&self, id: &str) -> Option<usize> {
        self.workers.ids().binary_search_by(|other| other.as_str().cmp(id)).ok()
    }

    /// Replaces the workers. Keys of workers that are no longer there must have been removed.
    fn change_workers(&mut self, ids: Vec<String>) {
        let workers = Workers::new(ids);
        let index = |id: &String| workers.ids().binary_search(id).ok();
        let new: Vec<Option<usize>> = self.workers.ids().iter().map(index).collect();
        let mut loads = vec![0; workers.ids().len()];
        for (old, new) in new.iter().enumerate().filter_map(|(old, new)| Some((old, (*new)?))) {
            loads[new] = self.loads[old];
        }
        for (_, worker) in self.keys.values_mut() {
            *worker = new[*worker].unwrap_or_default();
        }
        (self.workers, self.loads) = (workers, loads);
    }

    fn move_to(&mut self, key: u64, to: usize) -> KeyMove {
        let (bytes, from) = self.keys[&key];
        self.loads[from] -= u128::from(bytes);
        self.loads[to] += u128::from(bytes);
        self.keys.insert(key, (bytes, to));
        let name = |worker: usize| self.workers.ids()[worker].clone();
        KeyMove { key, from: name(from), to: Some(name(to)) }
    }

    /// Moves keys away from `worker` until it has at most `most_bytes`, those with the lowest score first, to workers
    /// with room.
    fn shed(&mut self, worker: usize, most_bytes: u128) -> Vec<KeyMove> {
        if self.loads[worker] <= most_bytes {
            return Vec::new();
        }
        let own = self.keys.iter().filter(|(_, (_, at))| *at == worker).map(|(key, (bytes, _))| (*key, *bytes));
        let mut own: Vec<(u64, u64)> = own.collect();
        own.sort_unstable_by_key(|(key, _)| std::cmp::Reverse(self.workers.rank(worker, *key)));
        let mut moves = Vec::new();
        for (key, bytes) in own {
            if self.loads[worker] <= most_bytes {
                break;
            }
            let to = self.workers.with_room(key, bytes, &self.loads, most_bytes);
            // A key that fits nowhere stays.
            if to != worker && self.loads[to] + u128::from(bytes) <= most_bytes {
                moves.push(self.move_to(key, to));
            }
        }
        moves
    }
}
