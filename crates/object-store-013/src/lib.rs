//! Uses a store of `object_store` 0.14 where 0.13 is expected, and the other way round, without loss.
//!
//! ```text
//!  DataFusion 55, delta-rs 1: dyn object_store 0.13        Headstart, Lance 14: dyn object_store 0.14
//!            │ Store013                                              │ Store014
//!  dyn object_store 0.14: a Headstart, or any store        dyn object_store 0.13: the store a program has
//! ```
//!
//! ```
//! use headstart_object_store_013::{Store013, object_store, object_store_013};
//! use object_store_013::{ObjectStore, ObjectStoreExt};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> object_store_013::Result<()> {
//! let new = Arc::new(object_store::memory::InMemory::new()); // Or a `Headstart`.
//! let old: Arc<dyn ObjectStore> = Arc::new(Store013::new(new)); // Takes it to DataFusion 55.
//! old.put(&"key".into(), "value".into()).await?;
//! assert_eq!(old.get_range(&"key".into(), 1..3).await?, "al");
//! # Ok(())
//! # }
//! ```
//!
//! # What passes
//! Every method is forwarded to the same method. Options pass with their preconditions, ranges, attributes, tags and
//! extensions (`Intent` and the other hints of headstart among them). Errors keep their variant and their source.
//! Bodies pass chunk by chunk as they arrive, payloads as the same [`Bytes`](bytes::Bytes); no byte is copied or held
//! back. Local files are answered as files.
//!
//! # What is lost
//! Answers of 0.13 have no extensions. So a [`Store013`] drops those of the store below, and the answers of a
//! [`Store014`] have none. An error about a malformed path, which the other version does not regard as malformed,
//! becomes `Generic` with the error as its source.
//!
//! # Non-goals
//! The traits `MultipartStore`, `PaginatedListStore` and `Signer`, which only clients implement.
//!
//! # Cost
//! A `get_ranges` takes 50 ns more and a `get_range` 140 (`cargo bench -p headstart-object-store-013`). A read takes
//! three allocations more: its future, the path of its answer, and the stream of its body. Attributes take two more
//! each. A call on another path than the one before it, on its thread, takes 250 ns more, because the path is checked
//! again.
//!
//! # Memory
//! The latest path of each thread.
//!
//! # Cancel safety
//! That of the wrapped store: an adapter has no task.

pub mod into_013;
pub mod into_014;

#[doc(inline)]
/// A store of `object_store` 0.14 as one of 0.13.
pub use into_013::Adapter as Store013;
#[doc(inline)]
/// A store of `object_store` 0.13 as one of 0.14.
pub use into_014::Adapter as Store014;
pub use object_store;
pub use object_store_013;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
