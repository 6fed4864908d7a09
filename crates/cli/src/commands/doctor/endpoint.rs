//! The server that requests go to: its addresses, its clock, and the bucket's region.

use std::time::Duration;

use chrono::{DateTime, Utc};
use headstart::Headstart;
use tokio::time::Instant;
use url::{Position, Url};

use crate::policy::diagnosis::LinkFindings;
use crate::session::Site;

/// A server that takes longer to answer is not examined.
const PATIENCE: Duration = Duration::from_secs(5);

/// Addresses that are shown.
const SHOWN_ADDRESSES: usize = 3;

/// Finds out about the server. What cannot be found is left out: reads will say why.
pub(super) async fn examine_endpoint(site: &Site, findings: &mut LinkFindings) {
    let Some((url, bucket)) = endpoint(site) else { return };
    findings.endpoint = Some(url[..Position::BeforePath].to_owned());
    findings.is_encrypted = url.scheme() == "https";
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return };
    let began = Instant::now();
    let host = host.trim_matches(['[', ']']);
    let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await else { return };
    let addresses: Vec<_> = found.collect();
    findings.dns_ms = Some(milliseconds(began));
    findings.addresses = addresses.iter().take(SHOWN_ADDRESSES).map(|address| address.ip().to_string()).collect();
    let began = Instant::now();
    if let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect(&addresses[..])).await {
        findings.connect_ms = Some(milliseconds(began));
    }
    ask_server(&url, bucket.as_deref(), value(&site.stack, "ca_certificate"), findings).await;
    findings.region_set = value(&site.stack, "s3.region").filter(|_| site.store_url.starts_with("s3"));
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The value of an option, where there is one.
fn value(stack: &Headstart, key: &str) -> Option<String> {
    let setting = stack.effective_config().iter().find(|setting| setting.key == key)?;
    Some(setting.value.clone()).filter(|value| !value.is_empty())
}

/// The server that requests go to, and the bucket if it may be asked for its region.
fn endpoint(site: &Site) -> Option<(Url, Option<String>)> {
    let url = Url::parse(&site.store_url).ok()?;
    let bucket = url.host_str()?.to_owned();
    match url.scheme() {
        "gs" => {
            let endpoint = value(&site.stack, "gcs.endpoint");
            Some((endpoint.as_deref().unwrap_or("https://storage.googleapis.com").parse().ok()?, None))
        }
        "s3" | "s3a" => {
            let region = value(&site.stack, "s3.region").unwrap_or_else(|| "us-east-1".to_owned());
            let endpoint = value(&site.stack, "s3.endpoint");
            let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
            Some((endpoint.parse().ok()?, Some(bucket)))
        }
        "http" | "https" => Some((url, None)),
        // Azure's client makes the host from variables of its own.
        _ => None,
    }
}

/// One HEAD without credentials. Whatever the status, the answer has the time, and S3's the region of the bucket.
async fn ask_server(url: &Url, bucket: Option<&str>, ca_certificate: Option<String>, findings: &mut LinkFindings) {
    let mut builder = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
    let authorities = ca_certificate.and_then(|path| std::fs::read(path).ok());
    for certificate in authorities.iter().filter_map(|pem| reqwest::Certificate::from_pem_bundle(pem).ok()).flatten() {
        builder = builder.add_root_certificate(certificate);
    }
    let Ok(client) = builder.build() else { return };
    let mut asked = url.clone();
    if let Some(bucket) = bucket {
        asked.set_path(&format!("{}/{bucket}", url.path().trim_end_matches('/')));
    }
    let began = Utc::now();
    let Ok(answer) = client.head(asked).send().await else { return };
    let header = |name: &str| answer.headers().get(name)?.to_str().ok();
    // The server's time was noted about in the middle of the exchange.
    let middle = began + (Utc::now() - began) / 2;
    let date = header("date").and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    findings.clock_ahead_s = date.map(|date| (middle - date.with_timezone(&Utc)).num_seconds());
    findings.region_of_bucket = header("x-amz-bucket-region").map(str::to_owned);
}
