//! One task: does its operations one after the other and has every answer judged.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use headstart_fetch_core::CacheHint;
use object_store::{GetOptions, ObjectStoreExt};

use super::answer::OpenBody;
use super::case::Tokens;
use super::cloud::{get_range, path};
use super::evidence::Evidence;
use super::failure::{Failure, Trouble};
use super::history::Version;
use super::judge::{Asked, Kind, Named};
use super::op::{Body, Condition, Op, Quit, Span};
use super::reading::OpenReader;
use super::trouble;
use super::world::World;

/// A task at work.
pub(crate) struct Actor {
    pub(super) world: Arc<World>,
    pub(super) runtime: usize,
    pub(super) reader: Option<OpenReader>,
    /// Bodies that were left alone, the oldest first.
    pub(super) kept: Vec<OpenBody>,
}

/// Does `ops` in order, until they are over or something fails.
pub(crate) async fn perform(world: Arc<World>, runtime: usize, ops: Vec<Op>) {
    let mut actor = Actor { world, runtime, reader: None, kept: Vec::new() };
    for op in ops {
        if actor.world.has_failed() {
            return;
        }
        actor.world.count(format!("op: {}", op.name()));
        let name = op.name();
        // In a box of its own: the futures of all operations together are large.
        if let Err(failure) = actor.act(op).boxed().await {
            actor.world.fail(failure.during(name));
        }
    }
}

impl Actor {
    async fn act(&mut self, op: Op) -> Result<(), Failure> {
        match op {
            Op::Get { key, span, condition, hint, body, quit } => {
                self.get(key, span, condition, hint, body, quit).await
            }
            Op::GetRange { key, range, quit } => self.get_range(key, range, quit).await,
            Op::GetRanges { key, ranges, quit } => self.get_ranges(key, ranges, quit).await,
            Op::Head { key, quit } => self.head(key, quit).await.map(drop),
            Op::Advise { key, hint } => {
                if let Some(store) = &self.world.stack.prefetch {
                    store.advise(&path(key), hint);
                }
                Ok(())
            }
            Op::Warm { key, ranges, quit } => self.warm(key, ranges, quit).await,
            Op::Resume { quit } => self.resume(quit).await,
            Op::DropKept => {
                self.kept.clear();
                Ok(())
            }
            Op::Sleep { ms } => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
            Op::Behind(change) => {
                self.world.cloud.change(change);
                Ok(())
            }
            op @ (Op::Put { .. } | Op::Delete { .. } | Op::Copy { .. } | Op::Rename { .. }) => self.write(op).await,
            op => self.use_reader(op).await,
        }
    }

    /// A call that begins now.
    pub(super) fn asked(&self, key: usize, kind: Kind, spans: &[Span]) -> Asked {
        let now = self.world.now();
        let window = self.world.rules.window(kind, None);
        Asked {
            key,
            kind,
            began: now,
            ended: now,
            window,
            spans: spans.to_vec(),
            named: None,
            is_file: false,
            is_pinned: false,
        }
    }

    /// Drives `future` until it is over or given up.
    pub(super) async fn limited<T>(
        &self,
        quit: Quit,
        future: impl Future<Output = T> + Send,
    ) -> Result<Option<T>, Failure> {
        let outcome = self.world.limited(self.runtime, quit, future).await;
        if matches!(outcome, Ok(None)) {
            self.world.count("ended: given up");
        }
        outcome
    }

    /// Judges an error that `asked` was answered.
    pub(super) fn trouble(&self, asked: &Asked, trouble: &Trouble) -> Result<(), Failure> {
        self.world.count_trouble(trouble);
        let asked = Asked { ended: self.world.now(), ..asked.clone() };
        self.world.cloud.history(|history| self.world.rules.trouble(history, &asked, trouble))
    }

    /// Judges `bytes` that `asked` was answered for `span`.
    pub(super) fn bytes(&self, asked: &Asked, span: &Span, start: u64, bytes: &[u8]) -> Result<Vec<Version>, Failure> {
        let asked = Asked { ended: self.world.now(), ..asked.clone() };
        self.world.cloud.history(|history| {
            let evidence = Evidence::of(history, asked.key, start, bytes)?;
            self.world.rules.bytes(history, &asked, span, &evidence, true)
        })
    }

    /// The condition with the token it names, where the store knows such tokens.
    fn named(&self, key: usize, condition: Condition) -> Option<Named> {
        let spec = &self.world.case.cloud;
        let token = |back| {
            self.world.cloud.history(|history| history.versions(key).rev().nth(back).map(|version| version.token))
        };
        let pins = spec.tokens.are_strong() && spec.honours_pins;
        match condition {
            Condition::IfMatch { back } if pins => token(back).map(Named::IfMatch),
            Condition::IfNoneMatch { back } if pins => token(back).map(Named::IfNoneMatch),
            Condition::Version { back } if spec.tokens == Tokens::Generation => token(back).map(Named::Version),
            _ => None,
        }
    }

