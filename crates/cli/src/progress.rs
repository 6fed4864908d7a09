//! Progress bars on a terminal. Nothing is shown elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

const OF_BYTES: &str = "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} {msg}";
const WITHOUT_TOTAL: &str = "{spinner} {bytes} {binary_bytes_per_sec} {msg}";
const OF_ITEMS: &str = "{spinner} {human_pos} {msg}";

/// The progress of a command; removed from the terminal when it is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Progress in bytes, of `total_bytes` where that is known.
    pub(crate) fn of_bytes(output: &Output, total_bytes: Option<u64>) -> Self {
        Self::new(output, total_bytes, if total_bytes.is_some() { OF_BYTES } else { WITHOUT_TOTAL })
    }

    /// A count of things that are found.
    pub(crate) fn of_items(output: &Output, what: &'static str) -> Self {
        let progress = Self::new(output, None, OF_ITEMS);
        progress.bar.set_message(what);
        progress
    }

    fn new(output: &Output, total: Option<u64>, template: &str) -> Self {
        let target = match output.shows_progress() {
            true => ProgressDrawTarget::stderr_with_hz(10),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(total, target);
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        if output.shows_progress() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar }
    }

    pub(crate) fn add(&self, count: u64) {
        self.bar.inc(count);
    }

    pub(crate) fn set(&self, count: u64) {
        self.bar.set_position(count);
    }

    pub(crate) fn say(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// Writes to the terminal above the bar.
    pub(crate) fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
