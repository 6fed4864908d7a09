//! Amazon S3, and what speaks its language, for Headstart: from a URL, options and the environment to a store and what it is like.
//!
//! The client is `object_store`'s, set up for many long reads: HTTP/1.1, a read timeout instead of one for the whole body.
//! `s3://bucket/key` is a URL: percent-escapes are decoded, `?` and `#` belong to the key. All of the client's `AWS_*`
//! variables count; options go before them.
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

mod backend;
mod config;

pub use backend::{S3Backend, S3Error, s3_profile};
pub use config::S3Config;
