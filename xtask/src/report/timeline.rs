//! One run, looked at closely: what was read, what was fetched, and what read-ahead meant to do meanwhile.

use std::collections::BTreeSet;

use anyhow::Result;
use headstart_bench::results::{Bar, Timeline};

use super::panel::{HEIGHT, LEFT, PANELS, Panel, TITLE, frame};
use super::picture::{At, Sheet, TEXT, draw, width as text_width};
use super::scale::Scale;
use super::text::{mebibytes, number, short, to_float};
use super::theme::Ink;

const RIGHT: f64 = 14.0;
/// The middle of the first line of text.
const TOP: f64 = 12.0;
/// Height of the upper panel: offsets over time.
const OFFSETS: f64 = 280.0;
/// A GET is drawn no lower, or the line of the read would hide it.
const LEAST_HEIGHT: f64 = 4.0;
/// Room for the axis of time.
const AXIS: f64 = 40.0;

/// Draws the run, with a title above where it must speak for itself, and says how large the picture is.
pub(super) fn timeline(run: &Timeline, width: f64, has_title: bool) -> Result<(String, (f64, f64))> {
    let title = if has_title { title(run, width) } else { Vec::new() };
    let legend = legend(width);
    let title_top = if has_title { TOP + 8.0 } else { TOP };
    let legend_top = title_top + 17.0 * to_float(title.len() as u64) + if has_title { 6.0 } else { 0.0 };
    let offsets = legend_top + 18.0 * to_float(legend.len() as u64) + TITLE - 10.0;
    let panels: Vec<&Panel> = PANELS.iter().filter(|panel| panel.is_worth_it(&run.samples)).collect();
    let height = offsets + OFFSETS + to_float(panels.len() as u64) * (HEIGHT + TITLE) + AXIS;
    let end_ms = run.reads.iter().chain(&run.gets).map(|bar| bar.end_ms);
    let end_ms = end_ms.chain(run.samples.iter().map(|sample| sample.at_ms)).fold(0.0, f64::max);
    let across = Scale::linear(end_ms, (LEFT, width - RIGHT));
    let label = format!("{} by {}, over time. {}", run.workload, run.system, run.about);
    let svg = draw((width, height), &label, |sheet| {
        for (y, (line, is_head)) in (0_u32..).map(|n| title_top + 17.0 * f64::from(n)).zip(&title) {
            if *is_head {
                sheet.bold((LEFT, y), At::Start, 14.0, Ink::TEXT, line)?;
            } else {
                sheet.text((LEFT, y), At::Start, 12.0, Ink::MUTED, line)?;
            }
        }
        for (n, line) in (0_u32..).zip(&legend) {
            let y = legend_top + 18.0 * f64::from(n);
            draw_legend(sheet, line, y)?;
        }
        let mut bottom = offsets + OFFSETS;
        draw_offsets(sheet, run, &across, (offsets, bottom))?;
        for panel in panels {
            let top = bottom + TITLE;
            bottom = top + HEIGHT;
            panel.draw(sheet, &run.samples, &across, (top, bottom))?;
        }
        for tick in across.ticks(if width > 600.0 { 10 } else { 5 }) {
            sheet.text((across.at(tick), bottom + 12.0), At::Middle, TEXT, Ink::MUTED, &short(tick))?;
        }
        let middle = f64::midpoint(LEFT, width - RIGHT);
        sheet.text((middle, bottom + 29.0), At::Middle, TEXT, Ink::MUTED, "milliseconds since the start")
    })?;
    Ok((svg, (width, height)))
}

