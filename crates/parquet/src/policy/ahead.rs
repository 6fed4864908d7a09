//! Decides which column chunks to fetch ahead: the columns that are read in one row group are those of the next.
//!
//! A reader that goes from row group to row group has a stride: 1, or what its two latest steps have in common where
//! row groups are pruned. Ahead of it, the columns that it read in the row group before are requested. Three limits
//! bound what is requested and not read yet: the window of the link, three times what the run has read, and, once
//! predictions have failed, a fifth of what the reader has asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use super::layout::{ColumnChunkId, RowGroupLayout};
use records::{AdvisedChunk, RowGroupInProgress, len};
pub(crate) use records::{AheadCounts, AheadPlan};

mod records;
#[cfg(test)]
mod tests;

/// Unread bytes ahead per byte that the run has read: the factor with which headstart's read-ahead starts.
const RUN_FACTOR: u64 = 3;
/// Wasted bytes are at most this share of the demanded ones, as a divisor, once they are not negligible.
const WASTE_SHARE: u64 = 5;
/// Waste below this share of the demanded bytes, as a divisor, is negligible.
const NEGLIGIBLE_SHARE: u64 = 20;
/// A smaller piece of a chunk is not requested on its own: it costs a round trip as a large one does.
const LEAST_PIECE_BYTES: u64 = 256 * 1024;

/// The row groups that one reader reads, and those ahead of it.
#[derive(Debug)]
pub(crate) struct RowGroupsAhead {
    layout: RowGroupLayout,
    /// Whether the first row group already tells that others follow.
    starts_at_once: bool,
    /// Row groups that begin elsewhere in the file belong to other readers.
    part: Option<Range<u64>>,
    /// The largest hole between two columns of a row group that one request bridges.
    hole_bytes: u64,
    reading: Option<RowGroupInProgress>,
    /// Row groups that were read, the present one included.
    visited: u64,
    /// The columns of the row group before.
    columns: BTreeSet<usize>,
    /// The latest two steps from one row group to another.
    steps: (Option<isize>, Option<isize>),
    /// Bytes read since a prediction failed.
    run_bytes: u64,
    /// Row groups and columns that the caller has announced and that were not reached yet.
    announced: Option<(VecDeque<usize>, Vec<usize>)>,
    advised: BTreeMap<ColumnChunkId, AdvisedChunk>,
    /// By row group: the holes that were requested with the columns beside them.
    holes: BTreeMap<usize, Vec<Range<u64>>>,
    counts: AheadCounts,
}

impl RowGroupsAhead {
    /// A reader of a file of this layout.
    pub(crate) fn new(layout: RowGroupLayout, starts_at_once: bool) -> Self {
        Self {
            layout,
            starts_at_once,
            part: None,
            hole_bytes: 0,
            reading: None,
            visited: 0,
            columns: BTreeSet::new(),
            steps: (None, None),
            run_bytes: 0,
            announced: None,
            advised: BTreeMap::new(),
            holes: BTreeMap::new(),
            counts: AheadCounts::default(),
        }
    }

    /// Predicts no row group that begins outside of `part`, in bytes of the file.
    pub(crate) fn within(mut self, part: Option<Range<u64>>) -> Self {
        self.part = part;
        self
    }

    /// Requests neighbouring columns of a row group at once where the hole between them has at most `hole_bytes`, as is
    /// done for the columns of one call. Holes count towards the window, and are given up with their row group.
    pub(crate) fn bridging(mut self, hole_bytes: u64) -> Self {
        self.hole_bytes = hole_bytes;
        self
    }

    /// What has become of the bytes so far.
    pub(crate) fn counts(&self) -> AheadCounts {
        self.counts
    }

    /// Whether the reader went on from its first row group and predictions held; `None` if it read no row group.
    pub(crate) fn is_scan(&self) -> Option<bool> {
        let AheadCounts { demanded_bytes, wasted_bytes, .. } = self.counts;
        (self.visited > 0).then_some(self.visited > 1 && wasted_bytes <= demanded_bytes / WASTE_SHARE)
    }

