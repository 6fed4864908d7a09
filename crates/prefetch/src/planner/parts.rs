//! The parts of one object: what is held or in flight, and the accounting of it.

pub(crate) mod accounted_parts;
pub(crate) mod part_index;
pub(crate) mod part_map;
pub(crate) mod part_state;
pub(crate) mod range_set;
