//! The readers of an object, and what follows from where they are, kept as they move. Pure.
//!
//! No event asks all readers: their number would be felt at every read. What only all of them know (whether anybody wants a part,
//! at how many places they are) is kept in [`WantedSpans`] and [`ReadPlaces`], which hear of each reader that has read.

pub(crate) mod places;
pub(crate) mod reader_state;
pub(crate) mod sum_tree;
pub(crate) mod wanted;

use std::collections::BTreeMap;

use crate::planner::messages::ReaderId;
use crate::planner::parts::part_map::PartState;
use crate::planner::readers::places::ReadPlaces;
use crate::planner::readers::reader_state::ReaderState;
use crate::planner::readers::wanted::{SpansChange, WantedSpans};
use crate::planner::streams::read_stream::reader_of;
use crate::planner::visits;

/// Everybody who reads an object.
#[derive(Debug)]
pub(crate) struct ReaderStates {
    by_id: BTreeMap<ReaderId, ReaderState>,
    places: ReadPlaces,
    wanted: WantedSpans,
}

impl ReaderStates {
    /// Nobody. Where bytes are served `once`, nothing behind a reader is wanted.
    pub(crate) fn new(once: bool) -> Self {
        Self { by_id: BTreeMap::new(), places: ReadPlaces::new(), wanted: WantedSpans::new(once) }
    }

    /// What is known of `reader`.
    pub(crate) fn get(&self, reader: ReaderId) -> Option<&ReaderState> {
        visits::count();
        self.by_id.get(&reader)
    }

    /// The same, to be changed: [`ReaderStates::on_moved`] and [`ReaderStates::on_wants_changed`] are to hear of it.
    pub(crate) fn get_mut(&mut self, reader: ReaderId) -> Option<&mut ReaderState> {
        visits::count();
        self.by_id.get_mut(&reader)
    }

    /// What is known of `reader`, nothing if it is new; to be changed as [`ReaderStates::get_mut`] says.
    pub(crate) fn of(&mut self, reader: ReaderId) -> &mut ReaderState {
        visits::count();
        self.by_id.entry(reader).or_insert_with(|| ReaderState::new(reader))
    }

    /// Every reader, ascending. No event that is told of every read may ask for them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ReaderId, &ReaderState)> {
        self.by_id.iter().inspect(|_| visits::count()).map(|(reader, reading)| (*reader, reading))
    }

    /// Whether `reader` is one of them.
    pub(crate) fn contains(&self, reader: ReaderId) -> bool {
        self.by_id.contains_key(&reader)
    }

    /// `reader` is gone. The last that was known of it; what it wanted no longer counts once
    /// [`ReaderStates::on_wants_changed`] has heard of it.
    pub(crate) fn remove(&mut self, reader: ReaderId) -> Option<ReaderState> {
        let gone = self.by_id.remove(&reader)?;
        self.places.update(reader, None);
        Some(gone)
    }

    /// `reader` is elsewhere, or its window is another one.
    pub(crate) fn on_moved(&mut self, reader: ReaderId) {
        self.places.update(reader, self.by_id.get(&reader));
    }

    /// `reader` may want other bytes than before. Returns what it wants no more.
    pub(crate) fn on_wants_changed(&mut self, reader: ReaderId) -> Vec<SpansChange> {
        self.wanted.update(reader, self.by_id.get(&reader))
    }

    /// Where they are; readers within `near_bytes` of each other are at one place.
    pub(crate) fn places_apart(&mut self, near_bytes: u64) -> &ReadPlaces {
        self.places.set_near(near_bytes);
        &self.places
    }

    /// At how many offsets streams are being read; one at least.
    pub(crate) fn offsets(&self) -> u64 {
        self.places.offsets()
    }

    /// Whether `part` is wanted by any of them, `but` one: ahead of, or just behind, one of its streams.
    pub(crate) fn want(&self, part: &PartState, but: Option<ReaderId>) -> bool {
        let owner = Some(reader_of(part.stream)).filter(|owner| Some(*owner) != but);
        let own = owner.and_then(|owner| self.get(owner)?.streams.get(part.stream));
        // What others have fetched is wanted where a reader is on its way there.
        own.is_some_and(|stream| stream.is_ahead(&part.range, true)) || self.wanted.reaches(&part.range, but)
    }
}
