//! Sequences of row groups, and what is requested ahead of them.

use super::*;
use proptest::prelude::*;

const CHUNK: u64 = 1 << 20;
const WINDOW: u64 = 12 * CHUNK;

/// `row_groups` row groups of four columns of [`CHUNK`] bytes each.
fn layout(row_groups: u64) -> RowGroupLayout {
    let columns = |row_group| (0..4).map(move |column| (row_group * 4 + column) * CHUNK).map(|at| at..at + CHUNK);
    RowGroupLayout::new((0..row_groups).map(|row_group| columns(row_group).collect()).collect())
}

fn chunk(row_group: u64, column: u64) -> Range<u64> {
    let at = (row_group * 4 + column) * CHUNK;
    at..at + CHUNK
}

fn columns(row_group: u64, columns: &[u64]) -> Vec<Range<u64>> {
    columns.iter().map(|column| chunk(row_group, *column)).collect()
}

/// Row groups that `ranges` have bytes of.
fn row_groups(ranges: &[Range<u64>]) -> Vec<u64> {
    let mut all: Vec<u64> =
        ranges.iter().flat_map(|range| range.start / (4 * CHUNK)..range.end.div_ceil(4 * CHUNK)).collect();
    all.dedup();
    all
}

/// Reads columns 0 and 2 of each of `reads`, and checks which row groups each read requests and gives up.
#[track_caller]
fn check(mut ahead: RowGroupsAhead, reads: &[(u64, &[u64], &[u64])]) {
    for (n, (row_group, advised, forgotten)) in reads.iter().enumerate() {
        let plan = ahead.on_ranges(&columns(*row_group, &[0, 2]), WINDOW);
        assert_eq!(row_groups(&plan.advise), *advised, "read {n}, of row group {row_group}: {plan:?}");
        assert_eq!(row_groups(&plan.forget), *forgotten, "read {n}, of row group {row_group}: {plan:?}");
    }
}

#[test]
fn a_scan_is_ahead_from_the_second_row_group_on() {
    let reads: &[(u64, &[u64], &[u64])] =
        &[(0, &[], &[]), (1, &[2, 3, 4, 5, 6, 7], &[]), (2, &[8], &[]), (3, &[9], &[]), (4, &[10], &[])];
    check(RowGroupsAhead::new(layout(100), false), reads);
}

#[test]
fn where_files_are_scanned_the_first_row_group_starts() {
    check(RowGroupsAhead::new(layout(100), true), &[(0, &[1, 2, 3], &[]), (1, &[4, 5, 6, 7], &[])]);
}

#[test]
fn every_second_row_group_wastes_nothing() {
    check(RowGroupsAhead::new(layout(100), false), &[(0, &[], &[]), (2, &[4, 6, 8, 10, 12, 14], &[]), (4, &[16], &[])]);
}

#[test]
fn a_skipped_row_group_is_given_up_and_the_others_stay() {
    let reads: &[(u64, &[u64], &[u64])] =
        &[(0, &[], &[]), (1, &[2, 3, 4, 5, 6, 7], &[]), (3, &[], &[2]), (4, &[], &[])];
    check(RowGroupsAhead::new(layout(100), false), reads);
}

#[test]
fn a_scan_towards_the_start_is_followed() {
    check(RowGroupsAhead::new(layout(100), false), &[(9, &[], &[]), (8, &[7, 6, 5, 4, 3, 2], &[]), (7, &[1], &[])]);
}

#[test]
fn nothing_is_requested_beyond_the_last_row_group() {
    check(RowGroupsAhead::new(layout(4), false), &[(0, &[], &[]), (1, &[2, 3], &[]), (2, &[], &[]), (3, &[], &[])]);
}

#[test]
fn nothing_is_requested_beyond_the_part_of_the_reader() {
    // Row groups 2 to 5: the last one begins within the part, and ends beyond it.
    let part = chunk(2, 0).start..chunk(5, 1).end;
    let reads: &[(u64, &[u64], &[u64])] = &[(2, &[], &[]), (3, &[4, 5], &[]), (4, &[], &[]), (5, &[], &[])];
    check(RowGroupsAhead::new(layout(100), false).within(Some(part)), reads);
}

#[test]
fn the_end_of_a_scan_tells_its_columns() {
    let mut ahead = RowGroupsAhead::new(layout(3), false);
    for (row_group, at_end) in [(0, None), (1, None), (2, Some(vec![0, 2]))] {
        ahead.on_ranges(&columns(row_group, &[0, 2]), WINDOW);
        assert_eq!(ahead.columns_at_end(), at_end, "row group {row_group}");
    }
    let mut pruned = RowGroupsAhead::new(layout(3), false);
    for row_group in [0, 2] {
        pruned.on_ranges(&columns(row_group, &[0, 2]), WINDOW);
        assert_eq!(pruned.columns_at_end(), None, "row group {row_group}");
    }
}

