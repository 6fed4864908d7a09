//! One GET: sent until it is answered, measured and counted.

pub(crate) mod attempt;
pub(crate) mod body;
pub(crate) mod core;
pub(crate) mod outage;
pub(crate) mod refusals;
pub(crate) mod resume;
pub(crate) mod retryable;
pub(crate) mod stall_watch;

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::{
    Attributes, Error, Extensions, GetOptions, GetResult, GetResultPayload, ObjectMeta, Result, path::Path,
};

use crate::limits::permit_state::PermitKind;
use crate::limits::{call_activity::CallActivity, permits::Permit};
use crate::policy::fill;
use crate::protocol::extensions::Origin;
use crate::request::{body::ResponseBody, core::FetchCore, outage::Outage, resume::Resume};

/// An answer whose body has not been read yet.
pub(crate) struct FetchAnswer {
    pub(crate) meta: ObjectMeta,
    pub(crate) range: Range<u64>,
    pub(crate) attributes: Attributes,
    pub(crate) extensions: Extensions,
    pub(crate) payload: AnswerPayload,
}

/// What an answer carries.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub(crate) enum AnswerPayload {
    /// A local file, handed on untouched.
    File(GetResultPayload),
    /// A body from the network.
    Body(ResponseBody),
}

impl FetchCore {
    /// Sends one GET, and sends it again while `retry_if` accepts the error. Its body is resumed if it breaks off.
    /// `permit` is held until the body ends or is dropped; bytes from the network are counted on `origin`. The requests
    /// of one read share an `outage`.
    #[expect(clippy::too_many_arguments, reason = "a type for three callers would be longer")]
    pub(crate) async fn request(
        self: &Arc<Self>,
        outage: Option<&Outage>,
        path: &Path,
        options: GetOptions,
        mut permit: Option<Permit>,
        origin: &Origin,
        retry_if: impl Fn(&Error) -> bool,
        activity: &Arc<CallActivity>,
    ) -> Result<FetchAnswer> {
        let mut attempts = self.attempts();
        let mut probe = None;
        let (result, first_byte) = loop {
            match self.attempt(path, &options, attempts.number(), &mut permit, activity).await {
                Ok(answered) => break answered,
                Err(error) => {
                    let retry = retry_if(&error);
                    let pause = if retry { self.pause_after(&mut attempts, path, &error) } else { None };
                    let Some(pause) = pause else { return Err(error) };
                    // Boxed, because it is rare and large.
                    let waits = async {
                        if let (Some(outage), None) = (outage, &probe) {
                            let waiting_since = self.now();
                            let had_permit = permit.take().is_some();
                            probe = outage.wait_for_probe().await;
                            if had_permit {
                                let extensions = &options.extensions;
                                let again = self
                                    .permits
                                    .acquire_for(extensions, PermitKind::Demand, fill::FULL_WEIGHT, activity)
                                    .await;
                                permit = Some(again);
                            }
                            attempts.exclude_queueing(self.now().saturating_sub(waiting_since));
                        }
                        let paused_at = self.now();
                        permit = self.pause(pause, &error, permit.take(), &options, activity).await;
                        attempts.exclude_queueing(self.now().saturating_sub(paused_at + pause));
                    };
                    waits.boxed().await;
                }
            }
        };
        if let Some(outage) = outage {
            outage.on_answer();
        }
        drop(probe);
        let GetResult { payload, meta, range, attributes, extensions } = result;
        let payload = match payload {
            GetResultPayload::Stream(stream) => {
                let mut body = ResponseBody::new(self, stream, &range, origin, activity);
                if self.config.retries > 0 {
                    body = body.resumable(Resume::new(self, path, options, &meta, range.start));
                }
                AnswerPayload::Body(body.answered(first_byte, permit, Origin::of(&extensions)))
            }
            file @ GetResultPayload::File(..) => AnswerPayload::File(file),
        };
        Ok(FetchAnswer { meta, range, attributes, extensions, payload })
    }
}

impl FetchAnswer {
    /// The body; a file is read as a stream.
    pub(crate) fn into_body(
        self,
        core: &Arc<FetchCore>,
        origin: &Origin,
        activity: &Arc<CallActivity>,
    ) -> ResponseBody {
        let Self { meta, range, attributes, extensions, payload } = self;
        match payload {
            AnswerPayload::Body(body) => body,
            AnswerPayload::File(payload) => {
                let file = GetResult { payload, meta, range: range.clone(), attributes, extensions };
                ResponseBody::new(core, file.into_stream(), &range, origin, activity)
            }
        }
    }

    /// The answer for the caller of a read that is one request: its body is passed through.
    pub(crate) fn into_result(self) -> GetResult {
        let range = self.range.clone();
        self.deliver(range, |body| (body.origin().clone(), body.pass_through()))
    }

    /// The answer for the caller of a read of the bytes `whole`: a file as it is, or the stream that `begin` makes of
    /// the body, with the origin of its bytes.
    pub(crate) fn deliver(
        self,
        whole: Range<u64>,
        begin: impl FnOnce(ResponseBody) -> (Origin, BoxStream<'static, Result<Bytes>>),
    ) -> GetResult {
        let Self { meta, range: _, attributes, mut extensions, payload } = self;
        let payload = match payload {
            AnswerPayload::File(file) => file,
            AnswerPayload::Body(body) => {
                let (origin, stream) = begin(body);
                extensions.insert(origin);
                GetResultPayload::Stream(stream)
            }
        };
        GetResult { payload, meta, range: whole, attributes, extensions }
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.payload, AnswerPayload::File(_))
    }
}
