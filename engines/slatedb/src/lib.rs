//! SlateDB 0.18 over Headstart. There is nothing to adapt: a `Headstart` is the store that SlateDB takes. This package
//! holds the tests and the example (`examples/get.rs`) that show it.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use headstart::Headstart;
//! use slatedb::Db;
//!
//! # async fn read() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(Headstart::builder().url("s3://my-bucket/").build().await?);
//! let db = Db::open("orders", store).await?;
//! # Ok(())
//! # }
//! ```
