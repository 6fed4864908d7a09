//! The system `ocra`: its page cache in memory, over the `object_store` version that it was written for.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use headstart_bench::child;
use headstart_bench::source::{Handle, ReadSource};
use headstart_bench::system::System;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore};
use ocra::ReadThroughCache;
use ocra::memory::InMemoryCache;

/// The default capacity of our cache.
const CAPACITY: usize = 256 << 20;

/// ocra's default of 16 KiB would need 64 requests a mebibyte, two at a time.
const PAGE: usize = 1 << 20;

/// A bucket, read page by page.
struct Pages(Arc<ReadThroughCache<InMemoryCache>>);

impl Pages {
    fn new(endpoint: &str, bucket: &str) -> Result<Self> {
        let key = serde_json::json!({
            "gcs_base_url": endpoint, "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""
        });
        let store = GoogleCloudStorageBuilder::new()
            .with_bucket_name(bucket)
            .with_service_account_key(key.to_string())
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .build()?;
        let cache = InMemoryCache::new(CAPACITY, PAGE);
        Ok(Self(Arc::new(ReadThroughCache::new(Arc::new(store), Arc::new(cache)))))
    }
}

#[async_trait]
impl ReadSource for Pages {
    async fn open(&self, key: &str, _: u64) -> Result<Box<dyn Handle>> {
        Ok(Box::new(Open { store: Arc::clone(&self.0), path: Path::parse(key)? }))
    }
}

struct Open {
    store: Arc<ReadThroughCache<InMemoryCache>>,
    path: Path,
}

#[async_trait]
impl Handle for Open {
    async fn read(&mut self, range: Range<u64>) -> Result<Vec<Bytes>> {
        let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
        Ok(vec![self.store.get_range(&self.path, range).await?])
    }
}

fn main() -> Result<()> {
    let versions = serde_json::json!({ "ocra": "0.1.1 (object_store 0.10.2)" });
    child::run_peer(versions, |system, endpoint, bucket| {
        ensure!(system == System::Ocra, "this program reads by ocra");
        Ok(Arc::new(Pages::new(endpoint, bucket)?))
    })
}
