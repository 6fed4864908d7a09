//! Two pictures of one small run: the components and what passes between them, and the way of reads through them over time.

use anyhow::Result;

use super::picture::{At, TEXT, draw};
use super::scale::Scale;
use super::taps::{Asked, Level};
use super::text::{count, megabytes, short, to_float};
use super::theme::Ink;

/// The layers, from the top down: name, and what it is for.
const LAYERS: [(&str, &str); 5] = [
    ("application", "get_range · AsyncRead · Stream"),
    ("PrefetchStore, Reader", "before: has the bytes there when they are asked for"),
    ("CacheStore", "again: never the same bytes of the same version twice"),
    ("FetchStore", "how: one range, as well as the link allows"),
    ("object store", "30 ms to the first byte, 60 MB/s a stream"),
];

/// Draws the components, and says how large the picture is.
pub(super) fn components(levels: &[Level]) -> Result<(String, (f64, f64))> {
    const WIDTH: f64 = 640.0;
    const BOX: f64 = 46.0;
    const GAP: f64 = 44.0;
    const TOP: f64 = 12.0;
    let size = (WIDTH, TOP * 2.0 + 5.0 * BOX + 4.0 * GAP);
    let svg = draw(size, "The layers of the stack, and what passed between them in one run", |sheet| {
        for (n, (name, purpose)) in (0_u32..).map(f64::from).zip(LAYERS) {
            let top = TOP + n * (BOX + GAP);
            let is_ours = (1.0..4.0).contains(&n);
            let (ink, opacity) = if is_ours { (Ink::LIGHT, 0.35) } else { (Ink::GRID, 0.7) };
            sheet.bar((20.0, top), (WIDTH - 20.0, top + BOX), ink, opacity)?;
            sheet.bold((34.0, top + BOX / 2.0 - 8.0), At::Start, 13.0, Ink::TEXT, name)?;
            sheet.text((34.0, top + BOX / 2.0 + 10.0), At::Start, TEXT, Ink::MUTED, purpose)?;
        }
        for (n, level) in (0_u32..).map(f64::from).zip(levels) {
            let (from, to) = (TOP + n * (BOX + GAP) + BOX, TOP + (n + 1.0) * (BOX + GAP));
            let x = 60.0;
            sheet.line((x, from + 2.0), (x, to - 3.0), Ink::OURS, 2)?;
            sheet.line((x - 5.0, to - 9.0), (x, to - 3.0), Ink::OURS, 2)?;
            sheet.line((x + 5.0, to - 9.0), (x, to - 3.0), Ink::OURS, 2)?;
            let said = format!(
                "{} {}, {} MB",
                count(level.asked.len() as u64),
                level.what,
                short(megabytes(level.bytes()).round())
            );
            sheet.text((x + 16.0, f64::midpoint(from, to)), At::Start, 12.0, Ink::TEXT, &said)?;
        }
        Ok(())
    })?;
    Ok((svg, size))
}

/// So much of the run is drawn.
const SHOWN_MS: f64 = 320.0;
/// Whatever lies in the same so many bytes has the same colour.
const STRIPE: u64 = 4 << 20;
const STRIPES: [Ink; 6] = [Ink::OURS, Ink::WARM, Ink::IDEAL, Ink::PEER, Ink::LIGHT, Ink::RAW];

/// Draws what each layer asks for, over time, and says how large the picture is.
pub(super) fn way(levels: &[Level]) -> Result<(String, (f64, f64))> {
    const WIDTH: f64 = 860.0;
    const LANE: f64 = 9.0;
    const HEAD: f64 = 30.0;
    const AXIS: f64 = 44.0;
    let lanes: Vec<Vec<Vec<&Asked>>> = levels.iter().map(|level| lanes(&level.asked)).collect();
    let heights: Vec<f64> = lanes.iter().map(|lanes| HEAD + LANE * to_float(lanes.len() as u64)).collect();
    let size = (WIDTH, heights.iter().sum::<f64>() + AXIS);
    let across = Scale::linear(SHOWN_MS, (14.0, WIDTH - 14.0));
    let label = "What each layer asked for over time: the same colour is the same part of the object";
    let svg = draw(size, label, |sheet| {
        let mut top = 0.0;
        for ((level, lanes), height) in levels.iter().zip(&lanes).zip(&heights) {
            let said = format!("{}: its {}", level.asker, level.what);
            sheet.bold((14.0, top + 17.0), At::Start, 12.0, Ink::TEXT, &said)?;
            for (n, lane) in (0_u32..).map(f64::from).zip(lanes) {
                let y = top + HEAD + n * LANE;
                for one in lane {
                    let (from, to) = (across.at(one.start_ms), across.at(one.end_ms.min(SHOWN_MS)));
                    sheet.bar((from, y), ((to - 1.0).max(from + 1.0), y + LANE - 2.0), ink(one), 0.85)?;
                }
            }
            top += height;
        }
        for tick in across.ticks(8) {
            sheet.text((across.at(tick), top + 12.0), At::Middle, TEXT, Ink::MUTED, &short(tick))?;
        }
        sheet.text(
            (WIDTH / 2.0, top + 30.0),
            At::Middle,
            TEXT,
            Ink::MUTED,
            "milliseconds since the first read; the same colour is the same 4 MiB of the object",
        )
    })?;
    Ok((svg, size))
}

fn ink(asked: &Asked) -> Ink {
    let stripe = usize::try_from(asked.range.start / STRIPE).unwrap_or(0);
    STRIPES[stripe % STRIPES.len()]
}

/// What begins early enough to be shown, in lanes in which nothing overlaps.
fn lanes(asked: &[Asked]) -> Vec<Vec<&Asked>> {
    let mut shown: Vec<&Asked> = asked.iter().filter(|one| one.start_ms < SHOWN_MS).collect();
    shown.sort_by(|a, b| a.start_ms.total_cmp(&b.start_ms).then(a.range.start.cmp(&b.range.start)));
    let mut lanes: Vec<Vec<&Asked>> = Vec::new();
    for one in shown {
        let free = lanes.iter_mut().find(|lane| lane.last().is_none_or(|last| last.end_ms <= one.start_ms));
        match free {
            Some(lane) => lane.push(one),
            None => lanes.push(vec![one]),
        }
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::super::taps::record;
    use super::*;

    #[test]
    fn nothing_overlaps_in_a_lane() {
        let asked = |start_ms, end_ms| Asked { start_ms, end_ms, range: 0..1 };
        let all = [asked(0.0, 10.0), asked(5.0, 8.0), asked(8.0, 9.0), asked(10.0, 12.0)];
        let lanes = lanes(&all);
        assert_eq!(lanes.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn the_second_pass_costs_no_get() {
        let levels = record().unwrap();
        let bytes: Vec<u64> = levels.iter().map(Level::bytes).collect();
        let distinct = 48 << 20;
        assert_eq!(bytes[0], 64 << 20);
        assert_eq!(bytes[3], distinct, "{bytes:?}");
        let last = |level: usize| levels[level].asked.iter().map(|one| one.start_ms).fold(0.0, f64::max);
        assert!(last(3) < 1000.0, "no GET in the second pass: {}", last(3));
        let (picture, _) = components(&levels).unwrap();
        assert!(picture.contains("64 reads"), "{picture}");
        assert!(way(&levels).unwrap().0.starts_with("<svg"));
    }
}
