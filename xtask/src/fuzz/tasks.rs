//! Generates the operations of a case's tasks.

use std::ops::Range;

use headstart_cache::Freshness;
use headstart_fetch_core::{AccessHint, CacheHint};
use headstart_sim::SeededRng;

use super::{
    BodyUse, Cancel, Case, CaseTask, GetCondition, ListUse, ObjectChange, Op, OpenBy, SeekTo, Span, Step, Turns,
    generate::chance, generate::change, generate::new_size, generate::one_of, generate::pick,
};

const KIB: u64 = 1 << 10;

pub(super) struct TaskGenerator<'a> {
    pub(super) dice: &'a mut SeededRng,
    pub(super) case: &'a Case,
    pub(super) largest: u64,
    /// Whether objects change during the case.
    pub(super) changes: bool,
    /// Whether writes are allowed.
    pub(super) may_change: bool,
}

impl TaskGenerator<'_> {
    pub(super) fn tasks(&mut self) -> Vec<CaseTask> {
        let n = one_of(self.dice, &[(3, 1), (3, 2), (2, 3), (1, 6)]);
        let gives_up = chance(self.dice, 40);
        let abandons = chance(self.dice, 30);
        let task = |runtime: usize| {
            let mut steps = self.steps();
            for step in &mut steps {
                if gives_up && chance(self.dice, 30) && step.op.is_cancellable() {
                    step.cancel = cancel_sometime(self.dice);
                }
                if abandons
                    && chance(self.dice, 60)
                    && let Some(body) = step.op.body_mut()
                {
                    *body = if chance(self.dice, 60) {
                        BodyUse::KeepPolled
                    } else {
                        BodyUse::Keep { chunks: pick(self.dice, 4) }
                    };
                }
            }
            CaseTask { runtime: runtime % 2, steps }
        };
        (0..n).map(task).collect()
    }

    /// One runtime in most cases, two in the others.
    pub(super) fn turns(&mut self) -> Turns {
        match self.dice.below(10) {
            0..8 => Turns::One,
            8 => Turns::Handover { after_ms: self.dice.below(400) },
            _ => Turns::Alternate { turn_ms: 1 + self.dice.below(100) },
        }
    }

    fn steps(&mut self) -> Vec<Step> {
        if chance(self.dice, 20)
            && let Some(ops) = self.pattern()
        {
            return ops;
        }
        let n = 1 + pick(self.dice, 6);
        let reads = self.case.prefetch().is_some() && chance(self.dice, 50);
        let mut ops = Vec::new();
        if reads {
            ops.push(self.open());
        }
        for _ in 0..n {
            match self.dice.below(20) {
                0..3 if reads => self.scan_reader(&mut ops),
                0..3 => self.scan(&mut ops),
                3..8 if reads => ops.push(self.reader_op()),
                3..11 => ops.push(self.get()),
                11 => ops.push(Op::Head { key: self.key() }),
                12 => ops.push(self.list_warm_or_advise()),
                13 | 14 if self.may_change => ops.push(self.write()),
                15 | 16 if self.changes => ops.push(Op::OutOfBand(change(self.dice, &self.case.objects, self.largest))),
                17 => ops.push(Op::Sleep {
                    ms: one_of(self.dice, &[(3, 50), (2, 900), (1, 9000), (1, 12_000), (1, 55_000), (1, 70_000)]),
                }),
                18 => ops.push(if chance(self.dice, 50) { Op::Resume } else { Op::DropKept }),
                _ => ops.push(self.get()),
            }
        }
        ops.into_iter().map(Step::from).collect()
    }

    fn key(&mut self) -> usize {
        pick(self.dice, self.case.objects.len())
    }

    fn size(&self, key: usize) -> u64 {
        self.case.objects[key].unwrap_or(self.largest)
    }

    /// A range of `key`: short, long, at the end, past the end, or everything.
    fn range(&mut self, key: usize) -> Range<u64> {
        let size = self.size(key).max(1);
        let start = self.dice.below(size);
        match self.dice.below(20) {
            0..6 => start..start + 1 + self.dice.below(200),
            6..11 => start..start + 1 + self.dice.below(128 * KIB),
            11..14 => start..start + 1 + self.dice.below(size),
            14 => 0..size,
            15 => size.saturating_sub(8)..size,
            16 => size - 1..size + 100,
            17 => size + self.dice.below(10)..size + 20,
            18 => start..u64::MAX,
            _ => start..start + self.dice.below(2) * 10,
        }
    }

    fn get(&mut self) -> Op {
        let key = self.key();
        match self.dice.below(10) {
            0..4 => Op::GetRange { key, range: self.range(key) },
            4 | 5 => {
                let n = pick(self.dice, 8);
                Op::GetRanges { key, ranges: (0..n).map(|_| self.range(key)).collect() }
            }
            _ => {
                let span = match self.dice.below(6) {
                    0..2 => Span::Whole,
                    2 | 3 => Span::Bounded(self.range(key)),
                    4 => Span::Offset(self.dice.below(self.size(key) + 10)),
                    _ => Span::Suffix(self.dice.below(self.size(key) + 10)),
                };
                let back = pick(self.dice, 3);
                let condition = match self.dice.below(12) {
                    0 => GetCondition::IfMatch { back },
                    1 => GetCondition::IfNoneMatch { back },
                    2 => GetCondition::Version { back },
                    _ => GetCondition::None,
                };
                let hints = [CacheHint::Bypass, CacheHint::NoAdmit, CacheHint::Refetch];
                let hint = chance(self.dice, 10).then(|| hints[pick(self.dice, 3)]);
                let body =
                    if chance(self.dice, 15) { BodyUse::Drop { chunks: pick(self.dice, 5) } } else { BodyUse::ToEnd };
                Op::Get { key, span, condition, hint, body }
            }
        }
    }

    fn ranges_in_a_row(&mut self, size: u64) -> Vec<Range<u64>> {
        let n = 3 + self.dice.below(10);
        let step = one_of(self.dice, &[(2, 4 * KIB), (3, 64 * KIB), (2, size / n + 1)]);
        let start = if chance(self.dice, 60) { 0 } else { self.dice.below(size.max(1)) };
        let mut steps: Vec<_> = (0..n).map(|n| start + n * step..start + (n + 1) * step).collect();
        if chance(self.dice, 15) {
            steps.reverse();
        }
        steps
    }

    fn scan(&mut self, ops: &mut Vec<Op>) {
        let key = self.key();
        let pause = chance(self.dice, 30);
        for range in self.ranges_in_a_row(self.size(key)) {
            ops.push(Op::GetRange { key, range });
            if pause && chance(self.dice, 30) {
                ops.push(Op::Sleep { ms: self.dice.below(200) });
            }
        }
    }

    fn scan_reader(&mut self, ops: &mut Vec<Op>) {
        let joined = chance(self.dice, 50);
        let sequential = chance(self.dice, 30);
        let key = self.key();
        let seek = self.dice.below(self.size(key) + 1);
        if sequential {
            ops.push(Op::Seek { to: SeekTo::Start(seek) });
        }
        for range in self.ranges_in_a_row(self.size(key)) {
            ops.push(match (sequential, joined) {
                (true, true) => Op::Read { len: range.end - range.start },
                (true, false) => Op::FillBuf,
                (false, true) => Op::ReadAt { range },
                (false, false) => Op::ChunksAt { range },
            });
        }
    }

    fn open(&mut self) -> Op {
        let by = one_of(self.dice, &[(4, OpenBy::Path), (1, OpenBy::Head), (1, OpenBy::List)]);
        Op::Open { key: self.key(), by }
    }

    fn reader_op(&mut self) -> Op {
        let key = self.key();
        match self.dice.below(12) {
            0..4 => Op::ReadAt { range: self.range(key) },
            4 => Op::ChunksAt { range: self.range(key) },
            5 => Op::Stream { body: BodyUse::ToEnd },
            6 => Op::Stream { body: BodyUse::Drop { chunks: pick(self.dice, 4) } },
            7 => Op::Seek {
                to: match self.dice.below(3) {
                    0 => SeekTo::Start(self.dice.below(self.size(key) + 10)),
                    1 => SeekTo::End(self.dice.below(self.size(key) + 1)),
                    _ => SeekTo::On(self.dice.below(100_000)),
                },
            },
            8 => Op::Size,
            9 => Op::AdviseReader { hint: self.hint(key) },
            10 => Op::Close,
            _ => self.open(),
        }
    }

    fn hint(&mut self, key: usize) -> AccessHint {
        match self.dice.below(5) {
            0 | 1 => AccessHint::Sequential,
            2 => AccessHint::Random,
            3 => AccessHint::WillNeed(vec![self.range(key)]),
            _ => AccessHint::DontNeed(vec![self.range(key)]),
        }
    }

    fn list_warm_or_advise(&mut self) -> Op {
        if self.case.prefetch().is_some() && chance(self.dice, 40) {
            let keys = (0..1 + pick(self.dice, 6)).map(|_| self.key()).collect();
            let [unordered, continues, bodies] = [40, 70, 40].map(|percent| chance(self.dice, percent));
            return Op::Objects { keys, list_use: ListUse { unordered, continues, bodies } };
        }
        let key = self.key();
        if self.case.cache().is_some() && chance(self.dice, 70) {
            let whole = chance(self.dice, 50);
            let ranges = if whole { vec![0..u64::MAX] } else { vec![self.range(key)] };
            return Op::Warm { key, ranges };
        }
        Op::Advise { key, hint: self.hint(key) }
    }

    fn write(&mut self) -> Op {
        let (key, other) = (self.key(), self.key());
        match self.dice.below(10) {
            0..6 => {
                let size = new_size(self.dice, self.case.objects[key], self.largest);
                Op::Put { key, size, multipart: chance(self.dice, 20) }
            }
            6 => Op::Delete { keys: vec![key] },
            7 => Op::Delete { keys: vec![key, other] },
            8 if key != other => Op::Copy { from: key, to: other },
            9 if key != other => Op::Rename { from: key, to: other },
            _ => Op::Delete { keys: vec![key] },
        }
    }

    // Sequences that random choice rarely produces: reads around the end of freshness, and writes during read-ahead.

    /// One of the sequences, if the case allows one.
    fn pattern(&mut self) -> Option<Vec<Step>> {
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

/// A random time at which a future is dropped.
fn cancel_sometime(dice: &mut SeededRng) -> Cancel {
    if chance(dice, 50) {
        Cancel::Polls(1 + pick(dice, 6))
    } else {
        Cancel::Ms(one_of(dice, &[(1, 0), (3, 10), (3, 60), (1, 1000)]))
    }
}
