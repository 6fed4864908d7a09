//! The overview: of each workload, which share of the possible each kind of system reaches.

use anyhow::Result;
use headstart_bench::results::Row;

use super::findings::Work;
use super::picture::{At, TEXT, draw};
use super::scale::Scale;
use super::text::{number, short};
use super::theme::Ink;

/// Height of a workload's line.
const LINE: f64 = 19.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 40.0;
/// Room for the workloads' names.
const NAMES: f64 = 124.0;
/// Room for the numbers at the right, where the picture is wide enough for them.
const NUMBERS: f64 = 250.0;
/// From this width on there are numbers.
const WIDE: f64 = 700.0;
/// Less than this share, in percent, is drawn at the edge.
const LEAST: f64 = 0.01;

/// A dot for each workload and kind, on a logarithmic axis: equal distances are equal factors.
pub(super) fn overview(works: &[Work<'_>], width: f64) -> Result<String> {
    let is_wide = width >= WIDE;
    let height = TOP + f64::from(u32::try_from(works.len())?) * LINE + BOTTOM;
    let right = if is_wide { width - NUMBERS } else { width - 16.0 };
    let scale = Scale::log(works.iter().flat_map(shares), (NAMES + 6.0, right)).down_to(LEAST);
    let label =
        "Of each workload, the share of the computed limit that raw, the fastest peer, headstart and ideal reach";
    draw((width, height), label, |sheet| {
        let bottom = height - BOTTOM;
        for tick in scale.ticks(if is_wide { 9 } else { 5 }) {
            let x = scale.at(tick);
            let ink = if (tick - 100.0).abs() < 1e-6 { Ink::LIMIT } else { Ink::GRID };
            sheet.line((x, TOP), (x, bottom), ink, 1)?;
            sheet.text((x, bottom + 12.0), At::Middle, TEXT, Ink::MUTED, &format!("{} %", short(tick)))?;
        }
        let middle = f64::midpoint(NAMES, right);
        sheet.text((middle, bottom + 30.0), At::Middle, TEXT, Ink::MUTED, "share of the limit, logarithmic")?;
        let columns = [right + 84.0, right + 148.0, right + 240.0];
        if is_wide {
            for (x, head) in columns.into_iter().zip(["headstart MB/s", "× raw", "best peer MB/s"]) {
                sheet.text((x, TOP - 14.0), At::End, TEXT, Ink::MUTED, head)?;
            }
        }
        for (place, work) in (0_u32..).zip(works) {
            let y = TOP + (f64::from(place) + 0.5) * LINE;
            sheet.text((NAMES - 4.0, y), At::End, TEXT, Ink::TEXT, &work.note.name)?;
            if let Some(reference) = work.reference() {
                let at = |row: &Row| (scale.at(row.mb_per_s.median / reference.mb_per_s() * 100.0), y);
                let reached = [work.raw(), work.ours()].into_iter().flatten().map(at).collect::<Vec<_>>();
                if let [from, to] = reached[..] {
                    sheet.bar((from.0.min(to.0), y - 1.0), (from.0.max(to.0), y + 1.0), Ink::LIGHT, 0.55)?;
                }
                if let Some(ideal) = work.ideal() {
                    let (x, y) = at(ideal);
                    sheet.bar((x - 1.0, y - 7.0), (x + 1.0, y + 7.0), Ink::IDEAL, 1.0)?;
                }
                if let Some(row) = work.cached() {
                    sheet.ring(at(row), 7, Ink::OURS, 1)?;
                }
                // The smaller the later: where several meet, each is seen.
                for (row, radius, ink) in
                    [(work.ours(), 6, Ink::OURS), (work.best_peer(), 4, Ink::PEER), (work.raw(), 3, Ink::RAW)]
                {
                    if let Some(row) = row {
                        sheet.dot(at(row), radius, ink, 1.0)?;
                    }
                }
            }
            if is_wide {
                let ours = work.ours();
                let peer = work.best_peer();
                let is_beaten = peer.is_some_and(|row| work.is_faster(row));
                let mark = if is_beaten { "▲ " } else { "" };
                let cells = [
                    number(ours.map(|row| row.mb_per_s.median)),
                    number(ours.and_then(|row| row.x_raw)),
                    format!("{mark}{}", number(peer.map(|row| row.mb_per_s.median))),
                ];
                for ((x, cell), ink) in columns.into_iter().zip(cells).zip([Ink::OURS, Ink::MUTED, Ink::PEER]) {
                    sheet.text((x, y), At::End, TEXT, ink, &cell)?;
                }
            }
        }
        Ok(())
    })
}

/// What is drawn of a workload, in percent of what is possible.
fn shares(work: &Work<'_>) -> Vec<f64> {
    let Some(reference) = work.reference() else { return Vec::new() };
    let rows = [work.raw(), work.ours(), work.cached(), work.best_peer(), work.ideal()];
    let shares = rows.into_iter().flatten().map(|row| row.mb_per_s.median / reference.mb_per_s() * 100.0);
    shares.chain([100.0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::findings::works;
    use crate::report::sample::results;

    #[test]
    fn every_workload_is_drawn_wide_and_narrow() {
        let results = results();
        for width in [360.0, 1100.0] {
            let svg = overview(&works(&results), width).unwrap();
            assert!(svg.contains(">seq</text>") && svg.contains(">rand</text>"), "{svg}");
            assert_eq!(svg.contains("▲ 750"), width > 700.0, "where a peer wins is marked");
        }
    }
}
