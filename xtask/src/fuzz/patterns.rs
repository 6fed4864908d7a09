//! Sequences that random choice rarely produces: reads around the end of freshness, and writes during read-ahead.

use std::ops::Range;

use headstart_cache::Freshness;

use super::{
    BodyUse, Cancel, GetCondition, ObjectChange, Op, OpenBy, Span, Step, TaskGenerator, generate::chance,
    generate::one_of,
};

impl TaskGenerator<'_> {
    /// One of the sequences, if the case allows one.
    pub(super) fn pattern(&mut self) -> Option<Vec<Step>> {
        let key = self.key();
        let size = self.case.objects[key].filter(|size| *size > 1000)?;
        match self.dice.below(5) {
            0 | 1 if self.changes => Some(self.aging(key, size)),
            2 if self.changes => Some(self.longer(key, size)),
            3 | 4 if self.may_change => Some(self.written(key, size)),
            _ => None,
        }
    }

    /// About as long as a freshness window, in milliseconds.
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
            return vec![Op::Open { key, by: OpenBy::Path }, Op::ReadAt { range }];
        }
        vec![Op::GetRange { key, range }]
    }

    /// An object is overwritten, and read repeatedly while windows end.
    fn aging(&mut self, key: usize, size: u64) -> Vec<Step> {
        let range = 0..size.min(5000);
        let mut ops = self.some_read(key, range.clone());
        ops.push(Op::OutOfBand(ObjectChange::Put { key, size }));
        for _ in 0..2 + self.dice.below(3) {
            ops.push(Op::Sleep { ms: self.nearly_a_window() });
            ops.extend(self.some_read(key, range.clone()));
        }
        ops.into_iter().map(Step::from).collect()
    }

    /// An object becomes longer or shorter, and is read at its new end.
    fn longer(&mut self, key: usize, size: u64) -> Vec<Step> {
        let new = if chance(self.dice, 70) { size + 1 + self.dice.below(size) } else { size / 2 };
        let whole = Op::Get { key, span: Span::Whole, condition: GetCondition::None, hint: None, body: BodyUse::ToEnd };
        let mut ops = vec![whole, Op::OutOfBand(ObjectChange::Put { key, size: new })];
        ops.extend(self.some_read(key, new - 8..new));
        ops.into_iter().map(Step::from).collect()
    }

    /// An object is read in order, and written through the stack between two reads.
    fn written(&mut self, key: usize, size: u64) -> Vec<Step> {
        let step = (size / 8).max(1);
        let read = |n: u64| Op::GetRange { key, range: n * step..(n + 1) * step };
        let mut steps: Vec<Step> = (0..3).map(read).map(Step::from).collect();
        if chance(self.dice, 50) {
            steps.push(Op::Sleep { ms: 100 }.into());
        }
        let cancel = if chance(self.dice, 30) { Cancel::Ms(self.case.cloud.ttfb_ms * 3 / 4) } else { Cancel::Never };
        let write = match self.dice.below(4) {
            0 | 1 => Op::Delete { keys: vec![key] },
            2 => Op::Put { key, size, multipart: false },
            _ => Op::Put { key, size, multipart: true },
        };
        steps.push(Step { op: write, cancel });
        steps.extend((3..6).map(read).map(Step::from));
        steps
    }
}
