//! A body that is being read, or was left alone.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use object_store::{GetResult, Result};
use parking_lot::Mutex;

use super::context::{CaseContext, HeldBytes};
use super::evidence::Evidence;
use super::failure::{ErrorKind, Failure};
use super::history::Version;
use super::op::{BodyUse, Span};
use super::rules::CallRecord;

/// A body, and what was seen of it.
pub(crate) struct OpenBody {
    context: Arc<CaseContext>,
    call: CallRecord,
    span: Span,
    evidence: Evidence,
    /// In a lock that is never contended, so that a task's future is `Send` while it borrows its bodies.
    body: Mutex<BoxStream<'static, Result<Bytes>>>,
    /// One chunk at a time.
    _held: HeldBytes,
}

impl OpenBody {
    /// The body of an answer.
    ///
    /// # Errors
    /// Where its metadata are of no version.
    pub(super) fn answered(
        context: &Arc<CaseContext>,
        call: CallRecord,
        span: Span,
        answer: GetResult,
    ) -> Result<Self, Failure> {
        let mut evidence = context.cloud.history(|history| Evidence::new(history, call.key));
        let is = |version: &Version| context.cloud.meta(call.key, version) == answer.meta;
        evidence.narrow(evidence.versions.iter().copied().filter(is).collect());
        if evidence.versions.is_empty() {
            return Err(Failure::new("wrong head", format!("k{}: {:?} is of no version", call.key, answer.meta)));
        }
        evidence.start = Some(answer.range.start);
        Ok(Self::new(context, call, span, evidence, answer.into_stream(), 0))
    }

    /// A body of which `evidence` is known, and that may hold so many bytes besides a chunk.
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

    /// The versions that the body can be of.
    pub(super) fn versions(&self) -> &[Version] {
        &self.evidence.versions
    }

    /// Whether nothing was seen of it yet.
    pub(super) fn is_empty(&self) -> bool {
        self.evidence.seen == 0
    }

    /// Goes on as `body` says. Returns whether it is to be left alone now.
    ///
    /// # Errors
    /// The first promise that it breaks.
    pub(super) async fn take(&mut self, body: BodyUse) -> Result<bool, Failure> {
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

    /// Takes in what came; returns whether there may be more.
    fn saw(&mut self, chunk: Option<Result<Bytes>>) -> Result<bool, Failure> {
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
                    .history(|history| self.context.rules.error_kind(history, &self.call, &error_kind))?;
                Ok(false)
            }
            None => self.judge(true).map(|()| false),
        }
    }

    fn judge(&mut self, is_whole: bool) -> Result<(), Failure> {
        // An answer that was given stays allowed: later than this it cannot have been chosen.
        self.call.ended = self.context.now();
        let (rules, call, span, evidence) = (&self.context.rules, &self.call, &self.span, &self.evidence);
        self.context.cloud.history(|history| rules.bytes(history, call, span, evidence, is_whole)).map(drop)
    }
}
