//! Rules on the text of Rust and Markdown files: the length of lines, and words that the project does not use.

use super::{Problem, source::has_word};

const MOST_COLUMNS: usize = 120;

/// Words replaced by plain ones (STYLE.md, "Plain words"), written with a hyphen so that this file is not refused.
const REFUSED_WORDS: &str = "se-at se-ats pi-lot va-in ro-b ro-bbed pur-se hear-say doo-med hin-dered be-t be-ts";

/// Lines of a file that are too long.
///
/// In Markdown the rule leaves out table rows, fenced blocks without a language or with one of output (`text`,
/// `console`, `json`), and generated files. A generated file has an HTML comment with "do not edit" among its first
/// five lines. A word with a URL does not count, because nothing can break it.
pub(super) fn long_lines(path: &str, text: &str) -> Vec<Problem> {
    let is_markdown = path.ends_with(".md");
    if is_markdown && text.lines().take(5).any(|line| line.starts_with("<!--") && line.contains("do not edit")) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let mut fence: Option<&str> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let opens = line.trim_start().strip_prefix("```").filter(|_| is_markdown);
        if let Some(language) = opens {
            fence = if fence.is_some() { None } else { Some(language.trim()) };
        }
        let is_output = fence.is_some_and(|language| matches!(language, "" | "text" | "console" | "json"));
        let is_table = is_markdown && line.trim_start().starts_with('|');
        let columns = columns_without_urls(line);
        if columns > MOST_COLUMNS && !is_output && !is_table {
            let what = format!("the line has {columns} columns, at most {MOST_COLUMNS} are allowed; break it");
            problems.push(Problem::new(format!("{path}:{number}"), what));
        }
    }
    problems
}

fn columns_without_urls(line: &str) -> usize {
    let urls = line.split(' ').filter(|word| word.contains("://")).map(|url| url.chars().count());
    line.chars().count() - urls.sum::<usize>()
}

/// Lines of a file with a refused word, in any case.
pub(super) fn refused_words(path: &str, text: &str) -> Vec<Problem> {
    let words = REFUSED_WORDS.replace('-', "");
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.to_lowercase();
        for word in words.split(' ').filter(|word| has_word(&line, word)) {
            let what = format!("the word \"{word}\" is a metaphor; use the field's term (STYLE.md, \"Plain words\")");
            problems.push(Problem::new(format!("{path}:{number}"), what));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of which `rule` complains.
    fn lines(rule: fn(&str, &str) -> Vec<Problem>, path: &str, text: &str) -> Vec<String> {
        let place = |problem: Problem| problem.place.rsplit(':').next().unwrap_or_default().to_owned();
        rule(path, text).into_iter().map(place).collect()
    }

    #[test]
    fn lines_are_at_most_120_columns() {
        let (most, long) = ("ä".repeat(120), "ä".repeat(121));
        assert_eq!(lines(long_lines, "a.rs", &format!("{most}\n{long}\n// {long}\n| {long}\n")), ["2", "3", "4"]);
        assert_eq!(lines(long_lines, "a.md", &format!("{long}\n| {long} |\n")), ["1"]);
        let url = format!("https://example.org/{long}");
        assert_eq!(lines(long_lines, "a.rs", &format!("// {url}\n// {long} {url}\n")), ["2"]);
    }

    #[test]
    fn output_and_generated_markdown_may_have_longer_lines() {
        let long = "a".repeat(121);
        let fences = format!("```text\n{long}\n```\n```\n{long}\n```\n```sh\n{long}\n```\n{long}\n");
        assert_eq!(lines(long_lines, "a.md", &fences), ["8", "10"]);
        let generated = format!("# A\n\n<!-- Made by a command; do not edit. -->\n{long}\n");
        assert_eq!(lines(long_lines, "a.md", &generated), [""; 0]);
        assert_eq!(lines(long_lines, "a.rs", &generated), ["4"]);
    }

    #[test]
    fn metaphors_are_refused() {
        for word in REFUSED_WORDS.replace('-', "").split(' ') {
            let text = format!("fine\nA {}, in prose\nnot {word}x or x_{word}\n", word.to_uppercase());
            assert_eq!(lines(refused_words, "a.md", &text), ["2"], "{word}");
        }
    }
}
