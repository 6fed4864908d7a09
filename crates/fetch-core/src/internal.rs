//! Shared code of the sibling crates. Not part of the public API: it may change in any release.

#[cfg(feature = "client")]
pub mod client;
pub(crate) mod deletes;
pub(crate) mod exact_body;
mod forward;
pub mod locks;
pub mod mutation;
pub(crate) mod observed_writes;
pub mod runtime;
pub(crate) mod sync;
pub(crate) mod url_key;

pub use crate::error::{SharedError, http_status, is_invalid_range, may_be_past_end, share};
pub use crate::forward_object_store;
pub use crate::policy::body_check::{BodyCheck, check_range};
pub use crate::policy::byte_range;
pub use crate::policy::fill;
pub use crate::policy::link::{EndedBody, Estimator};
pub use crate::policy::merge::{RANGES_AT_ONCE, merge_ranges};
pub use crate::policy::split::spread_bytes;
pub use crate::policy::window_shares::{WindowDemand, WindowShare, water_level};
pub use crate::protocol::extensions::{
    CachedPages, ConfirmedAt, Crc32c, FreshUntil, Origin, Promotion, RangeOrigin, Reserved, ask,
};
pub use crate::protocol::link_estimate::{BodyMeter, MeasuredLink, WindowMember};
pub use crate::protocol::version::is_lasting_version;
pub use crate::read::local_file::LocalFile;
pub use crate::read::ranges::MergedRun;
pub use crate::request::refusals::{Refusals, may_be_the_range};
pub use crate::request::retryable::{RETRY_RULES, RetryRule, depends_on_request, is_transient};
pub use deletes::observe_deletes;
pub use exact_body::exact_body;
pub use observed_writes::{ForgetOnDrop, observe_upload};
pub use url_key::{changed_by_url_parser, path_in_bucket, path_of_url_key};
