//! The endpoint of `--metrics`: what the layers count, as text for Prometheus.

use std::convert::Infallible;
use std::sync::Arc;

use headstart::Headstart;
use headstart::metrics::{MetricsExporter, time_bounds};
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use s3s::Body;
use tokio::task::JoinSet;

use super::listener::Listener;
use super::refusal::{of_web_page, response};
use crate::failure::{Failure, FailureKind};
use crate::policy::served_name::ListenAddress;

/// Scrapes at once; more wait.
const MOST_CONNECTIONS: usize = 16;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where Prometheus asks for metrics.
pub(super) struct MetricsEndpoint {
    listener: Listener,
    page: MetricsPage,
}

/// The metrics of a stack, exported anew for every request.
struct MetricsPage {
    exporter: Mutex<MetricsExporter>,
    handle: PrometheusHandle,
    /// Whether a `Host` header must name this machine.
    is_loopback: bool,
}

impl MetricsEndpoint {
    /// Begins to listen.
    ///
    /// # Errors
    /// The address is in use.
    pub(super) async fn bind(address: &ListenAddress, stack: &Headstart) -> Result<Self, Failure> {
        let listener = Listener::bind(address, false).await?;
        let is_loopback = listener.is_loopback();
        Ok(Self { listener, page: MetricsPage::new(stack, is_loopback)? })
    }

    /// The URL of the metrics, or `unix:PATH`.
    pub(super) fn url(&self) -> String {
        match self.listener.is_loopback() {
            true => format!("{}/metrics", self.listener.url()),
            false => self.listener.url(),
        }
    }

    /// Answers until it is dropped.
    pub(super) async fn serve(self) -> Infallible {
        let (page, http) = (Arc::new(self.page), super::http());
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                stream = self.listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                    let page = Arc::clone(&page);
                    let answer = service_fn(move |request| {
                        let page = Arc::clone(&page);
                        async move { Ok::<_, Infallible>(page.answer(&request)) }
                    });
                    connections.spawn(http.serve_connection(TokioIo::new(stream), answer));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

impl MetricsPage {
    fn new(stack: &Headstart, is_loopback: bool) -> Result<Self, Failure> {
        let failed = |error| Failure::new(FailureKind::Other, format!("Cannot make buckets of times: {error}"));
        // All histograms are of times.
        let recorder = PrometheusBuilder::new().set_buckets(&time_bounds()).map_err(failed)?.build_recorder();
        let handle = recorder.handle();
        // The recorder is this endpoint's own: the command is no place for one of the whole process.
        let exporter = ::metrics::with_local_recorder(&recorder, || stack.metrics_exporter([] as [(&str, &str); 0]));
        Ok(Self { exporter: Mutex::new(exporter), handle, is_loopback })
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let say = |status, headers, text: &str| response(status, headers, TEXT, text.as_bytes().to_vec());
        let refusal = if self.is_loopback { of_web_page(request.headers()) } else { None };
        if let Some(why) = refusal {
            return say(StatusCode::FORBIDDEN, HeaderMap::new(), &format!("{why}\n"));
        }
        if request.uri().path() != "/metrics" {
            return say(StatusCode::NOT_FOUND, HeaderMap::new(), "The metrics are at /metrics\n");
        }
        if *request.method() != Method::GET {
            let allowed = HeaderMap::from_iter([(ALLOW, HeaderValue::from_static("GET"))]);
            return say(StatusCode::METHOD_NOT_ALLOWED, allowed, "Only GET is answered\n");
        }
        let mut exporter = self.exporter.lock();
        exporter.export();
        say(StatusCode::OK, HeaderMap::new(), &self.handle.render())
    }
}
