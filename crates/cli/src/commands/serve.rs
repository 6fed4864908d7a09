//! `serve`: an endpoint on this machine through which other programs read a bucket.

mod access;
mod json;
mod listener;
mod metrics;
mod object;
mod received;
mod refusal;
mod s3;
mod served;
mod service;
mod uploads;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use headstart::{HeadstartBuilder, Mode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use url::Url;

use self::access::{Access, AccessArgs};
use self::listener::Listener;
use self::metrics::MetricsEndpoint;
use self::served::Served;
use self::service::Service;
use crate::failure::{Failure, FailureKind};
use crate::policy::served_name::ListenAddress;
use crate::policy::text;
use crate::session::{Session, Site};
use crate::signals::Signals;

/// How long a client may take to agree on TLS, to send the head of a request, or to send another request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The most headers of a request, and their size in bytes.
const MOST_HEADERS: usize = 100;
const MOST_HEADER_BYTES: usize = 32 << 10;

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// URL of a bucket, or of a prefix of one: gs://, s3:// or az://; only this is served
    url: String,
    /// Where to listen: 127.0.0.1:PORT, localhost:PORT or unix:PATH; port 0 picks a free port, which is printed
    ///
    /// At an address that other machines reach only with --auth, --tls-cert and --tls-key.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    listen: ListenAddress,
    /// Answer Prometheus at this address: 127.0.0.1:PORT, localhost:PORT or unix:PATH; the path is /metrics
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<ListenAddress>,
    #[command(flatten)]
    access: AccessArgs,
    /// Pass writes to the store: objects by PUT and by S3's multipart uploads, and deletions
    #[arg(long)]
    allow_writes: bool,
    /// Connections at once; more wait
    #[arg(long, value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// How long requests may go on after a signal to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    grace: u32,
}

/// Serves until a signal comes.
///
/// # Errors
/// The URL or the keys cannot be used, the address is in use, or a second signal cuts off requests.
pub(crate) async fn run(session: Arc<Session>, args: &ServeArgs) -> Result<(), Failure> {
    let site = session.site_of(&args.url, |builder| cached_by_default(&session, builder)).await?;
    let bucket = bucket(&site)?;
    let Access { keys, tls } = Access::new(&args.access, &args.listen, &bucket)?;
    let listener = Listener::bind(&args.listen, tls.is_some()).await?;
    let metrics = match &args.metrics {
        Some(address) => {
            address.check_local("metrics are for this machine").map_err(Failure::usage)?;
            Some(MetricsEndpoint::bind(address, &site.stack).await?)
        }
        None => None,
    };
    let signals = Signals::listen();
    announce(&session, &site, &listener, metrics.as_ref(), (&bucket, keys.is_some()))?;
    // Aborted when it is dropped, after the last request has ended.
    let mut measuring = JoinSet::new();
    if let Some(metrics) = metrics {
        measuring.spawn(metrics.serve());
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let served = Served::new(Arc::clone(&session), site.stack, bucket, site.path, site.store_url, scheme);
    let service = Service::new(Arc::new(served), keys, args.allow_writes, listener.is_loopback());
    serve(&session, listener, tls, Arc::new(service), args, signals).await?;
    // A second signal waits for no store.
    session.uploads.abort_all().await;
    Ok(())
}

/// Accepts connections until a signal comes, and then waits for the requests in progress.
async fn serve(
    session: &Session,
    listener: Listener,
    tls: Option<TlsAcceptor>,
    service: Arc<Service>,
    args: &ServeArgs,
    mut signals: Signals,
) -> Result<(), Failure> {
    let places = Arc::new(Semaphore::new(usize::try_from(args.max_connections).unwrap_or(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let http = http();
    loop {
        let next = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            accepted = next => accepted,
            Some(_) = connections.join_next() => continue,
            _ = signals.next() => break,
        };
        let service = Arc::clone(&service);
        let answer = service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { service.answer(request).await }
        });
        let (tls, watcher, http) = (tls.clone(), graceful.watcher(), http.clone());
        connections.spawn(async move {
            // A client that has gone is no failure.
            if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, access::secure(tls, stream)).await {
                let _ = watcher.watch(http.serve_connection(TokioIo::new(stream), answer)).await;
            }
            drop(place);
        });
    }
    drop(listener);
    let in_progress = graceful.count();
    let ended = tokio::time::timeout(Duration::from_secs(args.grace.into()), graceful.shutdown());
    tokio::select! {
        ended = ended => {
            if ended.is_err() {
                // Those that have ended are still counted.
                while connections.try_join_next().is_some() {}
                let cut = text::counted(connections.len() as u64, "connection was", "connections were");
                session.output.note(&format!("{cut} cut off, of {in_progress} at the signal."));
            }
            Ok(())
        }
        number = signals.next() => Err(Failure::new(FailureKind::Signal(number), "")),
    }
}

/// How connections are served.
fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.max_headers(MOST_HEADERS).max_header_size(MOST_HEADER_BYTES);
    http
}

/// The cache is on, unless the user says otherwise anywhere.
fn cached_by_default(session: &Session, builder: HeadstartBuilder) -> HeadstartBuilder {
    let (name, mut options) = match &session.file {
        Some(file) => (file.path.display().to_string(), file.options.clone()),
        None => ("the defaults of headstart serve".to_owned(), Vec::new()),
    };
    if !options.iter().any(|(key, _)| key == "mode" || key == "cache") {
        options.push(("mode".to_owned(), Mode::Cached.to_string()));
    }
    builder.file_options(name, options)
}

/// The name of the bucket of a URL.
fn bucket(site: &Site) -> Result<String, Failure> {
    let refuse = |why: &str| Err(Failure::usage(format!("{} cannot be served: {why}", site.shown)));
    if site.pattern.is_some() || site.generation.is_some() {
        return refuse("name a bucket or a prefix, without a pattern or a generation.");
    }
    let url = Url::parse(&site.store_url).ok();
    let name = url.as_ref().and_then(|url| match url.scheme() {
        "gs" | "s3" | "s3a" | "az" | "azure" => url.host_str(),
        "abfs" | "abfss" => Some(url.username()).filter(|name| !name.is_empty()),
        _ => None,
    });
    match name {
        Some(name) => Ok(name.to_owned()),
        None => refuse("name a bucket: gs://, s3:// or az://."),
    }
}

/// Prints the URL, and says how programs are led to it.
fn announce(
    session: &Session,
    site: &Site,
    listener: &Listener,
    metrics: Option<&MetricsEndpoint>,
    (bucket, has_keys): (&str, bool),
) -> Result<(), Failure> {
    let url = listener.url();
    let mut data = serde_json::json!({ "url": url, "bucket": bucket, "prefix": site.path.as_ref() });
    if let Some(metrics) = metrics {
        data["metrics"] = metrics.url().into();
    }
    session.output.line(|| url.clone(), &data)?;
    session.output.flush()?;
    if listener.is_tcp() {
        let how = match has_keys {
            true => format!("Set AWS_ENDPOINT_URL={url}, any region, and a key of --auth"),
            false => format!(
                "Set AWS_ENDPOINT_URL={url} (any keys, any region) or STORAGE_EMULATOR_HOST={url}, or read \
                 {url}/{bucket}/KEY"
            ),
        };
        session.output.note(&format!("Serving {}. {how}. Ctrl-C stops.", site.shown));
    }
    if let Some(metrics) = metrics {
        session.output.note(&format!("Prometheus finds metrics at {}.", metrics.url()));
    }
    Ok(())
}
