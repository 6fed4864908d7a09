//! What was learned about runs of reads, by prefix.

use std::collections::HashMap;
use std::sync::Arc;

use headstart_fetch_core::internal::locks::Mutex;
use object_store::path::Path;

use crate::policy::run_lengths::{RunEvent, RunLengths};

/// Prefixes remembered at once; each takes a kibibyte.
const MOST_PREFIXES: usize = 256;

/// Run lengths by prefix: the path without its last part.
#[derive(Debug, Default)]
pub(crate) struct RunHistory(Mutex<PrefixLengths>);

#[derive(Debug, Default)]
struct PrefixLengths {
    /// The lengths of the whole store, used for prefixes that have none.
    store: Arc<RunLengths>,
    by_prefix: HashMap<String, Arc<RunLengths>>,
}

pub(crate) fn prefix_of(path: &Path) -> String {
    path.as_ref().rsplit_once('/').map_or_else(String::new, |(prefix, _)| prefix.to_owned())
}

impl RunHistory {
    pub(crate) fn of(&self, prefix: &str) -> Arc<RunLengths> {
        let lengths = self.0.lock();
        Arc::clone(lengths.by_prefix.get(prefix).unwrap_or(&lengths.store))
    }

    pub(crate) fn on_events(&self, prefix: &str, events: &[RunEvent]) {
        // A random read ends a run of one read, from which nothing is learned.
        if !events.iter().any(|event| event.teaches()) {
            return;
        }
        let lengths = &mut *self.0.lock();
        if !lengths.by_prefix.contains_key(prefix) {
            if lengths.by_prefix.len() >= MOST_PREFIXES
                && let Some(other) = lengths.by_prefix.keys().next().cloned()
            {
                lengths.by_prefix.remove(&other);
            }
            lengths.by_prefix.insert(prefix.to_owned(), Arc::clone(&lengths.store));
        }
        for known in lengths.by_prefix.get_mut(prefix).into_iter().chain([&mut lengths.store]) {
            let known = Arc::make_mut(known);
            events.iter().for_each(|event| known.on_event(*event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::run_lengths::ReadRun;

    #[test]
    fn a_prefix_begins_with_what_the_store_has_shown_and_goes_its_own_way() {
        let runs = RunHistory::default();
        let run = |bytes| RunEvent::Ended(ReadRun { bytes, is_proven: true, is_first: false });
        runs.on_events("long", &[run(u64::MAX); 10]);
        assert_eq!(runs.of("new").speculation_limit_bytes(1000), 16_000);
        runs.on_events("short", &[run(1000); 10]);
        assert_eq!(
            (runs.of("short").speculation_limit_bytes(1000), runs.of("long").speculation_limit_bytes(1000)),
            (1000 / 16, 16_000)
        );
        for n in 0..1000 {
            runs.on_events(&n.to_string(), &[run(1)]);
        }
        assert!(runs.0.lock().by_prefix.len() <= MOST_PREFIXES);
        assert_eq!(prefix_of(&Path::from("a/b/c")), "a/b");
        assert_eq!(prefix_of(&Path::from("c")), "");
    }
}
