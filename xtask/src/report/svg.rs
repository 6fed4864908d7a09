//! Draws SVG: shapes and text on a white canvas, and the scales that place values on it.

use std::fmt::Write as _;

pub(crate) const TEXT: &str = "#1f2328";
pub(crate) const MUTED: &str = "#59616b";
pub(crate) const GRID: &str = "#dfe3e8";
// Hues of Okabe and Ito, which colour-blind readers can tell apart.
pub(crate) const BLUE: &str = "#0072b2";
pub(crate) const LIGHT_BLUE: &str = "#56b4e9";
pub(crate) const RED: &str = "#d55e00";
pub(crate) const ORANGE: &str = "#e69f00";
pub(crate) const GREEN: &str = "#009e73";

/// Size of ordinary text in pixels.
const TEXT_SIZE: f64 = 11.0;

/// A place in pixels from the upper left corner.
pub(crate) type Point = (f64, f64);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Debug, Default)]
pub(crate) struct Canvas {
    shapes: String,
}

impl Canvas {
    /// The picture as an SVG file of `size` pixels. `label` describes it for readers who cannot see it.
    pub(crate) fn finish(self, (width, height): (f64, f64), label: &str) -> String {
        let label = escape(label);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 \
             {width:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\" font-family=\"system-ui,sans-serif\" \
             font-size=\"{TEXT_SIZE}\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{}</svg>\n",
            self.shapes
        )
    }

    pub(crate) fn text(&mut self, at: Point, anchor: Anchor, colour: &str, text: &str) {
        self.write_text(at, anchor, colour, "", text);
    }

    pub(crate) fn heading(&mut self, at: Point, anchor: Anchor, text: &str) {
        self.write_text(at, anchor, TEXT, " font-weight=\"bold\"", text);
    }

    fn write_text(&mut self, (x, y): Point, anchor: Anchor, colour: &str, weight: &str, text: &str) {
        let (anchor, text) = (format!("{anchor:?}").to_lowercase(), escape(text));
        // Writing to a string cannot fail, here and below. A third of the size below its middle is the base line.
        let _ = write!(
            self.shapes,
            "<text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"{anchor}\" fill=\"{colour}\"{weight}>{text}</text>",
            y + TEXT_SIZE / 3.0
        );
    }

    pub(crate) fn line(&mut self, from: Point, to: Point, colour: &str, width: u32) {
        self.path(&[from, to], colour, width);
    }

    pub(crate) fn path(&mut self, points: &[Point], colour: &str, width: u32) {
        let points = coordinates(points);
        let _ = write!(
            self.shapes,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        );
    }

    pub(crate) fn area(&mut self, points: &[Point], colour: &str) {
        let points = coordinates(points);
        let _ = write!(self.shapes, "<polygon points=\"{points}\" fill=\"{colour}\" opacity=\"0.35\"/>");
    }

    /// A filled rectangle between two corners, at least one pixel wide and high.
    pub(crate) fn bar(&mut self, (x0, y0): Point, (x1, y1): Point, colour: &str) {
        let (width, height) = ((x1 - x0).abs().max(1.0), (y1 - y0).abs().max(1.0));
        let _ = write!(
            self.shapes,
            "<rect x=\"{:.0}\" y=\"{:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" fill=\"{colour}\" \
             opacity=\"0.8\"/>",
            x0.min(x1),
            y0.min(y1)
        );
    }

    pub(crate) fn cross(&mut self, (x, y): Point, colour: &str) {
        self.line((x - 3.0, y - 3.0), (x + 3.0, y + 3.0), colour, 2);
        self.line((x - 3.0, y + 3.0), (x + 3.0, y - 3.0), colour, 2);
    }
}

fn escape(text: &str) -> String {
    maud::html! { (text) }.into_string()
}

/// Points of a line, rounded to pixels; a point that falls on the pixel of the one before is left out.
fn coordinates(points: &[Point]) -> String {
    let mut pixels: Vec<String> = points.iter().map(|(x, y)| format!("{x:.0},{y:.0}")).collect();
    pixels.dedup();
    pixels.join(" ")
}

pub(crate) fn text_width(text: &str) -> f64 {
    text.chars().map(|letter| if "il.,:|I ".contains(letter) { 0.3 } else { 0.57 }).sum::<f64>() * TEXT_SIZE
}

/// A range of values laid out linearly over a range of pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    values: (f64, f64),
    pixels: (f64, f64),
}

impl Scale {
    pub(crate) fn new(values: (f64, f64), pixels: (f64, f64)) -> Self {
        // One value alone gets a range, so that nothing is divided by 0.
        let values = if values.1 > values.0 { values } else { (values.0, values.0 + 1.0) };
        Self { values, pixels }
    }

    /// Where `value` lies. Values outside the scale lie at its ends.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let (from, to) = self.values;
        self.pixels.0 + ((value - from) / (to - from)).clamp(0.0, 1.0) * (self.pixels.1 - self.pixels.0)
    }

    /// Round values for an axis, about `wanted` of them at most.
    pub(crate) fn ticks(&self, wanted: u32) -> Vec<f64> {
        let (from, to) = self.values;
        let step = round_step((to - from) / f64::from(wanted.max(1)));
        let first = (from / step).ceil();
        (0..=wanted).map(|n| (first + f64::from(n)) * step).filter(|tick| *tick <= to + step * 1e-6).collect()
    }
}

/// The least of 1, 2, 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * 0.999_999).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_labels_are_escaped_and_visible() {
        let mut canvas = Canvas::default();
        canvas.text((1.0, 2.0), Anchor::Start, TEXT, "<d>");
        canvas.bar((1.0, 1.0), (1.0, 1.0), BLUE);
        canvas.path(&[(0.0, 0.0), (0.1, 0.1), (5.0, 5.0)], BLUE, 1);
        let svg = canvas.finish((40.0, 30.0), "a \"b\" <c>");
        assert!(svg.contains("viewBox=\"0 0 40 30\" role=\"img\" aria-label=\"a &quot;b&quot; &lt;c&gt;\""), "{svg}");
        assert!(svg.contains(">&lt;d&gt;</text>") && svg.contains("width=\"1\" height=\"1\""), "{svg}");
        assert!(svg.contains("points=\"0,0 5,5\""), "{svg}");
    }

    #[test]
    fn values_are_placed_linearly_within_the_scale() {
        let scale = Scale::new((0.0, 200.0), (10.0, 110.0));
        assert_eq!([0.0, 100.0, 200.0, 999.0, -1.0].map(|value| scale.at(value)), [10.0, 60.0, 110.0, 110.0, 10.0]);
        assert!(Scale::new((5.0, 5.0), (0.0, 10.0)).at(5.0).abs() < 1e-9, "nothing is divided by 0");
        assert_eq!(Scale::new((0.0, 937.0), (0.0, 1.0)).ticks(5), [0.0, 200.0, 400.0, 600.0, 800.0]);
        assert_eq!(Scale::new((93.0, 121.0), (0.0, 1.0)).ticks(3), [100.0, 110.0, 120.0]);
    }
}