    async fn get(
        &mut self,
        key: usize,
        span: Span,
        condition: Condition,
        hint: Option<CacheHint>,
        body: Body,
        quit: Quit,
    ) -> Result<(), Failure> {
        let named = self.named(key, condition);
        let mut options = GetOptions::new().with_range(get_range(&span));
        match named {
            Some(Named::IfMatch(token)) => options.if_match = Some(format!("\"{token}\"")),
            Some(Named::IfNoneMatch(token)) => options.if_none_match = Some(format!("\"{token}\"")),
            Some(Named::Version(token)) => options.version = Some(token.to_string()),
            None => {}
        }
        if let Some(hint) = hint {
            options.extensions.insert(hint);
        }
        let bounded = matches!(span, Span::Bounded(_)) && named.is_none();
        let kind = if bounded { Kind::Bounded } else { Kind::Other };
        let window = self.world.rules.window(kind, hint);
        let asked = Asked { window, named, ..self.asked(key, kind, std::slice::from_ref(&span)) };
        let world = Arc::clone(&self.world);
        let answered = self.limited(quit, async {
            match world.stack.top.get_opts(&path(key), options).await {
                Ok(result) => {
                    let mut open = OpenBody::answered(&world, asked.clone(), span, result)?;
                    Ok(Ok(open.take(body).await?.then_some(open)))
                }
                Err(error) => Ok(Err(trouble::of(&error))),
            }
        });
        match answered.await? {
            None => Ok(()),
            Some(Ok(Ok(kept))) => {
                self.kept.extend(kept);
                Ok(())
            }
            Some(Ok(Err(trouble))) => self.trouble(&asked, &trouble),
            Some(Err(failure)) => Err(failure),
        }
    }

    async fn get_range(&mut self, key: usize, range: Range<u64>, quit: Quit) -> Result<(), Failure> {
        let span = Span::Bounded(range.clone());
        let asked = self.asked(key, Kind::Bounded, std::slice::from_ref(&span));
        let _held = self.world.holds_answer(&asked.spans);
        let start = range.start;
        let path = path(key);
        match self.limited(quit, self.world.stack.top.get_range(&path, range)).await? {
            None => Ok(()),
            Some(Ok(bytes)) => self.bytes(&asked, &span, start, &bytes).map(drop),
            Some(Err(error)) => self.trouble(&asked, &trouble::of(&error)),
        }
    }

    async fn get_ranges(&mut self, key: usize, ranges: Vec<Range<u64>>, quit: Quit) -> Result<(), Failure> {
        let spans: Vec<Span> = ranges.iter().cloned().map(Span::Bounded).collect();
        let asked = self.asked(key, Kind::Bounded, &spans);
        // What lies between ranges may be fetched along with them.
        let start = ranges.iter().map(|range| range.start).min().unwrap_or(0);
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        let _held = (self.world.holds_answer(&spans), self.world.holds_answer(&[Span::Bounded(start..end)]));
        let path = path(key);
        match self.limited(quit, self.world.stack.top.get_ranges(&path, &ranges)).await? {
            None => Ok(()),
            Some(Ok(parts)) if parts.len() != ranges.len() => {
                Err(Failure::new("wrong length", format!("{} answers to {} ranges", parts.len(), ranges.len())))
            }
            Some(Ok(parts)) => parts
                .iter()
                .zip(&ranges)
                .zip(&spans)
                .try_for_each(|((bytes, range), span)| self.bytes(&asked, span, range.start, bytes).map(drop)),
            Some(Err(error)) => self.trouble(&asked, &trouble::of(&error)),
        }
    }

    /// Asks for the metadata of `key`; `None` where that failed or was given up.
    pub(super) async fn head(&mut self, key: usize, quit: Quit) -> Result<Option<object_store::ObjectMeta>, Failure> {
        let asked = self.asked(key, Kind::Other, &[]);
        let path = path(key);
        match self.limited(quit, self.world.stack.top.head(&path)).await? {
            None => Ok(None),
            Some(Ok(meta)) => {
                let asked = Asked { ended: self.world.now(), ..asked };
                let cloud = &self.world.cloud;
                let is = |version: &Version| cloud.meta(key, version) == meta;
                cloud.history(|history| self.world.rules.head(history, &asked, is))?;
                Ok(Some(meta))
            }
            Some(Err(error)) => self.trouble(&asked, &trouble::of(&error)).map(|()| None),
        }
    }

    async fn warm(&mut self, key: usize, ranges: Vec<Range<u64>>, quit: Quit) -> Result<(), Failure> {
        let Some(cache) = self.world.stack.cache.clone() else { return Ok(()) };
        let spans: Vec<Span> = ranges.iter().cloned().map(Span::Bounded).collect();
        let asked = self.asked(key, Kind::Warm, &spans);
        let path = path(key);
        match self.limited(quit, cache.warm(&path, &ranges)).await? {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => self.trouble(&asked, &trouble::of(&error)),
        }
    }

    /// Reads the body that was left alone longest to its end.
    async fn resume(&mut self, quit: Quit) -> Result<(), Failure> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let mut open = self.kept.remove(0);
        self.limited(quit, async { open.take(Body::ToEnd).await.map(drop) }).await?.unwrap_or(Ok(()))
    }
}
