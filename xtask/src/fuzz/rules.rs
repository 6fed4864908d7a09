//! Which answers are allowed, given the history of the store.

use std::time::Duration;

use headstart_cache::Freshness;
use headstart_fetch_core::CacheHint;

use super::{
    Case, CaseTime, Checked, ErrorKind, Evidence, Failure, FaultEffect, History, Interval, Span, Turns, Version,
    evidence::name,
};

/// A little more than the longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(11);

/// The greatest age of an answer; `None` for any age.
pub(crate) type Window = Option<Duration>;

/// The kind of a call, as far as freshness depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// A bounded range of the current version, which read-ahead may serve.
    Bounded,
    /// Any other get, or a head.
    Other,
    /// A read of a `Reader`.
    Reader,
    /// `CacheStore::warm`.
    Warm,
    /// `PrefetchStore::objects`, which passes by the bytes that were fetched ahead for calls.
    List,
}

#[derive(Debug, Clone)]
pub(crate) struct Rules {
    cache: Window,
    has_cache: bool,
    max_age: Duration,
    /// The number of retries and the retry timeout, if there is a fetch layer.
    retries: Option<(usize, Duration)>,
    /// Calls that enter the stack below the fetch layer, and so are not retried.
    below: Vec<CallKind>,
    /// The clocks of two runtimes differ slightly.
    slack: Duration,
    /// There are layers below the fetch layer. A failed request below may then end a body early.
    has_layers_below: bool,
    keeps_versions: bool,
    /// Whether validators distinguish versions. Without them a reader cannot stay on one version.
    pub(crate) tells_versions: bool,
}

/// A condition with its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedToken {
    IfMatch(u64),
    IfNoneMatch(u64),
    Version(u64),
}

/// A call and the rules that its options imply.
#[derive(Debug, Clone)]
pub(crate) struct CallRecord {
    pub(crate) key: usize,
    pub(crate) kind: CallKind,
    pub(crate) began: CaseTime,
    pub(crate) ended: CaseTime,
    pub(crate) window: Window,
    pub(crate) spans: Vec<Span>,
    pub(crate) named: Option<NamedToken>,
    /// A read of a `Reader`: it returns nothing past the end instead of failing.
    pub(crate) is_file: bool,
    /// Whether the reader has a version already.
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
            below: [(CallKind::Reader, 'P'), (CallKind::List, 'P'), (CallKind::Warm, 'C')]
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

    /// The greatest age of the answer to a call. Windows of several layers do not add up.
    pub(crate) fn window(&self, kind: CallKind, hint: Option<CacheHint>) -> Window {
        let ahead = if matches!(kind, CallKind::Other | CallKind::Warm | CallKind::List) || hint.is_some() {
            Duration::ZERO
        } else {
            self.max_age
        };
        let cache = match hint {
            Some(CacheHint::Bypass | CacheHint::Refetch) => Some(Duration::ZERO),
            Some(CacheHint::Immutable) if self.has_cache => None,
            _ => self.cache,
        };
        cache.map(|cache| cache.max(ahead))
    }

    /// The interval in which the version of an answer must have been stored.
    fn interval(&self, history: &History, call: &CallRecord) -> Interval {
        let oldest = call.window.map_or(CaseTime::ZERO, |window| call.began.saturating_sub(window));
        let written = history.last_written(call.key, call.began).unwrap_or_default();
        oldest.max(written).saturating_sub(self.slack)..=call.ended + self.slack
    }

    fn allows(&self, history: &History, call: &CallRecord, version: Version) -> bool {
        match call.named {
            Some(NamedToken::Version(token)) => version.token == token,
            Some(NamedToken::IfMatch(token)) if version.token != token => false,
            Some(NamedToken::IfNoneMatch(token)) if version.token == token => false,
            _ => history.during(call.key, self.interval(history, call)).any(|present| present == Some(version)),
        }
    }

