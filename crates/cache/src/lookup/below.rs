//! The disk tier, as the cache sees it: pages of versions, in place of names on disk.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use tokio::time::Instant;

use super::{Arrival, CacheCall, Lookup, ObjectHead};
use crate::disk::{DiskNames, DiskPage, DiskTier};

/// The disk tier below the memory.
pub(crate) struct DiskBelow {
    pub(crate) tier: Arc<dyn DiskTier>,
    pub(crate) names: DiskNames,
}

/// Offers a page to the disk when it is read from memory for the second time.
#[derive(Clone)]
pub(crate) struct OfferUsed {
    tier: Arc<dyn DiskTier>,
    page: DiskPage,
}

impl OfferUsed {
    pub(crate) fn offer(&self, bytes: &Bytes) {
        self.tier.offer_used(&self.page, bytes);
    }

    pub(crate) fn offer_last(&self, bytes: &Bytes) {
        self.tier.offer_last(&self.page, bytes);
    }
}

impl Lookup {
    /// The disk tier, and what a page of the version `head` of `path` is called there; `None` where it is not kept on
    /// disk.
    pub(crate) fn disk_page(
        &self,
        path: &Path,
        head: &ObjectHead,
        page: u64,
    ) -> Option<(&Arc<dyn DiskTier>, DiskPage)> {
        let disk = self.disk.as_ref()?;
        let name = || disk.names.object(path, &head.version);
        let object = head.on_disk.get_or_init(name).as_ref()?;
        let bytes = head.meta.size.saturating_sub(self.pages.start(page)).min(self.pages.bytes());
        Some((&disk.tier, object.page(page, bytes)?))
    }

    /// Whether `page` is on disk, for all that is known.
    pub(crate) fn is_on_disk(&self, call: &CacheCall, head: &ObjectHead, page: u64) -> bool {
        call.plan.reads_cache && self.disk_page(&call.path, head, page).is_some_and(|(tier, page)| tier.has(&page))
    }

    /// Whether `page` is in memory or on disk.
    pub(crate) fn has_page(&self, call: &CacheCall, head: &ObjectHead, page: u64) -> bool {
        self.memory.has(head.locate(page)) || self.is_on_disk(call, head, page)
    }

    /// Whether pages of some version of `path` may be on disk.
    pub(crate) fn may_be_on_disk(&self, path: &Path) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.tier.may_have(disk.names.path_tag(path)))
    }

    /// A request that was sent at `begun` was answered: the disk is waited for as long as it is sooner.
    pub(crate) fn link_took(&self, begun: Instant) {
        if let Some(disk) = &self.disk {
            disk.tier.link_took(begun.elapsed());
        }
    }

    /// Keeps a page that was fetched: in memory, and on disk where that takes it.
    pub(crate) fn keep_fetched(&self, path: &Path, head: &ObjectHead, page: u64, bytes: Bytes, arrival: Arrival) {
        let later = self.disk_page(path, head, page).and_then(|(tier, page)| {
            let is_taken = tier.offer_fetched(&page, &bytes);
            (!is_taken).then(|| OfferUsed { tier: Arc::clone(tier), page })
        });
        self.memory.insert_offering(head.locate(page), bytes, arrival, later);
    }
}
