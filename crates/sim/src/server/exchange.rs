//! One request and its answer: delays, faults and the log around an operation.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, Collected, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};

use super::bucket::{ServedBucket, ServerPayload, ServerReply};
use super::reply::Refusal;
use super::request::Operation;
use super::{control, json_api};
use crate::cloud::body::SimBody;
use crate::cloud::log::{End, RequestKind, RequestRecord};
use crate::cloud::{SimCloud, SimRequest};
use crate::policy::faults::{Answer, Fault};

/// Time for what was sent before a cut to leave: an error makes hyper drop what it has not written yet.
const FLUSH: Duration = Duration::from_millis(5);

/// The body of an answer: there already, or made as it is sent.
pub(super) type ServerBody = Either<Full<Bytes>, StreamBody<BoxStream<'static, object_store::Result<Frame<Bytes>>>>>;

/// All that the connections of a server share.
#[derive(Debug)]
pub(super) struct ServerShared {
    pub(super) cloud: Arc<SimCloud>,
    pub(super) bucket: ServedBucket,
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct ServedConnection {
    service: Arc<ServerShared>,
    /// When it is up: requests that come sooner wait.
    ready_at: Duration,
}

impl ServedConnection {
    /// A connection that the client begins to set up now.
    pub(super) fn new(service: &Arc<ServerShared>) -> Self {
        Self { ready_at: service.cloud.now() + service.cloud.profile.setup, service: Arc::clone(service) }
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: http::Request<Incoming>) -> Response<ServerBody> {
        let ServerShared { cloud, bucket } = &*self.service;
        if control::is_meant(request.uri()) {
            return at_once(control::answer(&self.service, request.method(), request.uri()));
        }
        let (parts, body) = request.into_parts();
        let refused = if bucket.speaks_json(&parts.uri) { json_api::refused } else { ServerReply::from };
        let operation = bucket.parse(&parts);
        let record = record(cloud.now(), &parts, operation.as_ref().ok());
        let mut request = cloud.request_over(self.ready_at.max(record.at), record);
        // The whole body is read, whatever the answer: what is left of it would be taken for the next request.
        let Ok(body) = body.collect().await.map(Collected::to_bytes) else {
            return at_once(refused(Refusal::invalid("the request's body broke off")));
        };
        // A read is answered with what the store holds when it arrives; everything else happens when it is answered.
        let fault = if operation.as_ref().is_ok_and(Operation::is_read) {
            cloud.next_fault()
        } else {
            request.upload(body.len() as u64).await;
            cloud.sleep_until(request.connected_at.max(cloud.now()) + request.ttfb).await;
            Fault::default()
        };
        let reply = match fault.answer {
            Answer::Unavailable => Err(Refusal::unavailable()),
            Answer::Throttled { retry_after } => Err(Refusal::throttled(retry_after)),
            _ => operation.and_then(|operation| bucket.execute(operation, body, cloud.date())),
        };
        send(request, reply.unwrap_or_else(refused), &fault).await
    }
}

/// Sends `reply` when its first byte is due; where that is past, now.
async fn send(mut request: SimRequest, mut reply: ServerReply, fault: &Fault) -> Response<ServerBody> {
    let cloud = Arc::clone(&request.cloud);
    let first_byte_at = request.connected_at + request.ttfb + fault.late_by;
    let ServerPayload::Object { generation, range } = &reply.payload else {
        cloud.sleep_until(first_byte_at).await;
        request.status(reply.status.as_u16());
        let failed = matches!(fault.answer, Answer::Unavailable | Answer::Throttled { .. });
        request.end(if failed { End::Failed } else { End::Completed });
        return at_once(reply);
    };
    if reply.status == StatusCode::PARTIAL_CONTENT {
        request.asked_for(range.clone());
    }
    // Opened before the wait: the link knows of the stream beforehand, and the wait may end late.
    let mut body = SimBody::open(request, Arc::clone(generation), range.clone(), first_byte_at, fault.answer);
    reply.headers.insert(CONTENT_LENGTH, body.content_length().into());
    cloud.sleep_until(first_byte_at).await;
    body.answered(reply.status.as_u16());
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
        // Not understood: it is refused, but it was sent.
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
