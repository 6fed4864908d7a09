//! The ways to answer a read: one request, or several.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, GetResult, GetResultPayload, Result};

use crate::byte_range;
use crate::error::{ObjectChanged, Throttled, is_transient};
use crate::intent::Origin;
use crate::parts::Parts;
use crate::request::{Answer, Core, Payload};
use crate::split::Split;

/// How often a read begins anew when the object changed before the first answer was handed on.
pub(crate) const RESTARTS: usize = 2;

/// A longer range (1 TiB) is no range but a way to say "to the end": no part of it is sent before the size is known.
const OPEN_END_BYTES: u64 = 1 << 40;

impl Core {
    /// Answers one read.
    pub(crate) async fn read(self: &Arc<Self>, path: &Path, options: GetOptions) -> Result<GetResult> {
        if options.head {
            return self.head(path, options).await;
        }
        if !self.config.enabled {
            return Ok(self.request(path, options, None, &Origin::default(), is_transient).await?.into_result());
        }
        let Some(split) = Split::plan(&self.link.link(), &self.config.profile, self.config.concurrency) else {
            return self.whole(path, options).await;
        };
        // A caller who names a version gets that one or an error; nobody else has seen one yet.
        let mut restarts = if options.if_match.is_some() || options.version.is_some() { 0 } else { RESTARTS };
        loop {
            match self.read_split(path, options.clone(), split).await {
                Err(error) if restarts > 0 && ObjectChanged::find(&error).is_some() => {
                    restarts -= 1;
                    self.counters.restart();
                }
                answered => return answered,
            }
        }
    }

    async fn read_split(self: &Arc<Self>, path: &Path, options: GetOptions, split: Split) -> Result<GetResult> {
        match &options.range {
            None => self.open_ended(path, options, split, 0..u64::MAX).await,
            Some(GetRange::Offset(start)) => {
                let range = *start..u64::MAX;
                self.open_ended(path, options, split, range).await
            }
            Some(GetRange::Bounded(range)) if byte_range::len(range) > OPEN_END_BYTES => {
                let range = range.clone();
                self.open_ended(path, options, split, range).await
            }
            Some(GetRange::Bounded(range)) if !split.is_one(byte_range::len(range)) => {
                let range = range.clone();
                self.bounded(path, options, split, range).await
            }
            Some(GetRange::Suffix(bytes)) if !split.is_one(*bytes) => {
                let bytes = *bytes;
                self.suffix(path, options, split, bytes).await
            }
            // One request; an empty or reversed range is the inner store's to refuse.
            Some(GetRange::Bounded(_) | GetRange::Suffix(_)) => self.whole(path, options).await,
        }
    }

    /// One request, as the caller wrote it.
    async fn whole(self: &Arc<Self>, path: &Path, options: GetOptions) -> Result<GetResult> {
        Ok(self.ask(path, options, &Origin::default(), is_transient).await?.into_result())
    }

    /// One request, when its turn has come.
    async fn ask(
        self: &Arc<Self>,
        path: &Path,
        options: GetOptions,
        origin: &Origin,
        worth: fn(&Error) -> bool,
    ) -> Result<Answer> {
        let permit = self.permits.acquire_for(&options.extensions).await;
        self.request(path, options, Some(permit), origin, worth).await
    }

    /// A range whose length is known, though perhaps not all of it exists: every part is sent at once.
    async fn bounded(
        self: &Arc<Self>,
        path: &Path,
        options: GetOptions,
        split: Split,
        range: Range<u64>,
    ) -> Result<GetResult> {
        let parts = Parts::new(self, path, options.clone(), split, range.clone(), Origin::default())?;
        // The head takes its permit before the others queue for theirs.
        let permit = self.permits.acquire_for(&options.extensions).await;
        let head = options.with_range(Some(parts.take_head(None)));
        parts.send();
        let answer = {
            let mut answer = pin!(self.request(path, head, Some(permit), parts.origin(), is_transient));
            poll_fn(|cx| match parts.poll_failure(cx) {
                Poll::Ready(error) => Poll::Ready(Err(error)),
                Poll::Pending => answer.poll_unpin(cx),
            })
            .await?
        };
        parts.answered(&answer.meta)?;
        let whole = range.start..range.end.min(answer.meta.size);
        Ok(in_parts(parts, answer, whole))
    }

    /// A range whose end is the end of the object: the first part says where that is.
    async fn open_ended(
        self: &Arc<Self>,
        path: &Path,
        options: GetOptions,
        split: Split,
        wanted: Range<u64>,
    ) -> Result<GetResult> {
        let first = wanted.start..wanted.start.saturating_add(split.first_bytes()).min(wanted.end);
        let origin = Origin::default();
        let answer = match self.ask(path, options.clone().with_range(Some(first)), &origin, is_throttled).await {
            Ok(answer) => answer,
            // The range is ours. An empty object has none, and one that is decompressed on its way knows none.
            Err(error) if may_be_the_range(&error) => return self.whole(path, options).await,
            Err(error) => return Err(error),
        };
        let whole = wanted.start..wanted.end.min(answer.meta.size);
        if answer.range == whole {
            return Ok(answer.into_result());
        }
        if matches!(answer.payload, Payload::File(_)) {
            return Ok(Answer { range: whole, ..answer }.into_result());
        }
        let parts = Parts::new(self, path, options, split, whole.clone(), origin)?;
        parts.take_head(Some(byte_range::len(&answer.range)));
        parts.answered(&answer.meta)?;
        parts.send();
        Ok(in_parts(parts, answer, whole))
    }

    /// The last bytes of an object: its end is fetched first and says how long the object is, then what precedes it.
    async fn suffix(self: &Arc<Self>, path: &Path, options: GetOptions, split: Split, bytes: u64) -> Result<GetResult> {
        let origin = Origin::default();
        let last = GetRange::Suffix(split.first_bytes());
        let answer = self.ask(path, options.clone().with_range(Some(last)), &origin, is_transient).await?;
        let size = answer.meta.size;
        let whole = size.saturating_sub(bytes)..size;
        if answer.range == whole {
            return Ok(answer.into_result());
        }
        let Answer { meta, range, attributes, mut extensions, payload } = answer;
        let payload = match payload {
            Payload::File(file) => file,
            Payload::Body(body) => {
                let parts = Parts::new(self, path, options, split, whole.clone(), origin)?;
                parts.answered(&meta)?;
                parts.tail_body(range, body);
                parts.send();
                extensions.insert(parts.origin().clone());
                GetResultPayload::Stream(parts.boxed())
            }
        };
        Ok(GetResult { payload, meta, range: whole, attributes, extensions })
    }
}

/// All that is worth another try of a range that we have added: anything else may be about the range.
fn is_throttled(error: &Error) -> bool {
    Throttled::find(error).is_some()
}

/// Whether `error` may say that the store did not like a range. Others say that there is nothing to be had.
fn may_be_the_range(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::NotSupported { .. } | Error::NotImplemented { .. })
}

/// The answer to the whole of a read, from the answer to its head.
fn in_parts(parts: Parts, head: Answer, whole: Range<u64>) -> GetResult {
    let Answer { meta, range: _, attributes, mut extensions, payload } = head;
    let payload = match payload {
        // The file is all there: the parts are given up.
        Payload::File(file) => file,
        Payload::Body(body) => {
            parts.head_body(body);
            extensions.insert(parts.origin().clone());
            GetResultPayload::Stream(parts.boxed())
        }
    };
    GetResult { payload, meta, range: whole, attributes, extensions }
}
