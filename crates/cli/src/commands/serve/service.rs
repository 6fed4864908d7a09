//! Answers requests: checks who asks and what for, and passes them to the part that knows their kind.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, EXPECT, HOST, HeaderMap, HeaderValue};
use hyper::http::Extensions;
use hyper::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::utf8_percent_encode;
use s3s::auth::SimpleAuth;
use s3s::host::{S3Host, VirtualHost};
use s3s::route::S3Route;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Request, S3Response, S3Result};

use super::object::{ServedRead, header_text};
use super::received::ReceivedBody;
use super::refusal::{RefusedRequest, of_web_page, response};
use super::s3::{ENCODED, S3Bucket};
use super::served::Served;
use super::{json, writes};
use crate::policy::served_name::{ServedName, bucket_of_host};

/// The name of the bucket for `s3s` where it refuses the own one, as it does with underscores.
const ALIAS: &str = "headstart-served-bucket";

/// The most of a refused request's body that is read.
const SKIPPED_BYTES: usize = 1 << 20;

/// How long a refused request's body is waited for.
const SKIPPED_WITHIN: Duration = Duration::from_secs(5);

/// Parameters of a query that name something of an object other than its bytes.
const OF_OBJECT: [&str; 10] =
    ["acl", "attributes", "legal-hold", "restore", "retention", "select", "tagging", "torrent", "uploadId", "uploads"];

/// The service that all connections share.
pub(super) struct Service {
    requests: Arc<Requests>,
    s3: S3Service,
    /// The name of the bucket for `s3`.
    alias: String,
    is_signed: bool,
    /// Whether it listens at a loopback address, which a web page in this machine's browser reaches.
    is_loopback: bool,
}

/// What is answered here, and not by `s3s`: requests for objects and to the JSON API.
struct Requests {
    served: Arc<Served>,
    allows_writes: bool,
}

/// What a request names, and the parameters of its query.
type Named = (ServedName, Vec<(String, String)>);

impl Service {
    /// With `keys`, only requests that are signed with one of them are answered.
    pub(super) fn new(served: Arc<Served>, keys: Option<SimpleAuth>, allows_writes: bool, is_loopback: bool) -> Self {
        let requests = Arc::new(Requests { served: Arc::clone(&served), allows_writes });
        let alias = match s3s::path::check_bucket_name(&served.bucket) {
            true => served.bucket.clone(),
            false => ALIAS.to_owned(),
        };
        let mut s3 = S3ServiceBuilder::new(S3Bucket::new(served, alias.clone(), allows_writes));
        s3.set_host(LoopbackHost);
        let is_signed = keys.is_some();
        if let Some(keys) = keys {
            s3.set_auth(keys);
            s3.set_route(Route(Arc::clone(&requests)));
        }
        Self { requests, s3: s3.build(), alias, is_signed, is_loopback }
    }

    /// Answers a request. A request that cannot be answered has an answer that says so.
    ///
    /// # Cancel safety
    /// Cancel safe: what is read for the request ends with it.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let is_json = is_json(request.uri());
        let is_write = !matches!(*request.method(), Method::GET | Method::HEAD);
        // Before an empty body hyper sends no `100 Continue`. The AWS command line 1 then takes the status line of the
        // next answer on this connection for a header, and waits for a minute.
        let ends_connection = request.headers().contains_key(EXPECT) && request.body().is_end_stream();
        let web_page = if self.is_loopback { of_web_page(request.headers()) } else { None };
        let refusal = if let Some(why) = web_page {
            Some(RefusedRequest::forbidden(why))
        } else if is_write && !self.requests.allows_writes {
            Some(RefusedRequest::read_only())
        } else {
            None
        };
        let mut answer = match refusal {
            Some(refusal) => {
                // Who asks for `100 Continue` sends no body that is refused.
                if !request.headers().contains_key(EXPECT) {
                    skip(request.into_body()).await;
                }
                refused(refusal, is_json)
            }
            None => self.dispatch(request.map(Body::from)).await,
        };
        if ends_connection {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer)
    }

    async fn dispatch(&self, mut request: Request<Body>) -> Response<Body> {
        if !self.is_signed {
            match self.requests.own(request.method(), request.uri(), request.headers()) {
                Ok(Some(named)) => {
                    let (head, body) = request.into_parts();
                    let body = ReceivedBody::new(&head.headers, body, false, None);
                    return self.requests.answer(named, &head.method, &head.headers, body).await;
                }
                Ok(None) => {}
                Err(refusal) => return refused(refusal, false),
            }
            self.make_anonymous(&mut request);
        }
        match self.s3.call(request).await {
            Ok(response) => response,
            Err(error) => RefusedRequest::invalid(s3s::StdError::from(error).to_string()).into_xml(),
        }
    }

    /// Takes signatures out of a request: without keys nobody can check them, and `s3s` would refuse it. The bucket
    /// gets a name that `s3s` takes.
    fn make_anonymous(&self, request: &mut Request<Body>) {
        request.headers_mut().remove(AUTHORIZATION);
        let path = match self.requests.name(request.uri(), request.headers()) {
            // The host may have named the bucket, and the path now does.
            Some(ServedName::Bucket(bucket)) if bucket == self.requests.served.bucket => {
                request.headers_mut().remove(HOST);
                format!("/{}", self.alias)
            }
            Some(ServedName::Object { bucket, key }) if bucket == self.requests.served.bucket => {
                request.headers_mut().remove(HOST);
                format!("/{}/{}", self.alias, utf8_percent_encode(&key, ENCODED))
            }
            _ => request.uri().path().to_owned(),
        };
        let signs = |name: &str| name.starts_with("X-Amz-") || matches!(name, "Signature" | "AWSAccessKeyId");
        let query = parameters(request.uri()).into_iter().filter(|(name, _)| !signs(name));
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        if let Ok(uri) = format!("{path}?{query}").parse() {
            *request.uri_mut() = uri;
        }
    }
}

