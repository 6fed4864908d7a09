//! Intended differences from the bare client, with reasons.

use super::{Access, CellFault, MatrixCell, Mode};

/// Cells that may have a fault, and why.
#[derive(Debug)]
pub(super) struct Exception {
    pub(super) behaviours: &'static [&'static str],
    pub(super) faults: &'static [CellFault],
    /// Empty for all.
    pub(super) accesses: &'static [Access],
    /// Empty for all.
    pub(super) modes: &'static [Mode],
    /// `None` for any size.
    pub(super) size: Option<u64>,
    pub(super) why: &'static str,
}

const LARGE: Option<u64> = Some(super::LARGE_BYTES);

pub(super) const ALL: &[Exception] = &[
    Exception {
        behaviours: &["401-later", "403-later"],
        faults: &[CellFault::Fails, CellFault::Requests],
        accesses: &[],
        modes: &[],
        size: LARGE,
        why: "a read in parts sends more requests than the bare client, some of them after the permission has ended",
    },
    Exception {
        behaviours: &["501", "ranges-501", "if-match-501"],
        faults: &[CellFault::Time, CellFault::Requests],
        accesses: &[Access::ReadAt, Access::ReadToEnd],
        modes: &[Mode::None],
        size: None,
        why: "without the fetch layer the bare client below retries, and it retries 501",
    },
    Exception {
        behaviours: &["cut-after-headers", "cut-every-64-kib", "too-short", "silent-body", "pause-in-body"],
        faults: &[CellFault::Requests],
        accesses: &[],
        modes: &[],
        size: LARGE,
        why: "each part of a read has a body of its own, and each body is resumed separately",
    },
    Exception {
        behaviours: &["redirect-loop"],
        faults: &[CellFault::Requests],
        accesses: &[Access::GetRangePastEnd],
        modes: &[],
        size: LARGE,
        why: "the parts of a range are sent together, and the client follows the redirects of each",
    },
    Exception {
        behaviours: &["if-match-refused", "if-match-unquoted", "if-match-400", "if-match-501", "version-refused"],
        faults: &[CellFault::Requests],
        accesses: &[Access::Stream],
        modes: &[Mode::Cached],
        size: LARGE,
        why: "requests in flight together detect the refusal together, each by a HEAD; later ones know of it",
    },
    Exception {
        behaviours: &["tag-changes", "tag-of-replica"],
        faults: &[CellFault::Requests],
        accesses: &[Access::Get, Access::GetRanges, Access::ReadToEnd, Access::Stream],
        modes: &[Mode::Fetch, Mode::Adaptive, Mode::Cached],
        size: LARGE,
        why: "requests in flight together detect the change together, each by a few HEADs; later ones know of it",
    },
    Exception {
        behaviours: &["ranges-416", "ranges-501"],
        faults: &[CellFault::Requests],
        accesses: &[Access::Stream, Access::ReadToEnd],
        modes: &[Mode::Cached],
        size: Some(super::SMALL_BYTES),
        why: "one refusal may be transient: each layer leaves out what was refused twice; later reads do so at once",
    },
    Exception {
        behaviours: &["slow", "first-byte-late", "pause-in-body", "open-ranges-ignored"],
        faults: &[CellFault::Time, CellFault::Requests],
        accesses: &[Access::ReadToEnd],
        modes: &[Mode::None, Mode::Fetch, Mode::Adaptive],
        size: LARGE,
        why: "`AsyncRead` does not tell how much will be read: 256 KiB are requested first, the rest when it is read; \
              `stream` and `get` request everything at once",
    },
    Exception {
        behaviours: &["slow", "pause-in-body"],
        faults: &[CellFault::Time],
        accesses: &[Access::Stream],
        modes: &[Mode::Adaptive],
        size: LARGE,
        why: "a stream requests its first bytes before the rest, because it does not know the size yet",
    },
    Exception {
        behaviours: &["one-at-a-time"],
        faults: &[CellFault::Time],
        accesses: &[],
        modes: &[],
        size: None,
        why: "requests that are sent together wait on connections that are not served, as those of the bare client's \
              `get_ranges` do; `fetch.concurrency=1` and `mode=fetch` are for such servers",
    },
];

/// Whether an exception allows the `fault` of `cell`; marks it in `used`.
pub(super) fn explains(cell: &MatrixCell, fault: CellFault, used: &mut [bool]) -> bool {
    fn has<T: PartialEq>(all: &[T], one: &T) -> bool {
        all.is_empty() || all.contains(one)
    }
    let mut explained = false;
    for (exception, used) in ALL.iter().zip(used) {
        if exception.behaviours.contains(&cell.behaviour)
            && exception.faults.contains(&fault)
            && has(exception.accesses, &cell.access)
            && has(exception.modes, &cell.mode)
            && exception.size.is_none_or(|size| size == cell.size)
        {
            *used = true;
            explained = true;
        }
    }
    explained
}
