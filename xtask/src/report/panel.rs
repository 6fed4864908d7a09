//! Panels of a timeline below the offsets: quantities that change with time.

use headstart_bench::results::Sample;

use super::{
    Anchor, Canvas, Point, Scale, svg::BLUE, svg::GREEN, svg::GRID, svg::LIGHT_BLUE, svg::MUTED, svg::RED, svg::TEXT,
    svg::text_width,
};
use crate::numbers::{axis_number, mebibytes, to_float};

pub(super) const HEIGHT: f64 = 64.0;
/// Room above a panel for its title.
pub(super) const TITLE: f64 = 30.0;

/// Quantities of a sample that are drawn over time in one frame.
pub(super) struct Panel {
    title: &'static str,
    /// The first is drawn as an area.
    lines: &'static [Line],
}

/// A line's name, its colour, and its value.
type Line = (&'static str, &'static str, fn(&Sample) -> f64);

/// All panels, from above.
pub(super) const PANELS: [Panel; 4] = [
    Panel { title: "GETs in flight", lines: &[("in flight", BLUE, |sample| to_float(sample.gets_in_flight))] },
    Panel {
        title: "ahead, MiB",
        lines: &[
            ("fetched or in flight", LIGHT_BLUE, |sample| mebibytes(sample.ahead_bytes)),
            ("window", TEXT, |sample| mebibytes(sample.window_bytes)),
        ],
    },
    Panel {
        title: "fetched ahead and dropped unread, MiB",
        lines: &[("wasted", RED, |sample| mebibytes(sample.wasted_bytes))],
    },
    Panel { title: "memory reserved, MiB", lines: &[("reserved", GREEN, |sample| mebibytes(sample.memory_bytes))] },
];

impl Panel {
    /// The greatest value of all lines. A panel whose values are all zero is left out.
    pub(super) fn greatest(&self, samples: &[Sample]) -> f64 {
        let values = samples.iter().flat_map(|sample| self.lines.iter().map(|(_, _, value)| value(sample)));
        values.fold(0.0, f64::max)
    }

    pub(super) fn draw(&self, canvas: &mut Canvas, samples: &[Sample], across: &Scale, (top, bottom): (f64, f64)) {
        let up = Scale::new((0.0, self.greatest(samples)), (bottom, top));
        frame(canvas, across, &up, (top, bottom), self.title, 2);
        let mut x = across.at(0.0) + text_width(self.title) * 1.1 + 26.0;
        for (index, (name, colour, value)) in self.lines.iter().enumerate() {
            let points = steps(samples, |sample| (across.at(sample.at_ms), up.at(value(sample))));
            if let (0, [first, .., last]) = (index, &points[..]) {
                canvas.area(&[&[(first.0, bottom)], &points[..], &[(last.0, bottom)]].concat(), colour);
            }
            canvas.path(&points, colour, if index == 0 { 1 } else { 2 });
            if self.lines.len() > 1 {
                let y = top - 10.0;
                canvas.line((x, y), (x + 12.0, y), colour, 3);
                canvas.text((x + 16.0, y), Anchor::Start, MUTED, name);
                x += 26.0 + text_width(name);
            }
        }
    }
}

/// A line that keeps its value until the next sample. Changes of less than half a pixel are left out.
fn steps(samples: &[Sample], place: impl Fn(&Sample) -> Point) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for sample in samples {
        let (x, y) = place(sample);
        match points.last() {
            Some((_, last)) if (last - y).abs() < 0.5 => {}
            Some((_, last)) => points.extend([(x, *last), (x, y)]),
            None => points.push((x, y)),
        }
    }
    if let (Some(sample), Some((_, last))) = (samples.last(), points.last().copied()) {
        points.push((place(sample).0, last));
    }
    points
}

/// A panel's title, grid and axis numbers.
pub(crate) fn frame(
    canvas: &mut Canvas,
    across: &Scale,
    up: &Scale,
    (top, bottom): (f64, f64),
    title: &str,
    ticks: u32,
) {
    let (left, right) = (across.at(0.0), across.at(f64::INFINITY));
    canvas.heading((left, top - 10.0), Anchor::Start, title);
    for tick in up.ticks(ticks) {
        let y = up.at(tick);
        canvas.line((left, y), (right, y), GRID, 1);
        canvas.text((left - 6.0, y), Anchor::End, MUTED, &axis_number(tick));
    }
    for x in across.ticks(10).into_iter().map(|tick| across.at(tick)) {
        canvas.line((x, top), (x, bottom), GRID, 1);
    }
}

/// Draws curves, and a legend with their names at the top left.
pub(crate) fn labelled_curves<'a>(
    canvas: &mut Canvas,
    across: &Scale,
    up: &Scale,
    curves: impl Iterator<Item = ((&'a str, Vec<Point>), &'static str)>,
) {
    let mut y = 62.0;
    for ((name, curve), colour) in curves {
        let points: Vec<_> = curve.iter().map(|(x, height)| (across.at(*x), up.at(*height))).collect();
        canvas.path(&points, colour, 2);
        canvas.line((66.0, y), (84.0, y), colour, 2);
        canvas.text((90.0, y), Anchor::Start, TEXT, name);
        y += 17.0;
    }
}

/// Numbers of the time axis, and what they are.
pub(crate) fn time_axis(canvas: &mut Canvas, across: &Scale, bottom: f64) {
    for tick in across.ticks(10) {
        canvas.text((across.at(tick), bottom + 12.0), Anchor::Middle, MUTED, &axis_number(tick));
    }
    let middle = f64::midpoint(across.at(0.0), across.at(f64::INFINITY));
    canvas.text((middle, bottom + 29.0), Anchor::Middle, MUTED, "milliseconds since the start");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::results;

    #[test]
    fn a_line_keeps_its_value_until_the_next_sample() {
        let mut samples = results().timelines.remove(0).samples;
        samples.truncate(3);
        samples[1].window_bytes = samples[0].window_bytes;
        let points = steps(&samples, |sample| (sample.at_ms, mebibytes(sample.window_bytes)));
        assert_eq!(points, [(0.0, 0.0), (20.0, 0.0), (20.0, 2.0), (20.0, 2.0)]);
    }

    #[test]
    fn panels_of_zeros_have_no_greatest_value() {
        let samples = results().timelines.remove(0).samples;
        assert_eq!(PANELS.map(|panel| panel.greatest(&samples) > 0.0), [true, true, false, true]);
    }
}
