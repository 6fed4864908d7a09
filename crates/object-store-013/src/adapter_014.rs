//! The adapter from 0.13 to 0.14: `adapter.rs` with these versions.

use crate::{into_013 as request, into_014 as answer};
use object_store as outer;
use object_store_013 as inner;

#[expect(clippy::duplicate_mod, reason = "the traits of both versions are equal")]
#[path = "adapter.rs"]
mod adapter;

pub use adapter::Adapter;

/// Its name in messages.
const NAME: &str = "Store014";
