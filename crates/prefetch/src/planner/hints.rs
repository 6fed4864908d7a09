//! What readers say that they will read, or not, and what follows from that. Pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::Planner;
use crate::planner::messages::{AnnouncedPattern, PlannerAction, PlannerInputs, ReaderId};
use crate::planner::parts::part_map::{PartId, PartState};
use crate::planner::streams::read_stream::announced_by;
use crate::policy::window::window;

impl Planner {
    /// Reader `reader` says what it will do.
    pub(crate) fn on_announced(&mut self, reader: ReaderId, announced: AnnouncedPattern, out: &mut Vec<PlannerAction>) {
        self.readers.of(reader).announced = announced;
        if announced == AnnouncedPattern::Random {
            let readers = &self.readers;
            let unwanted = |part: &PartState| !part.is_announced() && !readers.want(part, Some(reader));
            self.parts.drop_unread_where(unwanted, out);
        }
    }

    /// The reader will need `ranges` soon: they are fetched ahead whatever the pattern, as far as there is memory for them.
    pub(crate) fn on_will_need(
        &mut self,
        now: Duration,
        reader: ReaderId,
        ranges: &[Range<u64>],
        inputs: &PlannerInputs,
        out: &mut Vec<PlannerAction>,
    ) {
        if self.local {
            return;
        }
        self.readers.of(reader);
        let mut free_bytes = inputs.free_bytes;
        let window = window(&inputs.link, f64::INFINITY, self.settings.part_bytes);
        let most = inputs.share_bytes.min(self.settings.max_prefetch_bytes);
        for range in ranges {
            let mut at = range.start;
            let end = self.size.map_or(range.end, |size| range.end.min(size));
            loop {
                at = self.parts.map().covered_until(at);
                let left = most.saturating_sub(self.parts.ledger.outstanding).min(free_bytes);
                if at >= end || left == 0 {
                    break;
                }
                let next = self.parts.map().next_start(at).unwrap_or(end);
                let part = at..end.min(next).min(at.saturating_add(window.part_bytes.min(left)));
                at = part.end;
                free_bytes -= part.end - part.start;
                self.speculate(now, part, announced_by(reader), out);
            }
        }
    }

    /// The reader will not read `ranges` again.
    pub(crate) fn on_dont_need(&mut self, reader: ReaderId, ranges: &[Range<u64>], out: &mut Vec<PlannerAction>) {
        let parts = ranges.iter().flat_map(|range| self.parts.map().within(range));
        let unwanted = parts.filter(|part| !self.readers.want(part, Some(reader)));
        // In the order of their offsets, each once, however the ranges overlap.
        let starts: BTreeMap<u64, PartId> = unwanted.map(|part| (part.range.start, part.id)).collect();
        self.parts.drop_parts(starts.into_values(), out);
    }
}
