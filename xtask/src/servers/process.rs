//! A running third-party server: started, filled, and killed when dropped.

use std::fs::{self, File};
use std::process::Stdio;
use std::{net::TcpListener, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Request, header::CONTENT_TYPE};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{HowToRead, ServerKind};
use crate::programs::KilledOnDrop;

/// Slow machines take seconds to load Python or Node.js.
const PATIENCE: Duration = Duration::from_secs(60);

/// The link that hadro simulates. Other servers simulate none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LinkShape {
    pub(crate) latency_ms: u32,
    pub(crate) jitter_ms: u32,
    /// `None` for no limit.
    pub(crate) stream_mb_per_s: Option<u32>,
}

/// A server, killed when this is dropped.
#[derive(Debug)]
pub(crate) struct RunningServer {
    kind: ServerKind,
    address: String,
    child: KilledOnDrop,
    client: reqwest::Client,
    /// Holds the server's log, and hadro's objects.
    folder: TempDir,
}

impl RunningServer {
    /// Starts a server on a free port of loopback, and waits until it answers.
    pub(crate) async fn start(kind: ServerKind, shape: LinkShape) -> Result<Self> {
        let folder = tempfile::tempdir().context("no room for a folder")?;
        let objects = folder.path().join("objects");
        fs::create_dir(&objects)?;
        let log = File::create(folder.path().join("log"))?;
        // Another process may take the port first. Then the server ends with an error.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let mut command = kind.command(port, &objects, shape)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = KilledOnDrop(command.spawn().with_context(|| format!("cannot start {kind}"))?);
        // Loopback is never reached through a proxy.
        let client = reqwest::Client::builder().no_proxy().build().context("cannot make an HTTP client")?;
        let mut server = Self { kind, client, address, child, folder };
        server.until_ready().await?;
        Ok(server)
    }

    async fn until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            let ready = self.answers(self.kind.ready_path()).await;
            if let Some(status) = self.child.0.try_wait()? {
                bail!("{} ended with {status}: {}", self.kind, self.log());
            }
            if ready {
                return Ok(());
            }
            ensure!(started.elapsed() <= PATIENCE, "{} does not answer: {}", self.kind, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default().trim().to_owned()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn how_to_read(&self, bucket: &str, key: &str) -> Vec<HowToRead> {
        self.kind.how_to_read(&self.address, bucket, key)
    }

    pub(crate) fn azure_client(&self, container: &str) -> Result<MicrosoftAzure> {
        azure_client(&self.address, container)
    }

    pub(crate) async fn make_bucket(&self, bucket: &str) -> Result<()> {
        match self.kind {
            ServerKind::FakeGcs => {
                let body = format!(r#"{{"name":"{bucket}"}}"#).into();
                self.send(Method::POST, "/storage/v1/b?project=p", "application/json", body).await
            }
            ServerKind::Moto => self.send(Method::PUT, &format!("/{bucket}"), "", Bytes::new()).await,
            ServerKind::Hadro => Ok(fs::create_dir(self.objects(bucket))?),
            ServerKind::Azurite => self.execute(make_azure_container(&self.address, bucket)?).await,
        }
    }

    /// Writes an object by the server's own API.
    pub(crate) async fn write(&self, bucket: &str, key: &str, bytes: Bytes) -> Result<()> {
        let (encoded, kind) = (utf8_percent_encode(key, NON_ALPHANUMERIC), "application/octet-stream");
        match self.kind {
            ServerKind::FakeGcs => {
                let path = format!("/upload/storage/v1/b/{bucket}/o?uploadType=media&name={encoded}");
                self.send(Method::POST, &path, kind, bytes).await
            }
            ServerKind::Moto => self.send(Method::PUT, &format!("/{bucket}/{encoded}"), kind, bytes).await,
            ServerKind::Hadro => {
                // The rename makes the object visible completely or not at all.
                let (file, new) = (self.objects(bucket).join(key), self.folder.path().join("new"));
                fs::create_dir_all(file.parent().unwrap_or(&file))?;
                fs::write(&new, bytes)?;
                Ok(fs::rename(new, file)?)
            }
            ServerKind::Azurite => {
                self.azure_client(bucket)?.put(&key.into(), bytes.into()).await?;
                Ok(())
            }
        }
    }

    /// Deletes an object by the server's own API.
    pub(crate) async fn delete(&self, bucket: &str, key: &str) -> Result<()> {
        match self.kind {
            ServerKind::Hadro => Ok(fs::remove_file(self.objects(bucket).join(key))?),
            ServerKind::Azurite => Ok(self.azure_client(bucket)?.delete(&key.into()).await?),
            ServerKind::FakeGcs | ServerKind::Moto => {
                let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
                self.send(Method::DELETE, &format!("/{bucket}/{key}"), "", Bytes::new()).await
            }
        }
    }

    /// Whether `path` is answered without a server error. Azurite answers unsigned requests with a client error.
    async fn answers(&self, path: &str) -> bool {
        let request = self.client.get(self.url() + path).timeout(Duration::from_secs(2));
        request.send().await.is_ok_and(|answer| !answer.status().is_server_error())
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<()> {
        self.execute(self.client.request(method, self.url() + path).header(CONTENT_TYPE, kind).body(body).build()?)
            .await
    }

    /// Sends `request`; fails unless the answer is a success.
    async fn execute(&self, request: Request) -> Result<()> {
        let asked = format!("{} {}", request.method(), request.url().path());
        let answer = self.client.execute(request).await.with_context(|| asked.clone())?;
        let status = answer.status();
        if !status.is_success() {
            bail!("{asked} is answered {status}: {}", answer.text().await.unwrap_or_default().trim());
        }
        Ok(())
    }

    fn objects(&self, bucket: &str) -> PathBuf {
        self.folder.path().join("objects").join(bucket)
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
fn azure_client(address: &str, container: &str) -> Result<MicrosoftAzure> {
    let mut builder = MicrosoftAzureBuilder::new().with_container_name(container).with_allow_http(true);
    for (name, value) in azure_variables(address) {
        builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
    }
    Ok(builder.build()?)
}

/// The signed request that creates a container. The client has no such method.
fn make_azure_container(address: &str, container: &str) -> Result<Request> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = format!("http://{address}/{ACCOUNT}/{container}?restype=container").parse()?;
    let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY)?);
    AzureAuthorizer::new(&credential, ACCOUNT).try_authorize(&mut request)?;
    Ok(request.map(|_| "").try_into()?)
}
