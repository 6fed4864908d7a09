//! The versions that were stored over time, and the faults that were injected.

use std::{ops::RangeInclusive, time::Duration};

pub(crate) type CaseTime = Duration;

/// A period, ends included.
pub(crate) type Interval = RangeInclusive<CaseTime>;

/// One version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// Identifies the bytes. A copy has the same content as its source.
    pub(crate) content: u64,
    /// Identifies the version in validators; unique.
    pub(crate) token: u64,
    pub(crate) size: u64,
}

/// A period in which a key had one version, or none.
#[derive(Debug, Clone, Copy)]
struct Presence {
    from: CaseTime,
    until: CaseTime,
    version: Option<Version>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultEffect {
    /// An error that a retry may pass, and the pause that the store asked for.
    Transient { retry_after: Duration },
    /// A body that ends early or pauses.
    Broken,
    /// A body that is longer than requested.
    TooLong,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    keys: Vec<Key>,
    contents: u64,
    tokens: u64,
}

#[derive(Debug, Default)]
struct Key {
    presences: Vec<Presence>,
    /// The times at which writes through the stack ended, successful or not.
    written: Vec<CaseTime>,
    faults: Vec<(CaseTime, FaultEffect)>,
}

impl History {
    /// The initial objects, of these sizes.
    pub(crate) fn new(sizes: &[Option<u64>]) -> Self {
        let mut history = Self { keys: sizes.iter().map(|_| Key::default()).collect(), ..Self::default() };
        for (key, size) in sizes.iter().enumerate() {
            let version = size.map(|size| history.written(size));
            history.keys[key].presences.push(Presence { from: CaseTime::ZERO, until: CaseTime::MAX, version });
        }
        history
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// A version with new content, not yet stored.
    pub(crate) fn written(&mut self, size: u64) -> Version {
        self.contents += 1;
        self.copied(Version { content: self.contents, token: 0, size })
    }

    /// A version with the content of another, not yet stored.
    pub(crate) fn copied(&mut self, of: Version) -> Version {
        self.tokens += 1;
        Version { token: self.tokens, ..of }
    }

    pub(crate) fn store(&mut self, key: usize, now: CaseTime, version: Option<Version>) {
        let presences = &mut self.keys[key].presences;
        if let Some(last) = presences.last_mut() {
            last.until = now;
        }
        presences.push(Presence { from: now, until: CaseTime::MAX, version });
    }

    /// Records that a write of `key` through the stack ended or was cancelled.
    pub(crate) fn write_is_over(&mut self, key: usize, now: CaseTime) {
        self.keys[key].written.push(now);
    }

    pub(crate) fn record_fault(&mut self, key: usize, now: CaseTime, record_fault: FaultEffect) {
        self.keys[key].faults.push((now, record_fault));
    }

    pub(crate) fn present(&self, key: usize) -> Option<Version> {
        self.keys[key].presences.last().and_then(|presence| presence.version)
    }

    /// The version with this token, if `key` ever had it.
    pub(crate) fn with_token(&self, key: usize, token: u64) -> Option<Version> {
        self.versions(key).find(|version| version.token == token)
    }

    /// All versions that `key` ever had, in order.
    pub(crate) fn versions(&self, key: usize) -> impl DoubleEndedIterator<Item = Version> + '_ {
        self.keys[key].presences.iter().filter_map(|presence| presence.version)
    }

    pub(crate) fn during(&self, key: usize, interval: Interval) -> impl Iterator<Item = Option<Version>> {
        let meets = move |presence: &&Presence| presence.from <= *interval.end() && presence.until >= *interval.start();
        self.keys[key].presences.iter().filter(meets).map(|presence| presence.version)
    }

    pub(crate) fn changes(&self, key: usize, interval: Interval) -> usize {
        self.keys[key].presences.iter().skip(1).filter(|presence| interval.contains(&presence.from)).count()
    }

    /// The end of the latest write through the stack that ended before `now`. A write that ended exactly at `now` may
    /// be later than the call that asks.
    pub(crate) fn last_written(&self, key: usize, now: CaseTime) -> Option<CaseTime> {
        self.keys[key].written.iter().copied().filter(|at| *at < now).max()
    }

    pub(crate) fn faults(&self, key: usize, until: CaseTime) -> impl Iterator<Item = (CaseTime, FaultEffect)> {
        self.keys[key].faults.iter().copied().filter(move |(at, _)| *at <= until)
    }
}