impl Requests {
    fn name(&self, uri: &Uri, headers: &HeaderMap) -> Option<ServedName> {
        ServedName::parse(uri.path(), header_text(headers, HOST), &self.served.bucket)
    }

    /// What a request names, where it is answered here.
    ///
    /// # Errors
    /// Its path is no text.
    fn own(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Option<Named>, RefusedRequest> {
        let name = self.name(uri, headers).ok_or_else(|| RefusedRequest::invalid("The path is not valid UTF-8"))?;
        let query = parameters(uri);
        let is_own = match name {
            ServedName::Object { .. } => {
                matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE)
                    && !query.iter().any(|(name, _)| OF_OBJECT.contains(&name.as_str()))
            }
            ServedName::Json(_) => true,
            ServedName::Buckets | ServedName::Bucket(_) => false,
        };
        Ok(is_own.then_some((name, query)))
    }

    async fn answer(
        &self,
        named: Named,
        method: &Method,
        headers: &HeaderMap,
        body: ReceivedBody<Body>,
    ) -> Response<Body> {
        let is_head = *method == Method::HEAD;
        let is_read = is_head || *method == Method::GET;
        let (name, query) = named;
        let is_json = matches!(name, ServedName::Json(_));
        let served = &*self.served;
        let answered = match &name {
            ServedName::Json(_) if !is_read => Err(RefusedRequest::unsupported("writes by the JSON API")),
            ServedName::Json(name) => json::answer(served, name, is_head, headers, &query).await,
            ServedName::Object { bucket, key } => match served.path(bucket, key) {
                Err(refusal) => Err(refusal),
                Ok(path) if is_read => {
                    let version_parameter = if served.has_generations() { "generation" } else { "versionId" };
                    let query = &query;
                    ServedRead { key, path, is_head, headers, query, version_parameter }.answer(served).await
                }
                Ok(path) if *method == Method::PUT => writes::put(served, &path, headers, body).await,
                Ok(_) => writes::delete(served, bucket, key).await.map(|()| empty(StatusCode::NO_CONTENT)),
            },
            ServedName::Buckets | ServedName::Bucket(_) => Err(RefusedRequest::unsupported("this request")),
        };
        answered.unwrap_or_else(|refusal| {
            served.note(&refusal);
            refused(refusal, is_json)
        })
    }
}

/// Requests for objects, once `s3s` has checked their signatures.
struct Route(Arc<Requests>);

#[async_trait::async_trait]
impl S3Route for Route {
    fn is_match(&self, method: &Method, uri: &Uri, headers: &HeaderMap, extensions: &mut Extensions) -> bool {
        let Ok(Some(named)) = self.0.own(method, uri, headers) else { return false };
        extensions.insert(named);
        true
    }

    // `check_access` of the trait refuses requests without a signature.

    async fn call(&self, mut request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let Some(named) = request.extensions.remove::<Named>() else {
            return Err(RefusedRequest::unsupported("this request").into_s3());
        };
        let body = ReceivedBody::new(&request.headers, request.input, true, request.trailing_headers);
        let (head, body) = self.0.answer(named, &request.method, &request.headers, body).await.into_parts();
        Ok(S3Response { status: Some(head.status), ..S3Response::with_headers(body, head.headers) })
    }
}

/// The hosts that may have a bucket in their names.
struct LoopbackHost;

impl S3Host for LoopbackHost {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        Ok(match bucket_of_host(host) {
            Some(bucket) => VirtualHost::new(host).with_bucket(bucket),
            None => VirtualHost::new(host),
        })
    }
}

fn parameters(uri: &Uri) -> Vec<(String, String)> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

fn is_json(uri: &Uri) -> bool {
    ["/storage/v1/", "/download/storage/v1/", "/upload/storage/v1/"].iter().any(|it| uri.path().starts_with(it))
}

/// Reads a body that nobody wants, if it is short. An answer before its end would end the connection, and a client that
/// still writes may see only that.
async fn skip(body: Incoming) {
    let mut body = Limited::new(body, SKIPPED_BYTES);
    let whole = async { while let Some(Ok(_)) = body.frame().await {} };
    // What is longer or comes later ends the connection.
    let _ = tokio::time::timeout(SKIPPED_WITHIN, whole).await;
}

fn refused(refusal: RefusedRequest, is_json: bool) -> Response<Body> {
    if is_json { refusal.into_json() } else { refusal.into_xml() }
}

fn empty(status: StatusCode) -> Response<Body> {
    response(status, HeaderMap::new(), "text/plain", Vec::new())
}
