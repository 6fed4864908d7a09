//! Answers from memory alone: no task, no request, nothing to wait for. This is the hot path.

use std::{ops::Range, sync::Arc};

use bytes::{Buf, Bytes};
use futures::future;
use futures::stream::{self, StreamExt};
use headstart_fetch_core::Intent;
use headstart_fetch_core::internal::{Origin, byte_range};
use object_store::{Extensions, GetOptions, GetRange, GetResult, path::Path};

use super::{Lookup, ObjectHead, answer};
use crate::policy::{CachePlan, FirstStep, freshness};

/// One page that is in memory, or a part of it.
pub(crate) struct PageHit {
    head: Arc<ObjectHead>,
    range: Range<u64>,
    bytes: Bytes,
}

impl Lookup {
    /// The answer to `get_opts`, where a single page in memory contains it and the store need not be asked.
    #[inline]
    pub(crate) fn hit(&self, path: &Path, options: &GetOptions) -> Option<PageHit> {
        let Some(GetRange::Bounded(range)) = &options.range else { return None };
        if options.head || range.start >= range.end {
            return None;
        }
        let plan = self.plan(options);
        let head = self.trusted(path, &plan)?;
        // `reads` handles named versions, failed preconditions and ranges beyond the known end.
        if options.version.is_some()
            || options.check_preconditions(&head.meta).is_err()
            || self.may_have_grown(&plan, &head, range)
        {
            return None;
        }
        let range = range.start..range.end.min(head.meta.size);
        let page = self.only_page(&range)?;
        let mut bytes = self.memory.get(head.locate(page))?;
        bytes.advance(byte_range::in_memory(range.start - self.pages.start(page)));
        bytes.truncate(byte_range::in_memory(byte_range::len(&range)));
        self.counters.hits.add(1);
        self.counters.hit_bytes.add(bytes.len() as u64);
        Some(PageHit { head, range, bytes })
    }

    /// The result for a `hit`. Only answers to an [`Intent`] get extensions: these cost as much as finding the page.
    #[inline]
    pub(crate) fn answer_hit(&self, hit: PageHit, options: &GetOptions) -> GetResult {
        let PageHit { head, range, bytes } = hit;
        let extensions = if options.extensions.get::<Intent>().is_some() {
            let origin = Origin::default();
            origin.add_hit(bytes.len() as u64);
            self.extensions(&head, &self.plan(options), origin, &options.extensions)
        } else {
            Extensions::new()
        };
        answer(&head, range, stream::once(future::ready(Ok(bytes))).boxed(), extensions)
    }

    /// The answer to `get_ranges`, where each range lies in a page in memory and the store need not be asked.
    pub(crate) fn hits(&self, path: &Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        let plan = self.plan(&GetOptions::new());
        let head = self.trusted(path, &plan)?;
        if ranges.iter().any(|range| self.may_have_grown(&plan, &head, range)) {
            return None;
        }
        // All or none: a page that is read here, and again by `reads`, would count as read twice.
        let mut before = None;
        for range in ranges {
            let page = self.only_page(&(range.start..range.end.min(head.meta.size)))?;
            if before.replace(page) != Some(page) && !self.memory.has(head.locate(page)) {
                return None;
            }
        }
        let (mut last, mut pages, mut bytes) = (None, 0, 0);
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let range = range.start..range.end.min(head.meta.size);
            let page = self.only_page(&range)?;
            let page_bytes = match &last {
                Some((at, page_bytes)) if *at == page => page_bytes,
                _ => {
                    pages += 1;
                    &last.insert((page, self.memory.get(head.locate(page))?)).1
                }
            };
            let at = |offset: u64| byte_range::in_memory(offset - self.pages.start(page));
            parts.push(page_bytes.slice(at(range.start)..at(range.end)));
            bytes += byte_range::len(&range);
        }
        self.counters.hits.add(pages);
        self.counters.hit_bytes.add(bytes);
        Some(parts)
    }

    /// The known version of `path`, where it may be served without a check.
    #[inline]
    fn trusted(&self, path: &Path, plan: &CachePlan) -> Option<Arc<ObjectHead>> {
        let head = self.versions.find(path, None)?;
        (freshness::first_step(plan, Some(head.summary()), self.now()) == FirstStep::Serve).then_some(head)
    }

    /// The page that contains all of `range`, if there is one.
    fn only_page(&self, range: &Range<u64>) -> Option<u64> {
        let page = self.pages.of(range.start);
        (range.start < range.end && self.pages.of(range.end - 1) == page).then_some(page)
    }
}
