//! What the cache knows and holds: the version of each object, pages in memory, and the answers that need no request.
//!
//! [`Lookup`] sends no request and waits for nothing. `fetches` fills it, `reads` asks it first.

mod below;
mod call;
mod hits;
mod memory_tier;
mod version_table;

use std::sync::{Arc, OnceLock};
use std::{ops::Range, time::Duration};

use bytes::Bytes;
use futures::stream::BoxStream;
use headstart_fetch_core::internal::{CachedPages, ConfirmedAt, FreshUntil, MeasuredLink, Origin, byte_range};
use headstart_fetch_core::{Intent, LinkEstimate};
use object_store::{Extensions, GetOptions, GetResult, GetResultPayload, Result, path::Path};
use tokio::time::Instant;

pub(crate) use self::below::DiskBelow;
pub(crate) use self::call::{CacheCall, has_preconditions, is_portable, resolve};
use self::memory_tier::MemoryTier;
pub(crate) use self::memory_tier::{Arrival, PageKey, PageLocation};
pub(crate) use self::version_table::{ObjectHead, RequestStamp, VersionTable};
use crate::config::{CacheConfig, Freshness};
use crate::policy::{CachePlan, FirstStep, PageNeed, PageSize, SafetyRules, freshness};
use crate::stats::{CacheCounters, CacheStats};
use crate::trace_events;

/// The largest hole to fetch along where a round trip costs more; `object_store` coalesces up to the same distance.
const MAX_BRIDGE_BYTES: u64 = 1 << 20;

/// One known object for so many bytes of pages: known objects take about 3 % of the memory for pages.
const MEMORY_BYTES_PER_OBJECT: usize = 16 << 10;

/// The versions and pages that the cache holds, and the decisions about them.
pub(crate) struct Lookup {
    freshness: Freshness,
    pub(crate) pages: PageSize,
    pub(crate) versions: VersionTable,
    pub(crate) memory: MemoryTier,
    /// The disk tier below the memory, if there is one.
    pub(crate) disk: Option<DiskBelow>,
    /// The configured estimate of the link, else the first one that an answer from below carried.
    link: OnceLock<Arc<LinkEstimate>>,
    /// The zero of the cache's clock: a day before the cache was made, as layers below may have confirmed their answers
    /// earlier. None of these answers is trusted for a day.
    start: Instant,
    pub(crate) counters: Arc<CacheCounters>,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if self.disk.is_some() {
            self.memory.offer_last();
        }
    }
}

impl Lookup {
    pub(crate) fn new(
        config: &CacheConfig,
        pages: PageSize,
        rules: SafetyRules,
        counters: Arc<CacheCounters>,
        disk: Option<DiskBelow>,
    ) -> Self {
        let now = Instant::now();
        let objects = (config.memory_bytes / MEMORY_BYTES_PER_OBJECT).clamp(64, 1 << 16);
        Self {
            freshness: config.freshness,
            pages,
            versions: VersionTable::new(objects, rules),
            memory: MemoryTier::new(config, pages, Arc::clone(&counters)),
            disk,
            link: config.link.clone().map_or_else(OnceLock::new, OnceLock::from),
            start: now.checked_sub(Duration::from_secs(24 * 60 * 60)).unwrap_or(now),
            counters,
        }
    }

    /// How a call with these options uses the cache.
    #[inline]
    pub(crate) fn plan(&self, options: &GetOptions) -> CachePlan {
        CachePlan::new(self.freshness, options.extensions.get().copied(), options.head)
    }

    /// The known version that a call reads.
    pub(crate) fn known(&self, call: &CacheCall) -> Option<Arc<ObjectHead>> {
        self.versions.find(&call.path, call.version.as_deref())
    }

    /// The known version of the object and whether it may be served without a check; else the step to take instead.
    pub(crate) fn first_step(&self, call: &CacheCall) -> Result<(Arc<ObjectHead>, bool), FirstStep> {
        let head = self.known(call);
        match (freshness::first_step(&call.plan, head.as_ref().map(|head| head.summary()), self.now()), head) {
            (FirstStep::Serve, Some(head)) => Ok((head, true)),
            (FirstStep::Validate, Some(head)) => {
                trace_events::version_stale(&call.path, self.now().saturating_sub(head.asked_at));
                Ok((head, false))
            }
            (step, _) => Err(step),
        }
    }

    /// Whether a call needs no request to find its version, at the time of `stamp`.
    pub(crate) fn needs_no_request(&self, call: &CacheCall, stamp: RequestStamp) -> bool {
        let known = self.known(call).map(|head| head.summary());
        matches!(freshness::first_step(&call.plan, known, stamp.at), FirstStep::Serve | FirstStep::Bypass)
    }

