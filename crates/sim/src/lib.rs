//! A simulated cloud: objects that check themselves, behind a link that takes its time, in virtual time or over real HTTP.
//!
//! ```text
//!   SimStore: ObjectStore, on tokio's clock      server: the same behind real HTTP, GCS and S3 dialects
//!        │                                            │
//!        ├── Catalog    what exists: objects, versions, conditions, listings, uploads
//!        │     └── Content     what its bytes are: they follow from key, version and offset
//!        ├── LinkModel  when bytes arrive: first byte, rate of a stream, fair shares of the NIC    (LinkProfile)
//!        ├── Faults     what goes wrong: 503, 429, cuts, stalls, wrong lengths, overwrites         (FaultPlan)
//!        └── RequestLog what was asked, for what, and how it ended
//!   Trace: who reads what
//! ```
//!
//! The model, the faults and the traces are pure: time goes in, decisions come out. Under tokio's paused clock a run of [`SimStore`] on one thread is
//! therefore exact, takes next to no time, and repeats to the byte and the millisecond:
//!
//! ```
//! use headstart_sim::{Content, LinkProfile, SimStore};
//! use object_store::{ObjectStoreExt, path::Path};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = SimStore::builder().profile(LinkProfile::gcs()).warm_connections(1).build();
//! let key = "synthetic/1GiB/anything"; // Exists by its name.
//! let answer = store.get(&Path::from(key)).await?;
//! let generation = answer.meta.version.clone().ok_or("no version")?.parse()?;
//! let bytes = answer.bytes().await?;
//! Content::new(key, generation).check(0, &bytes)?;
//! assert_eq!(store.elapsed().as_millis(), 30 + 17_896); // First byte, then 2³⁰ bytes at 60 MB/s; rounded up to the timer's tick.
//! assert_eq!(store.log().counts().bytes_sent, 1 << 30);
//! # Ok(())
//! # }
//! ```
//!
//! # What it is not
//! There is no packet, no slow start, no loss: a stream has its rate from its first byte to its last. A PUT shares the link with the GETs as if there were one direction.
//! Nothing is kept on disk.
//!
//! # Memory
//! What was written, every version of it in a versioned bucket, plus about 200 bytes a request for the log. Synthetic objects hold nothing;
//! a body under way holds the piece that it hands out, at most 256 KiB.
//!
//! # Use in tests
//! Only from `tests/`, never from `src/`: a unit test of a crate that this one depends on would link that crate twice, and extensions such as
//! [`Intent`](headstart_fetch_core::Intent) would be silently lost between the two.

mod cloud;
pub mod hostile;
mod policy;
pub mod server;
mod store;

pub use cloud::catalog::{Catalog, CatalogError, Condition, ListPage, ListQuery, Versioning};
pub use cloud::generation::{EPOCH, FIRST_GENERATION, Generation};
pub use cloud::log::{End, RequestCounts, RequestId, RequestKind, RequestLog, RequestRecord};
pub use policy::connections::Connections;
pub use policy::content::{Content, WrongByte};
pub use policy::faults::{Answer, Change, Event, Fault, FaultPlan, Faults, When};
pub use policy::link::{CHUNK_BYTES, LinkModel, Pull, StreamId};
pub use policy::profile::{LinkProfile, Spread, UnknownProfile};
pub use policy::read_pattern::{Read, Trace, TraceError};
pub use policy::rng::Dice;
pub use store::SimStore;
pub use store::altered::Altered;
pub use store::builder::SimStoreBuilder;
pub use store::fault::SimFault;
