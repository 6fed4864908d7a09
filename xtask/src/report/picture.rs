//! A picture: lines, shapes and text on a sheet, which becomes SVG.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::theme::{self, Ink};

/// Size of ordinary text in a picture, in its own pixels.
pub(super) const TEXT: f64 = 11.0;

/// Plotters takes a font's size for the height of its line, which is so much more.
const LINE: f64 = 1.24;

/// Where text stands beside its point.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    /// It begins there.
    Start,
    /// It is centred on it.
    Middle,
    /// It ends there.
    End,
}

/// What is drawn on. Places are in pixels from the upper left corner.
pub(super) struct Sheet<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// Draws a picture of `size` pixels. `label` says what there is to see to whoever cannot see it.
pub(super) fn draw(size: (f64, f64), label: &str, on: impl FnOnce(&mut Sheet<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (length(size.0), length(size.1))).into_drawing_area();
    let mut sheet = Sheet { area };
    on(&mut sheet)?;
    sheet.area.present()?;
    drop(sheet);
    let svg = theme::classes(&svg);
    // Its own tag has a size; the page decides on that.
    let inside = svg.split_once('>').map_or("", |(_, inside)| inside);
    let (width, height) = size;
    let label = maud::html! { (label) }.into_string();
    Ok(format!("<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\">{inside}"))
}

/// Makes a file of its own of a picture in a page: with a name space, a size and its style.
pub(super) fn standalone(svg: &str, size: (f64, f64)) -> String {
    let (width, height) = size;
    let (style, paper) = (theme::css("svg"), Ink::PAPER.class());
    let head = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\"");
    let font = "text{font-family:system-ui,-apple-system,\"Segoe UI\",Helvetica,Arial,sans-serif;\
        paint-order:stroke;stroke:var(--i3);stroke-width:3px;stroke-linejoin:round}";
    let svg = svg.replacen("<svg", &head, 1);
    match svg.split_once('>') {
        Some((tag, inside)) => {
            format!(
                "{tag}><style>{style}{font}</style><rect width=\"100%\" height=\"100%\" class=\"{paper}\"/>{inside}\n"
            )
        }
        None => svg,
    }
}

/// About how wide `text` is.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|letter| if "il.,:|I ".contains(letter) { 0.3 } else { 0.57 }).sum::<f64>() * size
}

impl Sheet<'_> {
    pub(super) fn text(&mut self, at: (f64, f64), anchor: At, size: f64, ink: Ink, text: &str) -> Result<()> {
        self.write(at, anchor, size, ink, FontStyle::Normal, text)
    }

    pub(super) fn bold(&mut self, at: (f64, f64), anchor: At, size: f64, ink: Ink, text: &str) -> Result<()> {
        self.write(at, anchor, size, ink, FontStyle::Bold, text)
    }

    fn write(&mut self, at: (f64, f64), anchor: At, size: f64, ink: Ink, weight: FontStyle, text: &str) -> Result<()> {
        let side = match anchor {
            At::Start => HPos::Left,
            At::Middle => HPos::Center,
            At::End => HPos::Right,
        };
        let font = ("sans-serif", size * LINE, weight).into_font();
        let colour = ink.colour();
        let style = TextStyle::from(font).color(&colour).pos(Pos::new(side, VPos::Center));
        self.area.draw(&Text::new(text.to_owned(), pixel(at), style))?;
        Ok(())
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink, width: u32) -> Result<()> {
        self.path(&[from, to], ink, width)
    }

    pub(super) fn path(&mut self, points: &[(f64, f64)], ink: Ink, width: u32) -> Result<()> {
        let mut points: Vec<_> = points.iter().copied().map(pixel).collect();
        points.dedup();
        self.area.draw(&PathElement::new(points, ink.colour().stroke_width(width)))?;
        Ok(())
    }

    pub(super) fn area(&mut self, points: &[(f64, f64)], ink: Ink, opacity: f64) -> Result<()> {
        let mut points: Vec<_> = points.iter().copied().map(pixel).collect();
        points.dedup();
        self.area.draw(&Polygon::new(points, ink.colour().mix(opacity)))?;
        Ok(())
    }

    /// A filled rectangle, at least a pixel wide and high.
    pub(super) fn bar(&mut self, from: (f64, f64), to: (f64, f64), ink: Ink, opacity: f64) -> Result<()> {
        let ((x0, y0), (x1, y1)) = (pixel(from), pixel(to));
        let corners = [(x0.min(x1), y0.min(y1)), (x0.max(x1).max(x0.min(x1) + 1), y0.max(y1).max(y0.min(y1) + 1))];
        self.area.draw(&Rectangle::new(corners, ink.colour().mix(opacity).filled()))?;
        Ok(())
    }

    pub(super) fn dot(&mut self, at: (f64, f64), radius: u32, ink: Ink, opacity: f64) -> Result<()> {
        self.area.draw(&Circle::new(pixel(at), radius, ink.colour().mix(opacity).filled()))?;
        Ok(())
    }

    /// A circle's outline.
    pub(super) fn ring(&mut self, at: (f64, f64), radius: u32, ink: Ink, width: u32) -> Result<()> {
        self.area.draw(&Circle::new(pixel(at), radius, ink.colour().stroke_width(width)))?;
        Ok(())
    }

    /// A small ×.
    pub(super) fn cross(&mut self, at: (f64, f64), reach: f64, ink: Ink) -> Result<()> {
        self.line((at.0 - reach, at.1 - reach), (at.0 + reach, at.1 + reach), ink, 2)?;
        self.line((at.0 - reach, at.1 + reach), (at.0 + reach, at.1 - reach), ink, 2)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a place in a picture, rounded")]
fn pixel((x, y): (f64, f64)) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a picture's size, rounded")]
fn length(pixels: f64) -> u32 {
    pixels.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_says_what_it_shows_and_leaves_its_size_to_the_page() {
        let svg = draw((40.0, 30.0), "a \"b\" <c>", |sheet| {
            sheet.text((1.0, 2.0), At::Start, TEXT, Ink::TEXT, "<d>")?;
            sheet.bar((1.0, 1.0), (1.0, 1.0), Ink::OURS, 0.5)
        })
        .unwrap();
        assert!(
            svg.starts_with("<svg viewBox=\"0 0 40 30\" role=\"img\" aria-label=\"a &quot;b&quot; &lt;c&gt;\"><text")
        );
        assert!(svg.contains(">&lt;d&gt;</text>") && svg.ends_with("</svg>") && !svg.contains('\n'), "{svg}");
        assert!(svg.contains("width=\"1\" height=\"1\""), "nothing is too small to be seen: {svg}");
        let file = standalone(&svg, (40.0, 30.0));
        assert!(file.starts_with("<svg xmlns=") && file.contains("prefers-color-scheme:dark"));
    }
}