#[test]
fn a_column_that_a_filter_lets_wait_is_requested_with_the_filter() {
    let mut ahead = RowGroupsAhead::new(layout(100), false);
    for column in [0, 3] {
        assert_eq!(ahead.on_ranges(&columns(0, &[column]), WINDOW), AheadPlan::default());
    }
    let plan = ahead.on_ranges(&columns(1, &[0]), 4 * CHUNK);
    // Neighbours are one range.
    assert_eq!(plan.advise, [chunk(1, 3).start..chunk(2, 0).end, chunk(2, 3).start..chunk(3, 0).end]);
    // Column 3 of row group 1 is not read.
    let plan = ahead.on_ranges(&columns(2, &[0]), 4 * CHUNK);
    assert_eq!(plan.forget, [chunk(1, 3)]);
    assert_eq!(ahead.counts().wasted_bytes, CHUNK);
}

#[test]
fn small_holes_are_bridged_and_given_up_with_their_row_group() {
    let read = |ahead: &mut RowGroupsAhead, row_group| ahead.on_ranges(&columns(row_group, &[0, 2]), WINDOW);
    let both = |row_group: u64| chunk(row_group, 0).start..chunk(row_group, 2).end;
    let mut ahead = RowGroupsAhead::new(layout(100), false).bridging(CHUNK);
    read(&mut ahead, 0);
    assert_eq!(read(&mut ahead, 1).advise, [both(2), both(3), both(4), both(5)], "three chunks each, the window");
    let third = read(&mut ahead, 2);
    assert_eq!(
        (third.advise.as_slice(), third.forget.len()),
        (&[chunk(6, 0), chunk(6, 2)][..], 0),
        "no room for a hole"
    );
    assert_eq!(read(&mut ahead, 3).forget, [chunk(2, 1)]);
    // Row group 4 is skipped.
    assert_eq!(read(&mut ahead, 5).forget, [chunk(4, 0), chunk(4, 2), chunk(3, 1), chunk(4, 1)]);
    let mut apart = RowGroupsAhead::new(layout(100), true).bridging(CHUNK - 1);
    assert_eq!(read(&mut apart, 0).advise.len(), 6, "the holes are too large");
}

#[test]
fn a_hole_with_bytes_that_were_requested_or_asked_for_is_not_bridged() {
    let mut ahead = RowGroupsAhead::new(layout(100), false).bridging(4 * CHUNK);
    ahead.on_ranges(&columns(0, &[0, 1, 2]), WINDOW);
    // Column 1 of row group 1 was asked for: columns 0 and 2, which wait for it, are two requests.
    let plan = ahead.on_ranges(&columns(1, &[1]), 2 * CHUNK);
    assert_eq!(plan.advise, [chunk(1, 0), chunk(1, 2), chunk(2, 0)]);
}

#[test]
fn pages_of_a_column_say_nothing_about_the_next_row_group() {
    let mut ahead = RowGroupsAhead::new(layout(100), false);
    for row_group in 0..5 {
        let page = chunk(row_group, 1).start + 100..chunk(row_group, 1).start + 200;
        assert_eq!(ahead.on_ranges(&[page], WINDOW), AheadPlan::default());
    }
}

#[test]
fn a_large_row_group_is_requested_as_a_whole_and_in_pieces_where_a_run_is_young() {
    let mut ahead = RowGroupsAhead::new(layout(100), false);
    ahead.on_ranges(&columns(0, &[0, 1, 2, 3]), CHUNK);
    let plan = ahead.on_ranges(&columns(1, &[0, 1, 2, 3]), CHUNK);
    assert_eq!(plan.advise, [8 * CHUNK..12 * CHUNK], "one row group, though the window is one chunk");
    let mut ahead = RowGroupsAhead::new(layout(100), true);
    let half = chunk(0, 0).start..chunk(0, 0).start + CHUNK / 2;
    assert_eq!(ahead.on_ranges(&[half], WINDOW), AheadPlan::default());
    let plan = ahead.on_ranges(&columns(0, &[0]), WINDOW);
    // Three times the one and a half chunks that it has read.
    let half = chunk(5, 0).start..chunk(5, 0).start + CHUNK / 2;
    assert_eq!(plan.advise, [chunk(1, 0), chunk(2, 0), chunk(3, 0), chunk(4, 0), half]);
}

