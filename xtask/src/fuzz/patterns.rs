//! Operations that follow each other as chance alone rarely has them: where windows end, and where writes meet read-ahead. Pure.

use std::ops::Range;

use headstart_cache::Freshness;

use super::generate::{chance, one_of};
use super::op::{Body, Change, Condition, Op, OpenBy, Quit, Span};
use super::plan::Plan;

const QUIT: Quit = Quit::Never;

impl Plan<'_> {
    /// One of the patterns, where the case allows any.
    pub(super) fn pattern(&mut self) -> Option<Vec<Op>> {
        let key = self.key();
        let size = self.case.objects[key].filter(|size| *size > 1000)?;
        match self.dice.below(5) {
            0 | 1 if self.changes => Some(self.aging(key, size)),
            2 if self.changes => Some(self.longer(key, size)),
            3 | 4 if self.may_change => Some(self.written(key, size)),
            _ => None,
        }
    }

    /// Nearly as long as a window lasts, in milliseconds.
    fn nearly_a_window(&mut self) -> u64 {
        let cache = match self.case.cache().map(|cache| cache.freshness) {
            Some(Freshness::Ttl(ttl)) => u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            _ => 10_000,
        };
        let ahead = self.case.prefetch().map_or(10_000, |spec| spec.max_age_ms);
        let window = if chance(self.dice, 50) { cache } else { ahead };
        window * one_of(self.dice, &[(1, 30), (3, 90), (1, 110)]) / 100
    }

    fn some_read(&mut self, key: usize, range: Range<u64>) -> Vec<Op> {
        if self.case.prefetch().is_some() && chance(self.dice, 60) {
            return vec![Op::Open { key, by: OpenBy::Path }, Op::ReadAt { range, quit: QUIT }];
        }
        vec![Op::GetRange { key, range, quit: QUIT }]
    }

    /// An object is overwritten, and read again and again while windows end.
    fn aging(&mut self, key: usize, size: u64) -> Vec<Op> {
        let range = 0..size.min(5000);
        let mut ops = self.some_read(key, range.clone());
        ops.push(Op::Behind(Change::Put { key, size }));
        for _ in 0..2 + self.dice.below(3) {
            ops.push(Op::Sleep { ms: self.nearly_a_window() });
            ops.extend(self.some_read(key, range.clone()));
        }
        ops
    }

    /// An object becomes longer, or shorter, and is read at its new end.
    fn longer(&mut self, key: usize, size: u64) -> Vec<Op> {
        let new = if chance(self.dice, 70) { size + 1 + self.dice.below(size) } else { size / 2 };
        let whole =
            Op::Get { key, span: Span::Whole, condition: Condition::None, hint: None, body: Body::ToEnd, quit: QUIT };
        let mut ops = vec![whole, Op::Behind(Change::Put { key, size: new })];
        ops.extend(self.some_read(key, new - 8..new));
        ops
    }

    /// An object is read in order, and written through the stack before the next read.
    fn written(&mut self, key: usize, size: u64) -> Vec<Op> {
        let step = (size / 8).max(1);
        let read = |n: u64| Op::GetRange { key, range: n * step..(n + 1) * step, quit: QUIT };
        let mut ops: Vec<Op> = (0..3).map(read).collect();
        if chance(self.dice, 50) {
            ops.push(Op::Sleep { ms: 100 });
        }
        let quit = if chance(self.dice, 30) { Quit::Ms(self.case.cloud.ttfb_ms * 3 / 4) } else { QUIT };
        ops.push(match self.dice.below(4) {
            0 | 1 => Op::Delete { keys: vec![key], quit },
            2 => Op::Put { key, size, multipart: false, quit },
            _ => Op::Put { key, size, multipart: true, quit },
        });
        ops.extend((3..6).map(read));
        ops
    }
}
