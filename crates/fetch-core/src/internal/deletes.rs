//! Observes a stream of deletions for layers that keep something about objects: which paths they must forget, and when.

use std::task::{Context, Poll, ready};
use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use object_store::{Error, ObjectStore, Result, path::Path};
use parking_lot::Mutex;

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

    fn reported(&self, outcome: &Result<Path>) {
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
            Some(outcome) => self.deletions.reported(outcome),
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

    /// A stream of deletions of `taken`, all taken at once, that reports `outcomes` and then hangs unless it `ends`.
    struct Case {
        forgotten: Arc<Mutex<Vec<String>>>,
        stream: BoxStream<'static, Result<Path>>,
    }

    impl Case {
        fn new(taken: &[&str], outcomes: Vec<Result<Path>>, ends: bool) -> Self {
            let forgotten: Arc<Mutex<Vec<String>>> = Arc::default();
            let paths: Vec<_> = taken.iter().map(|path| Ok(Path::from(*path))).collect();
            let log = Arc::clone(&forgotten);
            let delete = |locations: BoxStream<'static, Result<Path>>| {
                let outcomes = stream::iter(outcomes);
                let reports = stream::once(locations.count()).flat_map(move |_| stream::empty()).chain(outcomes);
                if ends { reports.boxed() } else { reports.chain(stream::pending()).boxed() }
            };
            let stream =
                observe(delete, stream::iter(paths).boxed(), move |path| log.lock().push(path.as_ref().to_owned()));
            Self { forgotten, stream }
        }

        /// The paths forgotten while the next outcome is reported.
        fn next(&mut self) -> Vec<String> {
            let _ = futures::FutureExt::now_or_never(self.stream.next());
            std::mem::take(&mut *self.forgotten.lock())
        }

        fn drop(self) -> Vec<String> {
            drop(self.stream);
            std::mem::take(&mut *self.forgotten.lock())
        }
    }

    #[test]
    fn each_path_is_forgotten_when_it_is_taken_in_and_when_it_is_reported() {
        let mut case = Case::new(&["a", "b"], vec![Ok("b".into()), Ok("a".into())], true);
        assert_eq!(case.next(), ["a", "b", "b"], "both were taken in before the first outcome");
        assert_eq!(case.next(), ["a"]);
        assert_eq!(case.next(), [""; 0]);
        assert_eq!(case.drop(), [""; 0]);
    }

    #[test]
    fn an_error_that_names_a_pending_path_is_about_that_one_alone() {
        let outcomes = vec![failed(Some("a")), failed(Some("a")), Ok("b".into())];
        let mut case = Case::new(&["a", "b", "c"], outcomes, false);
        assert_eq!(case.next(), ["a", "b", "c", "a"]);
        assert_eq!(case.next(), ["b", "c"], "a is not pending any more: this may be any of the others");
        assert_eq!(case.next(), ["b"]);
        assert_eq!(case.drop(), [""; 0], "three went in and three came out");
    }

    #[test]
    fn an_error_that_names_no_pending_path_may_be_about_each() {
        for named in [None, Some("/folder/a")] {
            let outcomes = vec![failed(named), Ok("a".into()), failed(named)];
            let mut case = Case::new(&["a", "b", "c"], outcomes, false);
            assert_eq!(case.next(), ["a", "b", "c", "a", "b", "c"]);
            assert_eq!(case.next(), ["a"]);
            assert_eq!(case.next(), ["b", "c"]);
            assert_eq!(case.drop(), [""; 0], "all outcomes are known");
        }
    }

    #[test]
    fn what_is_pending_at_the_end_or_at_a_drop_is_forgotten() {
        let mut ends = Case::new(&["a", "b", "c"], vec![failed(None)], true);
        assert_eq!(ends.next().len(), 6, "one error for all of a batch");
        assert_eq!(ends.next(), ["a", "b", "c"]);
        assert_eq!(ends.drop(), [""; 0]);

        let mut dropped = Case::new(&["a", "b", "a"], vec![Ok("a".into())], false);
        assert_eq!(dropped.next(), ["a", "b", "a", "a"]);
        assert_eq!(dropped.drop(), ["a", "b"], "a was taken in twice and reported once");

        let untouched = Case::new(&["a"], Vec::new(), false);
        assert_eq!(untouched.drop(), [""; 0], "nothing was taken in");
    }
}
