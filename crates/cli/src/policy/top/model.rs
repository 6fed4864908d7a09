//! `TopModel`: what `top` shows, from one answer of the process to the next, and while none comes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::change::StackChange;
use super::figures::{RatedCount, TopFigures};
use super::scrape::{SeriesValues, StackLabels, TopScrape};

/// Polls of which the rates are kept: the columns of a wide terminal.
const MOST_POINTS: usize = 500;

/// How long a restart of the process is told.
const RESTART_SHOWN: Duration = Duration::from_secs(10);

/// Takes in answers and failures of polls. Time is passed in as `now` since an arbitrary start.
#[derive(Debug, Default)]
pub(crate) struct TopModel {
    /// The latest answer, and when it came.
    last: Option<(Duration, TopScrape)>,
    all: TopFigures,
    stacks: BTreeMap<StackLabels, TopFigures>,
    points: VecDeque<TopPoint>,
    /// Why the latest poll failed, where it did.
    failure: Option<String>,
    restarted_at: Option<Duration>,
}

/// Rates at one poll, in bytes per second; `None` where they were not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct TopPoint {
    pub(crate) delivered: Option<f64>,
    pub(crate) fetched: Option<f64>,
}

/// What is known about the process at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TopState {
    /// It has not answered yet, or once: rates need two answers.
    Waiting,
    Answers,
    /// It answers, and began anew that long ago.
    Restarted(Duration),
    /// Its latest answer came that long ago; why there is none since.
    Silent(Duration, String),
}

impl TopModel {
    /// Takes in the text of an answer. A text that cannot be used is a failure of the poll.
    ///
    /// # Errors
    /// Why the text cannot be used.
    pub(crate) fn on_answer(&mut self, now: Duration, text: &str) -> Result<(), String> {
        let scrape = TopScrape::parse(text).inspect_err(|error| self.on_failure(error.clone()))?;
        let last = self.last.take();
        let elapsed = last.as_ref().map_or(Duration::ZERO, |(at, _)| now.saturating_sub(*at));
        let before = |labels: &StackLabels| last.as_ref().and_then(|(_, scrape)| scrape.stacks.get(labels));
        let change = |(labels, present): (&StackLabels, &SeriesValues)| {
            (labels.clone(), StackChange::between(before(labels), present, elapsed))
        };
        let changes: BTreeMap<StackLabels, StackChange> = scrape.stacks.iter().map(change).collect();
        let all = StackChange::all(changes.values());
        if all.has_restarted {
            self.restarted_at = Some(now);
        }
        self.all = TopFigures::of(&all);
        self.stacks = changes.iter().map(|(labels, change)| (labels.clone(), TopFigures::of(change))).collect();
        self.last = Some((now, scrape));
        self.failure = None;
        if last.is_some() {
            let rate = |count: Option<RatedCount>| count.and_then(|count| count.per_s);
            let (delivered, fetched) = (rate(self.all.delivered_bytes), rate(self.all.fetched_bytes));
            self.push(TopPoint { delivered, fetched });
        }
        Ok(())
    }

    /// Takes in a poll without an answer. Figures stay as they were, but rates are known no more.
    pub(crate) fn on_failure(&mut self, why: String) {
        self.failure = Some(why);
        self.push(TopPoint::default());
    }

    fn push(&mut self, point: TopPoint) {
        self.points.push_back(point);
        if self.points.len() > MOST_POINTS {
            self.points.pop_front();
        }
    }

    /// How the process is doing.
    pub(crate) fn state(&self, now: Duration) -> TopState {
        let since = |at: Duration| now.saturating_sub(at);
        match (&self.last, &self.failure) {
            (Some((at, _)), Some(why)) => TopState::Silent(since(*at), why.clone()),
            (None, Some(why)) => TopState::Silent(now, why.clone()),
            (None, None) => TopState::Waiting,
            (Some(_), None) if self.points.is_empty() => TopState::Waiting,
            (Some(_), None) => match self.restarted_at.map(since).filter(|time| *time < RESTART_SHOWN) {
                Some(time) => TopState::Restarted(time),
                None => TopState::Answers,
            },
        }
    }

    /// The figures of all stacks together, at the latest answer.
    pub(crate) fn all(&self) -> &TopFigures {
        &self.all
    }

    /// The figures of each stack, at the latest answer.
    pub(crate) fn stacks(&self) -> &BTreeMap<StackLabels, TopFigures> {
        &self.stacks
    }

    /// The rates of the latest polls, in order.
    pub(crate) fn points(&self) -> impl ExactSizeIterator<Item = TopPoint> + '_ {
        self.points.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fetched(bytes: u64) -> String {
        format!("headstart_fetched_bytes_total{{layer=\"fetch\"}} {bytes}\n")
    }

