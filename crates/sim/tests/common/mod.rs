//! Real clients for a `SimServer`.

#![allow(unreachable_pub, reason = "a module of tests")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::sync::Arc;

use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use object_store::aws::{AmazonS3Builder, S3CopyIfNotExists};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::{ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server and a client for its dialect. Retries are off, so that faults reach the test.
pub fn serve(config: SimServerConfig) -> (SimServerHandle, Arc<dyn ObjectStore>) {
    let (dialect, bucket) = (config.dialect, config.bucket.clone());
    let server = SimServer::start(config).unwrap();
    let store = client(dialect, server.url(), &bucket);
    (server, store)
}

/// `object_store`'s own client of `dialect`.
pub fn client(dialect: Dialect, url: &str, bucket: &str) -> Arc<dyn ObjectStore> {
    let options = ClientOptions::new().with_allow_http(true);
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    match dialect {
        Dialect::Gcs => Arc::new(
            GoogleCloudStorageBuilder::new()
                .with_base_url(url)
                .with_bucket_name(bucket)
                .with_credentials(Arc::new(StaticCredentialProvider::new(GcpCredential { bearer: "any".into() })))
                .with_client_options(options)
                .with_retry(retry)
                .build()
                .unwrap(),
        ),
        Dialect::S3 => Arc::new(
            AmazonS3Builder::new()
                .with_endpoint(url)
                .with_bucket_name(bucket)
                .with_access_key_id("any")
                .with_secret_access_key("any")
                // S3 has no other way to copy without overwriting.
                .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
                .with_client_options(options)
                .with_retry(retry)
                .build()
                .unwrap(),
        ),
    }
}

/// An unparsed HTTP answer.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends a request over a new connection and reads until the server closes it.
pub async fn raw(server: &SimServerHandle, request_line: &str, headers: &[(&str, &str)], body: &str) -> RawAnswer {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).await.unwrap();
    let mut request = format!("{request_line} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    RawAnswer { status, head, body: answer[end + 4..].to_vec() }
}
