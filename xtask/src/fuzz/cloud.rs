//! The simulated store of every case: versions with self-describing bytes, and faults, on tokio's clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use headstart_fetch_core::{ConnectionFault, Throttled};
use object_store::{Error, GetOptions, GetRange, ObjectMeta, Result, path::Path};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{
    Case, CaseTime, CloudSpec, FaultEffect, History, ObjectChange, OpenRequest, RequestFault, Span, Tokens, Version,
    WriteFault,
};

/// The text of injected errors, by which the rules recognise them.
pub(crate) const INJECTED: &str = "injected";

/// The version that a write through the stack stores. It travels in the extensions of the write's options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WrittenVersion(pub(crate) Version);

/// The store. Clones share their state.
#[derive(Debug, Clone)]
pub(crate) struct Cloud(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) spec: CloudSpec,
    began: Instant,
    history: Mutex<History>,
    pub(super) faults: BTreeMap<u64, RequestFault>,
    pub(super) write_faults: BTreeMap<u64, WriteFault>,
    outages: Vec<std::ops::Range<u64>>,
    events: Mutex<VecDeque<(u64, ObjectChange)>>,
    pub(super) requests: AtomicU64,
    pub(super) writes: AtomicU64,
    open: Arc<AtomicUsize>,
    pub(super) live_bytes: Arc<AtomicUsize>,
}

impl Cloud {
    /// The store of `case`; its time starts now.
    pub(crate) fn new(case: &Case) -> Self {
        let mut events = case.events.clone();
        events.sort_by_key(|(ms, _)| *ms);
        Self(Arc::new(Shared {
            spec: case.cloud.clone(),
            began: Instant::now(),
            history: Mutex::new(History::new(&case.objects)),
            faults: case.faults.iter().copied().collect(),
            write_faults: case.write_faults.iter().copied().collect(),
            outages: case.outages.clone(),
            events: Mutex::new(events.into()),
            requests: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            open: Arc::default(),
            live_bytes: Arc::default(),
        }))
    }

    pub(crate) fn now(&self) -> CaseTime {
        self.0.began.elapsed()
    }

