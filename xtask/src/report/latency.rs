//! Latencies of single reads: which share of them took no longer than so long.

use anyhow::Result;
use headstart_bench::results::{QUANTILES, Row};

use super::findings::Work;
use super::picture::{At, Sheet, TEXT, draw};
use super::scale::Scale;
use super::text::time;
use super::theme::{Ink, Palette};

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 40.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 196.0;
/// A read that takes less, in milliseconds, is drawn as taking so long: nobody waits for a microsecond.
const LEAST: f64 = 1e-3;

/// Whether there is anything to draw.
pub(super) fn has_latencies(work: &Work<'_>) -> bool {
    work.rows.iter().any(|row| is_drawn(row))
}

fn is_drawn(row: &Row) -> bool {
    row.latency_ms.len() == QUANTILES.len()
}

/// A curve for each system whose reads were timed.
pub(super) fn latencies(work: &Work<'_>, palette: &Palette) -> Result<String> {
    let rows: Vec<&Row> = work.rows.iter().copied().filter(|row| is_drawn(row)).collect();
    let all = rows.iter().flat_map(|row| row.latency_ms.iter().map(|ms| ms.max(LEAST)));
    let across = Scale::log(all, (LEFT, WIDTH - 16.0)).down_to(LEAST);
    let up = Scale::linear(100.0, (BOTTOM, TOP));
    let label = format!("Latency of reads of {} by system, as a cumulative distribution", work.note.name);
    draw((WIDTH, HEIGHT), &label, |sheet| {
        sheet.bold((0.0, 9.0), At::Start, 13.0, Ink::TEXT, &work.note.name)?;
        axes(sheet, &across, &up)?;
        // Ours last, so that nothing hides it.
        let (ours, others): (Vec<&Row>, Vec<&Row>) =
            rows.into_iter().partition(|row| work.ours().is_some_and(|ours| std::ptr::eq(ours, *row)));
        for (row, thickness) in others.into_iter().map(|row| (row, 2)).chain(ours.into_iter().map(|row| (row, 3))) {
            let points: Vec<_> = QUANTILES
                .iter()
                .zip(&row.latency_ms)
                .map(|(percent, ms)| (across.at(ms.max(LEAST)), up.at(*percent)))
                .collect();
            sheet.path(&points, palette.ink(&row.system), thickness)?;
        }
        Ok(())
    })
}

fn axes(sheet: &mut Sheet<'_>, across: &Scale, up: &Scale) -> Result<()> {
    for tick in across.ticks(5) {
        let x = across.at(tick);
        sheet.line((x, TOP), (x, BOTTOM), Ink::GRID, 1)?;
        sheet.text((x, BOTTOM + 11.0), At::Middle, TEXT - 1.0, Ink::MUTED, &time(tick))?;
    }
    for tick in up.ticks(4) {
        let y = up.at(tick);
        sheet.line((LEFT, y), (WIDTH - 16.0, y), Ink::GRID, 1)?;
        sheet.text((LEFT - 5.0, y), At::End, TEXT - 1.0, Ink::MUTED, &format!("{tick:.0} %"))?;
    }
    let middle = f64::midpoint(LEFT, WIDTH - 16.0);
    sheet.text((middle, BOTTOM + 27.0), At::Middle, TEXT - 1.0, Ink::MUTED, "reads done within")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::findings::works;
    use crate::report::sample::results;

    #[test]
    fn only_reads_that_were_timed_are_drawn() {
        let mut results = results();
        let palette = Palette::of(&results);
        let curves = |results: &_| {
            let works = works(results);
            latencies(&works[0], &palette).unwrap().matches("<polyline").count()
        };
        let all = curves(&results);
        results.rows[0].latency_ms.clear();
        assert_eq!(curves(&results), all - 1);
        results.rows.iter_mut().for_each(|row| row.latency_ms.clear());
        assert!(!has_latencies(&works(&results)[0]));
    }
}
