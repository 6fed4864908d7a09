//! Runs one task: its operations one after the other. Every answer is checked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::{ops::Range, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use headstart_fetch_core::CacheHint;
use object_store::{GetOptions, ObjectMeta, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, Result};
use parking_lot::Mutex;

use super::{
    BodyUse, CallKind, CallRecord, Cancel, CaseContext, CaseTime, Checked, ErrorKind, Evidence, Failure, GetCondition,
    NamedToken, Op, OpenBody, OpenReader, Span, Step, Tokens, Version, WrittenVersion, cloud::get_range,
    cloud::key as cloud_key, cloud::path, context::variant, evidence,
};

pub(crate) struct TaskRunner {
    pub(super) context: Arc<CaseContext>,
    pub(super) runtime: usize,
    /// When the future of the current step is dropped.
    cancel: Cancel,
    pub(super) reader: Option<OpenReader>,
    /// Bodies that were left open, the oldest first.
    pub(super) kept: Vec<OpenBody>,
}

/// Runs `steps` in order, until the last one or a failure.
pub(crate) async fn run_task(context: Arc<CaseContext>, runtime: usize, steps: Vec<Step>) {
    let mut runner = TaskRunner { context, runtime, cancel: Cancel::Never, reader: None, kept: Vec::new() };
    for Step { op, cancel } in steps {
        runner.cancel = cancel;
        if runner.context.has_failed() {
            return;
        }
        let name = variant(&op);
        runner.context.count(format!("op: {name}"));
        // Boxed, because the futures of all operations together are large.
        if let Err(failure) = runner.act(op).boxed().await {
            runner.context.fail(failure.during(name));
        }
    }
}

