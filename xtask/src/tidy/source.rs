//! A Rust file as the rules see it: its text, its code without comments and strings, and that without tests.

#[derive(Debug)]
pub(super) struct SourceFile {
    /// Path from the workspace's root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// The text with comments blanked and the contents of strings replaced by `_`; lines stay where they are.
    pub(super) code: String,
    /// `code` with what `#[cfg(test)]` guards blanked too.
    pub(super) shipped: String,
}

impl SourceFile {
    pub(super) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let code = without_comments(&text);
        let shipped = without_tests(&code);
        Self { path: path.into(), text, code, shipped }
    }

    pub(super) fn is_test_file(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("tests.rs")
    }

    /// The path below the crate's `src/`, if the file lies there.
    pub(super) fn path_in_src(&self) -> Option<&str> {
        self.path.strip_prefix(self.package())?.strip_prefix("/src/")
    }

    /// The crate's folder: `crates/cache`, `engines/datafusion`, `xtask`.
    pub(super) fn package(&self) -> &str {
        let folder = ["crates/", "engines/"].into_iter().find(|folder| self.path.starts_with(folder)).unwrap_or("");
        let end = self.path[folder.len()..].find('/').unwrap_or(self.path.len() - folder.len());
        &self.path[..folder.len() + end]
    }

    /// Whether it belongs to a library, and not to the project's own tools.
    pub(super) fn is_library(&self) -> bool {
        ["crates/", "engines/"].iter().any(|folder| self.path.starts_with(folder))
    }
}

/// Lines, counted from 1, of `code` where `word` stands for itself and not inside a longer name.
pub(super) fn lines_with<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.lines().enumerate().filter(move |(_, line)| has_word(line, word)).map(|(index, _)| index + 1)
}

/// Whether `word` stands in `line` for itself and not inside a longer name.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !(before.is_some_and(is_name) || word.ends_with(is_name) && after.is_some_and(is_name))
    })
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Just enough of a lexer to tell code from comments, strings and characters.
fn without_comments(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let in_name =
            at > 0 && is_name(chars[at - 1]) && !(chars[at - 1] == 'b' && (at < 2 || !is_name(chars[at - 2])));
        let (end, fill) = if starts(at, "//") {
            (find(&chars, at, |i| chars[i] == '\n'), ' ')
        } else if starts(at, "/*") {
            (end_of_block_comment(&chars, at), ' ')
        } else if chars[at] == 'r' && !in_name && end_of_raw_string(&chars, at).is_some() {
            (end_of_raw_string(&chars, at).unwrap_or(chars.len()), '_')
        } else if chars[at] == '"' || is_char(&chars, at) {
            (end_of_quoted(&chars, at), '_')
        } else {
            code.push(chars[at]);
            at += 1;
            continue;
        };
        code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { fill }));
        at = end;
    }
    code
}

/// The first place from `at` on that fits, or the end.
fn find(chars: &[char], at: usize, fits: impl Fn(usize) -> bool) -> usize {
    (at..chars.len()).find(|i| fits(*i)).unwrap_or(chars.len())
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

/// Whether a character starts at `at`, and not a lifetime.
fn is_char(chars: &[char], at: usize) -> bool {
    chars[at] == '\'' && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\''))
}

/// The end of a string or character that starts with a quote at `start`.
fn end_of_quoted(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != chars[start] {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of the raw string whose `r` stands at `start`, if there is one.
fn end_of_raw_string(chars: &[char], start: usize) -> Option<usize> {
    let open = find(chars, start + 1, |i| chars[i] != '#');
    let hashes = open - start - 1;
    (chars.get(open) == Some(&'"')).then_some(())?;
    let close = find(chars, open + 1, |i| {
        chars[i] == '"' && chars.len() - i > hashes && chars[i + 1..=i + hashes].iter().all(|c| *c == '#')
    });
    Some((close + 1 + hashes).min(chars.len()))
}

/// Blanks every item that `#[cfg(test)]` guards.
fn without_tests(code: &str) -> String {
    const GUARD: &str = "#[cfg(test)]";
    let mut shipped = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(GUARD) {
        let item = &rest[start..];
        let end = end_of_item(item, GUARD.len());
        shipped.push_str(&rest[..start]);
        shipped.extend(item[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &item[end..];
    }
    shipped.push_str(rest);
    shipped
}

/// Where the item that starts at `from` ends: behind its `;`, or behind the brace that closes its first one.
fn end_of_item(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return from + at + 1,
            _ => continue,
        }
        if depth == 0 {
            return from + at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_code(text: &str, expected: &str) {
        assert_eq!(SourceFile::new("a.rs", text).code, expected);
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        check_code("a // tokio", "a         ");
        check_code("a /* b /* c */ d */ e", "a                   e");
        check_code("f(\"a // \\\" b\") // c", "f(___________)     ");
        check_code("r#\"x\" y\"# z", "_________ z");
        check_code("for x in 'a'..'\\'' {}", "for x in ___..____ {}");
        check_code("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check_code("\"a\nb\"", "__\n__");
        check_code("var\"", "var_");
    }

    #[test]
    fn test_code_is_not_shipped() {
        let source = SourceFile::new("a.rs", "use a;\n#[cfg(test)]\nmod tests {\n  fn f() { b }\n}\nuse c;\n");
        assert_eq!(source.shipped.lines().map(str::trim).collect::<Vec<_>>(), ["use a;", "", "", "", "", "use c;"]);
        let source = SourceFile::new("a.rs", "#[cfg(test)]\nmod tests;\nuse c;");
        assert_eq!(source.shipped.trim(), "use c;");
    }

    #[test]
    fn a_word_is_not_a_part_of_a_name() {
        assert!(has_word("use rand::Rng;", "rand"));
        assert!(!has_word("let operand = 1;", "rand"));
        assert!(!has_word("let random = 1;", "rand"));
        assert!(has_word("todo!(\"x\")", "todo!("));
        assert!(has_word("#[ignore = \"slow\"]", "#[ignore"));
    }

    #[test]
    fn packages_are_folders() {
        assert_eq!(SourceFile::new("crates/cache/src/lib.rs", "").package(), "crates/cache");
        assert_eq!(SourceFile::new("engines/datafusion/src/lib.rs", "").package(), "engines/datafusion");
        assert_eq!(SourceFile::new("engines/datafusion/src/lib.rs", "").path_in_src(), Some("lib.rs"));
        assert_eq!(SourceFile::new("xtask/src/main.rs", "").package(), "xtask");
    }
}