    /// Rates of bytes from the store, at each poll.
    fn rates(model: &TopModel) -> Vec<Option<f64>> {
        model.points().map(|point| point.fetched).collect()
    }

    #[test]
    fn two_answers_make_a_rate() {
        let mut model = TopModel::default();
        assert_eq!(model.state(seconds(0)), TopState::Waiting);
        model.on_answer(seconds(10), &fetched(1000)).unwrap();
        // What there is in all is known at once.
        assert_eq!(model.all().fetched_bytes.map(|count| (count.per_s, count.total)), Some((None, 1000.0)));
        assert_eq!((model.state(seconds(10)), rates(&model)), (TopState::Waiting, vec![]));
        model.on_answer(seconds(12), &fetched(1600)).unwrap();
        assert_eq!((model.state(seconds(12)), rates(&model)), (TopState::Answers, vec![Some(300.0)]));
    }

    #[test]
    fn a_process_that_is_gone_and_comes_back_is_followed() {
        let mut model = TopModel::default();
        model.on_answer(seconds(0), &fetched(1000)).unwrap();
        model.on_answer(seconds(1), &fetched(2000)).unwrap();
        model.on_failure("refused".to_owned());
        model.on_failure("refused".to_owned());
        assert_eq!(model.state(seconds(5)), TopState::Silent(seconds(4), "refused".to_owned()));
        assert_eq!(model.all().fetched_bytes.unwrap().total, 2000.0);
        // Back, with what it has counted since: over the whole time, for nobody knows when it began.
        model.on_answer(seconds(6), &fetched(50)).unwrap();
        assert_eq!(rates(&model), [Some(1000.0), None, None, Some(10.0)]);
        assert_eq!(model.state(seconds(8)), TopState::Restarted(seconds(2)));
        model.on_answer(seconds(16), &fetched(60)).unwrap();
        assert_eq!(model.state(seconds(16)), TopState::Answers);
    }

    #[test]
    fn a_text_that_is_no_answer_counts_as_none() {
        let mut model = TopModel::default();
        assert!(model.on_answer(seconds(3), "<html>").is_err());
        let TopState::Silent(time, why) = model.state(seconds(3)) else { panic!("{:?}", model.state(seconds(3))) };
        assert!(time == seconds(3) && why.contains("'<html>'"), "{why}");
        model.on_answer(seconds(4), &fetched(1)).unwrap();
        assert!(model.on_answer(seconds(5), "process_start_time_seconds 1\n").is_err());
        assert!(matches!(model.state(seconds(5)), TopState::Silent(time, _) if time == seconds(1)));
    }

    #[test]
    fn stacks_come_and_go() {
        let stack = |name: &str, bytes: u64| fetched(bytes).replace("layer", &format!("store=\"{name}\",layer"));
        let mut model = TopModel::default();
        model.on_answer(seconds(0), &stack("a", 10)).unwrap();
        model.on_answer(seconds(1), &(stack("a", 20) + &stack("b", 500))).unwrap();
        let totals: Vec<_> = model.stacks().values().map(|it| it.fetched_bytes.unwrap().total).collect();
        assert_eq!(totals, [20.0, 500.0]);
        // How fast b has come to its bytes is not known.
        assert_eq!(rates(&model), [Some(10.0)]);
        model.on_answer(seconds(2), &stack("b", 600)).unwrap();
        assert_eq!((model.stacks().len(), rates(&model)), (1, vec![Some(10.0), Some(100.0)]));
    }

    #[test]
    fn old_rates_are_dropped() {
        let mut model = TopModel::default();
        for second in 0..=MOST_POINTS as u64 + 7 {
            model.on_answer(seconds(second), &fetched(second * second)).unwrap();
        }
        assert_eq!((rates(&model).len(), rates(&model)[0]), (MOST_POINTS, Some(15.0)));
    }

    proptest! {
        #[test]
        fn no_course_of_events_breaks_it(events in prop::collection::vec((0..4_u8, 0..1_000_u64, 0..3_u64), 0..30)) {
            let (mut model, mut now) = (TopModel::default(), Duration::ZERO);
            for (kind, bytes, time) in events {
                now += seconds(time);
                match kind {
                    0 => model.on_failure("gone".to_owned()),
                    1 => prop_assert!(model.on_answer(now, "garbage").is_err()),
                    _ => prop_assert!(model.on_answer(now, &fetched(bytes)).is_ok()),
                }
                prop_assert!(rates(&model).into_iter().flatten().all(|rate| rate >= 0.0 && rate.is_finite()));
                let is_silent = matches!(model.state(now), TopState::Silent(since, _) if since <= now);
                prop_assert_eq!(is_silent, kind < 2);
            }
        }
    }
}