impl TaskRunner {
    async fn act(&mut self, op: Op) -> Checked {
        match op {
            Op::Get { key, span, condition, hint, body } => self.get(key, span, condition, hint, body).await?,
            Op::GetRange { key, range } => self.get_range(key, range).await?,
            Op::GetRanges { key, ranges } => self.get_ranges(key, ranges).await?,
            Op::Head { key } => drop(self.head(key).await?),
            Op::Advise { key, hint } => {
                self.context.stack.prefetch.iter().for_each(|store| store.advise(&path(key), hint.clone()));
            }
            Op::Objects { keys, list_use } => self.objects(&keys, list_use).await?,
            Op::Warm { key, ranges } => self.warm(key, ranges).await?,
            Op::Resume => self.resume().await?,
            Op::DropKept => self.kept.clear(),
            Op::Sleep { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
            Op::OutOfBand(change) => self.context.cloud.change(change),
            op @ (Op::Put { .. } | Op::Delete { .. } | Op::Copy { .. } | Op::Rename { .. }) => self.write(op).await?,
            op => self.use_reader(op).await?,
        }
        Ok(())
    }

    /// A record of a call that begins now.
    pub(super) fn call(&self, key: usize, kind: CallKind, spans: &[Span]) -> CallRecord {
        let (began, window) = (self.context.now(), self.context.rules.window(kind, None));
        let spans = spans.to_vec();
        CallRecord { key, kind, began, ended: began, window, spans, named: None, is_file: false, is_pinned: false }
    }

    /// Drives `future` until it ends or is cancelled, as the current step says.
    pub(super) async fn limited<T>(&self, future: impl Future<Output = T> + Send) -> Checked<Option<T>> {
        let outcome = self.context.limited(self.runtime, self.cancel, future).await;
        if matches!(outcome, Ok(None)) {
            self.context.count("ended: cancelled");
        }
        outcome
    }

    pub(super) async fn uncancelled<T>(&self, future: impl Future<Output = T> + Send) -> Checked<Option<T>> {
        self.context.limited(self.runtime, Cancel::Never, future).await
    }

    /// The answer of `future` to `call`; `None` if it was cancelled, or failed as the rules allow.
    pub(super) async fn answer<T>(
        &self,
        call: &CallRecord,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Checked<Option<T>> {
        match self.limited(future).await?.transpose() {
            Ok(answer) => Ok(answer),
            Err(error) => self.check_error(call, &ErrorKind::of(&error)).map(|()| None),
        }
    }

    pub(super) fn check_error(&self, call: &CallRecord, error_kind: &ErrorKind) -> Checked {
        self.context.count_error(error_kind);
        let call = CallRecord { ended: self.context.now(), ..call.clone() };
        self.context.cloud.history(|history| self.context.rules.check_error(history, &call, error_kind))
    }

    /// Checks `bytes` that answered `call` for `span`.
    pub(super) fn check_bytes(
        &self,
        call: &CallRecord,
        span: &Span,
        start: u64,
        bytes: &[u8],
    ) -> Checked<Vec<Version>> {
        let call = CallRecord { ended: self.context.now(), ..call.clone() };
        self.context.cloud.history(|history| {
            let evidence = Evidence::of(history, call.key, start, bytes)?;
            self.context.rules.check_bytes(history, &call, span, &evidence, true)
        })
    }

    /// The condition with the token that it names, if the store has such tokens.
    fn named(&self, key: usize, condition: GetCondition) -> Option<NamedToken> {
        let spec = &self.context.case.cloud;
        let token = |back| {
            self.context.cloud.history(|history| history.versions(key).rev().nth(back).map(|version| version.token))
        };
        let pins = spec.tokens.are_strong() && spec.honours_pins;
        match condition {
            GetCondition::IfMatch { back } if pins => token(back).map(NamedToken::IfMatch),
            GetCondition::IfNoneMatch { back } if pins => token(back).map(NamedToken::IfNoneMatch),
            GetCondition::Version { back } if spec.tokens == Tokens::Generation => token(back).map(NamedToken::Version),
            _ => None,
        }
    }

    async fn get(
        &mut self,
        key: usize,
        span: Span,
        condition: GetCondition,
        hint: Option<CacheHint>,
        body: BodyUse,
    ) -> Checked {
        let named = self.named(key, condition);
        let mut options = GetOptions::new().with_range(get_range(&span));
        match named {
            Some(NamedToken::IfMatch(token)) => options.if_match = Some(format!("\"{token}\"")),
            Some(NamedToken::IfNoneMatch(token)) => options.if_none_match = Some(format!("\"{token}\"")),
            Some(NamedToken::Version(token)) => options.version = Some(token.to_string()),
            None => {}
        }
        if let Some(hint) = hint {
            options.extensions.insert(hint);
        }
        let bounded = matches!(span, Span::Bounded(_)) && named.is_none();
        let kind = if bounded { CallKind::Bounded } else { CallKind::Other };
        let window = self.context.rules.window(kind, hint);
        let call = CallRecord { window, named, ..self.call(key, kind, std::slice::from_ref(&span)) };
        let context = Arc::clone(&self.context);
        let answered = self.limited(async {
            match context.stack.top.get_opts(&path(key), options).await {
                Ok(result) => {
                    let mut open = OpenBody::of(&context, call.clone(), span, result)?;
                    Ok(Ok(open.take(body).await?.then_some(open)))
                }
                Err(error) => Ok(Err(ErrorKind::of(&error))),
            }
        });
        match answered.await? {
            None => Ok(()),
            Some(Ok(Ok(kept))) => {
                self.kept.extend(kept);
                Ok(())
            }
            Some(Ok(Err(error_kind))) => self.check_error(&call, &error_kind),
            Some(Err(failure)) => Err(failure),
        }
    }

    async fn get_range(&mut self, key: usize, range: Range<u64>) -> Checked {
        let span = Span::Bounded(range.clone());
        let call = self.call(key, CallKind::Bounded, std::slice::from_ref(&span));
        let _held = self.context.holds_answer(&call.spans);
        let start = range.start;
        match self.answer(&call, self.context.stack.top.get_range(&path(key), range)).await? {
            Some(bytes) => self.check_bytes(&call, &span, start, &bytes).map(drop),
            None => Ok(()),
        }
    }

    async fn get_ranges(&mut self, key: usize, ranges: Vec<Range<u64>>) -> Checked {
        let spans: Vec<Span> = ranges.iter().cloned().map(Span::Bounded).collect();
        let call = self.call(key, CallKind::Bounded, &spans);
        // The gaps between ranges may be fetched with them.
        let start = ranges.iter().map(|range| range.start).min().unwrap_or(0);
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        let _held = (self.context.holds_answer(&spans), self.context.holds_answer(&[Span::Bounded(start..end)]));
        let answer = self.answer(&call, self.context.stack.top.get_ranges(&path(key), &ranges)).await?;
        let Some(parts) = answer else { return Ok(()) };
        if parts.len() != ranges.len() {
            let what = format!("{} answers to {} ranges", parts.len(), ranges.len());
            return Err(Failure::new("wrong length", what));
        }
        let mut answers = parts.iter().zip(ranges.iter().zip(&spans));
        answers.try_for_each(|(bytes, (range, span))| self.check_bytes(&call, span, range.start, bytes).map(drop))
    }

    /// Requests the metadata of `key`; `None` if that failed or was cancelled.
    pub(super) async fn head(&mut self, key: usize) -> Checked<Option<ObjectMeta>> {
        let call = self.call(key, CallKind::Other, &[]);
        let answer = self.answer(&call, self.context.stack.top.head(&path(key))).await?;
        if let Some(meta) = &answer {
            let call = CallRecord { ended: self.context.now(), ..call };
            let cloud = &self.context.cloud;
            let is = |version: &Version| cloud.meta(key, version) == *meta;
            cloud.history(|history| self.context.rules.check_head(history, &call, is))?;
        }
        Ok(answer)
    }

    async fn warm(&mut self, key: usize, ranges: Vec<Range<u64>>) -> Checked {
        let Some(cache) = self.context.stack.cache.clone() else { return Ok(()) };
        let spans: Vec<Span> = ranges.iter().cloned().map(Span::Bounded).collect();
        let call = self.call(key, CallKind::Warm, &spans);
        self.answer(&call, cache.warm(&path(key), &ranges)).await.map(drop)
    }

    /// Reads the body that was left open longest to its end.
    async fn resume(&mut self) -> Checked {
        if self.kept.is_empty() {
            return Ok(());
        }
        let mut open = self.kept.remove(0);
        self.limited(async { open.take(BodyUse::ToEnd).await.map(drop) }).await?.unwrap_or(Ok(()))
    }

    async fn write(&mut self, op: Op) -> Checked {
        let began = self.context.now();
        match op {
            Op::Put { key, size, multipart } => {
                let begun = Arc::new(AtomicBool::new(!multipart));
                let outcome = self.limited(self.put(key, size, multipart, Arc::clone(&begun))).await;
                let keys = if begun.load(Ordering::Relaxed) { vec![key] } else { Vec::new() };
                self.wrote(&keys, None, began, outcome)
            }
            Op::Delete { keys } => self.delete(&keys).await,
            Op::Copy { from, to } => {
                let (source, target) = (path(from), path(to));
                let outcome = self.limited(self.context.stack.top.copy(&source, &target)).await;
                self.wrote(&[to], Some(from), began, outcome)
            }
            Op::Rename { from, to } => {
                let (source, target) = (path(from), path(to));
                let outcome = self.limited(self.context.stack.top.rename(&source, &target)).await;
                self.wrote(&[to, from], Some(from), began, outcome)
            }
            _ => Ok(()),
        }
    }

    async fn put(&self, key: usize, size: u64, multipart: bool, begun: Arc<AtomicBool>) -> Result<()> {
        let version = self.context.cloud.history(|history| history.written(size));
        let payload = PutPayload::from_bytes(evidence::content(&version).bytes(0..size));
        let top = &self.context.stack.top;
        if !multipart {
            let mut options = PutOptions::default();
            options.extensions.insert(WrittenVersion(version));
            return top.put_opts(&path(key), payload, options).await.map(drop);
        }
        let mut options = PutMultipartOptions::default();
        options.extensions.insert(WrittenVersion(version));
        let mut upload = top.put_multipart_opts(&path(key), options).await?;
        upload.put_part(payload).await?;
        begun.store(true, Ordering::Relaxed);
        upload.complete().await.map(drop)
    }

    async fn delete(&self, keys: &[usize]) -> Checked {
        let began = self.context.now();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let taking = Arc::clone(&taken);
        let locations = futures::stream::iter(keys.to_vec()).map(move |key| {
            taking.lock().push(key);
            Ok(path(key))
        });
        let mut deleted = self.context.stack.top.delete_stream(locations.boxed());
        let all = async {
            while let Some(outcome) = deleted.next().await {
                let (key, now) = (cloud_key(&outcome?), self.context.now());
                // This deletion is over, though not yet the others of the stream.
                let mut taken = taken.lock();
                if let Some(at) = taken.iter().position(|taken| *taken == key) {
                    taken.remove(at);
                }
                self.context.cloud.history(|history| history.write_is_over(key, now));
            }
            Ok(())
        };
        let outcome = self.limited(all).await;
        drop(deleted);
        let taken = taken.lock().clone();
        self.wrote(&taken, None, began, outcome)
    }

    /// Records that a write of `keys` ended or was cancelled, and checks its error, which a missing `source` explains.
    fn wrote(
        &self,
        keys: &[usize],
        source: Option<usize>,
        began: CaseTime,
        outcome: Checked<Option<Result<()>>>,
    ) -> Checked {
        let now = self.context.now();
        let missing = self.context.cloud.history(|history| {
            keys.iter().for_each(|key| history.write_is_over(*key, now));
            source.is_some_and(|key| history.during(key, began..=now).any(|version| version.is_none()))
        });
        let Some(Err(error)) = outcome? else { return Ok(()) };
        let error_kind = ErrorKind::of(&error);
        self.context.count_error(&error_kind);
        let explained = match error_kind {
            ErrorKind::Injected(_) => !self.context.case.write_faults.is_empty(),
            ErrorKind::NotFound => missing,
            _ => false,
        };
        if explained { Ok(()) } else { Err(Failure::new("write failed without cause", format!("{error_kind:?}"))) }
    }
}
