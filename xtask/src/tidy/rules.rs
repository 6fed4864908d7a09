//! The rules on single files, and the size of the facade.

use super::Problem;
use super::source::{Source, has_word, lines_with};

/// Files that decide and never act, whether they say so or not.
const PURE: &[&str] = &[
    "crates/cache/src/page.rs",
    "crates/cache/src/policy.rs",
    "crates/fetch-core/src/byte_range.rs",
    "crates/fetch-core/src/hedge.rs",
    "crates/fetch-core/src/link.rs",
    "crates/fetch-core/src/retry.rs",
    "crates/fetch-core/src/split.rs",
    "crates/prefetch/src/parts.rs",
    "crates/prefetch/src/planner.rs",
    "crates/prefetch/src/streams.rs",
    "crates/prefetch/src/waste.rs",
    "crates/prefetch/src/window.rs",
];

/// What a pure file must not name, and why.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "the runtime is the engine's"),
    ("object_store", "I/O is the engine's"),
    ("parking_lot", "a lock belongs to whoever shares the value"),
    ("Mutex", "a lock belongs to whoever shares the value"),
    ("RwLock", "a lock belongs to whoever shares the value"),
    ("Instant::now", "time comes in as `now`"),
    ("SystemTime", "time comes in as `now`"),
    ("rand", "randomness comes in as a value or a seed"),
];

/// What stands for work that was not done.
const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "#[ignore"];

/// The first line says what the file holds.
pub(super) fn first_line(source: &Source) -> Option<Problem> {
    let first = source.text.lines().next().unwrap_or_default();
    (!first.starts_with("//!") && !first.starts_with("#![doc")).then(|| {
        Problem::at(source, 1, "the first line is no `//!` line; start the file with one that says what it holds")
    })
}

/// Pure files say so in their first line and name nothing impure.
pub(super) fn purity(source: &Source) -> Vec<Problem> {
    let declared = source.text.lines().next().is_some_and(|line| line.starts_with("//!") && has_word(line, "Pure"));
    let listed = PURE.contains(&source.path.as_str());
    let mut problems = Vec::new();
    if source.is_test_file() || !(declared || listed) {
        return problems;
    }
    if !declared {
        problems.push(Problem::at(source, 1, "this file is pure by design; say \"Pure\" in its first line"));
    }
    for (word, why) in IMPURE {
        for line in lines_with(&source.shipped, word) {
            let what = format!("a pure file names `{word}`: {why}; move it to the engine or pass the value in");
            problems.push(Problem::at(source, line, what));
        }
    }
    problems
}

/// Nothing is left for later behind a name that promises it, and every test runs.
pub(super) fn unfinished(source: &Source) -> Vec<Problem> {
    UNFINISHED
        .iter()
        .flat_map(|word| lines_with(&source.code, word).map(move |line| (word, line)))
        .map(|(word, line)| {
            Problem::at(source, line, format!("`{word}` promises what is not there; finish it or take it out"))
        })
        .collect()
}

/// A library's `src/` never uses the simulation: in a unit test the crate exists twice, and extensions are lost between the two.
pub(super) fn simulation_in_src(source: &Source) -> Vec<Problem> {
    let library = source.package().starts_with("crates/") && source.package() != "crates/sim";
    if !library || !source.path.starts_with(&format!("{}/src/", source.package())) {
        return Vec::new();
    }
    lines_with(&source.code, "headstart_sim")
        .map(|line| Problem::at(source, line, "src/ uses headstart_sim; move the test to the crate's tests/ folder"))
        .collect()
}

/// The facade stays small: lines of code in its `src/`, without tests, comments and blank lines.
pub(super) fn facade_size(sources: &[Source], most: usize) -> Option<Problem> {
    const FACADE: &str = "crates/headstart/src";
    let lines: usize = sources
        .iter()
        .filter(|source| source.path.starts_with(&format!("{FACADE}/")) && !source.is_test_file())
        .map(|source| source.shipped.lines().filter(|line| !line.trim().is_empty()).count())
        .sum();
    (lines > most).then(|| {
        let what =
            format!("the facade has {lines} lines of code, {most} are allowed; policy belongs to the layers below");
        Problem::new(FACADE, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies `rule` to a file and gives the lines it complains of.
    fn lines<P: IntoIterator<Item = Problem>>(rule: fn(&Source) -> P, path: &str, text: &str) -> Vec<String> {
        let problems = rule(&Source::new(path, text)).into_iter();
        let mut lines: Vec<String> =
            problems.map(|problem| problem.place.strip_prefix(path).unwrap_or(&problem.place).to_owned()).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_file_starts_with_what_it_holds() {
        assert!(lines(first_line, "a.rs", "//! A thing.\n").is_empty());
        assert!(lines(first_line, "a.rs", "#![doc = include_str!(\"../README.md\")]\n").is_empty());
        assert_eq!(lines(first_line, "a.rs", "use a;\n//! Late.\n"), [":1"]);
        assert_eq!(lines(first_line, "a.rs", ""), [":1"]);
    }

    #[test]
    fn a_pure_file_names_no_world() {
        let path = "crates/sim/src/model.rs";
        assert!(lines(purity, path, "//! Acts.\nuse tokio::time;\n").is_empty(), "it never said it was pure");
        assert_eq!(lines(purity, path, "//! Decides. Pure.\n/// Unlike tokio.\nuse tokio::time;\n"), [":3"]);
        let text = "//! Pure: no I/O.\nlet t = Instant::now();\nstd::sync::Mutex::new(1);\n";
        assert_eq!(lines(purity, path, text), [":2", ":3"]);
        assert!(lines(purity, path, "//! Pure.\nlet operand = \"tokio\";\n").is_empty());
        assert!(lines(purity, path, "//! Pure.\n#[cfg(test)]\nmod tests {\n use rand::Rng;\n}\n").is_empty());
        assert!(lines(purity, path, "//! Purely a wrapper.\nuse tokio::time;\n").is_empty());
    }

    #[test]
    fn the_designs_pure_files_say_so() {
        let path = "crates/cache/src/page.rs";
        assert_eq!(lines(purity, path, "//! Arithmetic on pages.\n"), [":1"]);
        assert!(lines(purity, path, "//! Arithmetic on pages. Pure.\n").is_empty());
    }

    #[test]
    fn nothing_is_left_for_later() {
        assert_eq!(lines(unfinished, "a.rs", "fn f() {\n  todo!()\n}\n#[ignore]\n"), [":2", ":4"]);
        assert!(lines(unfinished, "a.rs", "// todo!()\nlet s = \"unimplemented!()\";\n").is_empty());
    }

    #[test]
    fn the_simulation_stays_out_of_src() {
        let text = "//! A.\n#[cfg(test)]\nmod tests {\n  use headstart_sim::SimStore;\n}\n";
        assert_eq!(lines(simulation_in_src, "crates/cache/src/store.rs", text), [":4"]);
        assert!(lines(simulation_in_src, "crates/cache/tests/store.rs", text).is_empty());
        assert!(lines(simulation_in_src, "xtask/src/bench.rs", text).is_empty());
    }

    #[test]
    fn the_facade_is_counted_without_tests_and_comments() {
        let files = [
            Source::new(
                "crates/headstart/src/lib.rs",
                "//! A.\n\nuse a;\nuse b; // why\n#[cfg(test)]\nmod tests {\n}\n",
            ),
            Source::new("crates/headstart/src/tests.rs", "use a;\n"),
            Source::new("crates/cache/src/lib.rs", "use a;\n"),
        ];
        assert_eq!(facade_size(&files, 2), None);
        assert!(facade_size(&files, 1).is_some());
    }
}
