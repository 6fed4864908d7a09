//! A body that is read, or was left open.

use std::{sync::Arc, task::Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::{GetResult, ObjectMeta, Result};
use parking_lot::Mutex;

use super::{
    BodyUse, CallRecord, CaseContext, Checked, ErrorKind, Evidence, Failure, HeldBytes, History, Span, Version,
};

/// A body, and what it has shown so far.
pub(crate) struct OpenBody {
    context: Arc<CaseContext>,
    call: CallRecord,
    span: Span,
    pub(super) evidence: Evidence,
    /// The metadata of the answer, if the body is that of an answer.
    meta: Option<ObjectMeta>,
    /// The lock is never contended. It makes a task's future `Send` while the future borrows its bodies.
    body: Mutex<BoxStream<'static, Result<Bytes>>>,
    /// Accounts for one chunk at a time.
    _held: HeldBytes,
}

impl OpenBody {
    /// The body of an answer.
    ///
    /// # Errors
    /// If the answer's metadata match no version.
    pub(super) fn of(context: &Arc<CaseContext>, call: CallRecord, span: Span, answer: GetResult) -> Checked<Self> {
        let mut evidence = context.cloud.history(|history| Evidence::new(history, call.key));
        evidence.narrow(with_meta(context, call.key, &answer.meta));
        if evidence.versions.is_empty() {
            return Err(Failure::new("wrong head", format!("k{}: {:?} is of no version", call.key, answer.meta)));
        }
        evidence.start = Some(answer.range.start);
        let meta = Some(answer.meta.clone());
        Ok(Self { meta, ..Self::new(context, call, span, evidence, answer.into_stream(), 0) })
    }

    /// A body of which `evidence` is known, and that may hold `held_bytes` besides a chunk.
    pub(super) fn new(
        context: &Arc<CaseContext>,
        call: CallRecord,
        span: Span,
        evidence: Evidence,
        body: BoxStream<'static, Result<Bytes>>,
        held_bytes: u64,
    ) -> Self {
        let _held = context.holds(held_bytes);
        Self { context: Arc::clone(context), call, span, evidence, meta: None, body: Mutex::new(body), _held }
    }

    /// Continues as `body` says. Returns whether the body is to be left open.
    ///
    /// # Errors
    /// The first rule that the body breaks.
    pub(super) async fn take(&mut self, body: BodyUse) -> Checked<bool> {
        let chunks = match body {
            BodyUse::ToEnd => usize::MAX,
            BodyUse::Drop { chunks } | BodyUse::Keep { chunks } => chunks,
            BodyUse::KeepPolled => {
                return match futures::poll!(self.body.get_mut().next()) {
                    Poll::Pending => Ok(true),
                    Poll::Ready(chunk) => self.saw(chunk),
                };
            }
        };
        for _ in 0..chunks {
            let chunk = self.body.get_mut().next().await;
            if !self.saw(chunk)? {
                return Ok(false);
            }
        }
        self.judge(false)?;
        Ok(matches!(body, BodyUse::Keep { .. }))
    }

    /// Records the next chunk; returns whether there may be more.
    fn saw(&mut self, chunk: Option<Result<Bytes>>) -> Checked<bool> {
        match chunk {
            Some(Ok(chunk)) => {
                let _held = self.context.holds(chunk.len() as u64);
                if let (0, Some(meta)) = (self.evidence.seen, &self.meta) {
                    // A body that breaks off before its first byte is requested again. Without a validator, the answer
                    // may then be of a later version of the same size: nothing that the caller has seen tells them
                    // apart.
                    self.evidence.narrow(with_meta(&self.context, self.call.key, meta));
                }
                self.context.cloud.history(|history| self.evidence.take(history, &chunk))?;
                Ok(true)
            }
            Some(Err(error)) => {
                let error_kind = ErrorKind::of(&error);
                self.context.count_error(&error_kind);
                self.call.ended = self.context.now();
                self.context
                    .cloud
                    .history(|history| self.context.rules.check_error(history, &self.call, &error_kind))?;
                Ok(false)
            }
            None => self.judge(true).map(|()| false),
        }
    }

    fn judge(&mut self, is_whole: bool) -> Checked {
        // The version was chosen before now; a later change does not make the answer wrong.
        self.call.ended = self.context.now();
        let (rules, call, span, evidence) = (&self.context.rules, &self.call, &self.span, &mut self.evidence);
        let check = |history: &mut History| {
            evidence.end(history);
            rules.check_bytes(history, call, span, evidence, is_whole).map(drop)
        };
        self.context.cloud.history(check)
    }
}

/// The versions of `key` so far that have this `meta`.
fn with_meta(context: &CaseContext, key: usize, meta: &ObjectMeta) -> Vec<Version> {
    let is = |version: &Version| context.cloud.meta(key, version) == *meta;
    context.cloud.history(|history| history.versions(key).filter(is).collect())
}
