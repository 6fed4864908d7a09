//! Observes a stream of deletions for layers that keep something about objects: which paths they must forget, and when.

use std::task::{Context, Poll, ready};
use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use crate::internal::locks::Mutex;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use object_store::{Error, ObjectStore, Result, path::Path};

use crate::internal::mutation::Mutation;

/// Deletes `locations` from `inner`, and calls `forget` with each path whose object may be gone.
///
/// A path is forgotten when `inner` takes it and when `inner` reports its deletion. An error does not tell whether
/// a deletion has happened: its own path is forgotten if the error names a pending one, otherwise every pending
/// path. Paths that are pending when the stream ends or is dropped are forgotten then.
#[doc(hidden)]
pub fn observe_deletes(
    inner: &dyn ObjectStore,
    locations: BoxStream<'static, Result<Path>>,
    forget: impl Fn(&Path) + Send + Sync + 'static,
) -> BoxStream<'static, Result<Path>> {
    observe(|locations| inner.delete_stream(locations), locations, forget)
}

fn observe(
    delete: impl FnOnce(BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>>,
    locations: BoxStream<'static, Result<Path>>,
    forget: impl Fn(&Path) + Send + Sync + 'static,
) -> BoxStream<'static, Result<Path>> {
    let deletions = Arc::new(ObservedDeletes { forget, pending: Mutex::default() });
    let entering = Arc::clone(&deletions);
    let deleted = delete(locations.inspect(move |location| entering.taken_in(location)).boxed());
    DeleteOutcomes { deleted, deletions }.boxed()
}

/// The deletions of one stream.
struct ObservedDeletes<F> {
    forget: F,
    pending: Mutex<PendingDeletes>,
}

#[derive(Default)]
struct PendingDeletes {
    /// Paths that `inner` has taken and not reported, and how often each.
    paths: BTreeMap<Path, usize>,
    /// Paths and errors that `inner` has taken.
    taken_in: u64,
    /// Outcomes that `inner` has reported.
    reported: u64,
}

impl<F: Fn(&Path)> ObservedDeletes<F> {
    fn taken_in(&self, location: &Result<Path>) {
        let mut pending = self.pending.lock();
        pending.taken_in += 1;
        if let Ok(path) = location {
            *pending.paths.entry(path.clone()).or_default() += 1;
            (self.forget)(path);
        }
    }

    fn on_deleted(&self, outcome: &Result<Path>) {
        let mut pending = self.pending.lock();
        pending.reported += 1;
        match outcome {
            Ok(path) => {
                pending.remove(path);
                (self.forget)(path);
            }
            Err(_) if Mutation::ForgetsDeletedOnly.is_active() => {}
            Err(error) => match path_of(error).and_then(|named| pending.find(named)) {
                Some(path) => {
                    pending.remove(&path);
                    (self.forget)(&path);
                }
                None => pending.paths.keys().for_each(&self.forget),
            },
        }
        // The remaining paths belong to errors that named none of them. They were forgotten when those errors came.
        if pending.reported >= pending.taken_in {
            pending.paths.clear();
        }
    }

    /// Nothing more will be reported.
    fn over(&self) {
        if Mutation::ForgetsDeletedOnly.is_active() {
            return;
        }
        let paths = std::mem::take(&mut self.pending.lock().paths);
        paths.keys().for_each(&self.forget);
    }
}

impl PendingDeletes {
    fn find(&self, named: &str) -> Option<Path> {
        self.paths.keys().find(|path| path.as_ref() == named).cloned()
    }

    fn remove(&mut self, path: &Path) {
        if let Some(times) = self.paths.get_mut(path) {
            *times -= 1;
            if *times == 0 {
                self.paths.remove(path);
            }
        }
    }
}

/// The path that `error` names. Some stores name a different one: a local file, or a key with its prefix.
fn path_of(error: &Error) -> Option<&str> {
    match error {
        Error::NotFound { path, .. }
        | Error::AlreadyExists { path, .. }
        | Error::Precondition { path, .. }
        | Error::NotModified { path, .. }
        | Error::PermissionDenied { path, .. }
        | Error::Unauthenticated { path, .. } => Some(path),
        _ => None,
    }
}

