//! Servers that send odd headers, bodies that are cut, slow or silent, or that close connections early.

use std::{ops::Range, time::Duration};

use bytes::Bytes;

use super::{
    AskedRequest, Behaviour, BodyStep, FINAL, NOTHING, RETRIED, Reply, ServedConnections, always, is_about_object,
    is_first, row, whole,
};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any timeout of a client.
const NEVER: Duration = Duration::from_secs(3600);
/// The most that a server sends before it cuts the connection.
const CUT_BYTES: u64 = 65_536;

/// What Headstart does where a body stalls.
const RACED: &str = "a second request races the silent one; pauses that end are waited for from then on";

pub(super) const FRAMING: &[Behaviour] = &[
    row("length-missing", "sends bodies in chunks, without Content-Length", FINAL)
        .when(is_about_object, |_, _, reply| reply.in_chunks()),
    row(
        "decompressed",
        "decompresses a stored gzip on the way: 200 without length to whatever range, as GCS does",
        FINAL,
    )
    .when(is_about_object, |object, asked, reply| {
        whole(object, asked, reply)
            .in_chunks()
            .with("x-goog-stored-content-encoding", "gzip")
            .with("warning", "214 UploadServer gunzipped")
    }),
    row("encoding-gzip", "says Content-Encoding: gzip of what is stored", "bytes are handed on as they are stored")
        .when(is_about_object, |_, _, reply| reply.with("content-encoding", "gzip")),
    row("long-headers", "sends a header of 16 KB", NOTHING)
        .when(always, |_, _, reply| reply.with("x-long", "x".repeat(16 * 1024))),
    row("huge-headers", "sends a header of 1 MB", FINAL)
        .when(always, |_, _, reply| reply.with("x-long", "x".repeat(1_000_000))),
    row("many-headers", "sends 150 headers", FINAL)
        .when(always, |_, _, reply| (0..150).fold(reply, |reply, n| reply.with(&format!("x-{n}"), "y"))),
    row("garbage", "sends what is no HTTP", FINAL)
        .when(always, |_, _, reply| reply.replaced_by(b"\x16\x03\x01 this is not HTTP\r\n\r\n")),
    row("length-garbled", "sends a Content-Length that is no number", FINAL)
        .when(is_about_object, |_, _, reply| reply.with("content-length", "many")),
];

pub(super) const BODIES: &[Behaviour] = &[
    row("too-short", "closes each connection ten bytes before the end", RETRIED)
        .when(is_about_object, |_, _, reply| cut(reply, |range| range.end.saturating_sub(10))),
    row("too-long", "sends ten bytes more than it said", NOTHING).when(is_about_object, |_, _, mut reply| {
        reply.body.push(BodyStep::Bytes(Bytes::from_static(b"and more..")));
        Reply { closes: true, ..reply }
    }),
    row("cut-once", "closes the first connection in the middle of the body", "resumed at the missing byte")
        .when(is_first_body, |_, _, reply| cut(reply, middle)),
    row(
        "cut-every-64-kib",
        "closes connections after 64 KiB of a body",
        "resumed at the missing byte as often as the client would",
    )
    .when(
        |_, reply| reply.is_about_object() && reply.range_bytes() > CUT_BYTES,
        |_, _, reply| cut(reply, |range| range.start + CUT_BYTES),
    ),
    row("cut-after-headers-once", "closes the first connection after the headers", "asked for again")
        .when(is_first_body, |_, _, reply| reply.with_body(vec![BodyStep::Close])),
    row("cut-after-headers", "closes every connection after the headers", RETRIED)
        .when(is_about_object, |_, _, reply| reply.with_body(vec![BodyStep::Close])),
    row("first-byte-late", "sends headers at once and the first byte of each body 5 s later", RACED).when(
        is_about_object,
        |_, _, mut reply| {
            reply.body.insert(0, BodyStep::Pause(5 * SECOND));
            reply
        },
    ),
    row("pause-in-body", "pauses for 3 s in the middle of each body", RACED).when(is_about_object, |_, _, reply| {
        let range = reply.range();
        let middle = middle(&range);
        reply.with_body(vec![
            BodyStep::Object(range.start..middle),
            BodyStep::Pause(3 * SECOND),
            BodyStep::Object(middle..range.end),
        ])
    }),
    row("byte-a-second", "sends a byte a second", "waited for, as the client does")
        .when(is_about_object, |object, asked, reply| match asked.range_in(object.size) {
            Some(range) if range.end - range.start <= 200 => {
                let range = reply.range();
                let byte = |at| [BodyStep::Object(at..at + 1), BodyStep::Pause(SECOND)];
                let mut body: Vec<_> = range.flat_map(byte).collect();
                body.pop();
                reply.with_body(body)
            }
            _ => reply,
        })
        .small(),
    row("silent-body", "sends headers, and never a byte", "given up with the client's own timeout")
        .when(is_about_object, |_, _, reply| reply.with_body(vec![BodyStep::Pause(NEVER)])),
    row("silent-body-once", "sends the first body never", "a second request takes its place")
        .when(is_first_body, |_, _, reply| reply.with_body(vec![BodyStep::Pause(NEVER)])),
    row("endless", "sends bytes for ever after what it said", NOTHING).when(is_about_object, |_, _, mut reply| {
        reply.body.push(BodyStep::Endless);
        reply
    }),
];

pub(super) const CONNECTIONS: &[Behaviour] = &[
    row("silent", "never answers", "given up with the client's own timeout")
        .when(always, |_, _, reply| Reply { after: None, ..reply }),
    row("slow", "answers after 5 s", "a second request is sent where an answer is late")
        .when(always, |_, _, reply| reply.delayed(5 * SECOND)),
    row("refused", "refuses every connection", RETRIED).serving(ServedConnections::None),
    row("one-at-a-time", "serves one connection at a time, and keeps it open", NOTHING)
        .serving(ServedConnections::OneAtATime),
    row(
        "closes-without-notice",
        "closes the connection after each answer, without saying so",
        "asked again where a request met the end of a connection",
    )
    .when(always, |_, _, reply| Reply { closes: true, ..reply }),
    row("closes-unanswered", "closes every connection instead of answering", RETRIED)
        .when(always, |_, _, reply| reply.replaced_by(b"")),
    row("closes-unanswered-once", "closes the first connection instead of answering", RETRIED)
        .when(is_first, |_, _, reply| reply.replaced_by(b"")),
    row("connection-close", "says Connection: close", NOTHING)
        .when(always, |_, _, reply| Reply { closes: true, ..reply.with("connection", "close") }),
];

fn is_first_body(asked: &AskedRequest, reply: &Reply) -> bool {
    asked.number == 0 && reply.is_about_object()
}

fn middle(range: &Range<u64>) -> u64 {
    range.start.midpoint(range.end)
}

/// The same answer, whose connection is closed before the byte of the object that `end` computes from its range.
fn cut(reply: Reply, end: impl Fn(&Range<u64>) -> u64) -> Reply {
    let range = reply.range();
    let end = end(&range).max(range.start);
    reply.with_body(vec![BodyStep::Object(range.start..end), BodyStep::Close])
}
