//! The clients of the matrix, bare and below our layers, over a server in memory.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use headstart::{BackendProfile, FetchConfig, Headstart};
use headstart_fetch_core::internal::client::{ReadWriteClients, ThrottleConnector};
use headstart_gcs_backend::gcs_profile;
use headstart_s3_backend::s3_profile;
use headstart_sim::hostile::{HostileServer, InMemoryConnector};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider, aws::AmazonS3Builder,
    http::HttpBuilder,
};

/// The URL of requests. The connector has only one server.
const URL: &str = "http://server.test";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum ClientKind {
    Http,
    S3,
    Gcs,
}

/// The facade's `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Mode {
    None,
    Fetch,
    Adaptive,
    Cached,
}

impl ClientKind {
    fn profile(self) -> BackendProfile {
        match self {
            Self::Http => BackendProfile::default(),
            Self::S3 => s3_profile(),
            Self::Gcs => gcs_profile(),
        }
    }

    pub(super) fn raw(self, server: &Arc<HostileServer>) -> Result<Arc<dyn ObjectStore>> {
        self.build(server, false)
    }

    /// The facade over the client, as if opened by URL.
    pub(super) async fn headstart(self, server: &Arc<HostileServer>, mode: Mode) -> Result<Headstart> {
        let store = match mode {
            Mode::None => self.raw(server)?,
            _ => Arc::new(ReadWriteClients::new(self.build(server, true)?, self.raw(server)?)),
        };
        let fetch = FetchConfig { profile: Some(self.profile()), jitter_seed: Some(1), ..FetchConfig::default() };
        let builder = Headstart::builder().environment([]).store(store).fetch(fetch);
        Ok(builder.option("mode", mode.to_string()).build().await?)
    }

    /// Builds the client; `for_fetch`, as the adapters build it for a `FetchStore`.
    fn build(self, server: &Arc<HostileServer>, for_fetch: bool) -> Result<Arc<dyn ObjectStore>> {
        let connector = InMemoryConnector::new(Arc::clone(server));
        let options = ClientOptions::new().with_allow_http(true);
        let no_retries = || RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let telling = || ThrottleConnector::over(connector.clone(), |_| None);
        // The builders share no trait.
        macro_rules! build {
            ($builder:expr) => {{
                let builder = $builder.with_client_options(options);
                match for_fetch {
                    true => Arc::new(builder.with_retry(no_retries()).with_http_connector(telling()).build()?),
                    false => Arc::new(builder.with_retry(even_retries()).with_http_connector(connector).build()?),
                }
            }};
        }
        Ok(match self {
            Self::Http => build!(HttpBuilder::new().with_url(URL)),
            Self::S3 => build!(
                AmazonS3Builder::new()
                    .with_endpoint(URL)
                    .with_bucket_name("bucket")
                    .with_access_key_id("any")
                    .with_secret_access_key("any")
            ),
            Self::Gcs => {
                let token = GcpCredential { bearer: "any".to_owned() };
                build!(
                    GoogleCloudStorageBuilder::new()
                        .with_base_url(URL)
                        .with_bucket_name("bucket")
                        .with_credentials(Arc::new(StaticCredentialProvider::new(token)))
                )
            }
        })
    }
}

/// The client's retries, with a constant pause of their average, 0.33 s, instead of jitter. Runs are reproducible.
fn even_retries() -> RetryConfig {
    let pause = Duration::from_millis(330);
    let backoff = BackoffConfig { init_backoff: pause, max_backoff: pause, base: 1.001 };
    RetryConfig { backoff, ..RetryConfig::default() }
}

display_as_argument!(ClientKind, Mode);
