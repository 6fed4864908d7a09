//! Operations of a task's reader.

use std::{io::SeekFrom, ops::Range};

use futures::StreamExt;
use headstart_prefetch::Reader;
use object_store::ObjectMeta;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt};

use super::{
    BodyUse, CallKind, CallRecord, Checked, ErrorKind, Evidence, Failure, HeldBytes, Op, OpenBody, OpenBy, SeekTo,
    Span, TaskRunner, Version, cloud::path,
};

/// Length of the reads of a reader's stream. The latest one stays in memory behind the reader.
const STREAM_STEP_BYTES: u64 = 1 << 20;

/// A reader, and what it has shown so far.
pub(super) struct OpenReader {
    reader: Reader,
    /// The call that opened the reader. The freshness window counts from its start.
    call: CallRecord,
    /// The versions that the reader can be on; `None` before its first answer, or without validators.
    versions: Option<Vec<Version>>,
    position: u64,
    /// A seek was cancelled, so that the position has to be set again.
    is_lost: bool,
    /// Length of the longest read so far, which may stay in memory behind the reader.
    behind_bytes: u64,
    _behind: HeldBytes,
}

impl TaskRunner {
    /// Runs an operation of the task's reader; does nothing if there is none.
    pub(super) async fn use_reader(&mut self, op: Op) -> Checked {
        if let Op::Open { key, by } = op {
            return self.open(key, by).await;
        }
        let Some(mut open) = self.reader.take() else { return Ok(()) };
        let outcome = self.with_reader(&mut open, &op).await;
        if op != Op::Close {
            self.reader = Some(open);
        }
        outcome
    }

