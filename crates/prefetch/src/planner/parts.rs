//! The parts of one object: what is held or in flight, and the accounting of it.

mod accounted_parts;
mod part_index;
mod part_map;
mod part_state;
mod range_set;

#[cfg(test)]
pub(crate) use accounted_parts::is_useless;
pub(crate) use accounted_parts::{AccountedParts, SweepScope};
pub(crate) use part_index::{IndexedPart, PartIndex};
pub(crate) use part_map::PartMap;
pub(crate) use part_state::{PartId, PartState};
pub(crate) use range_set::RangeSet;
