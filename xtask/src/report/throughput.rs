//! Throughput of one workload: a bar for each system, beside what is possible.

use anyhow::Result;

use super::findings::Work;
use super::picture::{At, TEXT, draw, width as text_width};
use super::scale::Scale;
use super::text::{number, short};
use super::theme::{Ink, Palette};

const WIDTH: f64 = 380.0;
const NAMES: f64 = 112.0;
/// Room for the number at a bar's end.
const NUMBERS: f64 = 58.0;
const TOP: f64 = 38.0;
const BOTTOM: f64 = 24.0;
const LINE: f64 = 16.0;
/// A limit more than so many times what anybody reached is told, not drawn: nothing else could be seen.
const FAR: f64 = 3.0;

/// Medians as bars, the range of the runs as whiskers, ideal and the limit as lines.
pub(super) fn throughput(work: &Work<'_>, palette: &Palette) -> Result<String> {
    let bottom = TOP + f64::from(u32::try_from(work.rows.len())?) * LINE;
    let most = work.rows.iter().map(|row| row.mb_per_s.max).fold(0.0, f64::max);
    let limit = work.note.limit_mb_per_s;
    let drawn = limit.filter(|limit| *limit <= most * FAR);
    let scale = Scale::linear(most.max(drawn.unwrap_or(0.0)), (NAMES, WIDTH - NUMBERS));
    let label = format!("Throughput of {} by system, in megabytes per second", work.note.name);
    draw((WIDTH, bottom + BOTTOM), &label, |sheet| {
        sheet.bold((0.0, 9.0), At::Start, 13.0, Ink::TEXT, &work.note.name)?;
        for tick in scale.ticks(4) {
            let x = scale.at(tick);
            sheet.line((x, TOP), (x, bottom), Ink::GRID, 1)?;
            sheet.text((x, bottom + 11.0), At::Middle, TEXT - 1.0, Ink::MUTED, &short(tick))?;
        }
        sheet.text((WIDTH, bottom + 11.0), At::End, TEXT - 1.0, Ink::MUTED, "MB/s")?;
        if let Some(limit) = limit {
            let told = format!("limit {}", number(Some(limit)));
            if let Some(x) = drawn.map(|limit| scale.at(limit)) {
                let half = text_width(&told, TEXT) / 2.0;
                sheet.text((x.min(WIDTH - half), TOP - 12.0), At::Middle, TEXT, Ink::TEXT, &told)?;
            } else {
                sheet.text((WIDTH, TOP - 12.0), At::End, TEXT, Ink::TEXT, &format!("{told} →"))?;
            }
        }
        let lines = || (0_u32..).zip(&work.rows).map(|(place, row)| (TOP + (f64::from(place) + 0.5) * LINE, *row));
        for (y, row) in lines() {
            let to = scale.at(row.mb_per_s.median);
            sheet.bar((scale.at(0.0), y - 5.0), (to, y + 5.0), palette.ink(&row.system), 0.9)?;
        }
        // Above the bars, below the numbers.
        if let Some(x) = drawn.map(|limit| scale.at(limit)) {
            sheet.line((x, TOP - 5.0), (x, bottom), Ink::LIMIT, 1)?;
        }
        if let Some(x) = work.ideal().map(|row| scale.at(row.mb_per_s.median)) {
            sheet.line((x, TOP), (x, bottom), Ink::IDEAL, 1)?;
        }
        for (y, row) in lines() {
            let (least, most) = (scale.at(row.mb_per_s.min), scale.at(row.mb_per_s.max));
            if most - least >= 2.0 {
                sheet.line((least, y), (most, y), Ink::TEXT, 1)?;
                for end in [least, most] {
                    sheet.line((end, y - 3.0), (end, y + 3.0), Ink::TEXT, 1)?;
                }
            }
            let is_faster = work.is_faster(row);
            let shown = format!("{}{}", number(Some(row.mb_per_s.median)), if is_faster { " ▲" } else { "" });
            let (name, beside) = ((NAMES - 6.0, y), (most + 5.0, y));
            if work.ours().is_some_and(|ours| std::ptr::eq(ours, row)) {
                sheet.bold(name, At::End, TEXT, Ink::TEXT, &row.system)?;
                sheet.bold(beside, At::Start, TEXT, Ink::TEXT, &shown)?;
            } else {
                sheet.text(name, At::End, TEXT, Ink::TEXT, &row.system)?;
                sheet.text(beside, At::Start, TEXT, if is_faster { Ink::PEER } else { Ink::MUTED }, &shown)?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::findings::works;
    use crate::report::sample::results;

    #[test]
    fn a_limit_out_of_reach_is_told_and_not_drawn() {
        let mut results = results();
        let palette = Palette::of(&results);
        let limit = format!("class=\"{}\"", Ink::LIMIT.line_class());
        let svg = throughput(&works(&results)[0], &palette).unwrap();
        assert!(svg.contains("limit 937<") && svg.contains(&limit), "{svg}");
        results.workloads[0].limit_mb_per_s = Some(9000.0);
        let svg = throughput(&works(&results)[0], &palette).unwrap();
        assert!(svg.contains("limit 9,000 →") && !svg.contains(&limit), "{svg}");
    }

    #[test]
    fn every_system_has_its_name_and_number() {
        let results = results();
        let svg = throughput(&works(&results)[0], &Palette::of(&results)).unwrap();
        for shown in ["headstart+cache", "hare", "750 ▲", "ideal", "800"] {
            assert!(svg.contains(&format!(">{shown}</text>")), "{shown}: {svg}");
        }
    }
}
