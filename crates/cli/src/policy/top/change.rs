//! `StackChange`: what the counters of a stack gained between two scrapes, and what its metrics say at the second.

use std::time::Duration;

use super::scrape::SeriesValues;

/// The metric of which the largest value stands for several stacks. Others are summed.
const LARGEST: &str = "headstart_window_bytes";

/// What happened in a stack, or in several.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StackChange {
    /// The time between the scrapes; zero after the first one, when nothing is known to have been gained.
    pub(crate) elapsed: Duration,
    /// What counters gained. A series without a value in both scrapes is not in it.
    pub(crate) gained: SeriesValues,
    /// All values at the second scrape.
    pub(crate) present: SeriesValues,
    /// Whether the process began anew between the scrapes.
    pub(crate) has_restarted: bool,
}

impl StackChange {
    /// Compares two scrapes; `before` is `None` at the first one.
    ///
    /// Counters that fall show that the process began anew. As in Prometheus, they then gained their whole value.
    pub(crate) fn between(before: Option<&SeriesValues>, present: &SeriesValues, elapsed: Duration) -> Self {
        let Some(before) = before.filter(|_| !elapsed.is_zero()) else {
            return Self { present: present.clone(), ..Self::default() };
        };
        let both = || {
            let counters = present.iter().filter(|(key, _)| key.is_counter());
            counters.filter_map(|(key, value)| Some((key, before.get(key)?, value)))
        };
        let has_restarted = both().any(|(_, before, value)| value < before);
        let mut gained = SeriesValues::default();
        for (key, before, value) in both() {
            gained.add(key, if has_restarted { value } else { value - before }, |_, value| value);
        }
        Self { elapsed, gained, present: present.clone(), has_restarted }
    }

    /// All of several stacks together.
    pub(crate) fn all<'a>(changes: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for change in changes {
            // A stack that is new has no time, and gained nothing.
            all.elapsed = all.elapsed.max(change.elapsed);
            all.has_restarted |= change.has_restarted;
            for (key, value) in change.gained.iter() {
                all.gained.add(key, value, |a, b| a + b);
            }
            for (key, value) in change.present.iter() {
                all.present.add(key, value, if key.metric == LARGEST { f64::max } else { |a, b| a + b });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::top::scrape::TopScrape;

    const SECOND: Duration = Duration::from_secs(1);

    fn values(text: &str) -> SeriesValues {
        TopScrape::parse(text).unwrap().stacks.into_values().next().unwrap()
    }

    fn fetched(bytes: u64, retries: u64) -> SeriesValues {
        values(&format!(
            "headstart_fetched_bytes_total{{layer=\"fetch\"}} {bytes}\nheadstart_retries_total {retries}\n"
        ))
    }

    fn gained(change: &StackChange) -> [Option<f64>; 2] {
        let gained = |metric| change.gained.sum(metric, &["*"]);
        [gained("headstart_fetched_bytes_total"), gained("headstart_retries_total")]
    }

    #[test]
    fn counters_gain_their_difference_or_after_a_restart_their_value() {
        let first = StackChange::between(None, &fetched(100, 3), Duration::ZERO);
        assert_eq!((gained(&first), first.has_restarted), ([None, None], false));
        let next = StackChange::between(Some(&fetched(100, 3)), &fetched(150, 3), SECOND);
        assert_eq!((gained(&next), next.has_restarted), ([Some(50.0), Some(0.0)], false));
        // The bytes alone do not show it.
        let anew = StackChange::between(Some(&fetched(100, 3)), &fetched(150, 1), SECOND);
        assert_eq!((gained(&anew), anew.has_restarted), ([Some(150.0), Some(1.0)], true));
        // A gauge may fall.
        let level = |held: u64| values(&format!("headstart_outstanding_bytes {held}\n"));
        assert!(!StackChange::between(Some(&level(5)), &level(1), SECOND).has_restarted);
    }

    #[test]
    fn a_series_that_is_new_has_gained_nothing_yet() {
        let change = StackChange::between(Some(&values("headstart_retries_total 1\n")), &fetched(100, 2), SECOND);
        assert_eq!(gained(&change), [None, Some(1.0)]);
    }

    #[test]
    fn stacks_are_summed_and_of_windows_the_largest_counts() {
        let stack = |window: u64, bytes: u64| {
            let text = |bytes| {
                format!(
                    "headstart_window_bytes{{limit=\"applied\"}} {window}\n\
                     headstart_fetched_bytes_total{{layer=\"fetch\"}} {bytes}\nheadstart_requests_in_flight 2\n"
                )
            };
            StackChange::between(Some(&values(&text(0))), &values(&text(bytes)), SECOND)
        };
        let new = StackChange::between(None, &fetched(1000, 0), SECOND);
        let all = StackChange::all(&[stack(5, 10), stack(3, 20), new]);
        assert_eq!(all.elapsed, SECOND);
        assert_eq!(all.gained.sum("headstart_fetched_bytes_total", &["fetch"]), Some(30.0));
        assert_eq!(all.present.sum("headstart_fetched_bytes_total", &["fetch"]), Some(1030.0));
        assert_eq!(all.present.sum("headstart_window_bytes", &["applied"]), Some(5.0));
        assert_eq!(all.present.sum("headstart_requests_in_flight", &[]), Some(4.0));
    }

    proptest! {
        /// Each poll is either later in the life of the same process, or after a restart that is seen.
        #[test]
        fn what_is_gained_adds_up(steps in prop::collection::vec((0..1_000_u64, 0..3_u64, any::<bool>()), 1..30)) {
            let (mut life, mut sum, mut expected) = ((0, 1), 0.0, 0.0);
            for (bytes, retries, restarts) in steps {
                let before = life;
                life = if restarts { (bytes, 0) } else { (life.0 + bytes, life.1 + 1 + retries) };
                let is_seen = life.0 < before.0 || life.1 < before.1;
                let change = StackChange::between(Some(&fetched(before.0, before.1)), &fetched(life.0, life.1), SECOND);
                prop_assert_eq!(change.has_restarted, is_seen);
                let gained = gained(&change)[0].unwrap();
                prop_assert!(gained >= 0.0);
                sum += gained;
                expected += if restarts && !is_seen { (life.0 - before.0) as f64 } else { bytes as f64 };
            }
            prop_assert_eq!(sum, expected);
        }
    }
}
