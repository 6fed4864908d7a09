//! Google Cloud Storage for Headstart: from a URL, options and the environment to a store and what it is like.
//!
//! ```text
//! gs://bucket/key#generation ┐
//! options (key = value)      ├─► GcsConfig ─► GcsBackend ─► store():   Arc<dyn ObjectStore>
//! GOOGLE_*, STORAGE_EMULATOR ┘                             profile(): BackendProfile
//!                                                          path(), generation()
//! ```
//!
//! The client is `object_store`'s. This crate sets it up for many long reads (HTTP/1.1, a pool of connections, a read
//! timeout instead of one for the whole body), keeps secrets out of whatever is printed, and says what the engine
//! should expect of the service before it has measured anything.
//!
//! # URLs
//! `gs://bucket/key` is a URL: percent-escapes are decoded, `%` itself is written `%25`. `?` belongs to the key. So does `#`,
//! unless an integer follows: that is a generation, and the `#` of a key `a#17` is written `%23`. Keys with `//` are read as
//! they are. `.` and `..` segments, a leading `/` and control characters cannot be named (`object_store::path::Path`
//! has no room for them); a slash at the end is dropped.
//!
//! # Credentials
//! The first of: the option given; `GOOGLE_SKIP_SIGNATURE`, `GOOGLE_BEARER_TOKEN`, `GOOGLE_SERVICE_ACCOUNT_KEY`,
//! `GOOGLE_SERVICE_ACCOUNT`, `GOOGLE_APPLICATION_CREDENTIALS`; the file of `gcloud auth application-default login`; the
//! machine's own account. An emulator (`STORAGE_EMULATOR_HOST`, or an `endpoint` of `http://`) is never sent application
//! default credentials.
//!
//! # What it does not do
//! It makes nothing fast: that is what `FetchStore`, `CacheStore` and `PrefetchStore` do on top. Zonal buckets over gRPC
//! are not reached.
//!
//! ```
//! use headstart_gcs_backend::GcsBackend;
//!
//! let url = "gs://gcp-public-data-landsat/index.csv.gz#1589219843000000".parse()?;
//! let landsat = GcsBackend::from_url(&url, [("anonymous", "on")])?;
//! assert_eq!(landsat.path().as_ref(), "index.csv.gz");
//! assert_eq!(landsat.generation(), Some("1589219843000000"));
//! assert_eq!(landsat.store().to_string(), "GoogleCloudStorage(gcp-public-data-landsat)");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod checksum;
mod config;
mod location;
mod profile;

pub use backend::{GcsBackend, GcsError};
pub use config::{Credentials, GcsConfig};
pub use profile::gcs_profile;
