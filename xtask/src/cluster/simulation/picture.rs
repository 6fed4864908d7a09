//! The picture of a simulation: hit ratios over the hours, and the bytes that moved.

use super::{FIRST_HOURS, HitRatio, Outcome, Rule};
use crate::numbers::{number, to_float};
use crate::report::panel::frame;
use crate::report::svg::{Anchor, BLUE, Canvas, GREEN, LIGHT_BLUE, MUTED, ORANGE, RED, Scale, TEXT, text_width};

const SIZE: (f64, f64) = (860.0, 560.0);
/// Where the hit ratios lie.
const CURVES: (f64, f64) = (46.0, 330.0);
/// Room for the names of rules, in both parts.
const NAMES: f64 = 232.0;
/// Height of a bar with the room around it.
const BAR: f64 = 22.0;

fn colour(rule: Rule) -> &'static str {
    match rule {
        Rule::Random => ORANGE,
        Rule::Modulo => RED,
        Rule::Owner => LIGHT_BLUE,
        Rule::Affinity => BLUE,
        Rule::Shared => GREEN,
    }
}

/// Draws all outcomes, which have the same hours.
pub(super) fn draw(outcomes: &[Outcome], optimum: HitRatio) -> String {
    let mut canvas = Canvas::default();
    hit_ratios(&mut canvas, outcomes, optimum);
    moved_bytes(&mut canvas, outcomes);
    canvas.finish(SIZE, "Share of the bytes served from caches over the hours, and bytes fetched because reads moved")
}

fn hit_ratios(canvas: &mut Canvas, outcomes: &[Outcome], optimum: HitRatio) {
    let hours = outcomes.iter().map(|outcome| outcome.hours.len()).max().unwrap_or(0);
    let across = Scale::new((0.0, to_float(hours as u64)), (52.0, SIZE.0 - NAMES));
    let up = Scale::new((0.0, 100.0), (CURVES.1, CURVES.0));
    frame(canvas, &across, &up, CURVES, "bytes served from caches, %", 10);
    for tick in across.ticks(10) {
        canvas.text((across.at(tick), CURVES.1 + 12.0), Anchor::Middle, MUTED, &number(Some(tick)));
    }
    let middle = f64::midpoint(across.at(0.0), across.at(f64::INFINITY));
    canvas.text((middle, CURVES.1 + 29.0), Anchor::Middle, MUTED, "hours since the cluster began with empty caches");
    let counted = across.at(to_float(FIRST_HOURS as u64));
    canvas.line((counted, CURVES.0), (counted, CURVES.1), MUTED, 1);
    canvas.text((counted + 5.0, CURVES.1 - 8.0), Anchor::Start, MUTED, "the table counts from here");
    let mut names = vec![(optimum.bytes, "optimum", MUTED)];
    let height = up.at(optimum.bytes * 100.0);
    canvas.line((across.at(0.0), height), (across.at(f64::INFINITY), height), MUTED, 2);
    for outcome in outcomes {
        let ratios: Vec<f64> = outcome.hours.iter().map(|hour| hour.hit_ratio().bytes).collect();
        let at = |(hour, ratio): (usize, &f64)| (across.at(to_float(hour as u64) + 0.5), up.at(ratio * 100.0));
        let points: Vec<_> = ratios.iter().enumerate().map(at).collect();
        canvas.path(&points, colour(outcome.rule), 2);
        names.push((ratios.last().copied().unwrap_or(0.0), outcome.rule.name(), colour(outcome.rule)));
    }
    names.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut lowest = 0.0_f64;
    for (ratio, name, colour) in names {
        // Names keep their distance, so they may stand below the end of their curve.
        let y = up.at(ratio * 100.0).max(lowest);
        lowest = y + 15.0;
        canvas.text((across.at(f64::INFINITY) + 8.0, y), Anchor::Start, colour, name);
    }
}

fn moved_bytes(canvas: &mut Canvas, outcomes: &[Outcome]) {
    let top = CURVES.1 + 76.0;
    let title = "TB an hour that were fetched because reads or workers moved";
    canvas.heading((52.0, top - 18.0), Anchor::Start, title);
    let days: Vec<(Rule, f64, f64)> = outcomes
        .iter()
        .map(|outcome| {
            let hours = to_float((outcome.hours.len() - FIRST_HOURS) as u64);
            let day = outcome.day();
            (outcome.rule, to_float(day.moved_bytes()) / hours / 1e12, to_float(day.left_bytes) / hours / 1e12)
        })
        .collect();
    let most = days.iter().map(|(_, moved, _)| *moved).fold(0.0, f64::max);
    let across = Scale::new((0.0, most), (NAMES, SIZE.0 - 60.0));
    let mut y = top;
    let mut bar = |name: &str, terabytes: f64, colour: &str| {
        canvas.text((NAMES - 8.0, y), Anchor::End, TEXT, name);
        canvas.bar((across.at(0.0), y - 7.0), (across.at(terabytes), y + 7.0), colour);
        let text = number(Some(terabytes));
        canvas.text((across.at(terabytes) + 4.0 + text_width(" "), y), Anchor::Start, MUTED, &text);
        y += BAR;
    };
    for (rule, moved, _) in &days {
        bar(rule.name(), *moved, colour(*rule));
    }
    if let Some((_, _, left)) = days.first() {
        bar("held by the workers that left", *left, MUTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::simulation::fleet::Hour;

    #[test]
    fn every_rule_has_a_curve_and_a_bar() {
        let hour = Hour { requests: 10, hits: 5, bytes: 100, hit_bytes: 60, lost_bytes: 10, ..Hour::default() };
        let outcomes = super::super::RULES.map(|rule| Outcome { rule, hours: vec![hour.clone(); FIRST_HOURS + 2] });
        let svg = draw(&outcomes, HitRatio { requests: 0.8, bytes: 0.9 });
        for outcome in &outcomes {
            // In both parts.
            assert_eq!(svg.matches(&format!(">{}</text>", outcome.rule.name())).count(), 2, "{svg}");
        }
        assert!(svg.contains(">optimum</text>") && svg.contains(">held by the workers that left</text>"), "{svg}");
    }
}