    pub(crate) fn history<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        look(&mut self.0.history.lock())
    }

    /// Requests whose answer or body has not ended.
    pub(crate) fn open_requests(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Bytes of chunks that are still referenced.
    pub(crate) fn live_bytes(&self) -> usize {
        self.0.live_bytes.load(Ordering::Relaxed)
    }

    /// The metadata that the store sends with a version.
    pub(crate) fn meta(&self, key: usize, version: &Version) -> ObjectMeta {
        let epoch = DateTime::<Utc>::UNIX_EPOCH;
        let dated = !matches!(self.0.spec.tokens, Tokens::Nothing | Tokens::Weak);
        // Years ago, because recent dates do not count as validators. Ten seconds apart, so that versions differ.
        let seconds = if dated { 1_500_000_000 + 10 * i64::try_from(version.token).expect("few") } else { 0 };
        ObjectMeta {
            location: path(key),
            last_modified: epoch + TimeDelta::seconds(seconds),
            size: version.size,
            e_tag: match self.0.spec.tokens {
                Tokens::Strong | Tokens::Generation => Some(format!("\"{}\"", version.token)),
                Tokens::Weak | Tokens::WeakModified => Some(format!("W/\"{}\"", version.token / 2)),
                Tokens::Modified | Tokens::Nothing => None,
            },
            version: (self.0.spec.tokens == Tokens::Generation).then(|| version.token.to_string()),
        }
    }

    /// Makes a change out of band: the stack does not see it.
    pub(crate) fn change(&self, change: ObjectChange) {
        let now = self.now();
        self.history(|history| match change {
            ObjectChange::Put { key, size } => {
                let version = history.written(size);
                history.store(key, now, Some(version));
            }
            ObjectChange::Delete { key } => history.store(key, now, None),
        });
    }

    /// Makes the case's out-of-band changes at their times. Returns after the last.
    pub(crate) async fn make_changes(&self) {
        loop {
            let Some((ms, change)) = self.0.events.lock().front().copied() else { return };
            let due = Duration::from_millis(ms);
            let now = self.now();
            if now < due {
                sleep(due - now).await;
            } else if self.0.events.lock().pop_front().is_some() {
                self.change(change);
            }
        }
    }

    pub(super) fn counted(&self) -> OpenRequest {
        OpenRequest::new(&self.0.open)
    }

    pub(super) async fn half_way(&self) {
        sleep(Duration::from_millis(self.0.spec.ttfb_ms) / 2).await;
    }

    /// The error of a request for `key`, if `fault` is one or the store has an outage.
    pub(super) fn refusal(&self, key: usize, fault: Option<RequestFault>) -> Option<Error> {
        let now = self.now();
        let ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let out = self.0.outages.iter().any(|outage| outage.contains(&ms));
        let (error, retry_after) = match fault {
            Some(RequestFault::Throttled { retry_after_ms }) => {
                let retry_after = retry_after_ms.map(Duration::from_millis);
                (generic(Throttled { status: 503, retry_after }), retry_after.unwrap_or_default())
            }
            Some(RequestFault::Reset) => (injected("connection reset"), Duration::ZERO),
            _ if out => (injected("connection refused"), Duration::ZERO),
            _ => return None,
        };
        self.history(|history| history.record_fault(key, now, FaultEffect::Transient { retry_after }));
        Some(error)
    }

    /// The version that a request reads, and the range of its bytes.
    pub(super) fn find(&self, key: usize, options: &GetOptions) -> Result<(Version, std::ops::Range<u64>)> {
        let present = self.history(|history| match &options.version {
            Some(named) if self.0.spec.tokens == Tokens::Generation => {
                let named = named.parse().ok().and_then(|token| history.with_token(key, token));
                named.filter(|named| self.0.spec.keeps_versions || history.present(key) == Some(*named))
            }
            _ => history.present(key),
        });
        let not_found = || Error::NotFound { path: path(key).to_string(), source: "no such object".into() };
        let version = present.ok_or_else(not_found)?;
        let mut conditions = options.clone();
        if !self.0.spec.honours_pins {
            (conditions.if_match, conditions.if_none_match) = (None, None);
        }
        conditions.check_preconditions(&self.meta(key, &version))?;
        let range = match &options.range {
            _ if options.head => 0..version.size,
            Some(range) => range.as_range(version.size).map_err(generic)?,
            None => 0..version.size,
        };
        Ok((version, range))
    }

    pub(super) fn listed(&self) -> Vec<ObjectMeta> {
        self.history(|history| {
            (0..history.len()).filter_map(|key| Some(self.meta(key, &history.present(key)?))).collect()
        })
    }
}

pub(crate) fn path(key: usize) -> Path {
    Path::from(format!("k{key}"))
}

pub(super) fn key(location: &Path) -> usize {
    let number = location.as_ref().strip_prefix('k').and_then(|number| number.parse().ok());
    number.expect("only paths of the case are used")
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: "Cloud", source: Box::new(source) }
}

pub(super) fn injected(what: &str) -> Error {
    generic(Injected { what: what.to_owned(), fault: ConnectionFault })
}

/// An injected fault, which a retry may pass.
#[derive(Debug)]
struct Injected {
    what: String,
    fault: ConnectionFault,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{INJECTED}: {}", self.what)
    }
}

impl std::error::Error for Injected {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cloud")
    }
}

pub(crate) fn get_range(span: &Span) -> Option<GetRange> {
    match span {
        Span::Whole => None,
        Span::Bounded(range) => Some(GetRange::Bounded(range.clone())),
        Span::Offset(start) => Some(GetRange::Offset(*start)),
        Span::Suffix(n) => Some(GetRange::Suffix(*n)),
    }
}
