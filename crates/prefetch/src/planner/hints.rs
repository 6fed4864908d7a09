//! What readers say that they will read, or not, and what follows from that. Pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::Planner;
use crate::parts::{Part, PartId};
use crate::plan::{Action, Announced, ReaderId, Surroundings};
use crate::stream::announced_by;
use crate::window::window;

impl Planner {
    /// Reader `reader` says what it will do.
    pub(crate) fn on_announced(&mut self, reader: ReaderId, announced: Announced, out: &mut Vec<Action>) {
        self.readings.of(reader).announced = announced;
        if announced == Announced::Random {
            let readings = &self.readings;
            let unwanted = |part: &Part| !part.is_announced() && !readings.want(part, Some(reader));
            self.holdings.drop_unread_where(unwanted, out);
        }
    }

    /// The reader will need `ranges` soon: they are fetched ahead whatever the pattern, as far as there is memory for them.
    pub(crate) fn on_will_need(
        &mut self,
        now: Duration,
        reader: ReaderId,
        ranges: &[Range<u64>],
        around: &Surroundings,
        out: &mut Vec<Action>,
    ) {
        if self.local {
            return;
        }
        self.readings.of(reader);
        let mut free_bytes = around.free_bytes;
        let window = window(&around.link, f64::INFINITY, self.settings.part_bytes);
        let most = around.share_bytes.min(self.settings.max_prefetch_bytes);
        for range in ranges {
            let mut at = range.start;
            let end = self.size.map_or(range.end, |size| range.end.min(size));
            loop {
                at = self.holdings.parts().covered_until(at);
                let left = most.saturating_sub(self.holdings.ledger.outstanding).min(free_bytes);
                if at >= end || left == 0 {
                    break;
                }
                let next = self.holdings.parts().next_start(at).unwrap_or(end);
                let part = at..end.min(next).min(at.saturating_add(window.part_bytes.min(left)));
                at = part.end;
                free_bytes -= part.end - part.start;
                self.speculate(now, part, announced_by(reader), out);
            }
        }
    }

    /// The reader will not read `ranges` again.
    pub(crate) fn on_dont_need(&mut self, reader: ReaderId, ranges: &[Range<u64>], out: &mut Vec<Action>) {
        let parts = ranges.iter().flat_map(|range| self.holdings.parts().within(range));
        let unwanted = parts.filter(|part| !self.readings.want(part, Some(reader)));
        // In the order of their offsets, each once, however the ranges overlap.
        let starts: BTreeMap<u64, PartId> = unwanted.map(|part| (part.range.start, part.id)).collect();
        self.holdings.drop_parts(starts.into_values(), out);
    }
}
