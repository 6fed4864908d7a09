//! The adapter from 0.14 to 0.13: `adapter.rs` with these versions.

use crate::{into_013 as answer, into_014 as request};
use object_store as inner;
use object_store_013 as outer;

#[expect(clippy::duplicate_mod, reason = "the traits of both versions are equal")]
#[path = "adapter.rs"]
mod adapter;

pub use adapter::Adapter;

/// Its name in messages.
const NAME: &str = "Store013";
