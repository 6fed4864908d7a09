//! A list of objects as a stream of their bytes: fetched ahead of the consumer, in the order of the list.

mod ahead_memory;
mod body;
mod queue;
mod request;
mod slot;

use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::stream::{BoxStream, FusedStream};
use futures::{FutureExt, Stream};
use headstart_fetch_core::FetchError;
use headstart_fetch_core::internal::runtime::TaskRuntime;
use object_store::path::Path;
use tokio::task::JoinHandle;

use crate::engine::store_shared::StoreShared;
use crate::objects::body::HomeRuntime;
use crate::objects::queue::ObjectQueue;
use crate::objects::slot::OwnedSlot;
use crate::policy::object_window::MOST_REQUESTS;
use crate::store::stats::add;

pub use crate::objects::body::ObjectBody;

/// Why an object of a list could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct ObjectError {
    /// The object. The root, if there is no runtime, or it was shut down before the next path was known.
    pub path: Path,
    /// The error of the store, unchanged; or a [`FetchError`], as [`object_store::Error::Generic`].
    pub source: object_store::Error,
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read the object '{}'", self.path)
    }
}

impl std::error::Error for ObjectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Leaves out the path, which most errors of stores contain.
impl From<ObjectError> for object_store::Error {
    fn from(error: ObjectError) -> Self {
        error.source
    }
}

/// The settings of one list.
#[derive(Debug, Clone, Copy)]
struct ObjectsConfig {
    in_order: bool,
    stops_at_error: bool,
    most_requests: usize,
    /// Objects are handed out whole.
    collects: bool,
}

/// The objects of a list, each whole, as a stream of `(Path, Bytes)`: see
/// [`PrefetchStore::objects`](crate::PrefetchStore::objects).
///
/// # Errors
/// Each item is the object or its [`ObjectError`]. By default the stream ends after the first error.
///
/// # Cancel safety
/// `next` is cancel safe. Dropping the stream aborts all of its requests and releases its memory.
#[must_use = "a stream sends no request until it is polled"]
#[derive(Debug)]
pub struct Objects(ObjectList);

impl Objects {
    pub(crate) fn new(shared: &Arc<StoreShared>, paths: BoxStream<'static, Path>) -> Self {
        let config =
            ObjectsConfig { in_order: true, stops_at_error: true, most_requests: MOST_REQUESTS, collects: true };
        Self(ObjectList { shared: Arc::clone(shared), config, state: ListState::New(paths) })
    }

    /// Returns objects in the order in which they are complete, so that none waits for a late answer to another one.
    /// Default: in the order of the list.
    pub fn unordered(mut self) -> Self {
        self.0.config.in_order = false;
        self
    }

    /// Returns the error of an object in its place, and goes on with the next object. Default: the stream ends after
    /// the first error.
    pub fn continue_after_errors(mut self) -> Self {
        self.0.config.stops_at_error = false;
        self
    }

    /// The most objects in flight at once; at least one. Default: 1,024, so that the link and the memory decide.
    pub fn concurrency(mut self, most: usize) -> Self {
        self.0.config.most_requests = most.max(1);
        self
    }

    /// Returns each object as a stream of its bytes, for objects that are too large for the memory.
    pub fn bodies(mut self) -> ObjectBodies {
        self.0.config.collects = false;
        ObjectBodies(self.0)
    }
}

impl Stream for Objects {
    type Item = Result<(Path, Bytes), ObjectError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(taken) = ready!(self.0.poll_object(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(taken.map(|object| {
            // Complete, so that its only chunk is there.
            let bytes = match object.0.poll_chunk(cx) {
                Poll::Ready(Some(Ok(bytes))) => bytes,
                _ => Bytes::new(),
            };
            add(&self.0.shared.counters.demanded_bytes, bytes.len() as u64);
            (object.0.path.clone(), bytes)
        })))
    }
}

impl FusedStream for Objects {
    fn is_terminated(&self) -> bool {
        matches!(self.0.state, ListState::Ended)
    }
}

