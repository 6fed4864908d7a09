//! Panels beneath a timeline: numbers that change with time.

use anyhow::Result;
use headstart_bench::results::Sample;

use super::picture::{At, Sheet, TEXT, width as text_width};
use super::scale::Scale;
use super::text::{mebibytes, short, to_float};
use super::theme::Ink;

/// Room for numbers left of a panel.
pub(super) const LEFT: f64 = 48.0;
/// Height of a panel.
pub(super) const HEIGHT: f64 = 64.0;
/// Room above a panel for its title.
pub(super) const TITLE: f64 = 30.0;

/// Something to see of each sample.
pub(super) struct Panel {
    title: &'static str,
    /// The first is drawn as an area.
    lines: &'static [Line],
}

/// A line's name, its ink, and its value.
type Line = (&'static str, Ink, fn(&Sample) -> f64);

/// All panels, from above.
pub(super) const PANELS: [Panel; 4] = [
    Panel { title: "GETs in flight", lines: &[("in flight", Ink::OURS, |sample| to_float(sample.gets_in_flight))] },
    Panel {
        title: "ahead, MiB",
        lines: &[
            ("fetched or coming", Ink::LIGHT, |sample| mebibytes(sample.ahead_bytes)),
            ("window", Ink::TEXT, |sample| mebibytes(sample.window_bytes)),
        ],
    },
    Panel {
        title: "fetched ahead and dropped unread, MiB",
        lines: &[("wasted", Ink::PEER, |sample| mebibytes(sample.wasted_bytes))],
    },
    Panel {
        title: "memory reserved, MiB",
        lines: &[("reserved", Ink::IDEAL, |sample| mebibytes(sample.memory_bytes))],
    },
];

impl Panel {
    /// Whether there is anything but zeros.
    pub(super) fn is_worth_it(&self, samples: &[Sample]) -> bool {
        self.most(samples) > 0.0
    }

    fn most(&self, samples: &[Sample]) -> f64 {
        let values = samples.iter().flat_map(|sample| self.lines.iter().map(|(_, _, value)| value(sample)));
        values.fold(0.0, f64::max)
    }

    pub(super) fn draw(
        &self,
        sheet: &mut Sheet<'_>,
        samples: &[Sample],
        across: &Scale,
        (top, bottom): (f64, f64),
    ) -> Result<()> {
        let up = Scale::linear(self.most(samples), (bottom, top));
        frame(sheet, across, &up, (top, bottom), self.title, 2)?;
        let mut x = LEFT + text_width(self.title, TEXT) * 1.1 + 26.0;
        for (place, (name, ink, value)) in self.lines.iter().enumerate() {
            let points = steps(samples, |sample| (across.at(sample.at_ms), up.at(value(sample))));
            if place == 0 {
                let first = points.first().map_or(LEFT, |point| point.0);
                let last = points.last().map_or(LEFT, |point| point.0);
                let mut area = vec![(first, bottom)];
                area.extend(&points);
                area.push((last, bottom));
                sheet.area(&area, *ink, 0.35)?;
            }
            sheet.path(&points, *ink, if place == 0 { 1 } else { 2 })?;
            if self.lines.len() > 1 {
                let y = top - 10.0;
                sheet.line((x, y), (x + 12.0, y), *ink, 3)?;
                sheet.text((x + 16.0, y), At::Start, TEXT, Ink::MUTED, name)?;
                x += 16.0 + text_width(name, TEXT) + 10.0;
            }
        }
        Ok(())
    }
}

/// A line that stays where it is until the next sample; what falls between two pixels is left out.
fn steps(samples: &[Sample], place: impl Fn(&Sample) -> (f64, f64)) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
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

/// A panel's title, its lines and their numbers.
pub(super) fn frame(
    sheet: &mut Sheet<'_>,
    across: &Scale,
    up: &Scale,
    (top, bottom): (f64, f64),
    title: &str,
    ticks: u32,
) -> Result<()> {
    let (left, right) = (across.at(0.0), across.at(f64::INFINITY));
    sheet.bold((left, top - 10.0), At::Start, TEXT, Ink::TEXT, title)?;
    for tick in up.ticks(ticks) {
        let y = up.at(tick);
        sheet.line((left, y), (right, y), Ink::GRID, 1)?;
        sheet.text((left - 6.0, y), At::End, TEXT, Ink::MUTED, &short(tick))?;
    }
    for tick in across.ticks(if right - left > 540.0 { 10 } else { 5 }) {
        sheet.line((across.at(tick), top), (across.at(tick), bottom), Ink::GRID, 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_until_the_next_sample() {
        let mut samples = super::super::sample::results().timelines.remove(0).samples;
        samples.truncate(3);
        samples[1].window_bytes = samples[0].window_bytes;
        let points = steps(&samples, |sample| (sample.at_ms, mebibytes(sample.window_bytes)));
        assert_eq!(points, [(0.0, 0.0), (20.0, 0.0), (20.0, 2.0), (20.0, 2.0)]);
    }

    #[test]
    fn what_is_always_zero_is_no_panel() {
        let samples = super::super::sample::results().timelines.remove(0).samples;
        assert_eq!(PANELS.map(|panel| panel.is_worth_it(&samples)), [true, true, false, true]);
    }
}