    /// Checks the bytes of an answer to `call` for `span`. If not `is_whole`, more bytes follow. Returns the versions
    /// that the answer can belong to.
    ///
    /// # Errors
    /// The rule that the answer breaks.
    pub(crate) fn check_bytes(
        &self,
        history: &History,
        call: &CallRecord,
        span: &Span,
        evidence: &Evidence,
        is_whole: bool,
    ) -> Checked<Vec<Version>> {
        if !evidence.proves(span, is_whole) {
            return Ok(evidence.versions.clone());
        }
        let is_fresh = |version: &Version| self.allows(history, call, *version);
        let fresh: Vec<Version> = evidence.versions.iter().copied().filter(is_fresh).collect();
        if fresh.is_empty() && evidence.versions.is_empty() {
            let what = format!("k{}: {} bytes of an object that never was", call.key, evidence.seen);
            return Err(Failure::new("wrong bytes", what));
        }
        if fresh.is_empty() {
            return Err(self.stale(history, call, &evidence.versions));
        }
        let unnoticed = self.retries(call).is_none()
            && history.faults(call.key, call.ended).any(|(_, effect)| effect != FaultEffect::TooLong);
        let fits = |version: &&Version| {
            let range = match span.of(version.size) {
                Some(range) => range,
                None => return call.is_file && evidence.seen == 0,
            };
            let start = evidence.start.is_none_or(|start| start == range.start);
            let len = range.end - range.start;
            start && (evidence.seen == len || evidence.seen < len && (!is_whole || unnoticed))
        };
        let fitting: Vec<Version> = fresh.iter().filter(fits).copied().collect();
        if fitting.is_empty() {
            let versions: Vec<String> = fresh.iter().map(|version| name(Some(*version))).collect();
            let (start, seen) = (evidence.start, evidence.seen);
            let what = format!("k{} {span:?}: {seen} bytes from {start:?} of {}", call.key, versions.join(" or "));
            return Err(Failure::new("wrong length", what));
        }
        Ok(fitting)
    }

    fn stale(&self, history: &History, call: &CallRecord, found: &[Version]) -> Failure {
        let interval = self.interval(history, call);
        let tell = |versions: Vec<Option<Version>>| versions.into_iter().map(name).collect::<Vec<_>>().join(", ");
        let allowed = tell(history.during(call.key, interval.clone()).collect());
        let found = tell(found.iter().copied().map(Some).collect());
        let what = format!(
            "k{} began at {:?}, answered at {:?}: {found}; from {:?} on there was {allowed}; {:?}",
            call.key,
            call.began,
            call.ended,
            interval.start(),
            call.named,
        );
        Failure::new("stale", what)
    }

    /// Checks the answer to a `head`.
    ///
    /// # Errors
    /// The rule that the answer breaks.
    pub(crate) fn check_head(
        &self,
        history: &History,
        call: &CallRecord,
        is: impl Fn(&Version) -> bool,
    ) -> Checked<Vec<Version>> {
        let found: Vec<Version> = history.versions(call.key).filter(|version| is(version)).collect();
        if found.is_empty() {
            return Err(Failure::new("wrong head", format!("k{}: of no version", call.key)));
        }
        let fresh: Vec<Version> =
            found.iter().copied().filter(|version| self.allows(history, call, *version)).collect();
        if fresh.is_empty() { Err(self.stale(history, call, &found)) } else { Ok(fresh) }
    }

