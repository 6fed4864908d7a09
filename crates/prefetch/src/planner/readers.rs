//! The readers of one object, with the figures that depend on all of them.
//!
//! No event of a read visits all readers, because a read would cost more with each reader. Instead [`WantedSpans`]
//! (which parts any reader wants) and [`ReadPlaces`] (at how many places they read) are updated when a reader moves.

mod activity;
mod places;
mod reader_state;
mod sum_tree;
mod wanted;

pub(crate) use activity::ReaderActivity;
pub(crate) use places::ReadPlaces;
pub(crate) use reader_state::ReaderState;
pub(crate) use sum_tree::{SumTree, Summary, TreeKey};
pub(crate) use wanted::{SpansChange, WantedSpans};

use std::collections::BTreeMap;

use crate::planner::messages::ReaderId;
use crate::planner::parts::PartState;
use crate::planner::streams::PartOwner;
use crate::planner::visits;

#[derive(Debug)]
pub(crate) struct ReaderStates {
    /// Whether bytes are served once, except to a reader that goes back.
    pub(crate) once: bool,
    by_id: BTreeMap<ReaderId, ReaderState>,
    places: ReadPlaces,
    wanted: WantedSpans,
    pub(crate) activity: ReaderActivity,
}

impl ReaderStates {
    pub(crate) fn new(once: bool) -> Self {
        Self {
            once,
            by_id: BTreeMap::new(),
            places: ReadPlaces::new(),
            wanted: WantedSpans::new(once),
            activity: ReaderActivity::default(),
        }
    }

    pub(crate) fn get(&self, reader: ReaderId) -> Option<&ReaderState> {
        visits::count();
        self.by_id.get(&reader)
    }

    /// The same, mutable. Call [`ReaderStates::on_moved`] and [`ReaderStates::on_wants_changed`] after changes.
    pub(crate) fn get_mut(&mut self, reader: ReaderId) -> Option<&mut ReaderState> {
        visits::count();
        let state = self.by_id.get_mut(&reader)?;
        state.may_want_others = true;
        Some(state)
    }

    /// The state of `reader`, new where there is none. Mutable as [`ReaderStates::get_mut`] is.
    pub(crate) fn get_or_insert(&mut self, reader: ReaderId) -> &mut ReaderState {
        visits::count();
        let state = self.by_id.entry(reader).or_default();
        state.may_want_others = true;
        state
    }

    /// All readers, ascending. Must not run at every read.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ReaderId, &ReaderState)> {
        self.by_id.iter().inspect(|_| visits::count()).map(|(reader, state)| (*reader, state))
    }

    pub(crate) fn contains(&self, reader: ReaderId) -> bool {
        self.by_id.contains_key(&reader)
    }

    /// Removes `reader`. Its bytes stay wanted until [`ReaderStates::on_wants_changed`] is called for it.
    pub(crate) fn remove(&mut self, reader: ReaderId) -> Option<ReaderState> {
        let gone = self.by_id.remove(&reader)?;
        self.places.update(reader, None);
        self.activity.remove(reader);
        Some(gone)
    }

    /// The position or the window of `reader` changed.
    pub(crate) fn on_moved(&mut self, reader: ReaderId) {
        self.places.update(reader, self.by_id.get(&reader));
    }

    /// `reader` may want other bytes than before. Returns what changed.
    pub(crate) fn on_wants_changed(&mut self, reader: ReaderId) -> Vec<SpansChange> {
        let mut state = self.by_id.get_mut(&reader);
        if state.as_mut().is_some_and(|state| !std::mem::take(&mut state.may_want_others)) {
            return Vec::new();
        }
        self.wanted.update(reader, state.as_deref())
    }

    /// The places of the readers, where those within `near_bytes` of each other share one.
    pub(crate) fn places_apart(&mut self, near_bytes: u64) -> &ReadPlaces {
        self.places.set_near(near_bytes);
        &self.places
    }

    /// The number of different positions of active streams; at least one.
    pub(crate) fn offsets(&self) -> u64 {
        self.places.offsets()
    }

    /// The readers with a window that are reading, at different places.
    pub(crate) fn active(&self) -> u64 {
        self.activity.count().min(self.places.count())
    }

    /// Whether any reader wants `part` kept behind it.
    pub(crate) fn is_kept_behind(&self, part: &PartState) -> bool {
        self.wanted.contains_behind(&part.range)
    }

    /// Whether any reader except `excluded` wants `part`: it is ahead of, or just behind, one of the reader's streams.
    pub(crate) fn is_wanted(&self, part: &PartState, excluded: Option<ReaderId>) -> bool {
        let PartOwner { reader, stream } = part.owner;
        let own = stream.filter(|_| Some(reader) != excluded).and_then(|stream| self.get(reader)?.streams.get(stream));
        // Parts of other owners are wanted if they are in the window of a reader.
        own.is_some_and(|stream| stream.is_ahead(&part.range, true)) || self.wanted.contains(&part.range, excluded)
    }
}
