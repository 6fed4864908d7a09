//! The rules on single files, and the size of the facade.

use super::{Problem, SourceFile, source::lines_with};

/// Folders below which every file is pure: the files decide, and other folders act.
const PURE_FOLDERS: [&str; 2] = ["policy", "planner"];

/// What a pure file must not name, and why.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "the runtime is the engine's"),
    ("object_store", "I/O is the engine's"),
    ("parking_lot", "a lock belongs to whoever shares the value"),
    ("internal::locks", "a lock belongs to whoever shares the value"),
    ("Mutex", "a lock belongs to whoever shares the value"),
    ("RwLock", "a lock belongs to whoever shares the value"),
    ("Instant::now", "time comes in as `now`"),
    ("SystemTime", "time comes in as `now`"),
    ("rand", "randomness comes in as a value or a seed"),
];

const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "#[ignore"];

/// The first line says what the file holds.
pub(super) fn first_line(source: &SourceFile) -> Option<Problem> {
    let first = source.text.lines().next().unwrap_or_default();
    let what = "the first line is not a `//!` line; start the file with one that says what the file holds";
    (!first.starts_with("//!") && !first.starts_with("#![doc")).then(|| Problem::at(source, 1, what))
}

/// Files below a folder of [`PURE_FOLDERS`] in a crate's `src/` name nothing impure.
pub(super) fn purity(source: &SourceFile) -> Vec<Problem> {
    let is_pure = source
        .path_in_src()
        .is_some_and(|path| path.split('/').rev().skip(1).any(|folder| PURE_FOLDERS.contains(&folder)));
    if !is_pure || !source.path.starts_with("crates/") || source.is_test_file() {
        return Vec::new();
    }
    let named = IMPURE.iter().flat_map(|(word, why)| {
        let what = format!("a pure file names `{word}`: {why}; move the file, or pass the value in");
        lines_with(&source.shipped, word).map(move |line| Problem::at(source, line, &*what))
    });
    named.collect()
}

/// The least and the most lines of a file in `src/`, tests included.
const FILE_LINES: (usize, usize) = (60, 400);

