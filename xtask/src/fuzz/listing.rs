//! Lists of whole objects, and their bodies.

use futures::{StreamExt, stream};
use headstart_prefetch::{ObjectBodies, ObjectError, Objects};

use super::{
    BodyUse, CallKind, CallRecord, Checked, ErrorKind, Evidence, Failure, ListUse, OpenBody, Span, TaskRunner,
    cloud::path,
};

impl TaskRunner {
    /// Reads the objects `keys` as one list.
    pub(super) async fn objects(&self, keys: &[usize], list_use: ListUse) -> Checked {
        let Some(store) = &self.context.stack.prefetch else { return Ok(()) };
        let paths: Vec<_> = keys.iter().map(|key| path(*key)).collect();
        let mut objects = store.objects(stream::iter(paths));
        if list_use.unordered {
            objects = objects.unordered();
        }
        if list_use.continues {
            objects = objects.continue_after_errors();
        }
        // The list holds the object that the consumer waits for, and the consumer the one before.
        let _held = self.context.holds_answer(&[Span::Whole, Span::Whole]);
        let mut left = keys.to_vec();
        if list_use.bodies {
            self.take_bodies(objects.bodies(), &mut left, list_use).await
        } else {
            self.take_objects(objects, &mut left, list_use).await
        }
    }

    async fn take_objects(&self, mut objects: Objects, left: &mut Vec<usize>, list_use: ListUse) -> Checked {
        let call = self.call(0, CallKind::List, &[Span::Whole]);
        while let Some(next) = self.limited(objects.next()).await? {
            match next {
                None => return ends_with(left),
                Some(Ok((path, bytes))) => {
                    let call = CallRecord { key: take_key(left, path.as_ref(), list_use)?, ..call.clone() };
                    self.check_bytes(&call, &Span::Whole, 0, &bytes)?;
                }
                Some(Err(error)) => self.object_failed(&call, &error, left, list_use)?,
            }
        }
        Ok(())
    }

    async fn take_bodies(&self, mut bodies: ObjectBodies, left: &mut Vec<usize>, list_use: ListUse) -> Checked {
        let call = self.call(0, CallKind::List, &[Span::Whole]);
        while let Some(next) = self.limited(bodies.next()).await? {
            match next {
                None => return ends_with(left),
                Some(Ok(body)) => {
                    let call = CallRecord { key: take_key(left, body.path().as_ref(), list_use)?, ..call.clone() };
                    let mut evidence = self.context.cloud.history(|history| Evidence::new(history, call.key));
                    evidence.start = Some(0);
                    let mut open = OpenBody::new(&self.context, call, Span::Whole, evidence, body.boxed(), 0);
                    self.limited(async { open.take(BodyUse::ToEnd).await.map(drop) }).await?.unwrap_or(Ok(()))?;
                }
                Some(Err(error)) => self.object_failed(&call, &error, left, list_use)?,
            }
        }
        Ok(())
    }

    /// Checks the error of an object, after which a list ends unless it `continues`.
    fn object_failed(
        &self,
        call: &CallRecord,
        error: &ObjectError,
        left: &mut Vec<usize>,
        list_use: ListUse,
    ) -> Checked {
        let call = CallRecord { key: take_key(left, error.path.as_ref(), list_use)?, ..call.clone() };
        if !list_use.continues {
            left.clear();
        }
        self.check_error(&call, &ErrorKind::of(&error.source))
    }
}

/// Takes the key of `found` out of those that are left: the first one, or any in a list without order.
fn take_key(left: &mut Vec<usize>, found: &str, list_use: ListUse) -> Checked<usize> {
    let at = left.iter().position(|key| path(*key).as_ref() == found);
    match at.filter(|at| *at == 0 || list_use.unordered) {
        Some(at) => Ok(left.remove(at)),
        None => Err(Failure::new("wrong object", format!("'{found}' came while {left:?} were left"))),
    }
}

/// Checks that a list has ended after its last object.
fn ends_with(left: &[usize]) -> Checked {
    if left.is_empty() { Ok(()) } else { Err(Failure::new("wrong length", format!("{left:?} did not come"))) }
}