#[test]
fn announced_row_groups_are_requested_up_to_the_window() {
    let mut ahead = RowGroupsAhead::new(layout(100), false);
    let plan = ahead.announce(&[3, 1, 7], &[1, 2], WINDOW);
    let both = |row_group: u64| chunk(row_group, 1).start..chunk(row_group, 2).end;
    assert_eq!(plan.advise, [both(3), both(1), both(7)]);
    assert_eq!(ahead.on_ranges(&columns(3, &[1, 2]), WINDOW), AheadPlan::default());
    // The caller leaves out row group 1, and then does something else.
    assert_eq!(ahead.on_ranges(&columns(7, &[1, 2]), WINDOW).forget, columns(1, &[1, 2]));
    assert_eq!(ahead.on_ranges(&columns(50, &[1]), WINDOW).forget, [] as [Range<u64>; 0]);
    assert!(ahead.announced.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is read: no byte is requested ahead twice without having been given up, the limits hold, and every byte
    /// requested ahead is used, wasted, or unread.
    #[test]
    fn the_books_balance(
        reads in prop::collection::vec((0_u64..40, prop::collection::btree_set(0_u64..4, 1..4), 0_u64..4), 1..60),
        window in 0..20 * CHUNK,
        at_once: bool,
        hole in 0..3 * CHUNK,
    ) {
        let mut ahead = RowGroupsAhead::new(layout(40), at_once).bridging(hole);
        let mut held: Vec<Range<u64>> = Vec::new();
        for (row_group, wanted, pages) in &reads {
            let mut ranges: Vec<_> = wanted.iter().map(|column| chunk(*row_group, *column)).collect();
            ranges.iter_mut().for_each(|range| range.end -= pages / 3 * 1000);
            let before = ahead.counts();
            let plan = ahead.on_ranges(&ranges, window);
            for range in &plan.forget {
                held.retain(|other| range.start >= other.end || other.start >= range.end);
            }
            for range in &plan.advise {
                prop_assert!(range.start < range.end && range.end <= 160 * CHUNK);
                // Bytes that were asked for may be requested again when the reader returns.
                let overlaps = |other: &&Range<u64>| range.start < other.end && other.start < range.end;
                for other in held.iter().filter(overlaps) {
                    let read = |id| !ahead.advised.contains_key(&id) || ahead.advised[&id].used_bytes > 0;
                    prop_assert!(ahead.layout.overlapping(other).any(read) || reads.len() > 1, "{range:?} {other:?}");
                }
            }
            held.extend(plan.advise.iter().cloned());
            let counts = ahead.counts();
            prop_assert!(ahead.holes.values().flatten().all(|hole| len(hole) <= ahead.hole_bytes));
            prop_assert!(ahead.unread_bytes() <= window.max(4 * CHUNK).max(ahead.run_bytes * RUN_FACTOR));
            prop_assert_eq!(counts.advised_bytes, counts.used_bytes + counts.wasted_bytes + ahead.unread_bytes());
            prop_assert!(counts.wasted_bytes >= before.wasted_bytes && counts.used_bytes <= counts.demanded_bytes);
        }
        ahead.on_end();
        let counts = ahead.counts();
        prop_assert_eq!(counts.advised_bytes, counts.used_bytes + counts.wasted_bytes);
    }

    /// Where row groups are pruned at random, bytes stay within 1.25 times those that were asked for, and what is read
    /// before predictions fail.
    #[test]
    fn waste_is_bounded_where_row_groups_are_pruned_at_random(kept in prop::collection::vec(any::<bool>(), 200)) {
        let mut ahead = RowGroupsAhead::new(layout(200), false);
        for row_group in (0_u64..).zip(&kept).filter(|(_, kept)| **kept).map(|(n, _)| n) {
            ahead.on_ranges(&columns(row_group, &[0, 1]), WINDOW);
        }
        ahead.on_end();
        let AheadCounts { demanded_bytes, wasted_bytes, .. } = ahead.counts();
        prop_assert!(wasted_bytes <= demanded_bytes / 4 + WINDOW, "{:?}", ahead.counts());
    }

    /// A scan of any columns of a file with row groups of any size requests everything ahead from its third row group
    /// on, where the window holds a row group and the holes of the one that is being read.
    #[test]
    fn a_scan_never_waits(
        sizes in prop::collection::vec(1_u64..3_000_000, 3..50),
        wanted in prop::collection::btree_set(0_usize..4, 1..4),
        hole in 0_u64..6_000_000,
    ) {
        let mut at = 4;
        let mut next = |len: u64| { at += len; at - len..at };
        let layout: Vec<Vec<_>> = sizes.iter().map(|size| (0..4).map(|_| next(*size)).collect()).collect();
        let mut ahead = RowGroupsAhead::new(RowGroupLayout::new(layout.clone()), false).bridging(hole);
        let mut advised: Vec<Range<u64>> = Vec::new();
        for (n, columns) in layout.iter().enumerate() {
            let ranges: Vec<_> = wanted.iter().map(|column| columns[*column].clone()).collect();
            // Four columns, and at most two of them that nobody wants between two others.
            let window = sizes.iter().max().expect("some") * (4 + 2);
            for range in ranges.iter().filter(|_| n > 2 && sizes[n] <= sizes[n - 1]) {
                let has = |at: u64| advised.iter().any(|range| range.contains(&at));
                prop_assert!(has(range.start) && has(range.end - 1), "row group {n}");
            }
            advised.extend(ahead.on_ranges(&ranges, window).advise);
        }
        ahead.on_end();
        prop_assert_eq!(ahead.counts().wasted_bytes, 0);
    }
}