/// Files in `src/` are neither too long nor too short. The roots of crates and of modules with a folder (`has_folder`),
/// `error.rs`, `sync.rs`, and `explored.rs`, which several crates include, may be short.
pub(super) fn file_length(source: &SourceFile, has_folder: bool) -> Option<Problem> {
    let path = source.path_in_src()?;
    let lines = source.text.lines().count();
    let (least, most) = FILE_LINES;
    if lines > most {
        let what = format!("the file has {lines} lines, at most {most} are allowed; split it");
        return Some(Problem::new(&source.path, what));
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let may_be_short = has_folder || matches!(name, "lib.rs" | "main.rs" | "error.rs" | "sync.rs" | "explored.rs");
    (lines < least && !may_be_short).then(|| {
        let what = format!("the file has {lines} lines, at least {least} are expected; merge it into its neighbour");
        Problem::new(&source.path, what)
    })
}

/// No code is unfinished, and every test runs.
pub(super) fn unfinished(source: &SourceFile) -> Vec<Problem> {
    UNFINISHED
        .iter()
        .flat_map(|word| lines_with(&source.code, word).map(move |line| (word, line)))
        .map(|(word, line)| {
            Problem::at(source, line, format!("`{word}` marks unfinished work; finish it or remove it"))
        })
        .collect()
}

/// A library's `src/` never uses the simulation: in a unit test the crate exists twice, and extensions are lost between
/// the two copies.
pub(super) fn simulation_in_src(source: &SourceFile) -> Vec<Problem> {
    let library = source.is_library() && source.package() != "crates/sim";
    if !library || !source.path.starts_with(&format!("{}/src/", source.package())) {
        return Vec::new();
    }
    lines_with(&source.code, "headstart_sim")
        .map(|line| Problem::at(source, line, "src/ uses headstart_sim; move the test to the crate's tests/ folder"))
        .collect()
}

/// The facade stays small: lines of code in its `src/`, without tests, comments and blank lines.
pub(super) fn facade_size(sources: &[SourceFile], most: usize) -> Option<Problem> {
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
    fn lines<P: IntoIterator<Item = Problem>>(rule: fn(&SourceFile) -> P, path: &str, text: &str) -> Vec<String> {
        let problems = rule(&SourceFile::new(path, text)).into_iter();
        let mut lines: Vec<String> =
            problems.map(|problem| problem.place.strip_prefix(path).unwrap_or(&problem.place).to_owned()).collect();
        lines.sort();
        lines
    }

    #[test]
    fn the_first_line_says_what_a_file_holds() {
        assert!(lines(first_line, "a.rs", "//! A thing.\n").is_empty());
        assert!(lines(first_line, "a.rs", "#![doc = include_str!(\"../README.md\")]\n").is_empty());
        assert_eq!(lines(first_line, "a.rs", "use a;\n//! Late.\n"), [":1"]);
        assert_eq!(lines(first_line, "a.rs", ""), [":1"]);
    }

    #[test]
    fn a_file_below_a_pure_folder_names_nothing_impure() {
        let path = "crates/cache/src/policy/page.rs";
        let text = "//! Decides.\n/// Unlike tokio.\nuse tokio::time;\nlet t = Instant::now();\nMutex::new(1);\n";
        assert_eq!(lines(purity, path, text), [":3", ":4", ":5"]);
        assert_eq!(lines(purity, "crates/cache/src/planner/deep/page.rs", text), [":3", ":4", ":5"]);
        for elsewhere in [
            "crates/cache/src/policy.rs",
            "crates/cache/src/reads/page.rs",
            "crates/cache/src/policy/page_tests.rs",
            "crates/cache/tests/policy/page.rs",
            "xtask/src/policy/page.rs",
        ] {
            assert!(lines(purity, elsewhere, text).is_empty(), "{elsewhere}");
        }
        assert!(lines(purity, path, "//! A.\nlet operand = \"tokio\";\n").is_empty());
        assert!(lines(purity, path, "//! A.\n#[cfg(test)]\nmod tests {\n use rand::Rng;\n}\n").is_empty());
    }

    #[test]
    fn files_have_60_to_400_lines() {
        let text = |lines: usize| "fn f() {}\n".repeat(lines);
        for (path, lines, is_allowed) in [
            ("crates/cache/src/a.rs", 59, false),
            ("crates/cache/src/a.rs", 60, true),
            ("crates/cache/src/a_tests.rs", 400, true),
            ("crates/cache/src/a/tests.rs", 401, false),
            ("crates/cache/src/lib.rs", 5, true),
            ("crates/cache/src/lib.rs", 401, false),
            ("crates/cache/src/a/error.rs", 5, true),
            ("crates/cache/tests/a.rs", 5, true),
            ("xtask/src/a.rs", 5, false),
        ] {
            let problem = file_length(&SourceFile::new(path, text(lines)), false);
            assert_eq!(problem.is_none(), is_allowed, "{path} of {lines} lines");
        }
        let short = SourceFile::new("crates/cache/src/a.rs", text(5));
        assert!(file_length(&short, false).is_some() && file_length(&short, true).is_none());
    }

    #[test]
    fn unfinished_work_is_refused() {
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
        let root = "//! A.\n\nuse a;\nuse b; // why\n#[cfg(test)]\nmod tests {\n}\n";
        let files = [
            SourceFile::new("crates/headstart/src/lib.rs", root),
            SourceFile::new("crates/headstart/src/tests.rs", "use a;\n"),
            SourceFile::new("crates/cache/src/lib.rs", "use a;\n"),
        ];
        assert_eq!(facade_size(&files, 2), None);
        assert!(facade_size(&files, 1).is_some());
    }
}
