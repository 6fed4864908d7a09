//! What reading costs: requests, money, bytes that nobody asked for, memory and CPU time, system by system.

use anyhow::Result;
use headstart_bench::results::{Results, Row};

use super::findings::{median, systems};
use super::picture::{At, TEXT, draw};
use super::scale::Scale;
use super::text::{megabytes, number, short, to_float};
use super::theme::{Ink, Palette};

const WIDTH: f64 = 380.0;
const NAMES: f64 = 112.0;
const NUMBERS: f64 = 52.0;
const TOP: f64 = 40.0;
const LINE: f64 = 17.0;
const BOTTOM: f64 = 24.0;

/// Something that is paid.
pub(super) struct Cost {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) of: fn(&Row) -> Option<f64>,
}

/// All that is paid, in the order of the page.
pub(super) const COSTS: [Cost; 5] = [
    Cost { name: "Requests", unit: "GETs per TB delivered", of: gets_per_tb },
    Cost { name: "Money", unit: "US dollars per TB delivered, for requests", of: |row| row.usd_per_tb },
    Cost { name: "Bytes", unit: "bytes fetched per byte delivered", of: fetched_per_delivered },
    Cost { name: "Memory", unit: "MB at the peak", of: |row| row.peak_memory_bytes.map(megabytes) },
    Cost { name: "Processor", unit: "seconds per GB delivered", of: |row| row.cpu_s_per_gb },
];

/// GETs for 10¹² bytes delivered.
pub(super) fn gets_per_tb(row: &Row) -> Option<f64> {
    (row.delivered_bytes > 0).then(|| to_float(row.gets) / to_float(row.delivered_bytes) * 1e12)
}

/// What the store sent for each byte that a reader got.
pub(super) fn fetched_per_delivered(row: &Row) -> Option<f64> {
    (row.delivered_bytes > 0).then(|| to_float(row.fetched_bytes) / to_float(row.delivered_bytes))
}

/// Whether any row knows this cost.
pub(super) fn is_known(results: &Results, cost: &Cost) -> bool {
    results.rows.iter().any(|row| (cost.of)(row).is_some_and(|value| value > 0.0))
}

/// A dot for each workload in the line of each system, and a mark at their median.
pub(super) fn strips(results: &Results, palette: &Palette, cost: &Cost) -> Result<String> {
    let lines: Vec<(&str, Vec<f64>)> = systems(results)
        .into_iter()
        .map(|(system, _)| {
            let rows = results.rows.iter().filter(|row| row.system == system);
            (system, rows.filter_map(|row| (cost.of)(row)).collect())
        })
        .filter(|(_, values): &(&str, Vec<f64>)| !values.is_empty())
        .collect();
    let bottom = TOP + f64::from(u32::try_from(lines.len())?) * LINE;
    let all = lines.iter().flat_map(|(_, values)| values.iter().copied());
    let scale = Scale::log(all, (NAMES + 4.0, WIDTH - NUMBERS - 6.0));
    let label = format!("{} by system: {}", cost.name, cost.unit);
    draw((WIDTH, bottom + BOTTOM), &label, |sheet| {
        sheet.bold((0.0, 9.0), At::Start, 13.0, Ink::TEXT, cost.name)?;
        sheet.text((0.0, 26.0), At::Start, TEXT, Ink::MUTED, cost.unit)?;
        sheet.text((WIDTH, 26.0), At::End, TEXT, Ink::MUTED, "median")?;
        for tick in scale.ticks(5) {
            let x = scale.at(tick);
            sheet.line((x, TOP), (x, bottom), Ink::GRID, 1)?;
            sheet.text((x, bottom + 11.0), At::Middle, TEXT - 1.0, Ink::MUTED, &short_power(tick))?;
        }
        for (place, (system, values)) in (0_u32..).zip(&lines) {
            let y = TOP + (f64::from(place) + 0.5) * LINE;
            let ink = palette.ink(system);
            sheet.text((NAMES - 6.0, y), At::End, TEXT, Ink::TEXT, system)?;
            for value in values {
                sheet.dot((scale.at(*value), y), 3, ink, 0.45)?;
            }
            let middle = median(values.clone());
            if let Some(value) = middle {
                let x = scale.at(value);
                sheet.bar((x - 1.0, y - 7.0), (x + 1.0, y + 7.0), Ink::TEXT, 1.0)?;
            }
            sheet.text((WIDTH, y), At::End, TEXT, Ink::TEXT, &compact(middle))?;
        }
        Ok(())
    })
}

/// A number that needs little room.
fn compact(value: Option<f64>) -> String {
    match value {
        Some(value) if value >= 9.995e5 => format!("{}M", number(Some(value / 1e6))),
        Some(value) if value >= 9995.0 => format!("{}k", number(Some(value / 1e3))),
        value => number(value),
    }
}

/// A power of ten that needs little room.
fn short_power(value: f64) -> String {
    match value {
        value if value >= 0.999e9 => format!("{}G", short(value / 1e9)),
        value if value >= 0.999e6 => format!("{}M", short(value / 1e6)),
        value if value >= 0.999e4 => format!("{}k", short(value / 1e3)),
        value => short(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::results;

    #[test]
    fn what_nobody_measured_is_not_drawn() {
        let results = results();
        let known: Vec<&str> = COSTS.iter().filter(|cost| is_known(&results, cost)).map(|cost| cost.name).collect();
        assert_eq!(known, ["Requests", "Money", "Bytes", "Memory"]);
    }

    #[test]
    fn each_system_has_a_line_and_each_workload_a_dot() {
        let results = results();
        let svg = strips(&results, &Palette::of(&results), &COSTS[3]).unwrap();
        assert_eq!(svg.matches("<circle").count(), results.rows.len());
        assert!(svg.contains(">slowpoke</text>"));
    }

    #[test]
    fn large_numbers_take_little_room() {
        assert_eq!([12_345.0, 2.5e6, 12.0].map(|value| compact(Some(value))), ["12.3k", "2.50M", "12.0"]);
        assert_eq!([1e9, 1e6, 1e4, 1e3, 0.1].map(short_power), ["1G", "1M", "10k", "1,000", "0.1"]);
    }
}
