//! What a task writes through the stack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use object_store::{ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, Result};
use parking_lot::Mutex;

use super::act::Actor;
use super::cloud::{Written, path};
use super::evidence;
use super::failure::{Failure, Trouble};
use super::history::At;
use super::op::{Op, Quit};
use super::trouble;

impl Actor {
    /// Does an operation that writes.
    pub(super) async fn write(&mut self, op: Op) -> Result<(), Failure> {
        let began = self.world.now();
        match op {
            Op::Put { key, size, multipart, quit } => {
                let begun = Arc::new(AtomicBool::new(!multipart));
                let outcome = self.limited(quit, self.put(key, size, multipart, Arc::clone(&begun))).await;
                let keys = if begun.load(Ordering::Relaxed) { vec![key] } else { Vec::new() };
                self.wrote(&keys, None, began, outcome)
            }
            Op::Delete { keys, quit } => self.delete(&keys, quit).await,
            Op::Copy { from, to, quit } => {
                let (source, target) = (path(from), path(to));
                let outcome = self.limited(quit, self.world.stack.top.copy(&source, &target)).await;
                self.wrote(&[to], Some(from), began, outcome)
            }
            Op::Rename { from, to, quit } => {
                let (source, target) = (path(from), path(to));
                let outcome = self.limited(quit, self.world.stack.top.rename(&source, &target)).await;
                self.wrote(&[to, from], Some(from), began, outcome)
            }
            _ => Ok(()),
        }
    }

    async fn put(&self, key: usize, size: u64, multipart: bool, begun: Arc<AtomicBool>) -> Result<()> {
        let version = self.world.cloud.history(|history| history.written(size));
        let payload = PutPayload::from_bytes(evidence::content(&version).bytes(0..size));
        let top = &self.world.stack.top;
        if !multipart {
            let mut options = PutOptions::default();
            options.extensions.insert(Written(version));
            return top.put_opts(&path(key), payload, options).await.map(drop);
        }
        let mut options = PutMultipartOptions::default();
        options.extensions.insert(Written(version));
        let mut upload = top.put_multipart_opts(&path(key), options).await?;
        upload.put_part(payload).await?;
        begun.store(true, Ordering::Relaxed);
        upload.complete().await.map(drop)
    }

    async fn delete(&self, keys: &[usize], quit: Quit) -> Result<(), Failure> {
        let began = self.world.now();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let taking = Arc::clone(&taken);
        let locations = futures::stream::iter(keys.to_vec()).map(move |key| {
            taking.lock().push(key);
            Ok(path(key))
        });
        let mut deleted = self.world.stack.top.delete_stream(locations.boxed());
        let all = async {
            while let Some(outcome) = deleted.next().await {
                outcome?;
            }
            Ok(())
        };
        let outcome = self.limited(quit, all).await;
        drop(deleted);
        let taken = taken.lock().clone();
        self.wrote(&taken, None, began, outcome)
    }

    /// A write of `keys` is over, or was given up: whatever it did is seen from now on. It may fail where `source` was missing.
    fn wrote(
        &self,
        keys: &[usize],
        source: Option<usize>,
        began: At,
        outcome: Result<Option<Result<()>>, Failure>,
    ) -> Result<(), Failure> {
        let now = self.world.now();
        let missing = self.world.cloud.history(|history| {
            keys.iter().for_each(|key| history.write_is_over(*key, now));
            source.is_some_and(|key| history.during(key, began..=now).any(|version| version.is_none()))
        });
        let Some(Err(error)) = outcome? else { return Ok(()) };
        let trouble = trouble::of(&error);
        self.world.count_trouble(&trouble);
        let explained = match trouble {
            Trouble::Injected(_) => !self.world.case.write_faults.is_empty(),
            Trouble::NotFound => missing,
            _ => false,
        };
        if explained { Ok(()) } else { Err(Failure::new("write failed without cause", format!("{trouble:?}"))) }
    }
}
