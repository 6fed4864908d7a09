//! The server's own resources, by which another process reads the log and changes objects. They are neither delayed nor logged.
//!
//! - `GET /_sim/log`: the `RequestCounts` as JSON.
//! - `GET /_sim/requests`: every `RequestRecord` as JSON.
//! - `POST /_sim/reset`: forgets the log.
//! - `POST /_sim/overwrite?key=…[&size=…]`: writes a new synthetic generation, of the same size where none is given, and
//!   answers with its generation.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;

use super::bucket::{ServerPayload, ServerReply};
use super::exchange::ServerShared;
use super::reply::Refusal;
use super::request::Target;

/// No bucket can be called this.
const BUCKET: &str = "_sim";

/// Whether a request is for the server itself.
pub(super) fn is_meant(uri: &Uri) -> bool {
    uri.path().strip_prefix('/').and_then(|path| path.split('/').next()) == Some(BUCKET)
}

/// Answers a request that is for the server itself.
pub(super) fn answer(service: &ServerShared, method: &Method, uri: &Uri) -> ServerReply {
    execute(service, method, uri).unwrap_or_else(ServerReply::from)
}

fn execute(service: &ServerShared, method: &Method, uri: &Uri) -> Result<ServerReply, Refusal> {
    let target = Target::parse(uri)?;
    match (method.as_str(), target.key.as_deref().unwrap_or_default()) {
        ("GET", "log") => Ok(json(&service.cloud.log.counts())),
        ("GET", "requests") => Ok(json(&service.cloud.log.snapshot())),
        ("POST", "reset") => {
            service.cloud.log.clear();
            Ok(ServerReply::empty(StatusCode::NO_CONTENT))
        }
        ("POST", "overwrite") => {
            let key = target.parameter("key").ok_or_else(|| Refusal::invalid("which key?"))?;
            let size = target.parameter("size").map(str::parse).transpose();
            let size = size.map_err(|_| Refusal::invalid("a size is a number of bytes"))?;
            let made = service.cloud.catalog.overwrite_synthetic(key, size, service.cloud.date())?;
            Ok(json(&made.number))
        }
        _ => Err(Refusal::not_allowed()),
    }
}

fn json<T: Serialize>(value: &T) -> ServerReply {
    let payload = serde_json::to_vec(value).expect("counts, records and numbers are plain data");
    let mut reply =
        ServerReply { payload: ServerPayload::Whole(Bytes::from(payload)), ..ServerReply::empty(StatusCode::OK) };
    reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
