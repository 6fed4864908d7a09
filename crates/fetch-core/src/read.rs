//! Decides how a read is answered: by one request, or by several parts.

pub(crate) mod local_file;
pub(crate) mod parts;
pub(crate) mod positioned;
pub(crate) mod ranges;
pub(crate) mod slots;

use std::{future::poll_fn, ops::Range, pin::pin, sync::Arc, task::Poll};

use futures::{FutureExt, StreamExt};
use object_store::{Error, GetOptions, GetRange, GetResult, GetResultPayload, Result, path::Path};

use crate::error::{ObjectChanged, Throttled, is_past_end};
use crate::internal::mutation::Mutation;
use crate::limits::call_activity::{CallActivity, TrackedCall};
use crate::limits::permit_state::PermitKind;
use crate::policy::fill::FULL_WEIGHT;
use crate::policy::{byte_range, link::Link, split::Split};
use crate::protocol::extensions::{Origin, RangeOrigin};
use crate::protocol::version::ObjectVersion;
use crate::read::parts::Parts;
use crate::request::{FetchAnswer, core::FetchCore, refusals::may_be_the_range, retryable::is_transient};
use crate::trace_events;

/// How often a read begins anew if the object changes before the first answer is handed on.
pub(crate) const RESTARTS: usize = 2;

impl FetchCore {
    /// Answers one read.
    pub(crate) async fn read(self: &Arc<Self>, path: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head {
            return self.head(path, options).await;
        }
        let activity = self.permits.activity();
        let link = self.link.link();
        let call = ReadCall { core: self, path, activity: &activity, link };
        let answered = TrackedCall::new(&activity, call.answer(options)).await;
        self.counters.on_read_end(&answered);
        answered
    }
}

/// One read of one object, polled by its caller.
#[derive(Clone, Copy)]
struct ReadCall<'a> {
    core: &'a Arc<FetchCore>,
    path: &'a Path,
    activity: &'a Arc<CallActivity>,
    /// The link when the read began.
    link: Link,
}

