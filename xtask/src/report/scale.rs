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

    /// From the power of ten at or below the least to that above the greatest of `values`, those above 0.
    pub(super) fn log(values: impl IntoIterator<Item = f64>, pixels: (f64, f64)) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0_f64);
        for value in values.into_iter().filter(|value| *value > 0.0 && value.is_finite()) {
            least = least.min(value);
            most = most.max(value);
        }
        if most == 0.0 {
            (least, most) = (1.0, 10.0);
        }
        // 1.0000001 would ask for a decade of its own.
        let from = 10_f64.powf((least.log10() + 1e-6).floor());
        let to = 10_f64.powf((most.log10() - 1e-6).ceil());
        Self { values: (from, if to > from { to } else { from * 10.0 }), pixels, is_log: true }
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

    /// Round values for an axis, about `wanted` of them; on a logarithmic one the powers of ten.
    pub(super) fn ticks(&self, wanted: u32) -> Vec<f64> {
        let (from, to) = self.values;
        if self.is_log {
            let mut ticks: Vec<f64> = Vec::new();
            let mut power = 10_f64.powf((from.log10() - 1e-6).ceil());
            while power <= to * 1.000_001 {
                ticks.push(power);
                power *= 10.0;
            }
            // Each power has its label: leave out every other one where there are many.
            let every = ticks.len().div_ceil(usize::try_from(wanted.max(1)).unwrap_or(1)).max(1);
            return ticks.into_iter().rev().step_by(every).collect();
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
        let scale = Scale::log([0.0, 2.0, 700.0], (0.0, 300.0));
        assert_eq!([1.0, 10.0, 1000.0, 0.0].map(|value| scale.at(value).round()), [0.0, 100.0, 300.0, 0.0]);
        let scale = Scale::between((5.0, 5.0), (0.0, 10.0));
        assert!(scale.at(5.0).abs() < 1e-9, "nothing is divided by 0");
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(Scale::linear(937.0, (0.0, 1.0)).ticks(5), [0.0, 200.0, 400.0, 600.0, 800.0]);
        assert_eq!(Scale::log([0.5, 50.0], (0.0, 1.0)).ticks(9).len(), 4);
        assert_eq!(Scale::log([1.0, 1.0], (0.0, 1.0)).ticks(9).len(), 2);
        assert!(Scale::log([1e-3, 1e6], (0.0, 1.0)).ticks(5).len() <= 5);
        assert_eq!(Scale::log([], (0.0, 1.0)).ticks(5).len(), 2);
    }
}