/// Lines of text, and whether each is the headline.
fn title(run: &Timeline, width: f64) -> Vec<(String, bool)> {
    let mut lines = vec![(format!("{}, read by {}", run.workload, run.system), true)];
    let mut line = String::new();
    for word in run.about.split_whitespace() {
        if !line.is_empty() && text_width(&line, 12.0) + text_width(word, 12.0) > width - LEFT - RIGHT - 30.0 {
            lines.push((std::mem::take(&mut line), false));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push((line, false));
    lines
}

/// A sign and what it means.
#[derive(Clone, Copy)]
enum Sign {
    Ahead,
    Awaited,
    GivenUp,
    Read,
}

const SIGNS: [(Sign, &str); 4] = [
    (Sign::Ahead, "GET ahead of the reader"),
    (Sign::Awaited, "GET that a reader waits for"),
    (Sign::GivenUp, "given up"),
    (Sign::Read, "reads"),
];

/// The signs, in as many lines as they need, each with its place.
fn legend(width: f64) -> Vec<Vec<(Sign, &'static str, f64)>> {
    let mut lines = vec![Vec::new()];
    let mut x = LEFT;
    for (sign, means) in SIGNS {
        let needs = 26.0 + text_width(means, TEXT) + 14.0;
        if x > LEFT && x + needs > width {
            lines.push(Vec::new());
            x = LEFT;
        }
        lines.last_mut().expect("there is one").push((sign, means, x));
        x += needs;
    }
    lines
}

fn draw_legend(sheet: &mut Sheet<'_>, line: &[(Sign, &str, f64)], y: f64) -> Result<()> {
    for (sign, means, x) in line {
        match sign {
            Sign::Ahead => sheet.bar((*x, y - 4.0), (x + 18.0, y + 4.0), Ink::LIGHT, 0.9)?,
            Sign::Awaited => sheet.bar((*x, y - 4.0), (x + 18.0, y + 4.0), Ink::WARM, 0.9)?,
            Sign::GivenUp => sheet.cross((x + 9.0, y), 4.0, Ink::PEER)?,
            Sign::Read => sheet.line((*x, y), (x + 18.0, y), Ink::TEXT, 2)?,
        }
        sheet.text((x + 24.0, y), At::Start, TEXT, Ink::TEXT, means)?;
    }
    Ok(())
}

/// The upper panel: each GET as a box of its time and its bytes, the reads as a line.
fn draw_offsets(sheet: &mut Sheet<'_>, run: &Timeline, across: &Scale, (top, bottom): (f64, f64)) -> Result<()> {
    let bars = || run.reads.iter().chain(&run.gets);
    let least = bars().map(|bar| mebibytes(bar.offset)).fold(f64::INFINITY, f64::min);
    let most = bars().map(|bar| mebibytes(bar.offset + bar.len)).fold(0.0, f64::max);
    let up = Scale::between((least.min(most), most), (bottom, top));
    let of = short(mebibytes(run.object_bytes));
    frame(sheet, across, &up, (top, bottom), &format!("place in the object, MiB of {of}"), 6)?;
    let corner = |ms: f64, offset: u64| (across.at(ms), up.at(mebibytes(offset)));
    let mut drawn = BTreeSet::new();
    // What somebody waits for last, so that nothing hides it.
    let (ahead, awaited): (Vec<&Bar>, Vec<&Bar>) = run.gets.iter().partition(|get| get.is_ahead);
    for get in ahead.into_iter().chain(awaited) {
        let (mut from, mut to) = (corner(get.start_ms, get.offset), corner(get.end_ms, get.offset + get.len));
        if from.1 - to.1 >= LEAST_HEIGHT {
            to.1 += 1.0; // a gap between neighbours
        } else {
            let middle = f64::midpoint(from.1, to.1);
            (from.1, to.1) = (middle + LEAST_HEIGHT / 2.0, middle - LEAST_HEIGHT / 2.0);
        }
        let ink = if get.is_ahead { Ink::LIGHT } else { Ink::WARM };
        // Small ones fall on the same pixels by the hundred; one of them is enough.
        let place = [from.0, from.1, to.0, to.1].map(|pixels| format!("{pixels:.0}"));
        if drawn.insert((place, get.is_ahead)) {
            sheet.bar(from, to, ink, 0.75)?;
        }
    }
    for get in run.gets.iter().filter(|get| get.is_cancelled) {
        let from = corner(get.end_ms, get.offset);
        let to = corner(get.end_ms, get.offset + get.len);
        sheet.cross((from.0, f64::midpoint(from.1, to.1)), 3.0, Ink::PEER)?;
    }
    for stretch in stretches(&run.reads) {
        let mut points = Vec::new();
        for read in stretch {
            points.push(corner(read.start_ms, read.offset));
            points.push(corner(read.end_ms, read.offset + read.len));
        }
        sheet.path(&points, Ink::TEXT, 2)?;
    }
    Ok(())
}

/// Reads that follow each other in place and time, drawn as one line. Several readers, or streams of one, take turns:
/// a read joins the stretch that it continues.
fn stretches(reads: &[Bar]) -> Vec<Vec<&Bar>> {
    let mut stretches: Vec<Vec<&Bar>> = Vec::new();
    for read in reads {
        let continued = stretches.iter_mut().rev().find(|stretch| {
            stretch.last().is_some_and(|last| last.offset + last.len == read.offset && last.end_ms <= read.start_ms)
        });
        match continued {
            Some(stretch) => stretch.push(read),
            None => stretches.push(vec![read]),
        }
    }
    stretches
}

/// What happened, in a sentence with numbers.
pub(super) fn caption(run: &Timeline) -> String {
    let ahead = run.gets.iter().filter(|get| get.is_ahead).count();
    let given_up = run.gets.iter().filter(|get| get.is_cancelled).count();
    let end_ms = run.reads.iter().map(|read| read.end_ms).fold(0.0, f64::max);
    let most = run.samples.iter().map(|sample| sample.gets_in_flight).max().unwrap_or(0);
    format!(
        "{} reads in {} ms, {} GETs, {ahead} of them ahead of the reader, {given_up} given up; at most {most} in flight.",
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
    fn reads_that_follow_each_other_are_one_line() {
        let bar = |start_ms: f64, offset| Bar {
            start_ms,
            end_ms: start_ms + 1.0,
            offset,
            len: 10,
            is_ahead: false,
            is_cancelled: false,
        };
        let by_turns = [bar(0.0, 0), bar(1.0, 500), bar(2.0, 10), bar(3.0, 510), bar(4.0, 900)];
        let lengths: Vec<usize> = stretches(&by_turns).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 2, 1]);
        let at_once = [bar(0.0, 0), bar(0.5, 10)];
        assert_eq!(stretches(&at_once).len(), 2, "who reads before the other has ended is somebody else");
    }

    #[test]
    fn everything_has_its_place() {
        let run = &results().timelines[0];
        let (svg, _) = timeline(run, 860.0, true).unwrap();
        for text in ["seq, read by headstart+cache", "GETs in flight", "memory reserved, MiB", "given up"] {
            assert!(svg.contains(&format!(">{text}</text>")), "{text}");
        }
        assert!(svg.contains("&amp; &lt;learn&gt;") && !svg.contains("dropped unread"), "nothing was wasted");
        let (narrow, size) = timeline(run, 360.0, false).unwrap();
        assert!(narrow.contains(&format!("viewBox=\"0 0 360 {:.0}\"", size.1)));
        assert_eq!(
            caption(run),
            "20 reads in 230 ms, 20 GETs, 17 of them ahead of the reader, 1 given up; at most 4 in flight."
        );
    }

    #[test]
    fn an_empty_run_is_no_error() {
        let mut run = results().timelines.remove(0);
        (run.reads, run.gets, run.samples) = (Vec::new(), Vec::new(), Vec::new());
        timeline(&run, 860.0, true).unwrap();
    }
}
