//! A simulated object store for tests: self-describing objects behind a link with delays and faults, in virtual time or
//! over real HTTP.
//!
//! ```text
//!   SimStore: ObjectStore, on tokio's clock      server: the same over HTTP, in the dialects of GCS and S3
//!        │                                            │
//!        ├── Catalog    the objects of a bucket: versions, conditional writes, listings, uploads
//!        │     └── Content     their bytes, which follow from key, version and offset
//!        ├── LinkModel  when bytes arrive: first byte, rate of a stream, fair shares of the NIC    (LinkProfile)
//!        ├── Faults     which reads fail: 503, 429, cuts, stalls, wrong lengths, overwrites        (FaultPlan)
//!        └── RequestLog every request: its range, intent, bytes and end
//!   hostile: servers that violate HTTP, S3 or GCS      ReadPattern: read patterns of applications
//! ```
//!
//! The modules below `policy` are pure: they get the time as an argument. So a run of [`SimStore`] on one thread under
//! tokio's paused clock takes almost no wall time and is reproducible to the byte and the millisecond:
//!
//! ```
//! use headstart_sim::{Content, LinkProfile, SimStore};
//! use object_store::{ObjectStoreExt, path::Path};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(1).build();
//! let key = "synthetic/1GiB/anything"; // Exists because of its name.
//! let answer = store.get(&Path::from(key)).await?;
//! let generation = answer.meta.version.clone().ok_or("no version")?.parse()?;
//! let bytes = answer.bytes().await?;
//! Content::new(key, generation).check(0, &bytes)?;
//! assert_eq!(store.elapsed().as_millis(), 30 + 17_896); // First byte, then 2³⁰ bytes at 60 MB/s, rounded up.
//! assert_eq!(store.log().counts().bytes_sent, 1 << 30);
//! # Ok(())
//! # }
//! ```
//!
//! # Non-goals
//! The model has no packets, no slow start and no loss: a stream has its rate from its first byte on. PUTs and GETs
//! share one direction of the link. Nothing is stored on disk.
//!
//! # Memory
//! Written objects (in a versioned bucket all their versions) and about 200 bytes a request for the log. Synthetic
//! objects store nothing; a body in progress holds at most 256 KiB.
//!
//! # Use in tests
//! Use this crate only from `tests/`, never from `src/`. A unit test of a crate that this crate depends on would link
//! that crate twice, and extensions such as [`Intent`](headstart_fetch_core::Intent) would be silently lost between the
//! two.

mod cloud;
pub mod hostile;
mod policy;
pub mod server;
mod store;

pub use cloud::catalog::{Catalog, CatalogError, CatalogResult, ListPage, ListQuery, Versioning, WriteCondition};
pub use cloud::generation::{EPOCH, FIRST_GENERATION, Generation};
pub use cloud::log::{RequestCounts, RequestEnd, RequestId, RequestKind, RequestLog, RequestRecord};
pub use policy::connections::Connections;
pub use policy::content::{Content, WrongByte};
pub use policy::faults::{ExternalChange, FaultEvent, FaultPlan, Faults, ReadAnswer, ReadFault, When};
pub use policy::link::{CHUNK_BYTES, LinkModel, LinkStreamId, Pull};
pub use policy::profile::{LinkProfile, TtfbSpread, UnknownProfile};
pub use policy::read_pattern::{PatternError, PatternRead, ReadPattern};
pub use policy::rng::SeededRng;
pub use store::SimStore;
pub use store::altered::Altered;
pub use store::builder::SimStoreBuilder;
pub use store::fault::SimFault;
