//! Draws one run over time: its reads and GETs by offset, and the state of read-ahead in panels below.

use std::collections::BTreeSet;

use headstart_bench::results::{Bar, Timeline};

use super::{
    Anchor, Canvas, Panel, Scale, panel::HEIGHT, panel::PANELS, panel::TITLE, panel::frame, panel::time_axis,
    svg::LIGHT_BLUE, svg::MUTED, svg::ORANGE, svg::RED, svg::TEXT, svg::text_width,
};
use crate::numbers::{axis_number, mebibytes, number, to_float};

const WIDTH: f64 = 860.0;
/// Room for numbers left of the panels.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 14.0;
/// Tops of the description, the legend, and the upper panel.
const DESCRIPTION_TOP: f64 = 37.0;
const LEGEND_TOP: f64 = 60.0;
const OFFSETS_TOP: f64 = 98.0;
/// Height of the upper panel: offsets over time.
const OFFSETS: f64 = 280.0;
/// Least height of a GET; the line of the read would hide a lower one.
const LEAST_HEIGHT: f64 = 4.0;
/// Room for the axis of time.
const AXIS: f64 = 40.0;

pub(super) fn timeline(run: &Timeline) -> String {
    let panels: Vec<&Panel> = PANELS.iter().filter(|panel| panel.greatest(&run.samples) > 0.0).collect();
    let height = OFFSETS_TOP + OFFSETS + to_float(panels.len() as u64) * (HEIGHT + TITLE) + AXIS;
    let ends = run.reads.iter().chain(&run.gets).map(|bar| bar.end_ms);
    let end_ms = ends.chain(run.samples.iter().map(|sample| sample.at_ms)).fold(0.0, f64::max);
    let across = Scale::new((0.0, end_ms), (LEFT, WIDTH - RIGHT));
    let mut canvas = Canvas::default();
    let title = format!("{}, read by {}", run.workload, run.system);
    canvas.heading((LEFT, 20.0), Anchor::Start, &title);
    canvas.text((LEFT, DESCRIPTION_TOP), Anchor::Start, MUTED, &run.about);
    draw_legend(&mut canvas);
    let mut bottom = OFFSETS_TOP + OFFSETS;
    draw_offsets(&mut canvas, run, &across, (OFFSETS_TOP, bottom));
    for panel in panels {
        let top = bottom + TITLE;
        bottom = top + HEIGHT;
        panel.draw(&mut canvas, &run.samples, &across, (top, bottom));
    }
    time_axis(&mut canvas, &across, bottom);
    canvas.finish((WIDTH, height), &format!("{title}, over time. {}", run.about))
}

fn draw_legend(canvas: &mut Canvas) {
    let y = LEGEND_TOP;
    let mut x = LEFT;
    let meanings = ["GET ahead of the reader", "GET that a reader waits for", "cancelled", "reads"];
    for (index, means) in meanings.into_iter().enumerate() {
        match index {
            0 => canvas.bar((x, y - 4.0), (x + 18.0, y + 4.0), LIGHT_BLUE),
            1 => canvas.bar((x, y - 4.0), (x + 18.0, y + 4.0), ORANGE),
            2 => canvas.cross((x + 9.0, y), RED),
            _ => canvas.line((x, y), (x + 18.0, y), TEXT, 2),
        }
        canvas.text((x + 24.0, y), Anchor::Start, TEXT, means);
        x += 40.0 + text_width(means);
    }
}

