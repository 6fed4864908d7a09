//! Requests that clients do not send: readiness checks, creation of buckets, and writes by a server's own API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};
use reqwest::{Method, Request, header::CONTENT_TYPE};

/// An HTTP client of one server.
#[derive(Debug, Clone)]
pub(super) struct ServerHttp {
    client: reqwest::Client,
    address: String,
}

impl ServerHttp {
    pub(super) fn new(address: &str) -> Result<Self> {
        // Loopback is never reached through a proxy.
        let client = reqwest::Client::builder().no_proxy().build().context("cannot make an HTTP client")?;
        Ok(Self { client, address: address.to_owned() })
    }

    /// Whether `path` is answered without a server error. Azurite answers unsigned requests with a client error.
    pub(super) async fn answers(&self, path: &str) -> bool {
        let request = self.client.get(format!("http://{}{path}", self.address)).timeout(Duration::from_secs(2));
        let answer = request.send().await;
        answer.is_ok_and(|answer| !answer.status().is_server_error())
    }

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

    /// Sends `request`; fails unless the answer is a success.
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

/// Azurite's default account and key, from its documentation.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The variables with which `az://` URLs lead to the server at `address`.
///
/// `AZURE_STORAGE_USE_EMULATOR` is no alternative: it takes the port from the environment of this process.
pub(super) fn azure_variables(address: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AZURE_STORAGE_ENDPOINT", format!("http://{address}/{ACCOUNT}")),
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
    ]
}

/// `object_store`'s client of a container.
pub(super) fn azure_client(address: &str, container: &str) -> Result<MicrosoftAzure> {
    let mut builder = MicrosoftAzureBuilder::new().with_container_name(container).with_allow_http(true);
    for (name, value) in azure_variables(address) {
        builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
    }
    Ok(builder.build()?)
}

/// The signed request that creates a container. The client has no such method.
pub(super) fn make_azure_container(address: &str, container: &str) -> Result<Request> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = format!("http://{address}/{ACCOUNT}/{container}?restype=container").parse()?;
    let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY)?);
    AzureAuthorizer::new(&credential, ACCOUNT).try_authorize(&mut request)?;
    Ok(request.map(|_| "").try_into()?)
}
