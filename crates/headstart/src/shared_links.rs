//! One link estimate for all stacks of this process that read from the same host.
//!
//! Two stores of one host share its link. With an estimate each, both would have a whole bandwidth × delay product in
//! flight and ahead of their readers. The registry holds weak references: an estimate is dropped with its last stack.
//!
//! A forked child has a registry of its own, and no link of its parent: there, locks that other threads of the parent
//! held during the fork are never released.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

#[cfg(any(feature = "gcp", feature = "aws"))]
use headstart_fetch_core::Options;
use headstart_fetch_core::internal::locks::Mutex;
use headstart_fetch_core::{BackendProfile, LinkEstimate};
use once_cell::race::OnceBox;

/// The registry of the first process. Those of its forked children follow.
static FIRST: OnceBox<LinkRegistry> = OnceBox::new();

/// The estimates in use in one process.
struct LinkRegistry {
    process: u32,
    /// By host.
    links: Mutex<BTreeMap<String, Weak<LinkEstimate>>>,
    next: OnceBox<LinkRegistry>,
}

impl LinkRegistry {
    /// The registry of `process`.
    fn of(process: u32) -> &'static Self {
        let new = || Box::new(Self { process, links: Mutex::default(), next: OnceBox::new() });
        let mut registry = FIRST.get_or_init(new);
        while registry.process != process {
            registry = registry.next.get_or_init(new);
        }
        registry
    }

    fn link_to(&self, host: &str, profile: &BackendProfile) -> Arc<LinkEstimate> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(host).and_then(Weak::upgrade) {
            return link;
        }
        links.retain(|_, link| link.strong_count() > 0);
        let link = LinkEstimate::new(profile);
        links.insert(host.to_owned(), Arc::downgrade(&link));
        link
    }
}

/// The estimate of the link to `host`: that of an open stack, or a new one that starts from `profile`.
pub(crate) fn link_to(host: &str, profile: &BackendProfile) -> Arc<LinkEstimate> {
    LinkRegistry::of(std::process::id()).link_to(host, profile)
}

/// The host of a provider's store, as the options `keys` name it, such as the endpoint.
///
/// An option that is not set chooses the provider's usual host, which the scheme stands for.
#[cfg(any(feature = "gcp", feature = "aws"))]
pub(crate) fn host_of<T: Options>(scheme: &str, config: &T, keys: &[&str]) -> String {
    let named = T::ROWS.iter().filter(|row| keys.contains(&row.key)).map(|row| (row.get)(config));
    std::iter::once(scheme.to_owned()).chain(named).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_of_one_host_share_an_estimate_that_ends_with_the_last_of_them() {
        let profile = BackendProfile::default();
        let first = link_to("one.example", &profile);
        assert!(Arc::ptr_eq(&first, &link_to("one.example", &profile)));
        assert!(!Arc::ptr_eq(&first, &link_to("other.example", &profile)));
        drop(first);
        link_to("third.example", &profile);
        assert!(!LinkRegistry::of(std::process::id()).links.lock().contains_key("one.example"));
    }

    #[test]
    fn a_forked_child_takes_no_lock_of_its_parent() {
        let (parent, profile) = (std::process::id(), BackendProfile::default());
        let link = link_to("forked.example", &profile);
        let _held = LinkRegistry::of(parent).links.lock();
        let child = LinkRegistry::of(parent + 1);
        let in_child = child.link_to("forked.example", &profile);
        assert!(!Arc::ptr_eq(&link, &in_child));
        assert!(Arc::ptr_eq(&in_child, &LinkRegistry::of(parent + 1).link_to("forked.example", &profile)));
    }

    #[cfg(any(feature = "gcp", feature = "aws"))]
    #[test]
    fn a_host_is_named_by_the_options_that_choose_it() {
        let config = |retries| headstart_fetch_core::FetchConfig { retries, ..Default::default() };
        let host = |scheme: &str, retries| host_of(scheme, &config(retries), &["retries", "hedge"]);
        assert_eq!([host("gs", 1), host("gs", 2), host("s3", 1)], ["gs 1 on", "gs 2 on", "s3 1 on"]);
    }
}
