//! Acts on what readers announce: the pattern of their reads, and ranges that they will or will not need.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Planner;
use crate::planner::messages::{PlannerInputs, ReaderId};
use crate::planner::parts::{PartId, PartState};
use crate::planner::streams::PartOwner;
use crate::policy::window::window;
use headstart_fetch_core::internal::byte_range::is_open_ended;

/// The access pattern that a reader has announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AnnouncedPattern {
    #[default]
    Normal,
    /// Reads in order.
    Sequential,
    /// Reads in no order.
    Random,
}

impl Planner {
    /// `reader` announces the pattern of its reads.
    pub(crate) fn on_announced(&mut self, reader: ReaderId, announced: AnnouncedPattern) {
        self.readers.get_or_insert(reader).announced = announced;
        if announced == AnnouncedPattern::Random {
            let readers = &self.readers;
            let is_unwanted = |part: &PartState| !part.is_announced() && !readers.is_wanted(part, Some(reader));
            self.parts.drop_unread_where(is_unwanted);
        }
    }

    /// `reader` will need `ranges` soon: requests them whatever the pattern, as far as there is memory.
    pub(crate) fn on_will_need(&mut self, reader: ReaderId, ranges: &[Range<u64>], inputs: &PlannerInputs) {
        if self.is_local {
            return;
        }
        self.readers.get_or_insert(reader);
        let mut free_bytes = inputs.free_bytes;
        let window = window(&inputs.link, f64::INFINITY, self.settings.part_bytes);
        let most_bytes = inputs.share_bytes.min(self.settings.max_prefetch_bytes);
        for range in ranges {
            let mut at = range.start;
            let mut end = self.size.map_or(range.end, |size| range.end.min(size));
            if self.size.is_none() && is_open_ended(range) {
                // The answer to the first part tells the size. `on_size` then requests the rest.
                let start = self.announced_to_end.entry(reader).or_insert(range.start);
                *start = range.start.min(*start);
                end = at.saturating_add(window.part_bytes);
            }
            loop {
                at = self.parts.map().covered_until(at);
                let left_bytes = most_bytes.saturating_sub(self.parts.account.outstanding_bytes).min(free_bytes);
                if at >= end || left_bytes == 0 {
                    break;
                }
                let next = self.parts.map().next_start(at).unwrap_or(end);
                let part = at..end.min(next).min(at.saturating_add(window.part_bytes.min(left_bytes)));
                at = part.end;
                free_bytes -= part.end - part.start;
                self.speculate(part, PartOwner::hint(reader), inputs);
            }
        }
    }

    /// The length of the object is known: requests the rest of what was announced to its end.
    pub(super) fn on_announced_end(&mut self, size: u64, inputs: &PlannerInputs) {
        for (reader, start) in std::mem::take(&mut self.announced_to_end) {
            if start < size {
                self.on_will_need(reader, &[start..size], inputs);
            }
        }
    }

    /// `reader` will not read `ranges` again.
    pub(crate) fn on_dont_need(&mut self, reader: ReaderId, ranges: &[Range<u64>]) {
        let parts = ranges.iter().flat_map(|range| self.parts.map().within(range));
        let unwanted = parts.filter(|part| !self.readers.is_wanted(part, Some(reader)));
        // In ascending order, each part once, also where ranges overlap.
        let starts: BTreeMap<u64, PartId> = unwanted.map(|part| (part.range.start, part.id)).collect();
        self.parts.drop_parts(starts.into_values());
    }
}