    /// The stamp of a request for `path` that is sent now.
    pub(crate) fn stamp(&self, path: &Path) -> RequestStamp {
        self.versions.stamp(path, self.now())
    }

    /// Takes in an answer to `call`, and returns the version that it shows. `uncacheable`: such answers are not cached.
    pub(crate) fn record(
        &self,
        call: &CacheCall,
        stamp: RequestStamp,
        result: &GetResult,
        uncacheable: bool,
    ) -> Arc<ObjectHead> {
        if self.link.get().is_none()
            && let Some(MeasuredLink(link)) = result.extensions.get()
        {
            let _ = self.link.set(Arc::clone(link));
        }
        // A layer below may have known the version already, and says since when.
        let confirmed_at = ConfirmedAt::of(&result.extensions, self.start + stamp.at);
        let stamp = RequestStamp { at: confirmed_at.saturating_duration_since(self.start), ..stamp };
        let (meta, attributes) = (result.meta.clone(), result.attributes.clone());
        self.versions.record(&call.path, call.version.as_deref(), stamp, meta, attributes, uncacheable)
    }

    /// Whether the store is asked before a `range` beyond the end of `head` is answered.
    #[inline]
    pub(crate) fn may_have_grown(&self, plan: &CachePlan, head: &ObjectHead, range: &Range<u64>) -> bool {
        range.end > head.meta.size && plan.may_have_grown(head.meta.size, head.asked_at, range, self.now())
    }

    /// The needed bytes of a page that is in memory.
    pub(crate) fn page(&self, call: &CacheCall, head: &ObjectHead, need: &PageNeed) -> Option<Bytes> {
        let page = call.plan.reads_cache.then(|| self.memory.get(head.locate(need.page)))??;
        let at = |offset: u64| byte_range::in_memory(offset - self.pages.start(need.page));
        Some(page.slice(at(need.bytes.start)..at(need.bytes.end)))
    }

    pub(crate) fn count_hit(&self, call: &CacheCall, bytes: &Bytes) {
        call.origin.add_hit(bytes.len() as u64);
        self.counters.hit_bytes.add(bytes.len() as u64);
    }

    /// The largest hole between missing pages that costs less to fetch along than a request of its own.
    pub(crate) fn bridge_bytes(&self) -> u64 {
        self.link.get().map_or(0, |link| link.link().round_trip_bytes().min(MAX_BRIDGE_BYTES))
    }

    /// An answer from the version `head` to `call`.
    pub(crate) fn answer_call(
        &self,
        call: &CacheCall,
        head: &ObjectHead,
        range: Range<u64>,
        stream: BoxStream<'static, Result<Bytes>>,
    ) -> GetResult {
        let extensions = self.extensions(head, &call.plan, call.origin.clone(), &call.extensions);
        answer(head, range, stream, extensions)
    }

    /// The extensions of an answer from the version `head` to a request with the extensions `request`.
    fn extensions(&self, head: &ObjectHead, plan: &CachePlan, origin: Origin, request: &Extensions) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(origin);
        extensions.insert(CachedPages);
        if let Some(confirmed_at) = self.start.checked_add(head.asked_at) {
            extensions.insert(ConfirmedAt(confirmed_at));
        }
        if let Freshness::Ttl(ttl) = plan.freshness
            && let Some(until) = self.start.checked_add(head.asked_at.saturating_add(ttl))
        {
            extensions.insert(FreshUntil(until));
        }
        if request.get::<Intent>().is_some()
            && let Some(link) = self.link.get()
        {
            extensions.insert(MeasuredLink(Arc::clone(link)));
        }
        extensions
    }

    /// The part of [`CacheStats`] that is about pages, beside the counters.
    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            held_bytes: self.memory.held_bytes(),
            held_pages: self.memory.held_pages(),
            lent_bytes: self.memory.lent_bytes(),
            disk: self.disk.as_ref().map(|disk| disk.tier.stats()),
            ..self.counters.snapshot()
        }
    }

    /// Time since `start`.
    #[inline]
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

#[inline]
fn answer(
    head: &ObjectHead,
    range: Range<u64>,
    stream: BoxStream<'static, Result<Bytes>>,
    extensions: Extensions,
) -> GetResult {
    let payload = GetResultPayload::Stream(stream);
    GetResult { payload, meta: head.meta.clone(), range, attributes: head.attributes.clone(), extensions }
}