/// The upper panel: each GET as a box of its time and its bytes, the reads as a line.
fn draw_offsets(canvas: &mut Canvas, run: &Timeline, across: &Scale, (top, bottom): (f64, f64)) {
    let bars = || run.reads.iter().chain(&run.gets);
    let least = bars().map(|bar| mebibytes(bar.offset)).fold(f64::INFINITY, f64::min);
    let most = bars().map(|bar| mebibytes(bar.offset + bar.len)).fold(0.0, f64::max);
    let up = Scale::new((least.min(most), most), (bottom, top));
    let size = axis_number(mebibytes(run.object_bytes));
    frame(canvas, across, &up, (top, bottom), &format!("place in the object, MiB of {size}"), 6);
    let corner = |ms: f64, offset: u64| (across.at(ms), up.at(mebibytes(offset)));
    let mut drawn = BTreeSet::new();
    // GETs that a reader waits for come last, so that nothing hides them.
    let (ahead, awaited): (Vec<&Bar>, Vec<&Bar>) = run.gets.iter().partition(|get| get.is_ahead);
    for get in ahead.into_iter().chain(awaited) {
        let (mut from, mut to) = (corner(get.start_ms, get.offset), corner(get.end_ms, get.offset + get.len));
        if from.1 - to.1 >= LEAST_HEIGHT {
            to.1 += 1.0; // a gap between neighbours
        } else {
            let middle = f64::midpoint(from.1, to.1);
            (from.1, to.1) = (middle + LEAST_HEIGHT / 2.0, middle - LEAST_HEIGHT / 2.0);
        }
        // Hundreds of small GETs fall on the same pixels; one of them is enough.
        let pixels = [from.0, from.1, to.0, to.1].map(|pixels| format!("{pixels:.0}"));
        if drawn.insert((pixels, get.is_ahead)) {
            canvas.bar(from, to, if get.is_ahead { LIGHT_BLUE } else { ORANGE });
        }
    }
    for get in run.gets.iter().filter(|get| get.is_cancelled) {
        let (x, from) = corner(get.end_ms, get.offset);
        let (_, to) = corner(get.end_ms, get.offset + get.len);
        canvas.cross((x, f64::midpoint(from, to)), RED);
    }
    for run in consecutive_reads(&run.reads) {
        let corners = |read: &Bar| [corner(read.start_ms, read.offset), corner(read.end_ms, read.offset + read.len)];
        canvas.path(&run.into_iter().flat_map(corners).collect::<Vec<_>>(), TEXT, 2);
    }
}

/// Groups reads that follow each other in place and time, each drawn as one line. Readers or streams may alternate.
fn consecutive_reads(reads: &[Bar]) -> Vec<Vec<&Bar>> {
    let mut groups: Vec<Vec<&Bar>> = Vec::new();
    for read in reads {
        let continued = groups.iter_mut().rev().find(|group| {
            group.last().is_some_and(|last| last.offset + last.len == read.offset && last.end_ms <= read.start_ms)
        });
        match continued {
            Some(group) => group.push(read),
            None => groups.push(vec![read]),
        }
    }
    groups
}

pub(super) fn caption(run: &Timeline) -> String {
    let ahead = run.gets.iter().filter(|get| get.is_ahead).count();
    let cancelled = run.gets.iter().filter(|get| get.is_cancelled).count();
    let end_ms = run.reads.iter().map(|read| read.end_ms).fold(0.0, f64::max);
    let most = run.samples.iter().map(|sample| sample.gets_in_flight).max().unwrap_or(0);
    format!(
        "{} reads in {} ms, {} GETs, {ahead} of them ahead of the reader, {cancelled} cancelled; at most {most} in \
         flight.",
        run.reads.len(),
        number(Some(end_ms)),
        run.gets.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::results;

    #[test]
    fn consecutive_reads_are_one_line() {
        let (len, is_ahead, is_cancelled) = (10, false, false);
        let bar = |start_ms: f64, offset| Bar { start_ms, end_ms: start_ms + 1.0, offset, len, is_ahead, is_cancelled };
        let alternating = [bar(0.0, 0), bar(1.0, 500), bar(2.0, 10), bar(3.0, 510), bar(4.0, 900)];
        let lengths: Vec<usize> = consecutive_reads(&alternating).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 2, 1]);
        let concurrent = [bar(0.0, 0), bar(0.5, 10)];
        assert_eq!(consecutive_reads(&concurrent).len(), 2, "concurrent reads belong to two readers");
    }

    #[test]
    fn a_run_is_drawn_with_its_panels() {
        let run = &results().timelines[0];
        let svg = timeline(run);
        for text in ["seq, read by headstart+cache", "GETs in flight", "memory reserved, MiB", "cancelled"] {
            assert!(svg.contains(&format!(">{text}</text>")), "{text}");
        }
        assert!(svg.contains("&amp; &lt;learn&gt;") && !svg.contains("dropped unread"), "nothing was wasted");
        let counts = "20 reads in 230 ms, 20 GETs, 17 of them ahead of the reader, 1 cancelled; at most 4 in flight.";
        assert_eq!(caption(run), counts);
    }

    #[test]
    fn an_empty_run_can_be_drawn() {
        let mut run = results().timelines.remove(0);
        (run.reads, run.gets, run.samples) = (Vec::new(), Vec::new(), Vec::new());
        assert!(timeline(&run).ends_with("</svg>\n"));
    }
}
