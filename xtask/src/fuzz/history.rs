//! What was stored when, and what went wrong when. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Time since the case began.
pub(crate) type CaseTime = Duration;

/// One version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// Its bytes: a copy has those of its source.
    pub(crate) content: u64,
    /// What its tokens are made of; no two versions share it.
    pub(crate) token: u64,
    /// Length in bytes.
    pub(crate) size: u64,
}

/// A time in which a key had one version, or none.
#[derive(Debug, Clone, Copy)]
struct Presence {
    from: CaseTime,
    until: CaseTime,
    version: Option<Version>,
}

/// What was injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultEffect {
    /// An error that may go away, and what the store asked for.
    Transient { retry_after: Duration },
    /// A body that breaks off or stands still.
    Broken,
    /// A body that is longer than it may be.
    TooLong,
}

/// What happened to all keys.
#[derive(Debug, Default)]
pub(crate) struct History {
    keys: Vec<Key>,
    contents: u64,
    tokens: u64,
}

#[derive(Debug, Default)]
struct Key {
    presences: Vec<Presence>,
    /// When writes through the stack were over, however they ended.
    written: Vec<CaseTime>,
    faults_seen: Vec<(CaseTime, FaultEffect)>,
}

impl History {
    /// Objects of these sizes have been there for ever.
    pub(crate) fn new(sizes: &[Option<u64>]) -> Self {
        let mut history = Self { keys: sizes.iter().map(|_| Key::default()).collect(), ..Self::default() };
        for (key, size) in sizes.iter().enumerate() {
            let version = size.map(|size| history.written(size));
            history.keys[key].presences.push(Presence { from: CaseTime::ZERO, until: CaseTime::MAX, version });
        }
        history
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// A version with bytes of its own, not yet stored.
    pub(crate) fn written(&mut self, size: u64) -> Version {
        self.contents += 1;
        self.copied(Version { content: self.contents, token: 0, size })
    }

    /// A version with the bytes of another, not yet stored.
    pub(crate) fn copied(&mut self, of: Version) -> Version {
        self.tokens += 1;
        Version { token: self.tokens, ..of }
    }

    /// From `now` on, `key` has this version, or none.
    pub(crate) fn store(&mut self, key: usize, now: CaseTime, version: Option<Version>) {
        let presences = &mut self.keys[key].presences;
        if let Some(last) = presences.last_mut() {
            last.until = now;
        }
        presences.push(Presence { from: now, until: CaseTime::MAX, version });
    }

    /// A write of `key` through the stack is over, or was given up.
    pub(crate) fn write_is_over(&mut self, key: usize, now: CaseTime) {
        self.keys[key].written.push(now);
    }

    /// Something was injected into a request for `key`.
    pub(crate) fn record_fault(&mut self, key: usize, now: CaseTime, record_fault: FaultEffect) {
        self.keys[key].faults_seen.push((now, record_fault));
    }

    /// The version that is there now.
    pub(crate) fn present(&self, key: usize) -> Option<Version> {
        self.keys[key].presences.last().and_then(|presence| presence.version)
    }

    /// The version with this token, if `key` ever had it.
    pub(crate) fn with_token(&self, key: usize, token: u64) -> Option<Version> {
        self.versions(key).find(|version| version.token == token)
    }

    /// All versions that `key` ever had, the first one first.
    pub(crate) fn versions(&self, key: usize) -> impl DoubleEndedIterator<Item = Version> + '_ {
        self.keys[key].presences.iter().filter_map(|presence| presence.version)
    }

    /// What `key` had at any time of `interval`, ends included.
    pub(crate) fn during(
        &self,
        key: usize,
        interval: RangeInclusive<CaseTime>,
    ) -> impl Iterator<Item = Option<Version>> {
        let meets = move |presence: &&Presence| presence.from <= *interval.end() && presence.until >= *interval.start();
        self.keys[key].presences.iter().filter(meets).map(|presence| presence.version)
    }

    /// How often `key` changed in `interval`.
    pub(crate) fn changes(&self, key: usize, interval: RangeInclusive<CaseTime>) -> usize {
        self.keys[key].presences.iter().skip(1).filter(|presence| interval.contains(&presence.from)).count()
    }

    /// When the latest write through the stack that ended before `now` did so. What ended at the same moment may have come after.
    pub(crate) fn last_written(&self, key: usize, now: CaseTime) -> Option<CaseTime> {
        self.keys[key].written.iter().copied().filter(|at| *at < now).max()
    }

    /// What was injected into requests for `key` up to `until`.
    pub(crate) fn faults_seen(&self, key: usize, until: CaseTime) -> impl Iterator<Item = (CaseTime, FaultEffect)> {
        self.keys[key].faults_seen.iter().copied().filter(move |(at, _)| *at <= until)
    }
}