    /// Checks an error.
    ///
    /// # Errors
    /// If the bare store would not have returned the error.
    pub(crate) fn check_error(&self, history: &History, call: &CallRecord, error_kind: &ErrorKind) -> Checked {
        let interval = self.interval(history, call);
        let key = call.key;
        let mut present = history.during(key, interval.clone());
        let has = |token: u64| move |version: Option<Version>| version.is_some_and(|version| version.token == token);
        let allowed = match error_kind {
            ErrorKind::NotFound => match call.named {
                Some(NamedToken::Version(token)) => !self.keeps_versions && !present.all(has(token)),
                _ => present.any(|version| version.is_none()),
            },
            ErrorKind::Changed => history.changes(key, interval.clone()) > 0,
            ErrorKind::Range => self.has_no_such_range(history, call),
            ErrorKind::NotModified => {
                matches!(call.named, Some(NamedToken::IfNoneMatch(token)) if present.any(has(token)))
            }
            ErrorKind::Precondition => {
                matches!(call.named, Some(NamedToken::IfMatch(token)) if !present.all(has(token)))
            }
            ErrorKind::Injected(_) | ErrorKind::Other(_) => self.excuses(history, call),
        };
        if allowed {
            return Ok(());
        }
        let was: Vec<String> = history.during(key, interval.clone()).map(name).collect();
        let faults = history.faults(call.key, call.ended).count();
        let what = format!(
            "k{key} began at {:?}, answered at {:?}: {error_kind:?}; from {:?} on there was {}; {} changes, \
             {faults} faults; {:?}",
            call.began,
            call.ended,
            interval.start(),
            was.join(", "),
            history.changes(key, interval.clone()),
            call.named,
        );
        Err(Failure::new(error_class(error_kind), what))
    }

    /// Whether a range of `call` does not exist.
    fn has_no_such_range(&self, history: &History, call: &CallRecord) -> bool {
        let fails = |version: Version| call.spans.iter().any(|span| span.of(version.size).is_none());
        if let Some(NamedToken::Version(token)) = call.named {
            return history.with_token(call.key, token).is_some_and(fails);
        }
        if call.is_file {
            // If a range lies past the end, a reader requests the size. That may fail, or see a later version.
            let changed = !call.is_pinned && history.changes(call.key, self.interval(history, call)) > 0;
            let mut present = history.during(call.key, self.interval(history, call));
            return (changed || self.excuses(history, call)) && present.any(|version| version.is_some_and(fails));
        }
        // Errors are not cached: a layer asks the store about a range past the end, unless objects are immutable.
        let call = &CallRecord { window: call.window.map(|_| Duration::ZERO), ..call.clone() };
        let mut present = history.during(call.key, self.interval(history, call));
        call.spans.iter().any(Span::is_empty) || present.any(|version| version.is_some_and(fails))
    }

    /// The retries that apply to `call`. Without retries, bodies may end early unnoticed, as with the bare client.
    fn retries(&self, call: &CallRecord) -> Option<(usize, Duration)> {
        self.retries.filter(|_| !self.below.contains(&call.kind))
    }

    /// Whether injected faults explain an error that retries should have hidden.
    fn excuses(&self, history: &History, call: &CallRecord) -> bool {
        let faults: Vec<(CaseTime, FaultEffect)> = history.faults(call.key, call.ended).collect();
        let Some((first, _)) = faults.first() else { return false };
        let Some((retries, timeout)) = self.retries(call) else { return true };
        // Without validators, a body that ended early cannot be resumed.
        let breaks_bodies = |effect: FaultEffect| effect == FaultEffect::Broken || self.has_layers_below;
        let is_final =
            |effect: FaultEffect| effect == FaultEffect::TooLong || breaks_bodies(effect) && !self.tells_versions;
        if faults.len() > retries || faults.iter().any(|(_, effect)| is_final(*effect)) {
            return true;
        }
        let asked_for = faults.iter().map(|(_, effect)| match effect {
            FaultEffect::Transient { retry_after } => *retry_after,
            FaultEffect::Broken | FaultEffect::TooLong => Duration::ZERO,
        });
        let tried = call.ended.saturating_sub(*first.min(&call.began));
        tried + asked_for.max().unwrap_or_default() + LONGEST_PAUSE >= timeout
    }
}

fn error_class(error_kind: &ErrorKind) -> &'static str {
    match error_kind {
        ErrorKind::NotFound => "NotFound without cause",
        ErrorKind::NotModified => "NotModified without cause",
        ErrorKind::Precondition => "Precondition without cause",
        ErrorKind::Changed => "ObjectChanged without cause",
        ErrorKind::Range => "range error without cause",
        ErrorKind::Injected(_) => "injected error not retried",
        ErrorKind::Other(_) => "error without cause",
    }
}
