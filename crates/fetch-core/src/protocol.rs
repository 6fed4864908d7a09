//! What the layers tell each other about a read: extensions of requests and answers, versions, the link estimate.

pub(crate) mod extensions;
pub(crate) mod link_estimate;
pub(crate) mod version;
