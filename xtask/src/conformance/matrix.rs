//! The results as a table: one row a backend, one column a stack.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use comfy_table::{Table, presets};

use super::{Backend, Failures, StackKind, SuiteFailure, suite::SUITE};

/// Functions of the suite that the bare client fails, because the server does not behave like the store that it stands
/// for.
///
/// Each was found by a run. Both an entry that passes and a new failure are errors.
const DEVIATIONS: &[(Backend, &str, &str)] = &[
    (Backend::FakeGcs, "get_opts", "it ignores If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since"),
    (Backend::FakeGcs, "list_with_offset_exclusivity", "it ignores start-after"),
    (Backend::FakeGcs, "put_get_delete_list", "it ignores start-after"),
    (Backend::FakeGcs, "put_get_attributes", "it refuses the client's uploads, and is written by its own means"),
    (Backend::FakeGcs, "put_opts", "it refuses the client's uploads, and is written by its own means"),
    (Backend::MotoGcs, "copy_if_not_exists", "it ignores x-goog-copy-source and x-goog-if-generation-match"),
    (Backend::MotoGcs, "copy_rename_nonexistent_object", "it ignores x-goog-copy-source: an empty object is made"),
    (Backend::MotoGcs, "rename_and_copy", "it ignores x-goog-copy-source: an empty object is made"),
    (Backend::MotoGcs, "put_get_attributes", "it drops x-goog-meta-*"),
    (Backend::MotoGcs, "put_opts", "it has no generations, and ignores x-goog-if-generation-match"),
    (Backend::HadroGcs, "get_opts", "it ignores If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since"),
    (Backend::HadroGcs, "put_get_attributes", "it is read-only, and written as files"),
    (Backend::HadroGcs, "put_opts", "it is read-only, and written as files"),
    (Backend::HadroS3, "get_opts", "it ignores If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since"),
    (Backend::HadroS3, "put_get_attributes", "it is read-only, and written as files"),
    (Backend::HadroS3, "put_opts", "it is read-only, and written as files"),
    (Backend::Azurite, "list_with_offset_exclusivity", "it ignores startFrom, the client's way to list from an offset"),
    (Backend::Azurite, "put_get_delete_list", "it ignores startFrom, the client's way to list from an offset"),
];

/// The functions that the bare client fails on `backend`, each with the reason.
pub(super) fn deviations(backend: Backend) -> impl Iterator<Item = (&'static str, &'static str)> {
    DEVIATIONS.iter().filter(move |(of, ..)| *of == backend).map(|(_, function, why)| (*function, *why))
}

#[derive(Debug, Default)]
pub(super) struct Matrix {
    passed: BTreeMap<Backend, BTreeMap<StackKind, usize>>,
    /// Summaries of random runs.
    pub(super) told: BTreeMap<Backend, String>,
    /// Results that are not as expected.
    pub(super) wrong: Vec<String>,
}

impl Matrix {
    /// Compares the bare client's failures with the expected ones.
    pub(super) fn compare_bare(&mut self, backend: Backend, failed: &Failures, expected: &BTreeSet<&'static str>) {
        for (name, failure) in failed.iter().filter(|(name, _)| !expected.contains(*name)) {
            let SuiteFailure { said, at } = failure;
            self.wrong.push(format!(
                "{backend}, bare: {name} fails, and DEVIATIONS in matrix.rs does not list it: {said} {at:?}"
            ));
        }
        for name in expected.iter().filter(|name| !failed.contains_key(*name)) {
            self.wrong.push(format!("{backend}, bare: {name} passes; remove it from DEVIATIONS in matrix.rs"));
        }
    }

    /// Records the failures of `stack`, which may fail only where the `bare` client fails, at the same place or later.
    pub(super) fn note(&mut self, backend: Backend, stack: StackKind, failed: &Failures, bare: &Failures) {
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

    /// Adds the results of other backends.
    pub(super) fn add(&mut self, others: Self) {
        let Self { passed, told, wrong } = others;
        self.passed.extend(passed);
        self.told.extend(told);
        self.wrong.extend(wrong);
    }

    pub(super) fn verdict(&self) -> Result<()> {
        let Self { wrong, .. } = self;
        ensure!(wrong.is_empty(), "{} results are not as expected:\n  {}", wrong.len(), wrong.join("\n  "));
        Ok(())
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let stacks = StackKind::value_variants().iter().map(ToString::to_string);
        table.set_header(["passed of the suite".to_owned()].into_iter().chain(stacks));
        for (backend, stacks) in &self.passed {
            let cells = StackKind::value_variants().iter().map(|stack| match stacks.get(stack) {
                Some(passed) => format!("{passed}/{}", SUITE.len()),
                None => String::new(),
            });
            table.add_row([backend.to_string()].into_iter().chain(cells));
        }
        writeln!(f, "{table}")?;
        for backend in self.passed.keys() {
            for (function, why) in deviations(*backend) {
                writeln!(f, "{backend} deviates in {function}: {why}")?;
            }
        }
        for (backend, told) in &self.told {
            writeln!(f, "{backend}: {told}")?;
        }
        Ok(())
    }
}
