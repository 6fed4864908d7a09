//! `top`: a live view of a process that exports metrics.

mod draw;
mod screen;
mod source;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use crossterm::event::EventStream;
use futures::StreamExt;
use futures::future::{Fuse, FutureExt};
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use self::draw::TopHeading;
use self::screen::Screen;
use self::source::MetricsSource;
use crate::failure::Failure;
use crate::policy::top::address::{TopAddress, USUAL_ADDRESS};
use crate::policy::top::figures::TopFigures;
use crate::policy::top::model::{TopModel, TopState};
use crate::policy::top::rows;
use crate::policy::top::scrape::StackLabels;
use crate::session::Session;

/// How often the terminal is drawn at least: times since something are shown in seconds.
const REDRAW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Args)]
pub(crate) struct TopArgs {
    /// Where the process answers with its metrics: HOST:PORT, http://HOST:PORT/PATH or unix:PATH
    #[arg(default_value = USUAL_ADDRESS)]
    address: TopAddress,
    /// Time between two looks
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = parse_interval)]
    interval: Duration,
    /// Print the figures of one interval, and end
    #[arg(long, conflicts_with = "count")]
    once: bool,
    /// Print the figures of so many intervals, and end
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected 0.1 to 3600 seconds".to_owned()),
    }
}

/// Shows or prints figures until the user ends it.
///
/// # Errors
/// The process does not answer at the beginning, or with `--once`; its answer has no metrics of Headstart; standard
/// output is no terminal, and nothing says to print.
pub(crate) async fn run(session: &Session, args: &TopArgs) -> Result<(), Failure> {
    let times = if args.once { Some(1) } else { args.count };
    let prints = session.output.is_json() || times.is_some();
    if !prints && !io::stdout().is_terminal() {
        return Err(Failure::usage(
            "Standard output is no terminal. Use --once for the figures of one interval, --count for more, or --json \
             for a line of JSON per interval.",
        ));
    }
    let mut watch = Watch::begin(&args.address, args.interval).await?;
    match prints {
        true => watch.print(session, times, args.once).await,
        false => watch.show().await,
    }
}

/// A process that is looked at, and what is known about it.
struct Watch {
    source: MetricsSource,
    interval: Duration,
    began: Instant,
    model: TopModel,
}

impl Watch {
    /// Looks once.
    ///
    /// # Errors
    /// There is no answer, or none that can be used.
    async fn begin(address: &TopAddress, interval: Duration) -> Result<Self, Failure> {
        let source = MetricsSource::new(address)?;
        let mut watch = Self { source, interval, began: Instant::now(), model: TopModel::default() };
        let answer = watch.source.ask().await;
        watch.take(answer)?;
        Ok(watch)
    }

    /// Takes in what came of a look.
    ///
    /// # Errors
    /// As [`Watch::begin`]; the model knows it too.
    fn take(&mut self, answer: Result<String, Failure>) -> Result<(), Failure> {
        let text = answer.inspect_err(|failure| self.model.on_failure(self.source.why(failure)))?;
        let taken = self.model.on_answer(self.began.elapsed(), &text);
        taken.map_err(|why| {
            let what = "Name an address at which `headstart serve --metrics` or a program with Headstart's exporter \
                        answers.";
            Failure::usage(format!("{} is not of use here. {why}. {what}", self.source.shown()))
        })
    }

    /// The times of the looks after the first.
    fn looks(&self) -> Interval {
        let mut looks = tokio::time::interval_at(Instant::now() + self.interval, self.interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks
    }

    /// Prints the figures of each interval, `times` times or until a signal comes.
    async fn print(&mut self, session: &Session, times: Option<u64>, is_once: bool) -> Result<(), Failure> {
        let mut looks = self.looks();
        for number in 0_u64.. {
            if Some(number) == times {
                break;
            }
            looks.tick().await;
            let answer = self.source.ask().await;
            let taken = self.take(answer);
            if is_once {
                taken?;
            }
            let separator = if number > 0 { "\n" } else { "" };
            session.output.line(|| format!("{separator}{}", self.page()), &self.line())?;
            session.output.flush()?;
        }
        Ok(())
    }

    /// The figures of the latest interval as text.
    fn page(&self) -> String {
        let state = self.model.state(self.began.elapsed());
        let (said, _) = rows::state_line(&state);
        let figures = match state {
            TopState::Silent(..) => String::new(),
            _ => rows::page(self.model.all()),
        };
        let lines = [self.source.shown(), said, figures];
        lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// The same as JSON.
    fn line(&self) -> TopLine<'_> {
        let now = self.began.elapsed();
        let mut line = TopLine { address: self.source.shown(), seconds: now.as_secs_f64(), ..TopLine::default() };
        match self.model.state(now) {
            TopState::Silent(time, why) => {
                line.no_answer_s = Some(time.as_secs_f64());
                line.error = Some(why);
            }
            state => {
                line.restarted_s = match state {
                    TopState::Restarted(time) => Some(time.as_secs_f64()),
                    _ => None,
                };
                line.figures = Some(self.model.all());
                line.stacks = self.model.stacks().iter().map(StackLine::of).collect();
            }
        }
        line
    }

    /// Shows figures on the terminal until a key ends it.
    async fn show(&mut self) -> Result<(), Failure> {
        let (mut looks, mut redraws) = (self.looks(), tokio::time::interval(REDRAW));
        let heading = TopHeading { address: self.source.shown(), interval: self.interval };
        let source = self.source.clone();
        // Dropped, and with it the terminal restored, also when a signal or a panic ends this command.
        let mut screen = Screen::open()?;
        let mut events = EventStream::new();
        let mut answer = std::pin::pin!(Fuse::terminated());
        let mut is_asking = false;
        loop {
            let now = self.began.elapsed();
            screen.draw(|frame| draw::top(frame, &self.model, &heading, now))?;
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) if screen::ends(&event) => return Ok(()),
                    // Others, such as a change of the size, only draw it anew.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(screen::failed("read", &error)),
                    None => return Ok(()),
                },
                answered = &mut answer => {
                    is_asking = false;
                    // The screen says what is wrong.
                    let _ = self.take(answered);
                }
                _ = looks.tick(), if !is_asking => {
                    let source = source.clone();
                    answer.set(async move { source.ask().await }.boxed().fuse());
                    is_asking = true;
                }
                _ = redraws.tick() => {}
            }
        }
    }
}

/// A line of `--json`.
#[derive(Debug, Default, Serialize)]
struct TopLine<'a> {
    address: String,
    /// Since this command began.
    seconds: f64,
    /// Since the latest answer, where there is none now.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_answer_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Since the process was found to have begun anew, for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    restarted_s: Option<f64>,
    /// Of all stacks together.
    #[serde(flatten)]
    figures: Option<&'a TopFigures>,
    stacks: Vec<StackLine<'a>>,
}

/// A stack of the process in a line of `--json`.
#[derive(Debug, Serialize)]
struct StackLine<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    #[serde(flatten)]
    figures: &'a TopFigures,
}

impl<'a> StackLine<'a> {
    fn of((labels, figures): (&'a StackLabels, &'a TopFigures)) -> Self {
        Self { labels: labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(), figures }
    }
}
