//! Amazon S3 and compatible stores for Headstart: opens a bucket from a URL, options and the environment.
//!
//! ```text
//! s3://bucket/key       ┐
//! options (key = value) ├─► S3Config ─► S3Backend ─► store():   Arc<dyn ObjectStore>
//! AWS_*                 ┘                            profile(): BackendProfile
//!                                                    path()
//! ```
//!
//! The client is `object_store`'s, configured for many long reads: HTTP/1.1, and a read timeout in place of a timeout
//! for the whole body. In `s3://bucket/key` percent-escapes are decoded; `?` and `#` belong to the key. The client
//! reads its `AWS_*` environment variables; options take precedence over them.
//!
//! ```
//! use headstart_s3_backend::S3Backend;
//!
//! let url = "s3://noaa-ghcn-pds/csv/by_year/1788.csv".parse()?;
//! let backend = S3Backend::from_url(&url, [("anonymous", "on"), ("region", "us-east-1")])?;
//! assert_eq!(backend.path().as_ref(), "csv/by_year/1788.csv");
//! assert_eq!(backend.store().to_string(), "AmazonS3(noaa-ghcn-pds)");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Non-goals
//! This crate does not make reads faster; `FetchStore`, `CacheStore` and `PrefetchStore` do so on top of it. Versions
//! of objects (`versionId`) cannot be named in URLs.

mod backend;
mod config;

pub use backend::{S3Backend, S3Error, s3_profile};
pub use config::S3Config;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
