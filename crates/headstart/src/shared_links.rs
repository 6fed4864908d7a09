//! One link estimate for all stacks of this process that read from the same host.
//!
//! Two stores of one host share its link. With an estimate each, both would have a whole bandwidth × delay product in
//! flight and ahead of their readers. The registry holds weak references: an estimate is dropped with its last stack.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use headstart_fetch_core::{BackendProfile, LinkEstimate};
use parking_lot::Mutex;

/// The estimates in use, by host.
static LINKS: Mutex<BTreeMap<String, Weak<LinkEstimate>>> = Mutex::new(BTreeMap::new());

/// The estimate of the link to `host`: that of an open stack, or a new one that starts from `profile`.
pub(crate) fn link_to(host: &str, profile: &BackendProfile) -> Arc<LinkEstimate> {
    let mut links = LINKS.lock();
    if let Some(link) = links.get(host).and_then(Weak::upgrade) {
        return link;
    }
    links.retain(|_, link| link.strong_count() > 0);
    let link = LinkEstimate::new(profile);
    links.insert(host.to_owned(), Arc::downgrade(&link));
    link
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
        assert!(!LINKS.lock().contains_key("one.example"));
    }
}