    /// The columns that were read of every row group of the part, once its last one is being read.
    pub(crate) fn columns_at_end(&self) -> Option<Vec<usize>> {
        let reading = self.reading.as_ref()?;
        let mine = (0..self.layout.row_groups()).filter(|at| self.is_mine(*at)).count() as u64;
        let is_whole = self.visited == mine && !self.is_mine(reading.row_group + 1);
        let columns = self.wanted_columns();
        (is_whole && !columns.is_empty()).then_some(columns)
    }

    /// Whether bytes of `range` were requested ahead.
    pub(crate) fn is_advised(&self, range: &Range<u64>) -> bool {
        self.layout.overlapping(range).any(|id| self.advised.contains_key(&id))
    }

    /// The mean size of a chunk ahead, or of all of them, in bytes.
    pub(crate) fn request_bytes(&self) -> u64 {
        let row_group = self.reading.as_ref().map_or(0, |reading| reading.row_group);
        let columns = self.wanted_columns();
        let sizes = columns.iter().map(|&column| len(&self.layout.range(ColumnChunkId { row_group, column })));
        sizes.sum::<u64>() / (columns.len().max(1) as u64)
    }

    /// The caller will read `columns` of `row_groups`, in this order.
    pub(crate) fn announce(&mut self, row_groups: &[usize], columns: &[usize], window_bytes: u64) -> AheadPlan {
        self.announced = Some((row_groups.iter().copied().collect(), columns.to_vec()));
        let mut plan = AheadPlan::default();
        self.forget_off_path(&mut plan);
        self.advise(window_bytes, &mut plan);
        plan
    }

    /// The reader asks for `ranges` in one call. `window_bytes` keep the link busy.
    pub(crate) fn on_ranges(&mut self, ranges: &[Range<u64>], window_bytes: u64) -> AheadPlan {
        let mut plan = AheadPlan::default();
        for range in ranges {
            for id in self.layout.overlapping(range).collect::<Vec<_>>() {
                self.on_chunk(id, range, &mut plan);
            }
        }
        self.advise(window_bytes, &mut plan);
        plan
    }

    /// The reader is done: all that it did not read is wasted.
    pub(crate) fn on_end(&mut self) {
        let unread: u64 = self.advised.values().map(AdvisedChunk::unread_bytes).sum();
        self.counts.wasted_bytes += unread;
        self.advised.clear();
        self.holes.clear();
    }

    fn on_chunk(&mut self, id: ColumnChunkId, range: &Range<u64>, plan: &mut AheadPlan) {
        if self.reading.as_ref().is_none_or(|reading| reading.row_group != id.row_group) {
            self.on_row_group(id.row_group, plan);
        }
        let chunk = self.layout.range(id);
        let asked = range.start.max(chunk.start)..range.end.min(chunk.end);
        self.counts.demanded_bytes += len(&asked);
        self.run_bytes += len(&asked);
        if let Some(reading) = &mut self.reading {
            reading.asked.insert(id.column);
            if asked == chunk {
                reading.whole.insert(id.column);
            }
        }
        if let Some(advised) = self.advised.get_mut(&id) {
            let used = len(&(asked.start.max(advised.range.start)..asked.end.min(advised.range.end)));
            let used = used.min(advised.unread_bytes());
            advised.used_bytes += used;
            self.counts.used_bytes += used;
            if advised.unread_bytes() == 0 {
                self.advised.remove(&id);
            }
        }
    }

