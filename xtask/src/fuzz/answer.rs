//! A body that is read, or was left open.

use std::{sync::Arc, task::Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::{GetResult, Result};
use parking_lot::Mutex;

use super::{BodyUse, CallRecord, CaseContext, Checked, ErrorKind, Evidence, Failure, HeldBytes, Span, Version};

/// A body, and what it has shown so far.
pub(crate) struct OpenBody {
    context: Arc<CaseContext>,
    call: CallRecord,
    span: Span,
    pub(super) evidence: Evidence,
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
        let is = |version: &Version| context.cloud.meta(call.key, version) == answer.meta;
        evidence.narrow(evidence.versions.iter().copied().filter(is).collect());
        if evidence.versions.is_empty() {
            return Err(Failure::new("wrong head", format!("k{}: {:?} is of no version", call.key, answer.meta)));
        }
        evidence.start = Some(answer.range.start);
        Ok(Self::new(context, call, span, evidence, answer.into_stream(), 0))
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
        Self { context: Arc::clone(context), call, span, evidence, body: Mutex::new(body), _held }
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
        let (rules, call, span, evidence) = (&self.context.rules, &self.call, &self.span, &self.evidence);
        self.context.cloud.history(|history| rules.check_bytes(history, call, span, evidence, is_whole)).map(drop)
    }
}