/// The outcomes, as `inner` reports them.
struct DeleteOutcomes<F: Fn(&Path)> {
    deleted: BoxStream<'static, Result<Path>>,
    deletions: Arc<ObservedDeletes<F>>,
}

impl<F: Fn(&Path)> Stream for DeleteOutcomes<F> {
    type Item = Result<Path>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let outcome = ready!(self.deleted.poll_next_unpin(cx));
        match &outcome {
            Some(outcome) => self.deletions.on_deleted(outcome),
            None => self.deletions.over(),
        }
        Poll::Ready(outcome)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.deleted.size_hint()
    }
}

impl<F: Fn(&Path)> Drop for DeleteOutcomes<F> {
    fn drop(&mut self) {
        // The deletions end first, then the paths that they may have deleted are forgotten.
        self.deleted = stream::empty().boxed();
        self.deletions.over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error that names this path, or none.
    fn failed(named: Option<&str>) -> Result<Path> {
        let source = || "refused".into();
        Err(match named {
            Some(path) => Error::PermissionDenied { path: path.to_owned(), source: source() },
            None => Error::Generic { store: "test", source: source() },
        })
    }

    /// Deletes `taken`, all taken in at once; `outcomes` are reported, then the stream hangs unless it `ends`. Checks
    /// which paths are forgotten with each outcome, and at last with the drop of the stream.
    #[track_caller]
    fn check(taken: &[&str], outcomes: Vec<Result<Path>>, ends: bool, expected: &[&[&str]]) {
        let paths: Vec<_> = taken.iter().map(|path| Ok(Path::from(*path))).collect();
        let delete = |locations: BoxStream<'static, Result<Path>>| {
            let outcomes = stream::iter(outcomes);
            let reports = stream::once(locations.count()).flat_map(move |_| stream::empty()).chain(outcomes);
            if ends { reports.boxed() } else { reports.chain(stream::pending()).boxed() }
        };
        let forgotten: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&forgotten);
        let mut stream = observe(delete, stream::iter(paths).boxed(), move |path| log.lock().push(path.to_string()));
        let (at_drop, reported) = expected.split_last().expect("the paths forgotten with the drop");
        for (n, expected) in reported.iter().enumerate() {
            let _ = futures::FutureExt::now_or_never(stream.next());
            assert_eq!(std::mem::take(&mut *forgotten.lock()), *expected, "outcome {n}");
        }
        drop(stream);
        assert_eq!(*forgotten.lock(), *at_drop, "at the drop");
    }

    #[test]
    fn each_path_is_forgotten_when_it_is_taken_in_and_when_it_is_reported() {
        let outcomes = vec![Ok("b".into()), Ok("a".into())];
        // Both were taken in before the first outcome.
        check(&["a", "b"], outcomes, true, &[&["a", "b", "b"], &["a"], &[], &[]]);
    }

    #[test]
    fn an_error_that_names_a_pending_path_is_about_that_one_alone() {
        let outcomes = vec![failed(Some("a")), failed(Some("a")), Ok("b".into())];
        // After the first error a is not pending any more, so the second one may be about any of the others.
        let expected: [&[&str]; 4] = [&["a", "b", "c", "a"], &["b", "c"], &["b"], &[]];
        check(&["a", "b", "c"], outcomes, false, &expected);
    }

    #[test]
    fn an_error_that_names_no_pending_path_may_be_about_each() {
        for named in [None, Some("/folder/a")] {
            let outcomes = vec![failed(named), Ok("a".into()), failed(named)];
            // At the drop all outcomes are known.
            let expected: [&[&str]; 4] = [&["a", "b", "c", "a", "b", "c"], &["a"], &["b", "c"], &[]];
            check(&["a", "b", "c"], outcomes, false, &expected);
        }
    }

    #[test]
    fn what_is_pending_at_the_end_or_at_a_drop_is_forgotten() {
        // One error for all of a batch, then the end.
        check(&["a", "b", "c"], vec![failed(None)], true, &[&["a", "b", "c", "a", "b", "c"], &["a", "b", "c"], &[]]);
        // Here a is taken in twice and reported once.
        check(&["a", "b", "a"], vec![Ok("a".into())], false, &[&["a", "b", "a", "a"], &["a", "b"]]);
        // Nothing is taken in from a stream that is not polled.
        check(&["a"], Vec::new(), false, &[&[]]);
    }
}
