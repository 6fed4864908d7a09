//! Colours: one for each role and system in all pictures, in a light and a dark page alike.
//!
//! Plotters draws in fixed colours. Ours are numbers in disguise: each stands for an [`Ink`], and becomes a class of
//! the page's style once the picture is drawn. Hues are those of Okabe and Ito, which the colour-blind tell apart.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use headstart_bench::results::{Group, Results};
use plotters::style::RGBColor;

use super::findings;

/// What something is drawn in: an index of [`INKS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ink(u8);

/// How an ink looks.
struct Look {
    light: &'static str,
    dark: &'static str,
    /// Pattern of a line; empty for a solid one.
    dashes: &'static str,
}

const fn look(light: &'static str, dark: &'static str, dashes: &'static str) -> Look {
    Look { light, dark, dashes }
}

const SOLID: &str = "";
const DASHED: &str = "6 3";
const DOTTED: &str = "2 2.5";

/// All inks. [`Ink`]'s constants and [`family`] name places in this list.
const INKS: [Look; 21] = [
    look("#1f2328", "#e6e8eb", SOLID),
    look("#59616b", "#9ea7b3", SOLID),
    look("#dfe3e8", "#30363f", SOLID),
    look("#ffffff", "#15181d", SOLID),
    look("#1f2328", "#e6e8eb", DASHED),
    // The bare client, in greys.
    look("#868d96", "#969ea9", SOLID),
    look("#868d96", "#969ea9", DASHED),
    look("#868d96", "#969ea9", DOTTED),
    // Ours, in blues.
    look("#0072b2", "#2f9be0", SOLID),
    look("#0072b2", "#2f9be0", DASHED),
    look("#56b4e9", "#8fd0f7", SOLID),
    look("#56b4e9", "#8fd0f7", DASHED),
    // Others, in warm colours.
    look("#d55e00", "#f0772b", SOLID),
    look("#e69f00", "#f0b429", SOLID),
    look("#cc79a7", "#dd94bb", SOLID),
    look("#d55e00", "#f0772b", DASHED),
    look("#e69f00", "#f0b429", DASHED),
    look("#cc79a7", "#dd94bb", DASHED),
    look("#d55e00", "#f0772b", DOTTED),
    look("#e69f00", "#f0b429", DOTTED),
    // What is possible, in green.
    look("#009e73", "#1fbf92", SOLID),
];

/// The mark of a colour that is an ink: its red and green.
const MARK: (u8, u8) = (0xF0, 0x0D);

impl Ink {
    pub(super) const TEXT: Self = Self(0);
    pub(super) const MUTED: Self = Self(1);
    pub(super) const GRID: Self = Self(2);
    pub(super) const PAPER: Self = Self(3);
    /// The computed limit.
    pub(super) const LIMIT: Self = Self(4);
    pub(super) const RAW: Self = Self(5);
    pub(super) const OURS: Self = Self(8);
    pub(super) const LIGHT: Self = Self(10);
    pub(super) const PEER: Self = Self(12);
    pub(super) const WARM: Self = Self(13);
    pub(super) const IDEAL: Self = Self(20);

    pub(super) const fn colour(self) -> RGBColor {
        RGBColor(MARK.0, MARK.1, self.0)
    }

    /// The class of a filled shape.
    pub(super) fn class(self) -> String {
        format!("f{}", self.0)
    }

    /// The class of a line.
    pub(super) fn line_class(self) -> String {
        format!("s{}", self.0)
    }
}

/// The inks of a group's systems, in turn.
fn family(group: Group) -> &'static [u8] {
    match group {
        Group::Raw => &[5, 6, 7],
        Group::Headstart => &[10, 11, 8, 9],
        Group::Peer => &[12, 13, 14, 15, 16, 17, 18, 19],
        Group::Ideal => &[20],
    }
}

/// Which system is drawn in what.
#[derive(Debug)]
pub(super) struct Palette(BTreeMap<String, Ink>);

impl Palette {
    pub(super) fn of(results: &Results) -> Self {
        let systems = findings::systems(results);
        let mut inks = BTreeMap::new();
        for (place, (name, group)) in systems.iter().enumerate() {
            let before = systems[..place].iter().filter(|(_, other)| other == group).count();
            let ink = match *name {
                "headstart" => Ink(8),
                "headstart+cache" => Ink(9),
                "fetch" => Ink(10),
                "fetch-stream" => Ink(11),
                _ => Ink(family(*group)[before % family(*group).len()]),
            };
            inks.insert((*name).to_owned(), ink);
        }
        Self(inks)
    }

    pub(super) fn ink(&self, system: &str) -> Ink {
        self.0.get(system).copied().unwrap_or(Ink::MUTED)
    }
}

/// The style that inks stand for, beneath `root`, for light and dark.
pub(super) fn css(root: &str) -> String {
    let (mut light, mut dark, mut classes) = (String::new(), String::new(), String::new());
    for (index, look) in INKS.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(light, "--i{index}:{};", look.light);
        let _ = write!(dark, "--i{index}:{};", look.dark);
        let dashes = if look.dashes.is_empty() { String::new() } else { format!(";stroke-dasharray:{}", look.dashes) };
        let _ = write!(classes, ".f{index}{{fill:var(--i{index})}}.s{index}{{stroke:var(--i{index}){dashes}}}");
    }
    format!("{root}{{{light}}}@media(prefers-color-scheme:dark){{{root}{{{dark}}}}}{classes}")
}

/// Replaces the colours of a drawn picture by the classes of its inks, and leaves out what goes without saying.
pub(super) fn classes(svg: &str) -> String {
    let mark = format!("=\"#{:02X}{:02X}", MARK.0, MARK.1);
    let mut parts = svg.split(mark.as_str());
    let mut themed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let kind = if themed.ends_with("fill") { "fill" } else { "stroke" };
        themed.truncate(themed.len() - kind.len());
        let ink = u8::from_str_radix(&part[..2], 16).unwrap_or_default();
        let _ = write!(themed, "class=\"{}{ink}", &kind[..1]);
        themed.push_str(&part[2..]);
    }
    for obvious in [" opacity=\"1\"", " stroke=\"none\"", " font-family=\"sans-serif\"", " stroke-width=\"1\"", "\n"] {
        themed = themed.replace(obvious, "");
    }
    themed.replace(" \"/>", "\"/>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes() {
        let ink = Ink::OURS;
        let RGBColor(r, g, b) = ink.colour();
        let drawn = format!(
            "<rect x=\"1\" opacity=\"1\" fill=\"#{r:02X}{g:02X}{b:02X}\" stroke=\"none\"/>\n\
             <polyline fill=\"none\" stroke=\"#{r:02X}{g:02X}{b:02X}\" points=\"1,2 3,4 \"/>\n"
        );
        let expected = format!(
            "<rect x=\"1\" class=\"{}\"/><polyline fill=\"none\" class=\"{}\" points=\"1,2 3,4\"/>",
            ink.class(),
            ink.line_class()
        );
        assert_eq!(classes(&drawn), expected);
    }

    #[test]
    fn every_ink_has_a_style() {
        let style = css(":root");
        for index in 0..INKS.len() {
            assert!(style.contains(&format!(".f{index}{{")) && style.contains(&format!(".s{index}{{")));
        }
    }

    #[test]
    fn a_system_keeps_its_ink() {
        let palette = Palette::of(&super::super::sample::results());
        assert_eq!(palette.ink("headstart"), Ink::OURS);
        assert_eq!(palette.ink("ideal"), Ink::IDEAL);
        assert_ne!(palette.ink("hare"), palette.ink("slowpoke"));
    }
}
