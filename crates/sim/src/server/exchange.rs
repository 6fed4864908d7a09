//! One request and its answer: the delays, faults and log entries around an operation.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use http::{HeaderMap, Method, Response, StatusCode, Uri, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, Collected, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::Serialize;

use super::reply::{Answered, Refusal, ServerPayload, ServerReply};
use super::request::{Operation, Target};
use super::{bucket::ServedBucket, json_api};
use crate::cloud::log::{RequestEnd, RequestKind, RequestRecord};
use crate::cloud::{SimCloud, SimRequest, body::SimBody};
use crate::policy::faults::{ReadAnswer, ReadFault};

/// First segment of the paths of the server's own resources, which [`super`] lists.
const CONTROL: &str = "_sim";

/// Delay before a body fails. On an error hyper drops bytes that it has not written yet; the delay lets it write them.
const FLUSH: Duration = Duration::from_millis(5);

/// The body of an answer: bytes in memory, or a stream.
pub(super) type ServerBody = Either<Full<Bytes>, StreamBody<BoxStream<'static, object_store::Result<Frame<Bytes>>>>>;

/// The state that the connections of a server share.
#[derive(Debug)]
pub(super) struct ServerShared {
    pub(super) cloud: Arc<SimCloud>,
    pub(super) bucket: ServedBucket,
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct ClientConnection {
    shared: Arc<ServerShared>,
    /// When the connection is established. Earlier requests wait for it.
    ready_at: Duration,
}

impl ClientConnection {
    /// A connection whose set-up begins now.
    pub(super) fn new(shared: &Arc<ServerShared>) -> Self {
        Self { ready_at: shared.cloud.now() + shared.cloud.profile.setup, shared: Arc::clone(shared) }
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: http::Request<Incoming>) -> Response<ServerBody> {
        let ServerShared { cloud, bucket } = &*self.shared;
        if is_control(request.uri()) {
            let reply = control(cloud, request.method(), request.uri());
            return at_once(reply.unwrap_or_else(ServerReply::from));
        }
        let (parts, body) = request.into_parts();
        let refused = if bucket.speaks_json(&parts.uri) { json_api::refused } else { ServerReply::from };
        let operation = bucket.parse(&parts);
        let record = record(cloud.now(), &parts, operation.as_ref().ok());
        let mut request = cloud.request_over(self.ready_at.max(record.at), record);
        // Reads the whole body even for a refusal: the rest would be parsed as the next request.
        let Ok(body) = body.collect().await.map(Collected::to_bytes) else {
            return at_once(refused(Refusal::invalid("the request's body is incomplete")));
        };
        // A read sees the store at its arrival; any other operation takes effect when its answer is sent.
        let fault = if operation.as_ref().is_ok_and(Operation::is_read) {
            cloud.next_fault()
        } else {
            request.upload(body.len() as u64).await;
            cloud.sleep_until(request.connected_at.max(cloud.now()) + request.ttfb).await;
            ReadFault::default()
        };
        let reply = match fault.answer {
            ReadAnswer::Unavailable => Err(Refusal::unavailable()),
            ReadAnswer::Throttled { retry_after } => Err(Refusal::throttled(retry_after)),
            _ => operation.and_then(|operation| bucket.execute(operation, body, cloud.date())),
        };
        send(request, reply.unwrap_or_else(refused), &fault).await
    }
}

/// Sends `reply` when its first byte is due, or now if that time has passed.
async fn send(mut request: SimRequest, mut reply: ServerReply, fault: &ReadFault) -> Response<ServerBody> {
    let cloud = Arc::clone(&request.cloud);
    let first_byte_at = request.connected_at + request.ttfb + fault.late_by;
    let ServerPayload::Object { generation, range } = &reply.payload else {
        cloud.sleep_until(first_byte_at).await;
        request.set_status(reply.status.as_u16());
        let failed = matches!(fault.answer, ReadAnswer::Unavailable | ReadAnswer::Throttled { .. });
        request.end(if failed { RequestEnd::Failed } else { RequestEnd::Completed });
        return at_once(reply);
    };
    if reply.status == StatusCode::PARTIAL_CONTENT {
        request.set_range(range.clone());
    }
    // Opens the stream before the wait, so that a late wake-up does not delay its bytes on the link.
    let mut body = SimBody::open(request, Arc::clone(generation), range.clone(), first_byte_at, fault.answer);
    reply.headers.insert(CONTENT_LENGTH, body.content_length().into());
    cloud.sleep_until(first_byte_at).await;
    body.on_headers(reply.status.as_u16());
    let chunks = body.into_stream().then(|chunk| async {
        if chunk.is_err() {
            tokio::time::sleep(FLUSH).await;
        }
        chunk.map(Frame::data)
    });
    response(reply.status, reply.headers, Either::Right(StreamBody::new(chunks.boxed())))
}

fn at_once(reply: ServerReply) -> Response<ServerBody> {
    let bytes = match reply.payload {
        ServerPayload::Whole(bytes) => bytes,
        ServerPayload::Object { generation, range } => generation.bytes(range),
    };
    response(reply.status, reply.headers, Either::Left(Full::new(bytes)))
}

fn response(status: StatusCode, headers: HeaderMap, body: ServerBody) -> Response<ServerBody> {
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

/// Whether a request is for the server's own resources.
fn is_control(uri: &Uri) -> bool {
    uri.path().strip_prefix('/').and_then(|path| path.split('/').next()) == Some(CONTROL)
}

fn control(cloud: &SimCloud, method: &Method, uri: &Uri) -> Answered {
    let target = Target::parse(uri)?;
    match (method.as_str(), target.key.as_deref().unwrap_or_default()) {
        ("GET", "log") => Ok(control_json(&cloud.log.counts())),
        ("GET", "requests") => Ok(control_json(&cloud.log.snapshot())),
        ("POST", "reset") => {
            cloud.log.clear();
            Ok(ServerReply::empty(StatusCode::NO_CONTENT))
        }
        ("POST", "overwrite") => {
            let key = target.parameter("key").ok_or_else(|| Refusal::invalid("the parameter key is missing"))?;
            let size = target.number("size")?;
            let made = cloud.catalog.overwrite_synthetic(key, size, cloud.date())?;
            Ok(control_json(&made.number))
        }
        _ => Err(Refusal::not_allowed()),
    }
}

fn control_json<T: Serialize>(value: &T) -> ServerReply {
    ServerReply::json(StatusCode::OK, "application/json", value)
}

fn record(at: Duration, parts: &http::request::Parts, operation: Option<&Operation>) -> RequestRecord {
    let (kind, key) = match operation {
        Some(Operation::Get { key, options }) if options.head => (RequestKind::Head, key.as_str()),
        Some(Operation::Get { key, .. }) => (RequestKind::Get, key.as_str()),
        Some(Operation::Put { key, .. }) => (RequestKind::Put, key.as_str()),
        Some(Operation::Copy { to, .. }) => (RequestKind::Copy, to.as_str()),
        Some(Operation::Delete { key }) => (RequestKind::Delete, key.as_str()),
        Some(Operation::DeleteMany) => (RequestKind::Delete, ""),
        Some(Operation::List(query)) => (RequestKind::List, query.prefix.as_str()),
        Some(Operation::Upload { key, .. }) => (RequestKind::Multipart, key.as_str()),
        Some(Operation::Json(call)) => (call.kind(), call.key()),
        // The request cannot be parsed. It counts all the same.
        None => {
            let kind = match parts.method {
                Method::GET => RequestKind::Get,
                Method::HEAD => RequestKind::Head,
                Method::DELETE => RequestKind::Delete,
                _ => RequestKind::Put,
            };
            (kind, parts.uri.path())
        }
    };
    RequestRecord::new(at, kind, key)
}