    /// The reader goes on to another row group.
    fn on_row_group(&mut self, row_group: usize, plan: &mut AheadPlan) {
        self.visited += 1;
        let next = RowGroupInProgress { row_group, ..RowGroupInProgress::default() };
        if let Some(left) = self.reading.replace(next) {
            self.steps = (self.steps.1, Some(row_group.cast_signed() - left.row_group.cast_signed()));
            if !left.whole.is_empty() {
                self.columns = left.whole;
            }
        }
        if let Some((announced, _)) = &mut self.announced {
            match announced.iter().position(|next| *next == row_group) {
                Some(at) => drop(announced.drain(..=at)),
                // The caller does something else.
                None => self.announced = None,
            }
        }
        let wasted_before = self.counts.wasted_bytes;
        self.forget_off_path(plan);
        if self.counts.wasted_bytes > wasted_before {
            self.run_bytes = 0;
        }
    }

    /// Gives up the chunks and holes that the reader has passed, or that its stride leaves out.
    fn forget_off_path(&mut self, plan: &mut AheadPlan) {
        let advised = std::mem::take(&mut self.advised);
        for (id, chunk) in advised {
            if self.is_on_path(id) {
                self.advised.insert(id, chunk);
            } else {
                self.counts.wasted_bytes += chunk.unread_bytes();
                plan.forget.push(chunk.range);
            }
        }
        let holes = std::mem::take(&mut self.holes);
        for (row_group, ranges) in holes {
            if self.is_row_group_on_path(row_group) {
                self.holes.insert(row_group, ranges);
            } else {
                plan.forget.extend(ranges);
            }
        }
    }

    fn is_on_path(&self, id: ColumnChunkId) -> bool {
        let is_announced = |(_, columns): &(_, Vec<usize>)| columns.contains(&id.column);
        self.is_row_group_on_path(id.row_group) && self.announced.as_ref().is_none_or(is_announced)
    }

    fn is_row_group_on_path(&self, row_group: usize) -> bool {
        if let Some((row_groups, _)) = &self.announced {
            let is_present = self.reading.as_ref().is_some_and(|reading| reading.row_group == row_group);
            return is_present || row_groups.contains(&row_group);
        }
        let (Some(reading), Some(stride)) = (&self.reading, self.stride()) else { return true };
        let distance = row_group.cast_signed() - reading.row_group.cast_signed();
        distance == 0 || distance.signum() == stride.signum() && distance % stride == 0
    }

    /// The step that the reader is expected to make next.
    fn stride(&self) -> Option<isize> {
        match self.steps {
            (None, None) => self.starts_at_once.then_some(1),
            (None, Some(only)) => Some(only),
            (Some(before), Some(latest)) if before == latest => Some(latest),
            (_, Some(latest)) => Some(latest.signum()),
            (Some(_), None) => None,
        }
    }

    /// The row groups that are expected next, in order.
    fn expected(&self) -> Vec<usize> {
        if let Some((row_groups, _)) = &self.announced {
            return row_groups.iter().copied().collect();
        }
        let (Some(reading), Some(stride)) = (&self.reading, self.stride()) else { return Vec::new() };
        let next = |at: &usize| at.checked_add_signed(stride).filter(|at| self.is_mine(*at));
        std::iter::successors(next(&reading.row_group), next).collect()
    }

    fn is_mine(&self, row_group: usize) -> bool {
        let start = self.layout.range(ColumnChunkId { row_group, column: 0 }).start;
        row_group < self.layout.row_groups() && self.part.as_ref().is_none_or(|part| part.contains(&start))
    }

