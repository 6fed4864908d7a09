//! Makes pages of a listing as S3 and Google Cloud Storage do: prefix, delimiter, where to begin, and a limit.

use std::ops::ControlFlow;

/// Which names are on a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PageQuery {
    /// All names begin with this.
    pub(crate) prefix: String,
    /// Names that are equal up to this, behind the prefix, are one common prefix.
    pub(crate) delimiter: Option<String>,
    /// The page begins behind this name.
    pub(crate) after: Option<String>,
    /// The page begins with this name, or what follows.
    pub(crate) from: Option<String>,
    /// The page ends before this name.
    pub(crate) before: Option<String>,
    /// The most names on the page.
    pub(crate) limit: usize,
}

/// A page, which takes objects in the order of their names until it is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServedPage<T> {
    pub(crate) objects: Vec<(String, T)>,
    pub(crate) prefixes: Vec<String>,
    /// The last name of this page, where there is another page behind it.
    pub(crate) next: Option<String>,
    last: Option<String>,
}

impl PageQuery {
    /// The directory that has all names of the page: the prefix up to its last slash, without it.
    pub(crate) fn directory(&self) -> &str {
        self.prefix.rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// A name before all names of the page: names up to this one need not be listed.
    pub(crate) fn offset(&self) -> Option<&str> {
        // The prefix without its last character is before all names that begin with it.
        let before_prefix = self.prefix.char_indices().next_back().map(|(at, _)| &self.prefix[..at]);
        let offset = before_prefix.max(self.after.as_deref());
        offset.filter(|offset| offset.len() > self.directory().len() + 1)
    }
}

impl<T> ServedPage<T> {
    pub(crate) fn new() -> Self {
        Self { objects: Vec::new(), prefixes: Vec::new(), next: None, last: None }
    }

    /// Takes the next name: an object, or a common prefix where there is no value. Breaks when no more is wanted.
    pub(crate) fn take(&mut self, query: &PageQuery, name: &str, value: Option<T>) -> ControlFlow<()> {
        let Some(rest) = name.strip_prefix(query.prefix.as_str()) else {
            return if name > query.prefix.as_str() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        };
        let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
        let common = delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| at + delimiter.len()));
        let name = common.map_or(name, |end| &name[..query.prefix.len() + end]);
        let is_before = query.after.as_deref().is_some_and(|after| name <= after)
            || query.from.as_deref().is_some_and(|from| name < from)
            || common.is_some() && self.prefixes.last().is_some_and(|last| last == name);
        if is_before {
            return ControlFlow::Continue(());
        }
        if query.limit == 0 || query.before.as_deref().is_some_and(|before| name >= before) {
            return ControlFlow::Break(());
        }
        if self.objects.len() + self.prefixes.len() == query.limit {
            self.next = self.last.take();
            return ControlFlow::Break(());
        }
        self.last = Some(name.to_owned());
        match value {
            Some(value) if common.is_none() => self.objects.push((name.to_owned(), value)),
            _ => self.prefixes.push(name.to_owned()),
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn page(names: &BTreeSet<String>, query: &PageQuery) -> ServedPage<()> {
        let mut page = ServedPage::new();
        let _ = names.iter().try_for_each(|name| page.take(query, name, Some(())));
        page
    }

    fn names(page: &ServedPage<()>) -> Vec<String> {
        let mut names: Vec<_> = page.objects.iter().map(|(name, ())| name.clone()).collect();
        names.extend(page.prefixes.iter().cloned());
        names.sort();
        names
    }

    #[test]
    fn pages_have_prefixes_delimiters_and_limits() {
        let all: BTreeSet<_> = ["a", "a/b", "a/c/d", "a/c/e", "a/d", "b"].map(str::to_owned).into();
        let query = |prefix: &str, delimiter: Option<&str>, after: Option<&str>, limit| PageQuery {
            prefix: prefix.to_owned(),
            delimiter: delimiter.map(str::to_owned),
            after: after.map(str::to_owned),
            limit,
            ..PageQuery::default()
        };
        for (query, expected, next) in [
            (query("", None, None, 9), &["a", "a/b", "a/c/d", "a/c/e", "a/d", "b"][..], None),
            (query("", Some("/"), None, 9), &["a", "a/", "b"], None),
            (query("a/", Some("/"), None, 9), &["a/b", "a/c/", "a/d"], None),
            (query("a/", Some("/"), None, 2), &["a/b", "a/c/"], Some("a/c/")),
            (query("a/", Some("/"), Some("a/c/"), 2), &["a/d"], None),
            (query("a/c", Some("/"), None, 2), &["a/c/"], None),
            (query("a", None, Some("a/b"), 1), &["a/c/d"], Some("a/c/d")),
            (query("", None, None, 0), &[], None),
            (query("c", None, None, 9), &[], None),
        ] {
            let page = page(&all, &query);
            assert_eq!(
                (names(&page), page.next.as_deref()),
                (expected.iter().map(|it| (*it).to_owned()).collect(), next)
            );
        }
        let between =
            PageQuery { from: Some("a/b".into()), before: Some("a/d".into()), limit: 9, ..query("", None, None, 9) };
        assert_eq!(names(&page(&all, &between)), ["a/b", "a/c/d", "a/c/e"]);
    }

    proptest! {
        #[test]
        fn pages_together_are_the_whole_listing(
            all in prop::collection::btree_set("[ab/]{1,6}", 0..30),
            prefix in "[ab/]{0,2}",
            delimiter in prop::option::of("[/b]"),
            limit in 1_usize..5,
        ) {
            let whole = PageQuery { prefix, delimiter, limit: usize::MAX, ..PageQuery::default() };
            let expected = names(&page(&all, &whole));
            let mut paged = Vec::new();
            let mut query = PageQuery { limit, ..whole };
            loop {
                // What lies up to the offset is not listed.
                let offset = query.offset().map(str::to_owned);
                let listed: BTreeSet<_> =
                    all.iter().filter(|name| offset.as_ref().is_none_or(|offset| *name > offset)).cloned().collect();
                let page = page(&listed, &query);
                prop_assert!(page.objects.len() + page.prefixes.len() <= limit);
                paged.extend(names(&page));
                match page.next {
                    Some(next) => query.after = Some(next),
                    None => break,
                }
            }
            prop_assert_eq!(paged, expected);
        }
    }
}
