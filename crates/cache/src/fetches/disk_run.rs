//! Fetches that read a run of pages from disk. Readers join them as they join fetches from the store, so a page is read
//! once. Pages that the disk does not have after all, or not soon, come from the store.

use std::sync::{Arc, atomic::Ordering};
use std::{iter, ops::Range};

use bytes::Bytes;
use object_store::Result;
use tokio::runtime::Handle;

use super::fetch::FetchOutcome;
use super::launch::launch;
use super::{Fetches, fill_body::FillBody, task::FetchTask, waiter::FetchWaiter};
use crate::disk::DiskRead;
use crate::lookup::{CacheCall, ObjectHead};

/// Bytes that a call reads from the page cache itself, without a task: 80 us of work, where a task takes 10 us. Longer
/// work would hold up the other tasks of the thread.
const INLINE_BYTES: u64 = 256 << 10;

impl Fetches {
    /// Reads `run`, pages of the version `head`, from disk: the first ones at once where they need no wait for the
    /// disk, the others in a task.
    pub(super) fn launch_disk_run(
        self: &Arc<Self>,
        call: &Arc<CacheCall>,
        runtime: &Handle,
        head: &Arc<ObjectHead>,
        run: &Range<u64>,
        waiter: &FetchWaiter,
    ) {
        waiter.fetch.is_from_disk.store(true, Ordering::Relaxed);
        let (task, bytes) = self.task_of_run(call, head, run, waiter);
        task.guard.answered(head, bytes, run.clone());
        let most = (INLINE_BYTES / self.lookup.pages.bytes()).max(1);
        let mut next = run.start;
        let mut looked_at = None;
        while next < run.end.min(run.start + most) && looked_at.is_none() {
            match task.read_now(head, next) {
                None => break,
                Some(DiskRead::Page(bytes)) => {
                    task.came_from_disk(head, next, bytes);
                    next += 1;
                }
                other => looked_at = other,
            }
        }
        if next == run.end {
            return task.guard.finish(Ok(FetchOutcome::Finished));
        }
        let (head, rest) = (Arc::clone(head), next..run.end);
        launch(runtime, waiter, async move {
            let outcome = task.read_from_disk(&head, rest, looked_at).await;
            task.guard.finish(outcome);
        });
    }
}

impl FetchTask {
    /// Reads `page` without a wait for the disk; `None` where there is no room for it.
    fn read_now(&self, head: &Arc<ObjectHead>, page: u64) -> Option<DiskRead> {
        let (tier, on_disk) = self.fetches.lookup.disk_page(&self.call.path, head, page)?;
        self.guard.has_room(page, on_disk.bytes as usize).then(|| tier.read_now(&on_disk))
    }

    /// Reads `run` from disk, or from the store where the disk has it not, or later than the store. `first`: what a
    /// look at the first page has given; each look counts.
    async fn read_from_disk(
        &self,
        head: &Arc<ObjectHead>,
        run: Range<u64>,
        mut first: Option<DiskRead>,
    ) -> Result<FetchOutcome> {
        let lookup = &*self.fetches.lookup;
        let mut page = run.start;
        while page < run.end {
            tokio::task::consume_budget().await;
            let Some((tier, on_disk)) = lookup.disk_page(&self.call.path, head, page) else {
                return Ok(FetchOutcome::Lost);
            };
            self.guard.room(page, on_disk.bytes as usize).await;
            let read = match first.take().unwrap_or_else(|| tier.read_now(&on_disk)) {
                DiskRead::WouldWait => tier.read(on_disk).await,
                read => read,
            };
            let end = match read {
                DiskRead::Page(bytes) => {
                    self.came_from_disk(head, page, bytes);
                    page += 1;
                    continue;
                }
                // One request brings this page and the next ones that the disk does not have either.
                DiskRead::Missing => {
                    let is_gone = |next: &u64| *next < run.end && !lookup.is_on_disk(&self.call, head, *next);
                    iter::successors(Some(page + 1), |next| Some(next + 1))
                        .find(|next| !is_gone(next))
                        .unwrap_or(run.end)
                }
                DiskRead::Late | DiskRead::WouldWait => run.end,
            };
            let bytes = lookup.pages.start(page)..lookup.pages.start(end).min(head.meta.size);
            lookup.counters.misses.add(end - page);
            let Some(answer) = self.answer(head, &bytes).await? else { return Ok(FetchOutcome::Lost) };
            match self.read_body(head, FillBody::new(answer)).await? {
                FetchOutcome::Finished => page = end,
                other => return Ok(other),
            }
        }
        Ok(FetchOutcome::Finished)
    }

    /// Takes in a page that was read from disk.
    fn came_from_disk(&self, head: &Arc<ObjectHead>, page: u64, bytes: Bytes) {
        let lookup = &*self.fetches.lookup;
        self.call.origin.add_hit(bytes.len() as u64);
        let bytes = lookup.memory.counted(bytes);
        self.guard.arrived(page, bytes, |bytes, arrival| lookup.memory.insert(head.locate(page), bytes, arrival));
    }
}