    /// The columns that are expected in the next row groups.
    fn wanted_columns(&self) -> Vec<usize> {
        if let Some((_, columns)) = &self.announced {
            return columns.clone();
        }
        let whole = self.reading.iter().flat_map(|reading| &reading.whole);
        self.columns.iter().chain(whole).copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn unread_bytes(&self) -> u64 {
        self.advised.values().map(AdvisedChunk::unread_bytes).sum()
    }

    /// Whether `hole` may be requested with the columns beside it. Nothing of it was asked for or requested before.
    fn may_bridge(&self, hole: &Range<u64>) -> bool {
        let was_asked = |id: &ColumnChunkId| {
            let mut reading = self.reading.iter().filter(|reading| reading.row_group == id.row_group);
            reading.any(|reading| reading.asked.contains(&id.column))
        };
        let is_new = |id: ColumnChunkId| !self.advised.contains_key(&id) && !was_asked(&id);
        len(hole) <= self.hole_bytes && self.layout.overlapping(hole).all(is_new)
    }

    fn hole_bytes_held(&self) -> u64 {
        self.holes.values().flatten().map(len).sum()
    }

    /// The most unread bytes ahead, where the next row group has `next_bytes` of the wanted columns.
    fn limit_bytes(&self, window_bytes: u64, next_bytes: u64) -> u64 {
        // While a large row group is decoded, all of the next one can arrive.
        let window_bytes = window_bytes.max(next_bytes);
        if self.announced.is_some() {
            return window_bytes;
        }
        let AheadCounts { demanded_bytes, wasted_bytes, .. } = self.counts;
        let run_bytes = self.run_bytes.saturating_mul(RUN_FACTOR);
        let is_negligible = wasted_bytes <= demanded_bytes / NEGLIGIBLE_SHARE;
        let waste_bytes =
            if is_negligible { u64::MAX } else { (demanded_bytes / WASTE_SHARE).saturating_sub(wasted_bytes) };
        window_bytes.min(run_bytes).min(waste_bytes)
    }

    fn advise(&mut self, window_bytes: u64, plan: &mut AheadPlan) {
        let expected = self.expected();
        if expected.is_empty() && self.announced.is_none() && self.stride().is_none() {
            return;
        }
        let columns = self.wanted_columns();
        let bytes_of = |row_group: usize| -> u64 {
            columns.iter().map(|&column| len(&self.layout.range(ColumnChunkId { row_group, column }))).sum()
        };
        let next_bytes = expected.first().map_or(0, |next| bytes_of(*next));
        let unread_bytes = self.unread_bytes();
        let mut room_bytes = self.limit_bytes(window_bytes, next_bytes).saturating_sub(unread_bytes);
        // The room for holes too.
        let mut window_room = window_bytes.max(next_bytes).saturating_sub(unread_bytes + self.hole_bytes_held());
        // Columns of the present row group that a filter lets wait come first.
        let present = self.reading.as_ref().map(|reading| (reading.row_group, reading.asked.clone()));
        let (present, asked) = present.map_or((None, BTreeSet::new()), |(at, asked)| (Some(at), asked));
        for row_group in present.into_iter().chain(expected) {
            // Where the last piece of this row group ends.
            let mut end_before = None;
            for &column in &columns {
                if Some(row_group) == present && asked.contains(&column) {
                    continue;
                }
                let id = ColumnChunkId { row_group, column };
                let chunk = self.layout.range(id);
                let start = self.advised.get(&id).map_or(chunk.start, |advised| advised.range.end);
                let piece = start..chunk.end.min(start.saturating_add(room_bytes.min(window_room)));
                if piece.is_empty() {
                    continue;
                }
                if piece.end < chunk.end && len(&piece) < LEAST_PIECE_BYTES {
                    return;
                }
                room_bytes -= len(&piece);
                window_room -= len(&piece);
                let hole = end_before.filter(|end| *end < start).map(|end| end..start);
                if let Some(hole) = hole.filter(|hole| len(hole) <= window_room && self.may_bridge(hole)) {
                    window_room -= len(&hole);
                    self.holes.entry(row_group).or_default().push(hole.clone());
                    plan.request(hole);
                }
                self.counts.advised_bytes += len(&piece);
                let advised = AdvisedChunk { range: chunk.start..chunk.start, used_bytes: 0 };
                self.advised.entry(id).or_insert(advised).range.end = piece.end;
                end_before = Some(piece.end);
                plan.request(piece);
            }
        }
    }
}
