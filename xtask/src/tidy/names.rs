//! Type names are unique: a reader who has met a name in one file knows what it means in another.

use std::collections::BTreeMap;

use super::{Problem, SourceFile};

/// A type's name, and where it is defined.
type Definition<'a> = (&'a str, String);

/// No two structs, enums or traits of the libraries share a name; of xtask and bench, no two that other files can name.
pub(super) fn unique_types(sources: &[SourceFile]) -> Vec<Problem> {
    let in_src = |which: fn(&SourceFile) -> bool| {
        sources.iter().filter(move |source| which(source) && source.path_in_src().is_some() && !source.is_test_file())
    };
    let libraries = in_src(SourceFile::is_library).flat_map(|source| definitions(source, false));
    let is_tool = |source: &SourceFile| matches!(source.package(), "bench" | "xtask");
    let tools = in_src(is_tool).flat_map(|source| definitions(source, true));
    let mut problems = repeated(libraries);
    problems.extend(repeated(tools));
    problems
}

fn repeated<'a>(definitions: impl Iterator<Item = Definition<'a>>) -> Vec<Problem> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    definitions.for_each(|(name, place)| places.entry(name).or_default().push(place));
    let repeated = places.into_iter().filter(|(_, places)| places.len() > 1);
    repeated
        .map(|(name, mut places)| {
            let first = places.remove(0);
            Problem::new(first, format!("`{name}` is also a type at {}; choose specific names", places.join(", ")))
        })
        .collect()
}

/// The types that a file defines outside of its tests.
fn definitions(source: &SourceFile, only_public: bool) -> Vec<Definition<'_>> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(source.shipped.lines()) {
        let mut words = line.split_whitespace().peekable();
        let is_public = words.next_if(|word| word.starts_with("pub")).is_some();
        // `pub(in path)` is two words.
        while words.next_if(|word| word.ends_with(')') || *word == "unsafe" || *word == "auto").is_some() {}
        let is_type = words.next().is_some_and(|word| matches!(word, "struct" | "enum" | "trait" | "union"));
        let name = words.next().and_then(|word| word.split(|c: char| !c.is_alphanumeric() && c != '_').next());
        if let (true, Some(name)) = (is_type && (is_public || !only_public), name) {
            found.push((name, format!("{}:{number}", source.path)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<SourceFile> = files.iter().map(|(path, text)| SourceFile::new(*path, *text)).collect();
        unique_types(&sources).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_type_name_is_used_once_in_all_libraries() {
        let problems = check(&[
            ("crates/cache/src/a.rs", "//! A.\npub(crate) struct Body<T> {\n}\nenum Kind { A }\nimpl Body {}\n"),
            ("crates/sim/src/b.rs", "//! B.\npub trait Body: Send {\n  type Item;\n}\nstruct Other(u8);\n"),
            ("crates/sim/src/c.rs", "//! C.\n// struct Kind;\n#[cfg(test)]\nmod tests {\n  struct Kind;\n}\n"),
            ("crates/sim/src/tests.rs", "//! D.\nstruct Kind;\n"),
            ("crates/sim/tests/e.rs", "//! E.\nstruct Other;\n"),
        ]);
        let expected = "crates/cache/src/a.rs:2: `Body` is also a type at crates/sim/src/b.rs:2; choose specific names";
        assert_eq!(problems, [expected]);
    }

    #[test]
    fn tools_may_share_the_names_of_private_types() {
        let two = |visibility: &str| {
            let text = format!("//! A.\n{visibility}struct Run;\n");
            check(&[("xtask/src/a.rs", &text), ("bench/src/b.rs", &text)]).len()
        };
        assert_eq!((two(""), two("pub(crate) "), two("pub ")), (0, 1, 1));
        let library = ("crates/cache/src/a.rs", "//! A.\npub struct Run;\n");
        assert!(check(&[library, ("xtask/src/a.rs", library.1)]).is_empty());
    }
}
