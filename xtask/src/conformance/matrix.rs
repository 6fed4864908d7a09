//! What came out, as a table: a row for each backend, a column for each stack.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Result, bail};
use comfy_table::{Table, presets};

use super::backend::Backend;
use super::deviations;
use super::stack::StackKind;
use super::suite::{SUITE, SuiteFailure};

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    passed: BTreeMap<Backend, BTreeMap<StackKind, usize>>,
    told: BTreeMap<Backend, String>,
    /// What should not be.
    wrong: Vec<String>,
}

impl Matrix {
    /// Compares what the bare client fails with what it is `expected` to.
    pub(super) fn compare_bare(
        &mut self,
        backend: Backend,
        failed: &BTreeMap<&'static str, SuiteFailure>,
        expected: &BTreeSet<&'static str>,
    ) {
        for (name, failure) in failed.iter().filter(|(name, _)| !expected.contains(*name)) {
            let SuiteFailure { said, at } = failure;
            self.wrong.push(format!("{backend}, bare: {name} fails, and deviations.rs does not say so: {said} {at:?}"));
        }
        for name in expected.iter().filter(|name| !failed.contains_key(*name)) {
            self.wrong.push(format!("{backend}, bare: {name} passes; strike it off deviations.rs"));
        }
    }

    /// Notes what `stack` fails; it may fail what the `bare` client fails, as far on or farther, and nothing else.
    pub(super) fn note(
        &mut self,
        backend: Backend,
        stack: StackKind,
        failed: &BTreeMap<&'static str, SuiteFailure>,
        bare: &BTreeMap<&'static str, SuiteFailure>,
    ) {
        self.passed.entry(backend).or_default().insert(stack, SUITE.len() - failed.len());
        for (name, failure) in failed {
            let SuiteFailure { said, at } = failure;
            let as_far = |bare: &SuiteFailure| match (bare.at.as_slice(), at.as_slice()) {
                ([bare], [here]) => bare.0 == here.0 && bare.1 <= here.1,
                _ => false,
            };
            if !bare.get(name).is_some_and(as_far) {
                let bare = bare.get(name).map(|bare| &bare.at);
                self.wrong.push(format!("{backend}, {stack}: {name} fails at {at:?}, bare at {bare:?}: {said}"));
            }
        }
    }

    /// Notes what the random run has to tell.
    pub(super) fn tell(&mut self, backend: Backend, told: String) {
        self.told.insert(backend, told);
    }

    /// Notes that the random run failed.
    pub(super) fn random_run_failed(&mut self, backend: Backend, why: &anyhow::Error) {
        self.wrong.push(format!("{backend}, the random run: {}", crate::explain(why)));
    }

    /// An error where something should not be.
    pub(super) fn verdict(&self) -> Result<()> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        bail!("{} things are not as they should be:\n  {}", self.wrong.len(), self.wrong.join("\n  "))
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let header =
            ["passed of the suite".to_owned()].into_iter().chain(StackKind::ALL.iter().map(ToString::to_string));
        table.set_header(header);
        for (backend, stacks) in &self.passed {
            let cells = StackKind::ALL.iter().map(|stack| match stacks.get(stack) {
                Some(passed) => format!("{passed}/{}", SUITE.len()),
                None => String::new(),
            });
            table.add_row([backend.to_string()].into_iter().chain(cells));
        }
        writeln!(f, "{table}")?;
        for backend in self.passed.keys() {
            for (function, why) in deviations::of(*backend) {
                writeln!(f, "{backend} deviates in {function}: {why}")?;
            }
        }
        for (backend, told) in &self.told {
            writeln!(f, "{backend}: {told}")?;
        }
        Ok(())
    }
}
