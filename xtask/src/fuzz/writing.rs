//! Writes of a task through the stack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use object_store::{ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, Result};
use parking_lot::Mutex;

use super::{CaseTime, Checked, ErrorKind, Failure, Op, TaskRunner, WrittenVersion, cloud::path, evidence};

impl TaskRunner {
    pub(super) async fn write(&mut self, op: Op) -> Checked {
        let began = self.context.now();
        match op {
            Op::Put { key, size, multipart } => {
                let begun = Arc::new(AtomicBool::new(!multipart));
                let outcome = self.limited(self.put(key, size, multipart, Arc::clone(&begun))).await;
                let keys = if begun.load(Ordering::Relaxed) { vec![key] } else { Vec::new() };
                self.wrote(&keys, None, began, outcome)
            }
            Op::Delete { keys } => self.delete(&keys).await,
            Op::Copy { from, to } => {
                let (source, target) = (path(from), path(to));
                let outcome = self.limited(self.context.stack.top.copy(&source, &target)).await;
                self.wrote(&[to], Some(from), began, outcome)
            }
            Op::Rename { from, to } => {
                let (source, target) = (path(from), path(to));
                let outcome = self.limited(self.context.stack.top.rename(&source, &target)).await;
                self.wrote(&[to, from], Some(from), began, outcome)
            }
            _ => Ok(()),
        }
    }

    async fn put(&self, key: usize, size: u64, multipart: bool, begun: Arc<AtomicBool>) -> Result<()> {
        let version = self.context.cloud.history(|history| history.written(size));
        let payload = PutPayload::from_bytes(evidence::content(&version).bytes(0..size));
        let top = &self.context.stack.top;
        if !multipart {
            let mut options = PutOptions::default();
            options.extensions.insert(WrittenVersion(version));
            return top.put_opts(&path(key), payload, options).await.map(drop);
        }
        let mut options = PutMultipartOptions::default();
        options.extensions.insert(WrittenVersion(version));
        let mut upload = top.put_multipart_opts(&path(key), options).await?;
        upload.put_part(payload).await?;
        begun.store(true, Ordering::Relaxed);
        upload.complete().await.map(drop)
    }

    async fn delete(&self, keys: &[usize]) -> Checked {
        let began = self.context.now();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let taking = Arc::clone(&taken);
        let locations = futures::stream::iter(keys.to_vec()).map(move |key| {
            taking.lock().push(key);
            Ok(path(key))
        });
        let mut deleted = self.context.stack.top.delete_stream(locations.boxed());
        let all = async {
            while let Some(outcome) = deleted.next().await {
                outcome?;
            }
            Ok(())
        };
        let outcome = self.limited(all).await;
        drop(deleted);
        let taken = taken.lock().clone();
        self.wrote(&taken, None, began, outcome)
    }

    /// Records that a write of `keys` ended or was cancelled, and checks its error. The write may fail if `source` was
    /// missing.
    fn wrote(
        &self,
        keys: &[usize],
        source: Option<usize>,
        began: CaseTime,
        outcome: Checked<Option<Result<()>>>,
    ) -> Checked {
        let now = self.context.now();
        let missing = self.context.cloud.history(|history| {
            keys.iter().for_each(|key| history.write_is_over(*key, now));
            source.is_some_and(|key| history.during(key, began..=now).any(|version| version.is_none()))
        });
        let Some(Err(error)) = outcome? else { return Ok(()) };
        let error_kind = ErrorKind::of(&error);
        self.context.count_error(&error_kind);
        let explained = match error_kind {
            ErrorKind::Injected(_) => !self.context.case.write_faults.is_empty(),
            ErrorKind::NotFound => missing,
            _ => false,
        };
        if explained { Ok(()) } else { Err(Failure::new("write failed without cause", format!("{error_kind:?}"))) }
    }
}
