//! One link estimate for all stacks of this process that read from the same host.
//!
//! Two stores of one host share its link. With an estimate each, both would have a whole bandwidth × delay product in
//! flight and ahead of their readers. The registry holds weak references: an estimate is dropped with its last stack.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

#[cfg(any(feature = "gcp", feature = "aws"))]
use headstart_fetch_core::Options;
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
        assert!(!LINKS.lock().contains_key("one.example"));
    }

    #[cfg(any(feature = "gcp", feature = "aws"))]
    #[test]
    fn a_host_is_named_by_the_options_that_choose_it() {
        let config = |retries| headstart_fetch_core::FetchConfig { retries, ..Default::default() };
        let host = |scheme: &str, retries| host_of(scheme, &config(retries), &["retries", "hedge"]);
        assert_eq!([host("gs", 1), host("gs", 2), host("s3", 1)], ["gs 1 on", "gs 2 on", "s3 1 on"]);
    }
}
