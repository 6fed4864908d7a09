//! The body of one object of a list, and the runtime that its task runs on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, TryStreamExt};
use headstart_fetch_core::FetchError;
use headstart_fetch_core::internal::runtime::TaskRuntime;
use object_store::path::Path;
use object_store::{ObjectMeta, Result};
use tokio::task::coop;

use crate::engine::store_shared::StoreShared;
use crate::objects::ObjectError;
use crate::objects::slot::OwnedSlot;
use crate::store::stats::add;

/// One object of a list, as a stream of its bytes in order: see [`Objects::bodies`](crate::Objects::bodies).
///
/// The bytes are of one version of the object. What has arrived and was not taken is charged to the memory budget.
///
/// # Errors
/// Those of the store; `Precondition` with [`ObjectChanged`](headstart_fetch_core::ObjectChanged) if the object is
/// overwritten meanwhile. The stream ends after an error.
///
/// # Cancel safety
/// `next` is cancel safe. Dropping the body aborts its requests.
#[must_use = "dropping a body aborts its requests"]
pub struct ObjectBody {
    object: Option<OwnedSlot>,
    path: Path,
    meta: ObjectMeta,
    shared: Arc<StoreShared>,
    home: HomeRuntime,
}

impl ObjectBody {
    /// The body of an object that has been answered.
    pub(super) fn new(object: OwnedSlot, shared: &Arc<StoreShared>) -> Result<Self, ObjectError> {
        let (path, home) = (object.0.path.clone(), HomeRuntime::new(object.0.home.clone()));
        match object.0.meta() {
            Some(meta) => Ok(Self { object: Some(object), path, meta, shared: Arc::clone(shared), home }),
            None => Err(ObjectError { path, source: FetchError::TaskLost.into() }),
        }
    }

    /// The path in the list.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size, date and version of the object, from the first answer.
    #[must_use]
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// All bytes that were not taken yet, in one buffer.
    ///
    /// # Errors
    /// As the stream's.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the requests.
    pub async fn bytes(mut self) -> Result<Bytes> {
        let first = self.try_next().await?.unwrap_or_default();
        let Some(second) = self.try_next().await? else { return Ok(first) };
        let mut all = [first, second].concat();
        while let Some(chunk) = self.try_next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }
}

impl Stream for ObjectBody {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        // A consumer of chunks that are always ready yields to other tasks from time to time.
        let turn = ready!(coop::poll_proceed(cx));
        let Some(object) = &self.object else { return Poll::Ready(None) };
        let chunk = match object.0.poll_chunk(cx) {
            Poll::Ready(chunk) => chunk,
            Poll::Pending => {
                ready!(self.home.poll_stopped(cx));
                Some(Err(FetchError::RuntimeStopped.into()))
            }
        };
        turn.made_progress();
        match &chunk {
            Some(Ok(bytes)) => add(&self.shared.counters.demanded_bytes, bytes.len() as u64),
            _ => self.object = None,
        }
        Poll::Ready(chunk)
    }
}

impl fmt::Debug for ObjectBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectBody").field("path", &self.path).field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// The runtime of the tasks of a list, watched by a consumer on another runtime.
pub(super) struct HomeRuntime {
    runtime: TaskRuntime,
    stopped: Option<BoxFuture<'static, ()>>,
}

impl HomeRuntime {
    pub(super) fn new(runtime: TaskRuntime) -> Self {
        Self { runtime, stopped: None }
    }

    /// Ready when the runtime runs its tasks no more. The consumer would wait for ever.
    pub(super) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.runtime.is_current() {
            return Poll::Pending;
        }
        let runtime = self.runtime.clone();
        let stopped = self.stopped.get_or_insert_with(|| async move { runtime.stopped().await }.boxed());
        ready!(stopped.poll_unpin(cx));
        self.stopped = None;
        Poll::Ready(())
    }
}
