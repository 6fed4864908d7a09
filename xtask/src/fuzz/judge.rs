//! What an answer may be, given the history. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use headstart_cache::Freshness;
use headstart_fetch_core::CacheHint;

use super::case::{Case, Turns};
use super::evidence::{Evidence, name};
use super::failure::{Failure, Trouble};
use super::history::{At, History, Hit, Version};
use super::op::Span;

/// The longest pause between two tries, and some.
const LONGEST_PAUSE: Duration = Duration::from_secs(11);

/// How old an answer may be; `None`: any age.
pub(crate) type Window = Option<Duration>;

/// What kind of call it is, as far as freshness goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bounded range of the present version, which read-ahead may answer.
    Bounded,
    /// Any other get, or a head.
    Other,
    /// A read of a `Reader`.
    Reader,
    /// `CacheStore::warm`.
    Warm,
}

/// The promises of one stack.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    cache: Window,
    has_cache: bool,
    max_age: Duration,
    /// Retries and their time, where something retries.
    retries: Option<(usize, Duration)>,
    /// The calls that do not pass by what retries, because they begin below it.
    below: Vec<Kind>,
    /// Two runtimes' clocks differ by a little.
    slack: Duration,
    /// What retries is not the lowest layer: a request that fails below may break a body that it reads.
    has_layers_below: bool,
    keeps_versions: bool,
    /// Readers see one version; without tokens nobody can say so.
    pub(crate) tells_versions: bool,
}

/// A condition, with the token that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    IfMatch(u64),
    IfNoneMatch(u64),
    Version(u64),
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) key: usize,
    pub(crate) kind: Kind,
    pub(crate) began: At,
    pub(crate) ended: At,
    pub(crate) window: Window,
    pub(crate) spans: Vec<Span>,
    pub(crate) named: Option<Named>,
    /// A reader's manners: past the end is empty.
    pub(crate) is_file: bool,
    /// The reader knows its version.
    pub(crate) is_pinned: bool,
}

impl Rules {
    pub(crate) fn of(case: &Case) -> Self {
        let cache = case.cache();
        let window = match cache.map(|cache| cache.freshness) {
            None | Some(Freshness::EveryRead) => Some(Duration::ZERO),
            Some(Freshness::Ttl(ttl)) => Some(ttl),
            Some(Freshness::Immutable | Freshness::OnOpen) => None,
        };
        let place = |initial| case.order().find(initial);
        let is_below = |initial| place(initial) < place('F');
        Self {
            below: [(Kind::Reader, 'P'), (Kind::Warm, 'C')]
                .into_iter()
                .filter_map(|(kind, initial)| is_below(initial).then_some(kind))
                .collect(),
            cache: window,
            has_cache: cache.is_some(),
            max_age: case.prefetch().map_or(Duration::ZERO, |spec| Duration::from_millis(spec.max_age_ms)),
            retries: case.fetch().map(|spec| (spec.retries, Duration::from_secs(spec.retry_timeout_s))),
            slack: Duration::from_millis(if case.turns == Turns::One { 0 } else { 2 }),
            has_layers_below: place('F').is_some_and(|place| place > 0),
            keeps_versions: case.cloud.keeps_versions,
            tells_versions: case.cloud.tokens.tell_versions(),
        }
    }

    /// How old the answer to a call may be. Windows of several layers do not add up.
    pub(crate) fn window(&self, kind: Kind, hint: Option<CacheHint>) -> Window {
        let ahead =
            if matches!(kind, Kind::Other | Kind::Warm) || hint.is_some() { Duration::ZERO } else { self.max_age };
        let cache = match hint {
            Some(CacheHint::Bypass | CacheHint::Refetch) => Some(Duration::ZERO),
            Some(CacheHint::Immutable) if self.has_cache => None,
            _ => self.cache,
        };
        cache.map(|cache| cache.max(ahead))
    }

    /// The time in which what answers `asked` must have been there.
    fn interval(&self, history: &History, asked: &Asked) -> RangeInclusive<At> {
        let oldest = asked.window.map_or(At::ZERO, |window| asked.began.saturating_sub(window));
        let written = history.last_written(asked.key, asked.began).unwrap_or_default();
        oldest.max(written).saturating_sub(self.slack)..=asked.ended
    }

