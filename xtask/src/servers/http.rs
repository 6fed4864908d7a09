//! The few requests to a server that no object store's client sends: is it ready, make a bucket, write an object by its own means.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Request};

/// A client of one server.
#[derive(Debug, Clone)]
pub(super) struct ServerHttp {
    client: reqwest::Client,
    address: String,
}

impl ServerHttp {
    pub(super) fn new(address: &str) -> Result<Self> {
        // No proxy of the environment stands between this machine and itself.
        let client = reqwest::Client::builder().no_proxy().build().context("cannot make an HTTP client")?;
        Ok(Self { client, address: address.to_owned() })
    }

    /// Whether `path` is answered, and with no error of the server's own. Azurite answers 200 to signed requests alone.
    pub(super) async fn answers(&self, path: &str) -> bool {
        let request = self.client.get(format!("http://{}{path}", self.address)).timeout(Duration::from_secs(2));
        let answer = request.send().await;
        answer.is_ok_and(|answer| !answer.status().is_server_error())
    }

    /// Sends `body`, and fails where the answer is no success.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        kind: &str,
        body: Bytes,
    ) -> Result<()> {
        let mut url = reqwest::Url::parse(&format!("http://{}{path}", self.address))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.execute(self.client.request(method, url).header(CONTENT_TYPE, kind).body(body).build()?).await
    }

    /// Sends `request`, and fails where the answer is no success.
    pub(super) async fn execute(&self, request: Request) -> Result<()> {
        let asked = format!("{} {}", request.method(), request.url().path());
        let answer = self.client.execute(request).await.with_context(|| asked.clone())?;
        let status = answer.status();
        if !status.is_success() {
            bail!("{asked} is answered {status}: {}", answer.text().await.unwrap_or_default().trim());
        }
        Ok(())
    }
}