/// The objects of a list, each as a stream of its bytes: see [`Objects::bodies`].
///
/// An object that fits into its first request (16 KiB to 1 MiB, or what one stream carries in a round trip) is returned
/// when it is complete, a larger one when it begins. An error in the middle of a large object is an item of its
/// [`ObjectBody`].
///
/// # Errors
/// As [`Objects`].
///
/// # Cancel safety
/// `next` is cancel safe. Dropping the stream aborts all of its requests, except those of bodies that were returned:
/// these end when the bodies are dropped.
#[must_use = "a stream sends no request until it is polled"]
#[derive(Debug)]
pub struct ObjectBodies(ObjectList);

impl Stream for ObjectBodies {
    type Item = Result<ObjectBody, ObjectError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let taken = ready!(self.0.poll_object(cx));
        Poll::Ready(taken.map(|taken| ObjectBody::new(taken?, &self.0.shared)))
    }
}

impl FusedStream for ObjectBodies {
    fn is_terminated(&self) -> bool {
        matches!(self.0.state, ListState::Ended)
    }
}

/// The consumer's side of a list.
struct ObjectList {
    shared: Arc<StoreShared>,
    config: ObjectsConfig,
    state: ListState,
}

enum ListState {
    /// Nothing has been requested.
    New(BoxStream<'static, Path>),
    Running(RunningList),
    Ended,
}

/// A list with requests in flight. Dropping it aborts them.
struct RunningList {
    queue: Arc<ObjectQueue>,
    /// The task that sends the requests; `None` once it has sent them all.
    sender: Option<JoinHandle<()>>,
    home: HomeRuntime,
    /// The runtime is gone: no more objects can be fetched.
    is_lost: bool,
}

impl fmt::Debug for ObjectList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectList").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ObjectList {
    /// Takes the next object that is complete, or a body that has begun.
    fn poll_object(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<OwnedSlot, ObjectError>>> {
        if let ListState::New(_) = self.state
            && let ListState::New(paths) = std::mem::replace(&mut self.state, ListState::Ended)
        {
            let Some(runtime) = self.shared.current_runtime() else {
                return Poll::Ready(Some(Err(ObjectError { path: Path::ROOT, source: FetchError::NoRuntime.into() })));
            };
            let queue = ObjectQueue::new(Arc::clone(&self.shared), self.config);
            let home = HomeRuntime::new(TaskRuntime::of(&runtime));
            let sender = Some(runtime.spawn(Arc::clone(&queue).request_all(paths)));
            self.state = ListState::Running(RunningList { queue, sender, home, is_lost: false });
        }
        let ListState::Running(list) = &mut self.state else { return Poll::Ready(None) };
        let taken = ready!(list.poll_object(cx)).transpose();
        let ends = match &taken {
            None => true,
            Some(taken) => taken.is_err() && (self.config.stops_at_error || list.is_lost),
        };
        add(&self.shared.counters.reads, u64::from(taken.is_some()));
        if ends {
            self.state = ListState::Ended;
        }
        Poll::Ready(taken)
    }
}

impl RunningList {
    fn poll_object(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<OwnedSlot>, ObjectError>> {
        loop {
            if let Poll::Ready(taken) = self.queue.poll_take(cx) {
                let error = taken.as_ref().and_then(|object| Some((object.0.path.clone(), object.0.take_error()?)));
                return Poll::Ready(error.map_or(Ok(taken), |(path, source)| Err(ObjectError { path, source })));
            }
            match self.sender.as_mut().map(|sender| sender.poll_unpin(cx)) {
                // It may have ended since the look above.
                Some(Poll::Ready(Ok(()))) => self.sender = None,
                Some(Poll::Ready(Err(error))) => {
                    self.sender = None;
                    return match error.try_into_panic() {
                        // The stream of paths has panicked.
                        Ok(panic) => resume_unwind(panic),
                        Err(_) => Poll::Ready(Err(self.lose(FetchError::TaskLost))),
                    };
                }
                _ => {
                    ready!(self.home.poll_stopped(cx));
                    return Poll::Ready(Err(self.lose(FetchError::RuntimeStopped)));
                }
            }
        }
    }

    fn lose(&mut self, why: FetchError) -> ObjectError {
        self.is_lost = true;
        ObjectError { path: self.queue.first_path().unwrap_or(Path::ROOT), source: why.into() }
    }
}

impl Drop for RunningList {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(sender) = &self.sender {
            sender.abort();
        }
    }
}