impl ReadCall<'_> {
    /// Rare ways are boxed: the future of every read would otherwise be as large as all ways together. It was 20 KB,
    /// which were allocated and copied for each read.
    async fn answer(self, options: GetOptions) -> Result<GetResult> {
        let core = self.core;
        let split = Split::plan(&self.link, &core.profile, core.permits.fill_limit());
        let is_asked = options.extensions.get() == Some(&RangeOrigin::Asked);
        let Some(split) = split.filter(|_| !is_asked && core.may_split(&options)) else {
            return self.whole(options).await;
        };
        if let Some(GetRange::Bounded(range)) = &options.range
            && !byte_range::is_open_ended(range)
            && self.is_one(split, byte_range::len(range))
        {
            // One request. The inner store refuses empty and reversed ranges. No version was seen that could change.
            return self.whole(options).await;
        }
        self.answer_in_parts(options, split).boxed().await
    }

    async fn answer_in_parts(self, options: GetOptions, split: Split) -> Result<GetResult> {
        let core = self.core;
        // A caller that names a version gets this version or an error. Other callers have not seen a version yet.
        let mut restarts = if options.if_match.is_some() || options.version.is_some() { 0 } else { RESTARTS };
        loop {
            match self.split(options.clone(), split).await {
                Err(error) if restarts > 0 && ObjectChanged::find(&error).is_some() => {
                    restarts -= 1;
                    core.counters.restarts.add(1);
                    trace_events::version_changed(self.path, &error);
                    core.refusals.look_at_tags(&*core.inner, self.path, &error, &options.extensions).await;
                    if restarts == 0 {
                        // The object changes constantly, or seems to because answers of the
                        // server differ. One request gives one answer.
                        return self.whole(options).await;
                    }
                }
                answered => return answered,
            }
        }
    }

    async fn split(self, options: GetOptions, split: Split) -> Result<GetResult> {
        match options.range.clone() {
            None => self.open_ended(options, split, 0..u64::MAX).await,
            Some(GetRange::Offset(start)) => self.open_ended(options, split, start..u64::MAX).await,
            Some(GetRange::Bounded(range)) if byte_range::is_open_ended(&range) => {
                self.open_ended(options, split, range).await
            }
            Some(GetRange::Bounded(range)) if !self.is_one(split, byte_range::len(&range)) => {
                self.bounded(options, split, range).await
            }
            Some(GetRange::Suffix(bytes)) if !split.is_one(bytes) => self.suffix(options, split, bytes).await,
            // One request. The inner store refuses empty and reversed ranges.
            Some(GetRange::Bounded(_) | GetRange::Suffix(_)) => self.whole(options).await,
        }
    }

    /// Whether a range of `bytes` is one request: it is short, or other reads fill the link anyway. Parts would then
    /// only add round trips.
    fn is_one(self, split: Split, bytes: u64) -> bool {
        split.is_one(bytes) || bytes <= self.core.profile.max_part_bytes && self.core.permits.is_filled_by_demand()
    }

    /// Sends one request, as the caller wrote it.
    async fn whole(self, options: GetOptions) -> Result<GetResult> {
        let is_immutable = self.core.is_immutable(&options);
        let answer = self.ask(options, &Origin::default(), is_transient).await?;
        self.core.note_version(&answer.meta, is_immutable);
        Ok(answer.into_result())
    }

    /// Sends one request, as the caller wrote it, after a range of our choice up to `asked_end` was refused
    /// with `error`.
    async fn whole_after(self, error: Error, options: GetOptions, asked_end: u64) -> Result<GetResult> {
        if options.extensions.get() == Some(&RangeOrigin::Chosen) {
            // The layer that chose the range sends the next request.
            return Err(error);
        }
        let answer = self.whole(options).await?;
        self.core.refusals.refused_range(asked_end, answer.meta.size);
        Ok(answer)
    }

    /// Reads to the end of an object in a store that refuses ranges which reach the end. One request, as the
    /// caller wrote it, tells the size, and brings all of an object that is not worth splitting.
    async fn sized(self, options: GetOptions, split: Split, wanted: Range<u64>) -> Result<GetResult> {
        let answer = self.whole(options.clone()).await?;
        let range = wanted.start..wanted.end.min(answer.meta.size);
        let is_one = range.start >= range.end || split.is_one(byte_range::len(&range));
        if is_one || !self.core.may_split(&options) || matches!(answer.payload, GetResultPayload::File(..)) {
            return Ok(answer);
        }
        let version = ObjectVersion::of(&answer.meta);
        drop(answer);
        let answer = self.bounded(options, split, range).await?;
        // The object may have grown meanwhile.
        version.check(&answer.meta)?;
        Ok(answer)
    }

    /// Acquires a permit and sends one request.
    async fn ask(self, options: GetOptions, origin: &Origin, retry_if: impl Fn(&Error) -> bool) -> Result<FetchAnswer> {
        let kind = self.kind_of(&options);
        let permit =
            self.core.permits.acquire_for(&options.extensions, kind, self.weight_of(&options), self.activity).await;
        self.core.request(None, self.path, options, Some(permit), origin, retry_if, self.activity).await
    }

    /// The kind of a demanded request: whether its bytes take longer than the wait for the first one.
    fn kind_of(self, options: &GetOptions) -> PermitKind {
        let is_small = |bytes| bytes < self.link.round_trip_bytes();
        match &options.range {
            Some(GetRange::Bounded(range)) if is_small(byte_range::len(range)) => PermitKind::Demand,
            Some(GetRange::Suffix(bytes)) if is_small(*bytes) => PermitKind::Demand,
            _ => PermitKind::LargeDemand,
        }
    }

    /// How much of the link the request fills.
    fn weight_of(self, options: &GetOptions) -> u64 {
        let bytes = match &options.range {
            Some(GetRange::Bounded(range)) => byte_range::len(range),
            Some(GetRange::Suffix(bytes)) => *bytes,
            _ => return FULL_WEIGHT,
        };
        self.core.link.weight(&self.core.profile, bytes)
    }

    /// Reads a range of known length, which may reach past the end of the object. All parts are sent at once.
    async fn bounded(self, options: GetOptions, split: Split, range: Range<u64>) -> Result<GetResult> {
        let core = self.core;
        let parts = Parts::new(core, self.path, options.clone(), split, range.clone(), Origin::default())?;
        // The first part acquires its permit before the others join the queue.
        let permit =
            core.permits.acquire_for(&options.extensions, PermitKind::LargeDemand, FULL_WEIGHT, self.activity).await;
        let head_range = parts.take_head(None);
        let head = options.clone().with_range(Some(head_range.clone()));
        parts.send();
        let answered = {
            let (outage, origin) = (Some(parts.outage()), parts.origin());
            let answer = core.request(outage, self.path, head, Some(permit), origin, is_transient, self.activity);
            let mut answer = pin!(answer);
            poll_fn(|cx| match parts.poll_failure(cx) {
                Poll::Ready(error) => Poll::Ready(Err(error)),
                Poll::Pending => answer.poll_unpin(cx),
            })
            .await
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) if may_be_the_range(&error) && !is_past_end(&error) => {
                drop(parts);
                return self.whole_after(error, options, head_range.end).await;
            }
            Err(error) => return Err(error),
        };
        core.refusals.granted_range();
        if !core.note_version(&answer.meta, core.is_immutable(&options)) {
            // Nothing proves that the parts are of one version.
            drop((parts, answer));
            return self.whole(options).await;
        }
        parts.answered(&answer.meta)?;
        let whole = range.start..range.end.min(answer.meta.size);
        Ok(in_parts(parts, answer, whole))
    }

    /// Reads to the end of the object. The answer to the first part tells the size.
    async fn open_ended(self, options: GetOptions, split: Split, wanted: Range<u64>) -> Result<GetResult> {
        let core = self.core;
        if core.refusals.refuses_ends() {
            return self.sized(options, split, wanted).await;
        }
        let first = wanted.start..wanted.start.saturating_add(split.first_bytes()).min(wanted.end);
        let origin = Origin::default();
        let request = options.clone().with_range(Some(first.clone()));
        let answer = match self.ask(request, &origin, is_worth_a_range).await {
            Ok(answer) => answer,
            // The refused range was our choice. An empty object has no range, and an object that is
            // decompressed in transit has none.
            Err(error) if may_be_ours(&error) => return self.whole_after(error, options, first.end).await,
            Err(error) => return Err(error),
        };
        core.refusals.granted_range();
        let whole = wanted.start..wanted.end.min(answer.meta.size);
        self.continued(answer, options, split, whole, origin).await
    }

    /// Reads the last bytes of an object. The end is fetched first and tells the size, then the bytes before it.
    async fn suffix(self, options: GetOptions, split: Split, bytes: u64) -> Result<GetResult> {
        let origin = Origin::default();
        let last = options.clone().with_range(Some(GetRange::Suffix(split.first_bytes())));
        let answer = match self.ask(last, &origin, is_transient).await {
            Ok(answer) => answer,
            Err(error) if may_be_the_range(&error) => return self.whole_after(error, options, u64::MAX).await,
            Err(error) => return Err(error),
        };
        let size = answer.meta.size;
        self.continued(answer, options, split, size.saturating_sub(bytes)..size, origin).await
    }

    /// Fetches what is missing of the bytes `whole`, of which `answer` has the first or the last ones.
    async fn continued(
        self,
        answer: FetchAnswer,
        options: GetOptions,
        split: Split,
        whole: Range<u64>,
        origin: Origin,
    ) -> Result<GetResult> {
        let is_provable = self.core.note_version(&answer.meta, self.core.is_immutable(&options));
        if answer.range == whole || answer.is_file() {
            return Ok(FetchAnswer { range: whole, ..answer }.into_result());
        }
        if !is_provable {
            drop(answer);
            return self.whole(options).await;
        }
        let parts = Parts::new(self.core, self.path, options, split, whole.clone(), origin)?;
        let there = answer.range.clone();
        if there.start == whole.start {
            parts.take_head(Some(byte_range::len(&there)));
            parts.answered(&answer.meta)?;
            parts.send();
            return Ok(in_parts(parts, answer, whole));
        }
        parts.answered(&answer.meta)?;
        Ok(answer.deliver(whole, |body| {
            parts.tail_body(there, body);
            parts.send();
            (parts.origin().clone(), parts.boxed())
        }))
    }
}

/// Whether the first request of an open-ended read, whose range is our choice, is retried.
fn is_worth_a_range(error: &Error) -> bool {
    if Mutation::GivesUpParts.is_active() { Throttled::find(error).is_some() } else { is_transient(error) }
}

/// Whether `error` may be a refusal of a range of our choice, not of the read itself.
fn may_be_ours(error: &Error) -> bool {
    may_be_the_range(error) || Mutation::GivesUpParts.is_active() && matches!(error, Error::Generic { .. })
}

/// The answer to the whole read, from the answer to its first part.
fn in_parts(parts: Parts, head: FetchAnswer, whole: Range<u64>) -> GetResult {
    // A file has all bytes, so the parts are dropped.
    head.deliver(whole, |body| {
        parts.head_body(body);
        (parts.origin().clone(), parts.boxed())
    })
}