    /// Whether `version` may answer `asked`.
    fn allows(&self, history: &History, asked: &Asked, version: Version) -> bool {
        match asked.named {
            Some(Named::Version(token)) => version.token == token,
            Some(Named::IfMatch(token)) if version.token != token => false,
            Some(Named::IfNoneMatch(token)) if version.token == token => false,
            _ => history.during(asked.key, self.interval(history, asked)).any(|present| present == Some(version)),
        }
    }

    /// Judges what `asked` for `span` was answered, wholly or, where not `is_whole`, so far. Returns the versions it can be of.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub(crate) fn bytes(
        &self,
        history: &History,
        asked: &Asked,
        span: &Span,
        evidence: &Evidence,
        is_whole: bool,
    ) -> Result<Vec<Version>, Failure> {
        if !evidence.proves(span, is_whole) {
            return Ok(evidence.versions.clone());
        }
        let fresh: Vec<Version> =
            evidence.versions.iter().copied().filter(|version| self.allows(history, asked, *version)).collect();
        if fresh.is_empty() && evidence.versions.is_empty() {
            let what = format!("k{}: {} bytes of an object that never was", asked.key, evidence.seen);
            return Err(Failure::new("wrong bytes", what));
        }
        if fresh.is_empty() {
            return Err(self.stale(history, asked, &evidence.versions));
        }
        let unnoticed = self.retries(asked).is_none() && self.hits(history, asked).any(|(_, hit)| hit != Hit::TooLong);
        let fits = |version: &&Version| {
            let range = match span.of(version.size) {
                Ok(range) => range,
                Err(_) if asked.is_file => return evidence.seen == 0,
                Err(_) => return false,
            };
            let start = evidence.start.is_none_or(|start| start == range.start);
            let len = range.end - range.start;
            start && (evidence.seen == len || evidence.seen < len && (!is_whole || unnoticed))
        };
        let fitting: Vec<Version> = fresh.iter().filter(fits).copied().collect();
        if fitting.is_empty() {
            let versions: Vec<String> = fresh.iter().map(|version| name(Some(*version))).collect();
            let (start, seen) = (evidence.start, evidence.seen);
            let what = format!("k{} {span:?}: {seen} bytes from {start:?} of {}", asked.key, versions.join(" or "));
            return Err(Failure::new("wrong length", what));
        }
        Ok(fitting)
    }

    fn stale(&self, history: &History, asked: &Asked, found: &[Version]) -> Failure {
        let interval = self.interval(history, asked);
        let tell = |versions: Vec<Option<Version>>| versions.into_iter().map(name).collect::<Vec<_>>().join(", ");
        let allowed = tell(history.during(asked.key, interval.clone()).collect());
        let found = tell(found.iter().copied().map(Some).collect());
        let what = format!(
            "k{} asked at {:?}, answered at {:?}: {found}; from {:?} on there was {allowed}; {:?}",
            asked.key,
            asked.began,
            asked.ended,
            interval.start(),
            asked.named,
        );
        Failure::new("stale", what)
    }

    /// Judges what a `head` said.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub(crate) fn head(
        &self,
        history: &History,
        asked: &Asked,
        is: impl Fn(&Version) -> bool,
    ) -> Result<Vec<Version>, Failure> {
        let found: Vec<Version> = history.versions(asked.key).filter(|version| is(version)).collect();
        if found.is_empty() {
            return Err(Failure::new("wrong head", format!("k{}: of no version", asked.key)));
        }
        let fresh: Vec<Version> =
            found.iter().copied().filter(|version| self.allows(history, asked, *version)).collect();
        if fresh.is_empty() { Err(self.stale(history, asked, &found)) } else { Ok(fresh) }
    }

    /// Judges an error.
    ///
    /// # Errors
    /// Where the bare store would not have said so.
    pub(crate) fn trouble(&self, history: &History, asked: &Asked, trouble: &Trouble) -> Result<(), Failure> {
        let interval = self.interval(history, asked);
        let key = asked.key;
        let mut present = history.during(key, interval.clone());
        let has = |token: u64| move |version: Option<Version>| version.is_some_and(|version| version.token == token);
        let allowed = match trouble {
            Trouble::NotFound => match asked.named {
                Some(Named::Version(token)) => !self.keeps_versions && !present.all(has(token)),
                _ => present.any(|version| version.is_none()),
            },
            Trouble::Changed => history.changes(key, interval.clone()) > 0,
            Trouble::Range => self.has_no_such_range(history, asked),
            Trouble::NotModified => matches!(asked.named, Some(Named::IfNoneMatch(token)) if present.any(has(token))),
            Trouble::Precondition => matches!(asked.named, Some(Named::IfMatch(token)) if !present.all(has(token))),
            Trouble::Injected(_) | Trouble::Other(_) => self.excuses(history, asked),
        };
        if allowed {
            return Ok(());
        }
        let was: Vec<String> = history.during(key, interval.clone()).map(name).collect();
        let hits = self.hits(history, asked).count();
        let what = format!(
            "k{key} asked at {:?}, answered at {:?}: {trouble:?}; from {:?} on there was {}; {} changes, {hits} faults; {:?}",
            asked.began,
            asked.ended,
            interval.start(),
            was.join(", "),
            history.changes(key, interval.clone()),
            asked.named,
        );
        Err(Failure::new(trouble_class(trouble), what))
    }

    /// Whether a range that `asked` names does not exist.
    fn has_no_such_range(&self, history: &History, asked: &Asked) -> bool {
        let fails = |version: Version| asked.spans.iter().any(|span| span.of(version.size).is_err());
        if let Some(Named::Version(token)) = asked.named {
            return history.with_token(asked.key, token).is_some_and(fails);
        }
        if asked.is_file {
            // A reader asks how long its object is where a range is past its end. That may fail, or come too late.
            let changed = !asked.is_pinned && history.changes(asked.key, self.interval(history, asked)) > 0;
            let mut present = history.during(asked.key, self.interval(history, asked));
            return (changed || self.excuses(history, asked)) && present.any(|version| version.is_some_and(fails));
        }
        // An error is not remembered: whoever says that a range is past the end has looked, unless objects never change.
        let asked = &Asked { window: asked.window.map(|_| Duration::ZERO), ..asked.clone() };
        let mut present = history.during(asked.key, self.interval(history, asked));
        asked.spans.iter().any(Span::is_empty) || present.any(|version| version.is_some_and(fails))
    }

    fn hits<'a>(&self, history: &'a History, asked: &Asked) -> impl Iterator<Item = (At, Hit)> + use<'a> {
        history.hits(asked.key, asked.ended)
    }

    /// How often what `asked` leads to is tried again, and how long. Where nothing does so, bodies may end early unnoticed, as those
    /// of the bare client do.
    fn retries(&self, asked: &Asked) -> Option<(usize, Duration)> {
        self.retries.filter(|_| !self.below.contains(&asked.kind))
    }

    /// Whether what was injected explains an error that retries should have hidden.
    fn excuses(&self, history: &History, asked: &Asked) -> bool {
        let hits: Vec<(At, Hit)> = self.hits(history, asked).collect();
        let Some((first, _)) = hits.first() else { return false };
        let Some((retries, timeout)) = self.retries(asked) else { return true };
        // Where nobody can tell whether the object is still the same, a body that broke off does not go on.
        let breaks_bodies = |hit: Hit| hit == Hit::Broken || self.has_layers_below;
        let is_final = |hit: Hit| hit == Hit::TooLong || breaks_bodies(hit) && !self.tells_versions;
        if hits.len() > retries || hits.iter().any(|(_, hit)| is_final(*hit)) {
            return true;
        }
        let asked_for = hits.iter().map(|(_, hit)| match hit {
            Hit::Transient { retry_after } => *retry_after,
            Hit::Broken | Hit::TooLong => Duration::ZERO,
        });
        let tried = asked.ended.saturating_sub(*first.min(&asked.began));
        tried + asked_for.max().unwrap_or_default() + LONGEST_PAUSE >= timeout
    }
}

fn trouble_class(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::NotFound => "NotFound without cause",
        Trouble::NotModified => "NotModified without cause",
        Trouble::Precondition => "Precondition without cause",
        Trouble::Changed => "ObjectChanged without cause",
        Trouble::Range => "range error without cause",
        Trouble::Injected(_) => "injected error not retried",
        Trouble::Other(_) => "error without cause",
    }
}
