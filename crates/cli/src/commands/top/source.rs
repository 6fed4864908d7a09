//! `MetricsSource`: asks a process for its metrics.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, StatusCode};

use crate::failure::{Failure, FailureKind};
use crate::policy::text;
use crate::policy::top::address::TopAddress;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer: that of a process with thousands of metrics has some MB.
const MOST_BYTES: usize = 32 << 20;

const CANNOT: &str = "cannot be read: ";

/// Where answers come from.
#[derive(Debug, Clone)]
pub(super) struct MetricsSource {
    client: Client,
    address: TopAddress,
}

impl MetricsSource {
    /// # Errors
    /// There is no such kind of address on this system, or no client.
    pub(super) fn new(address: &TopAddress) -> Result<Self, Failure> {
        // A proxy is for what is far away.
        let builder = Client::builder().timeout(PATIENCE).no_proxy();
        let builder = match address {
            TopAddress::Http(_) => builder,
            #[cfg(unix)]
            TopAddress::Unix(path) => builder.unix_socket(path.as_path()),
            #[cfg(not(unix))]
            TopAddress::Unix(_) => return Err(Failure::usage("This system has no Unix sockets. Name HOST:PORT.")),
        };
        let client = builder
            .build()
            .map_err(|error| Failure::new(FailureKind::Other, format!("The client of HTTP cannot begin: {error}.")))?;
        Ok(Self { client, address: address.clone() })
    }

    /// The address, as it may be shown.
    pub(super) fn shown(&self) -> String {
        self.address.to_string()
    }

    /// Asks once, and returns the text of the answer.
    ///
    /// # Errors
    /// [`FailureKind::Unreachable`] where no whole answer comes or the server has an error; [`FailureKind::Usage`]
    /// where there is no such page.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is left but a connection that is closed.
    pub(super) async fn ask(&self) -> Result<String, Failure> {
        let lost = |error: reqwest::Error| {
            let why = if error.is_timeout() { "no answer within 5 s".to_owned() } else { root(&error) };
            self.unreachable(&why)
        };
        let mut answer = self.client.get(self.address.url()).send().await.map_err(lost)?;
        let status = answer.status();
        if status.is_server_error() {
            return Err(self.unreachable(&format!("the answer is {status}")));
        }
        if status != StatusCode::OK {
            let advice = "Name the address that the process prints, such as http://127.0.0.1:9464/metrics.";
            return Err(Failure::usage(format!("{} answers {status}. {advice}", self.address)));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(lost)? {
            body.extend_from_slice(&piece);
            if body.len() > MOST_BYTES {
                return Err(self.unreachable(&format!("the answer is longer than {}", text::size(MOST_BYTES as u64))));
            }
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Why an answer failed, without the address and what to do about it: both are known to who watches.
    pub(super) fn why(&self, failure: &Failure) -> String {
        let message = &failure.message;
        let why = message.strip_prefix(&format!("{} ", self.address)).unwrap_or(message);
        why.strip_prefix(CANNOT).unwrap_or(why).split(". ").next().unwrap_or_default().to_owned()
    }

    fn unreachable(&self, why: &str) -> Failure {
        let advice = "Start the process with its metrics there (headstart serve --metrics ADDRESS), or name another \
                      address.";
        Failure::new(FailureKind::Unreachable, format!("{} {CANNOT}{why}. {advice}", self.address))
    }
}

/// What is at the root of an error: what the system says, in place of what the client was doing.
fn root(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let said = text::name(&root.to_string());
    let said = said.split(" (os error").next().unwrap_or_default();
    said.trim_end_matches('.').to_lowercase()
}
