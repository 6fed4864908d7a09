//! Google Cloud Storage for Headstart: opens a bucket from a URL, options and the environment.
//!
//! ```text
//! gs://bucket/key#generation ┐
//! options (key = value)      ├─► GcsConfig ─► GcsBackend ─► store():   Arc<dyn ObjectStore>
//! GOOGLE_*, STORAGE_EMULATOR ┘                             profile(): BackendProfile
//!                                                          path(), generation()
//! ```
//!
//! The client is `object_store`'s. This crate configures it for many long reads (HTTP/1.1, a pool of connections, a
//! read timeout in place of a timeout for the whole body), keeps secrets out of `Debug` output and errors, and provides
//! the starting profile of the link.
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
//!
//! # URLs
//! In `gs://bucket/key` percent-escapes are decoded, so `%` is written `%25`. `?` belongs to the key. `#` belongs to
//! the key too, unless an integer follows: then the integer is a generation, and the `#` of a key `a#17` is written
//! `%23`. Keys with `//` are unchanged. `object_store::path::Path` does not support `.` and `..` segments, a leading
//! `/` and control characters. A slash at the end is dropped.
//!
//! # Credentials
//! The first of: the option; `GOOGLE_SKIP_SIGNATURE`, `GOOGLE_BEARER_TOKEN`, `GOOGLE_SERVICE_ACCOUNT_KEY`,
//! `GOOGLE_SERVICE_ACCOUNT`, `GOOGLE_APPLICATION_CREDENTIALS`; the file of `gcloud auth application-default login`; the
//! service account of the machine. Application default credentials are never sent to an emulator
//! (`STORAGE_EMULATOR_HOST`, or an `endpoint` of `http://`).
//!
//! # Non-goals
//! This crate does not make reads faster; `FetchStore`, `CacheStore` and `PrefetchStore` do so on top of it. It does
//! not support zonal buckets over gRPC.

mod backend;
mod config;
mod location;

pub use backend::{GcsBackend, GcsError, gcs_profile};
pub use config::{Credentials, GcsConfig};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
