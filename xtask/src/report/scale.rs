//! Scales: where a value lies on a sheet. Pure.

/// A range of values laid out over a range of pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    values: (f64, f64),
    pixels: (f64, f64),
    is_log: bool,
}

impl Scale {
    /// From 0 to a little more than `most`.
    pub(super) fn linear(most: f64, pixels: (f64, f64)) -> Self {
        Self { values: (0.0, if most > 0.0 { most } else { 1.0 }), pixels, is_log: false }
    }

    /// Between two values.
    pub(super) fn between(values: (f64, f64), pixels: (f64, f64)) -> Self {
        let values = if values.1 > values.0 { values } else { (values.0, values.0 + 1.0) };
        Self { values, pixels, is_log: false }
    }

    /// From a little below the least to a little above the greatest of `values`, those above 0.
    pub(super) fn log(values: impl IntoIterator<Item = f64>, pixels: (f64, f64)) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0_f64);
        for value in values.into_iter().filter(|value| *value > 0.0 && value.is_finite()) {
            least = least.min(value);
            most = most.max(value);
        }
        if most == 0.0 {
            (least, most) = (1.0, 10.0);
        }
        // A tenth of what there is on either side, and not less than makes a difference.
        let margin = (most / least).powf(0.04).max(1.1);
        Self { values: (least / margin, most * margin), pixels, is_log: true }
    }

    /// The same scale, cut off below `least`.
    pub(super) fn down_to(mut self, least: f64) -> Self {
        self.values.0 = self.values.0.max(least);
        self
    }

    /// Where `value` lies. What the scale does not reach lies at its end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let (from, to) = self.values;
        let share =
            if self.is_log { (value.max(from) / from).ln() / (to / from).ln() } else { (value - from) / (to - from) };
        self.pixels.0 + share.clamp(0.0, 1.0) * (self.pixels.1 - self.pixels.0)
    }

    /// Round values for an axis, about `wanted` of them at the most; on a logarithmic one powers of ten, or what lies between
    /// them where they are too few.
    pub(super) fn ticks(&self, wanted: u32) -> Vec<f64> {
        let (from, to) = self.values;
        if self.is_log {
            let powers = in_decades(from, to, &[1.0]);
            if powers.len() > 2 {
                let every = powers.len().div_ceil(usize::try_from(wanted.max(1)).unwrap_or(1));
                return powers.into_iter().rev().step_by(every).collect();
            }
            let finer = [in_decades(from, to, &[1.0, 2.0, 5.0]), powers];
            if let Some(ticks) = finer.into_iter().find(|ticks| (2..=6).contains(&ticks.len())) {
                return ticks;
            }
        }
        let step = round_step((to - from) / f64::from(wanted.max(1)));
        let mut tick = (from / step).ceil() * step;
        let mut ticks = Vec::new();
        while tick <= to + step * 1e-6 {
            ticks.push(tick);
            tick += step;
        }
        ticks
    }
}

/// Multiples of all powers of ten that lie between `from` and `to`.
fn in_decades(from: f64, to: f64, multiples: &[f64]) -> Vec<f64> {
    let mut ticks = Vec::new();
    let mut exponent = from.log10().floor();
    while 10_f64.powf(exponent) <= to {
        ticks.extend(multiples.iter().map(|multiple| multiple * 10_f64.powf(exponent)));
        exponent += 1.0;
    }
    ticks.retain(|tick| (from * 0.999_999..=to * 1.000_001).contains(tick));
    ticks
}

/// The least of 1, 2, 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= step * 0.999_999).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_where_they_belong() {
        let scale = Scale::linear(200.0, (10.0, 110.0));
        assert_eq!([0.0, 100.0, 200.0, 999.0, -1.0].map(|value| scale.at(value)), [10.0, 60.0, 110.0, 110.0, 10.0]);
        let scale = Scale::log([0.0, 1.0, 100.0], (0.0, 108.0));
        assert_eq!([1.0, 10.0, 100.0, 0.0].map(|value| scale.at(value).round()), [4.0, 54.0, 104.0, 0.0]);
        let scale = Scale::between((5.0, 5.0), (0.0, 10.0));
        assert!(scale.at(5.0).abs() < 1e-9, "nothing is divided by 0");
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(Scale::linear(937.0, (0.0, 1.0)).ticks(5), [0.0, 200.0, 400.0, 600.0, 800.0]);
        let log = |values: [f64; 2], wanted| Scale::log(values, (0.0, 1.0)).ticks(wanted);
        let shown = |ticks: Vec<f64>| ticks.into_iter().map(|tick| format!("{tick:.2}")).collect::<Vec<_>>().join(" ");
        assert_eq!(shown(log([0.5, 200.0], 9)), "100.00 10.00 1.00");
        assert_eq!(shown(log([3.0, 12.0], 9)), "5.00 10.00", "the powers alone would be one");
        assert_eq!(shown(log([1.0, 1.05], 3)), "1.00 1.10", "so little is as good as linear");
        assert!(log([1e-3, 1e6], 5).len() <= 5 && !log([0.0, 0.0], 5).is_empty());
    }
}
