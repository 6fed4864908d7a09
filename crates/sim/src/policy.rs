//! The pure half of the simulation: times and seeds go in; bytes, delays, faults and reads come out.

pub(crate) mod connections;
pub(crate) mod content;
pub(crate) mod faults;
pub(crate) mod link;
pub(crate) mod profile;
pub(crate) mod read_pattern;
pub(crate) mod rng;
