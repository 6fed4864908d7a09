//! One GET: sent, checked, measured, counted.

use std::ops::Range;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Attributes, Extensions, GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore, Result};
use tokio::time::Instant;

use crate::body::Body;
use crate::budget::MemoryBudget;
use crate::byte_range;
use crate::config::FetchConfig;
use crate::error::FetchError;
use crate::estimate::LinkEstimate;
use crate::intent::{Intent, Origin};
use crate::permits::{Permit, Permits};
use crate::stats::Counters;

/// What all calls of one store share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) config: FetchConfig,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) link: Arc<LinkEstimate>,
    pub(crate) counters: Counters,
}

/// An answer, its body not yet read.
pub(crate) struct Answer {
    pub(crate) meta: ObjectMeta,
    pub(crate) range: Range<u64>,
    pub(crate) attributes: Attributes,
    pub(crate) extensions: Extensions,
    pub(crate) payload: Payload,
}

/// What an answer carries.
pub(crate) enum Payload {
    /// A local file, handed on untouched.
    File(GetResultPayload),
    /// A body on the wire.
    Body(Body),
}

impl Core {
    /// Sends one GET. `permit` is held until the body ends or is dropped; bytes from the wire are counted on `origin`.
    pub(crate) async fn request(
        self: &Arc<Self>,
        path: &Path,
        options: GetOptions,
        permit: Option<Permit>,
        origin: &Origin,
    ) -> Result<Answer> {
        let wanted = options.range.clone();
        self.counters.get(Intent::of(&options.extensions));
        let unanswered = Unanswered(Some(self));
        let asked_at = Instant::now();
        let answered = self.inner.get_opts(path, options).await;
        unanswered.answered();
        let GetResult { payload, meta, range, attributes, extensions } = answered?;
        let expected = match wanted {
            None => Some(0..meta.size),
            // Where the range makes no sense for this size and the store answers nevertheless, its word counts.
            Some(wanted) => wanted.as_range(meta.size).ok(),
        };
        if let Some(expected) = expected.filter(|expected| *expected != range) {
            return Err(FetchError::WrongRange {
                wanted_start: expected.start,
                wanted_end: expected.end,
                start: range.start,
                end: range.end,
            }
            .into());
        }
        self.counters.asked(byte_range::len(&range));
        let payload = match payload {
            GetResultPayload::Stream(stream) => {
                let body = Body::new(self, stream, &range, origin);
                Payload::Body(body.answered(asked_at.elapsed(), permit, Origin::of(&extensions)))
            }
            file @ GetResultPayload::File(..) => Payload::File(file),
        };
        Ok(Answer { meta, range, attributes, extensions, payload })
    }
}

impl Answer {
    /// The body, read from the file where it is one.
    pub(crate) fn into_body(self, core: &Arc<Core>, origin: &Origin) -> Body {
        let Self { meta, range, attributes, extensions, payload } = self;
        match payload {
            Payload::Body(body) => body,
            Payload::File(payload) => {
                let file = GetResult { payload, meta, range: range.clone(), attributes, extensions };
                Body::new(core, file.into_stream(), &range, origin)
            }
        }
    }

    /// The answer as the caller gets it: one request, its body passed through.
    pub(crate) fn into_result(self) -> GetResult {
        let Self { meta, range, attributes, mut extensions, payload } = self;
        let payload = match payload {
            Payload::File(file) => file,
            Payload::Body(body) => {
                extensions.insert(body.origin().clone());
                GetResultPayload::Stream(body.pass_through())
            }
        };
        GetResult { payload, meta, range, attributes, extensions }
    }
}

/// Counts a request that is dropped before its answer.
struct Unanswered<'a>(Option<&'a Core>);

impl Unanswered<'_> {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(core) = self.0 {
            core.counters.cancel();
        }
    }
}