    async fn with_reader(&mut self, open: &mut OpenReader, op: &Op) -> Checked {
        match op {
            Op::ReadAt { range } => self.read_at(open, range.clone(), true).await,
            Op::ChunksAt { range } => self.read_at(open, range.clone(), false).await,
            Op::Seek { to } => self.seek(open, *to).await,
            Op::Read { len } => self.read(open, *len).await,
            Op::FillBuf => self.fill_buf(open).await,
            Op::Stream { body } => self.stream(open, *body).await,
            Op::Size => self.size(open).await,
            Op::AdviseReader { hint } => {
                open.reader.advise(hint.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn open(&mut self, key: usize, by: OpenBy) -> Checked {
        // The previous reader stays open until the new one is open, so that both share their engine.
        let Some(store) = self.context.stack.prefetch.clone() else { return Ok(()) };
        let call = CallRecord { is_file: true, ..self.call(key, CallKind::Reader, &[]) };
        let meta = match by {
            OpenBy::Path => None,
            OpenBy::Head => self.head(key).await?,
            OpenBy::List => self.list(key).await?,
        };
        if meta.is_none() && by != OpenBy::Path {
            return Ok(());
        }
        let versions = meta.as_ref().filter(|_| self.context.rules.tells_versions).map(|meta| {
            let all: Vec<Version> = self.context.cloud.history(|history| history.versions(key).collect());
            all.into_iter().filter(|version| self.context.cloud.meta(key, version) == *meta).collect()
        });
        let opened = match meta {
            Some(meta) => store.reader_with(meta),
            None => store.reader(&path(key)),
        };
        match opened {
            Ok(reader) => {
                let _behind = self.context.holds_behind(0);
                self.reader =
                    Some(OpenReader { reader, call, versions, position: 0, is_lost: false, behind_bytes: 0, _behind });
                Ok(())
            }
            Err(error) => self.check_error(&call, &ErrorKind::of(&error)),
        }
    }

    fn keeps_behind(&self, open: &mut OpenReader, span: &Span) {
        open.behind_bytes = open.behind_bytes.max(span.most(self.context.largest_bytes));
        open._behind = self.context.holds_behind(2 * open.behind_bytes);
    }

    async fn list(&self, key: usize) -> Checked<Option<ObjectMeta>> {
        let listed = self.context.stack.top.list(None).collect::<Vec<_>>();
        let metas = self.uncancelled(listed).await?.unwrap_or_default();
        Ok(metas.into_iter().flatten().find(|meta| meta.location == path(key)))
    }

    /// What is known about the version of an answer that starts at `start`.
    fn evidence(&self, open: &OpenReader, start: u64) -> Evidence {
        let mut evidence = self.context.cloud.history(|history| Evidence::new(history, open.call.key));
        if let Some(versions) = &open.versions {
            evidence.narrow(versions.clone());
        }
        evidence.start = Some(start);
        evidence
    }

    fn saw<'a>(
        &self,
        open: &mut OpenReader,
        span: &Span,
        start: u64,
        chunks: impl IntoIterator<Item = &'a [u8]>,
        is_whole: bool,
    ) -> Checked {
        let mut evidence = self.evidence(open, start);
        let call = CallRecord { ended: self.context.now(), ..open.call.clone() };
        let versions = self.context.cloud.history(|history| {
            chunks.into_iter().try_for_each(|chunk| evidence.take(history, chunk))?;
            self.context.rules.check_bytes(history, &call, span, &evidence, is_whole)
        })?;
        if self.context.rules.tells_versions && evidence.proves(span, is_whole) {
            open.versions = Some(versions);
        }
        Ok(())
    }

    fn check_reader_error(&self, open: &OpenReader, span: Span, error_kind: &ErrorKind) -> Checked {
        let is_pinned = open.versions.is_some();
        self.check_error(&CallRecord { spans: vec![span], is_pinned, ..open.call.clone() }, error_kind)
    }

    async fn read_at(&mut self, open: &mut OpenReader, range: Range<u64>, joined: bool) -> Checked {
        let span = Span::Bounded(range.clone());
        let start = range.start;
        let _held = self.context.holds_answer(std::slice::from_ref(&span));
        let read = async {
            if joined {
                open.reader.read_at(range).await.map(|bytes| vec![bytes])
            } else {
                open.reader.chunks_at(range).await
            }
        };
        let answer = self.limited(read).await?;
        self.keeps_behind(open, &span);
        match answer {
            None => Ok(()),
            Some(Ok(chunks)) => self.saw(open, &span, start, chunks.iter().map(|chunk| &**chunk), true),
            Some(Err(error)) => self.check_reader_error(open, span, &ErrorKind::of(&error)),
        }
    }

    async fn seek(&mut self, open: &mut OpenReader, to: SeekTo) -> Checked {
        self.find_again(open).await?;
        let from = match to {
            SeekTo::Start(start) => SeekFrom::Start(start),
            SeekTo::End(back) => SeekFrom::End(-i64::try_from(back).unwrap_or(i64::MAX)),
            SeekTo::On(on) => SeekFrom::Current(i64::try_from(on).unwrap_or(i64::MAX)),
        };
        match self.limited(open.reader.seek(from)).await? {
            None => {
                open.is_lost = true;
                Ok(())
            }
            Some(Ok(position)) => {
                let expected = match to {
                    SeekTo::Start(start) => Some(start),
                    SeekTo::On(on) => Some(open.position + on),
                    SeekTo::End(_) => None,
                };
                open.position = position;
                match (expected, to) {
                    (Some(expected), _) if expected != position => {
                        Err(Failure::new("wrong length", format!("{to:?} leads to {position}")))
                    }
                    (None, SeekTo::End(back)) => self.sized(open, position + back),
                    _ => Ok(()),
                }
            }
            Some(Err(error)) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
            Some(Err(error)) => self.check_reader_error(open, Span::Whole, &ErrorKind::of_io(&error)),
        }
    }

    /// Sets the position again after a cancelled seek.
    async fn find_again(&mut self, open: &mut OpenReader) -> Checked {
        if std::mem::take(&mut open.is_lost) {
            let position = SeekFrom::Start(open.position);
            // The cancelled seek may report its error first.
            let _ = self.uncancelled(open.reader.seek(position)).await?;
            let _ = self.uncancelled(open.reader.seek(position)).await?;
        }
        Ok(())
    }

    async fn read(&mut self, open: &mut OpenReader, len: u64) -> Checked {
        self.find_again(open).await?;
        let span = Span::Bounded(open.position..open.position + len);
        let _held = self.context.holds_answer(std::slice::from_ref(&span));
        let mut buffer = vec![0; usize::try_from(len.min(self.context.largest_bytes + 1)).unwrap_or(0)];
        let answer = self.limited(open.reader.read(&mut buffer)).await?;
        self.keeps_behind(open, &span);
        match answer {
            None => Ok(()),
            Some(Ok(n)) => {
                let start = open.position;
                open.position += n as u64;
                self.saw(open, &span, start, [&buffer[..n]], n == 0)
            }
            Some(Err(error)) => self.check_reader_error(open, span, &ErrorKind::of_io(&error)),
        }
    }

    async fn fill_buf(&mut self, open: &mut OpenReader) -> Checked {
        self.find_again(open).await?;
        let start = open.position;
        let filled = async { open.reader.fill_buf().await.map(<[u8]>::to_vec) };
        match self.limited(filled).await? {
            None => Ok(()),
            Some(Ok(bytes)) => {
                open.reader.consume(bytes.len());
                open.position += bytes.len() as u64;
                let span = Span::Bounded(start..u64::MAX);
                self.saw(open, &span, start, [&bytes[..]], bytes.is_empty())
            }
            Some(Err(error)) => self.check_reader_error(open, Span::Offset(start), &ErrorKind::of_io(&error)),
        }
    }

    async fn stream(&mut self, open: &mut OpenReader, body: BodyUse) -> Checked {
        self.find_again(open).await?;
        let span = Span::Offset(open.position);
        let evidence = self.evidence(open, open.position);
        let call = CallRecord { spans: vec![span.clone()], is_pinned: open.versions.is_some(), ..open.call.clone() };
        let streaming = open.reader.stream();
        let mut streamed = OpenBody::new(&self.context, call, span, evidence, streaming, 2 * STREAM_STEP_BYTES);
        let kept = self.limited(streamed.take(body)).await?;
        if let Some(kept) = kept {
            let kept = kept?;
            if self.context.rules.tells_versions && streamed.evidence.seen > 0 {
                open.versions = Some(streamed.evidence.versions.clone());
            }
            self.kept.extend(kept.then_some(streamed));
        }
        Ok(())
    }

    async fn size(&mut self, open: &mut OpenReader) -> Checked {
        match self.limited(open.reader.size()).await? {
            None => Ok(()),
            Some(Ok(size)) => self.sized(open, size),
            Some(Err(error)) => self.check_reader_error(open, Span::Whole, &ErrorKind::of(&error)),
        }
    }

    /// Records the object's size as the reader reported it.
    fn sized(&self, open: &mut OpenReader, size: u64) -> Checked {
        let call = CallRecord { ended: self.context.now(), ..open.call.clone() };
        let known = open.versions.clone();
        let is = |version: &Version| version.size == size && known.as_ref().is_none_or(|known| known.contains(version));
        let versions = self.context.cloud.history(|history| self.context.rules.check_head(history, &call, is))?;
        if self.context.rules.tells_versions {
            open.versions = Some(versions);
        }
        Ok(())
    }
}
