//! What servers do: a table of scripts, by name. Pure.
//!
//! Each comes from a report about a real server or proxy. A behaviour changes the answer of a correct server; it knows the
//! request, and how many there were before.

use std::time::Duration;

use bytes::Bytes;

use super::connection::{garbage, pieces};
use super::{AskedRequest, HostileObject, HostileServer, Reply, ServedConnections, Step};

/// What a behaviour is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// `If-Match` and versions in requests.
    Preconditions,
    /// `Range`.
    Ranges,
    /// HEAD requests.
    Head,
    /// Entity tags and dates in answers.
    Validators,
    /// Status codes that say no.
    Refusals,
    /// Redirects.
    Redirects,
    /// Headers and lengths of answers.
    Framing,
    /// How bodies arrive.
    Bodies,
    /// Connections.
    Connections,
}

/// The objects that a behaviour is worth trying on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// Small ones alone: the behaviour is too slow for large ones.
    Small,
    /// Small and large ones.
    All,
}

/// One thing that servers do.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub topic: Topic,
    /// What the server does.
    pub server: &'static str,
    /// What Headstart does about it.
    pub ours: &'static str,
    /// The objects to try it on.
    pub sizes: Sizes,
    /// The connections that are served.
    pub connections: ServedConnections,
    alter: Alter,
}

type Alter = fn(&HostileObject, &AskedRequest, Reply) -> Reply;

impl Behaviour {
    /// A server of `object` that behaves so.
    #[must_use]
    pub fn server(&self, object: HostileObject) -> std::sync::Arc<HostileServer> {
        let (alter, of) = (self.alter, object.clone());
        HostileServer::with_connections(object, self.connections, move |asked, reply| alter(&of, asked, reply))
    }
}

const fn on(topic: Topic, name: &'static str, server: &'static str, ours: &'static str, alter: Alter) -> Behaviour {
    Behaviour { name, topic, server, ours, sizes: Sizes::All, connections: ServedConnections::All, alter }
}

const fn small(behaviour: Behaviour) -> Behaviour {
    Behaviour { sizes: Sizes::Small, ..behaviour }
}

const fn served(connections: ServedConnections, behaviour: Behaviour) -> Behaviour {
    Behaviour { connections, ..behaviour }
}

const SECOND: Duration = Duration::from_secs(1);

/// What is done about an answer that will be the same next time.
const FINAL: &str = "the error goes to the caller at once";
/// What is done about an answer that may be another one next time.
const RETRIED: &str = "retried after a pause";
/// What is done where the client itself copes.
const NOTHING: &str = "nothing has to be done";
/// What is done where a range that the caller did not ask for is refused.
const FALLS_BACK: &str =
    "asks again for what the caller asked for; after two refusals, adds nothing to the next requests to this store";
/// What is done where nothing proves that two answers are of one version.
const ONE_REQUEST: &str = "each read is one request; nothing is split, resumed, read ahead or cached";
/// What is done where entity tags differ and dates do not.
const TAGS_TELL_NOTHING: &str = "where size and date agree, compares dates in place of tags from then on";
/// What is done where a pin is refused.
const UNPINNED: &str =
    "one HEAD; where it shows the same version, compares answers instead, and after two refusals pins no more";

/// The server that does everything right: the first of [`ALL`].
pub const CORRECT: &Behaviour = &ALL[0];

/// Every behaviour, by topic.
pub const ALL: &[Behaviour] = &[
    on(Topic::Preconditions, "correct", "does everything right", NOTHING, |_, _, reply| reply),
    on(Topic::Preconditions, "if-match-refused", "answers 412 to every If-Match", UNPINNED, |_, asked, reply| {
        if asked.header("if-match").is_some() { Reply::text(412, "") } else { reply }
    }),
    on(
        Topic::Preconditions,
        "if-match-unquoted",
        "answers 412 to an If-Match with quotes, as it sends them itself",
        UNPINNED,
        |_, asked, reply| {
            if asked.header("if-match").is_some_and(|tag| tag.starts_with('"')) { Reply::text(412, "") } else { reply }
        },
    ),
    on(Topic::Preconditions, "if-match-501", "answers 501 to every If-Match", UNPINNED, |_, asked, reply| {
        if asked.header("if-match").is_some() { Reply::text(501, "not implemented") } else { reply }
    }),
    on(Topic::Preconditions, "if-match-400", "answers 400 to every If-Match", UNPINNED, |_, asked, reply| {
        if asked.header("if-match").is_some() { Reply::text(400, "unknown header") } else { reply }
    }),
    on(
        Topic::Preconditions,
        "version-refused",
        "answers 400 to every request that names a version",
        UNPINNED,
        |_, asked, reply| {
            if asked.parameter("generation").or(asked.parameter("versionId")).is_some() {
                Reply::text(400, "unknown parameter")
            } else {
                reply
            }
        },
    ),
    on(Topic::Ranges, "ranges-ignored", "answers 200 with the whole object to every range", FALLS_BACK, whole),
    on(
        Topic::Ranges,
        "covering-range-200",
        "answers 200 to a range that covers the whole object",
        FALLS_BACK,
        |object, asked, reply| {
            let covers = asked.range_in(object.size).is_some_and(|range| range == (0..object.size));
            if covers { whole(object, asked, reply) } else { reply }
        },
    ),
    on(
        Topic::Ranges,
        "end-past-object-416",
        "answers 416 to a range that ends past the object",
        FALLS_BACK,
        |object, asked, reply| match asked.range_as_said() {
            Some((Some(_), Some(last))) if last >= object.size => Reply::text(416, ""),
            _ => reply,
        },
    ),
    on(
        Topic::Ranges,
        "ranges-capped-short",
        "answers a range of more than 64 KiB with its first 64 KiB",
        FALLS_BACK,
        |object, _, mut reply| {
            if reply.status == 206 && reply.range().end - reply.range().start > 65_536 {
                let range = reply.range().start..reply.range().start + 65_536;
                reply.set_header("content-length", "65536");
                reply.set_header("content-range", format!("bytes {}-{}/{}", range.start, range.end - 1, object.size));
                reply.body = vec![Step::Object(range)];
            }
            reply
        },
    ),
    on(
        Topic::Ranges,
        "ranges-capped-400",
        "answers 400 to a range of more than 64 KiB",
        FALLS_BACK,
        |object, asked, reply| {
            let is_long = asked.range_in(object.size).is_some_and(|range| range.end - range.start > 65_536);
            if is_long { Reply::text(400, "too much at once") } else { reply }
        },
    ),
    on(Topic::Ranges, "ranges-416", "answers 416 to every range", FALLS_BACK, |_, asked, reply| {
        if asked.has_range() { Reply::text(416, "") } else { reply }
    }),
    on(Topic::Ranges, "ranges-501", "answers 501 to every range", FALLS_BACK, |_, asked, reply| {
        if asked.has_range() { Reply::text(501, "no ranges") } else { reply }
    }),
    on(
        Topic::Ranges,
        "open-ranges-ignored",
        "answers 200 to ranges without an end",
        FALLS_BACK,
        |object, asked, reply| match asked.range_as_said() {
            Some((_, None) | (None, _)) => whole(object, asked, reply),
            _ => reply,
        },
    ),
    on(
        Topic::Ranges,
        "suffix-ranges-416",
        "answers 416 to a range that counts from the end",
        FALLS_BACK,
        |_, asked, reply| {
            if matches!(asked.range_as_said(), Some((None, _))) { Reply::text(416, "") } else { reply }
        },
    ),
    on(Topic::Ranges, "another-range", "answers with the range one byte further on", FINAL, |object, _, mut reply| {
        if reply.status == 206 && reply.range().end < object.size {
            let range = reply.range().start + 1..reply.range().end + 1;
            reply.set_header("content-range", format!("bytes {}-{}/{}", range.start, range.end - 1, object.size));
            reply.body = vec![Step::Object(range)];
        }
        reply
    }),
    on(Topic::Ranges, "content-range-missing", "answers 206 without Content-Range", FALLS_BACK, |_, _, reply| {
        reply.without("content-range")
    }),
    on(
        Topic::Ranges,
        "content-range-size-unknown",
        "says Content-Range: bytes a-b/*",
        FALLS_BACK,
        |_, _, mut reply| {
            if reply.status == 206 {
                let range = reply.range();
                reply.set_header("content-range", format!("bytes {}-{}/*", range.start, range.end - 1));
            }
            reply
        },
    ),
    on(
        Topic::Ranges,
        "content-range-garbled",
        "says a Content-Range that nobody can read",
        FALLS_BACK,
        |_, _, reply| {
            if reply.status == 206 { reply.with("content-range", "from here to there") } else { reply }
        },
    ),
    on(Topic::Head, "head-405", "answers 405 to HEAD", "reads without HEAD", |_, asked, reply| {
        if asked.is_head() { Reply::text(405, "") } else { reply }
    }),
    on(Topic::Head, "head-403", "answers 403 to HEAD", "reads without HEAD", |_, asked, reply| {
        if asked.is_head() { Reply::text(403, "") } else { reply }
    }),
    on(Topic::Head, "head-501", "answers 501 to HEAD", "reads without HEAD", |_, asked, reply| {
        if asked.is_head() { Reply::text(501, "") } else { reply }
    }),
    on(
        Topic::Head,
        "head-without-length",
        "answers HEAD without Content-Length",
        "reads without HEAD",
        |_, asked, reply| {
            if asked.is_head() { reply.without("content-length") } else { reply }
        },
    ),
    on(
        Topic::Head,
        "head-length-0",
        "says Content-Length: 0 in answers to HEAD",
        "believes answers to GET",
        |_, asked, reply| {
            if asked.is_head() { reply.with("content-length", "0") } else { reply }
        },
    ),
    on(
        Topic::Head,
        "head-another-tag",
        "shows another entity tag in answers to HEAD than to GET",
        "believes answers to GET",
        |_, asked, reply| {
            if asked.is_head() && reply.is_about_object() { reply.with("etag", "\"of-head\"") } else { reply }
        },
    ),
    on(Topic::Validators, "tag-missing", "sends no entity tag", "compares dates", |_, _, reply| reply.without("etag")),
    on(Topic::Validators, "no-validators", "sends neither tag nor date nor version", ONE_REQUEST, |_, _, reply| {
        bare(reply)
    }),
    on(Topic::Validators, "tag-weak", "sends weak entity tags", "compares dates too", |_, _, reply| {
        if reply.is_about_object() { reply.with("etag", "W/\"weak\"") } else { reply }
    }),
    on(Topic::Validators, "tag-weak-alone", "sends weak entity tags, and no date", ONE_REQUEST, |_, _, reply| {
        if reply.is_about_object() { bare(reply).with("etag", "W/\"weak\"") } else { reply }
    }),
    on(
        Topic::Validators,
        "tag-unquoted",
        "sends entity tags without quotes, and refuses them with quotes",
        UNPINNED,
        |object, asked, reply| {
            let bare = object.e_tag.trim_matches('"');
            let reply = match asked.header("if-match") {
                Some(tag) if tag == bare => Reply::to(object, &without_header(asked, "if-match")),
                _ => reply,
            };
            if reply.is_about_object() { reply.with("etag", bare) } else { reply }
        },
    ),
    on(Topic::Validators, "tag-empty", "sends an empty entity tag", "compares dates", |_, _, reply| {
        if reply.is_about_object() { reply.with("etag", "") } else { reply }
    }),
    on(
        Topic::Validators,
        "tag-changes",
        "sends another entity tag with each answer, and refuses those of before",
        TAGS_TELL_NOTHING,
        |object, asked, reply| {
            if asked.header("if-match").is_some() {
                return Reply::text(412, "");
            }
            let _ = object;
            if reply.is_about_object() {
                without_versions(reply).with("etag", format!("\"{}\"", asked.number))
            } else {
                reply
            }
        },
    ),
    on(
        Topic::Validators,
        "tag-of-replica",
        "is two replicas in turn, each with an entity tag of its own",
        TAGS_TELL_NOTHING,
        |object, asked, _| {
            let replica = HostileObject { e_tag: format!("\"replica-{}\"", asked.number % 2), ..object.clone() };
            without_versions(Reply::to(&replica, asked))
        },
    ),
    on(Topic::Validators, "tag-only-whole", "sends no entity tag with ranges", "compares dates", |_, _, reply| {
        if reply.status == 206 { reply.without("etag") } else { reply }
    }),
    on(Topic::Validators, "date-missing", "sends no date", "compares entity tags", |_, _, reply| {
        reply.without("last-modified")
    }),
    on(Topic::Validators, "date-future", "sends a date of the year 2099", "compares entity tags", |_, _, reply| {
        dated(reply, "Mon, 05 Jan 2099 00:00:00 GMT")
    }),
    on(Topic::Validators, "date-zero", "sends the date 1970-01-01", "compares entity tags", |_, _, reply| {
        dated(reply, "Thu, 01 Jan 1970 00:00:00 GMT")
    }),
    on(
        Topic::Validators,
        "date-changes",
        "sends another date with each answer, and one entity tag",
        "compares entity tags",
        |_, asked, reply| dated(reply, &format!("Wed, 21 Oct 2020 07:28:{:02} GMT", asked.number % 60)),
    ),
    on(Topic::Validators, "date-garbled", "sends a date that nobody can read", FINAL, |_, _, reply| {
        dated(reply, "yesterday")
    }),
    on(Topic::Validators, "date-iso", "sends an ISO 8601 date", FINAL, |_, _, reply| {
        dated(reply, "2020-10-21T07:28:00Z")
    }),
    on(Topic::Refusals, "400", "answers 400 to everything", FINAL, |_, _, _| Reply::text(400, "bad request")),
    on(Topic::Refusals, "401", "answers 401 to everything", FINAL, |_, _, _| Reply::text(401, "who are you?")),
    on(Topic::Refusals, "403", "answers 403 to everything", FINAL, |_, _, _| Reply::text(403, "not you")),
    on(Topic::Refusals, "404", "answers 404 to everything", FINAL, |_, _, _| Reply::text(404, "no such object")),
    on(Topic::Refusals, "410", "answers 410 to everything", FINAL, |_, _, _| Reply::text(410, "gone")),
    on(Topic::Refusals, "451", "answers 451 to everything", FINAL, |_, _, _| Reply::text(451, "by law")),
    on(Topic::Refusals, "501", "answers 501 to everything", FINAL, |_, _, _| Reply::text(501, "not implemented")),
    on(Topic::Refusals, "505", "answers 505 to everything", FINAL, |_, _, _| Reply::text(505, "not this version")),
    on(Topic::Refusals, "401-later", "answers 401 from the third request on", FINAL, |_, asked, reply| {
        if asked.number >= 2 { Reply::text(401, "your token has expired") } else { reply }
    }),
    on(Topic::Refusals, "403-later", "answers 403 from the third request on", FINAL, |_, asked, reply| {
        if asked.number >= 2 { Reply::text(403, "no longer") } else { reply }
    }),
    on(Topic::Refusals, "500", "answers 500 to everything", RETRIED, |_, _, _| Reply::text(500, "broken")),
    on(Topic::Refusals, "503", "answers 503 to everything", RETRIED, |_, _, _| Reply::text(503, "busy")),
    on(Topic::Refusals, "429", "answers 429 to everything", RETRIED, |_, _, _| Reply::text(429, "slow down")),
    on(Topic::Refusals, "408", "answers 408 to everything", RETRIED, |_, _, _| Reply::text(408, "too slow")),
    on(Topic::Refusals, "500-once", "answers 500 to the first request", RETRIED, |_, asked, reply| {
        if asked.number == 0 { Reply::text(500, "broken") } else { reply }
    }),
    on(Topic::Refusals, "504-once", "answers 504 to the first request", RETRIED, |_, asked, reply| {
        if asked.number == 0 { Reply::text(504, "late") } else { reply }
    }),
    on(Topic::Refusals, "408-once", "answers 408 to the first request", RETRIED, |_, asked, reply| {
        if asked.number == 0 { Reply::text(408, "too slow") } else { reply }
    }),
    on(Topic::Refusals, "503-every-third", "answers 503 to every third request", RETRIED, |_, asked, reply| {
        if asked.number % 3 == 0 { Reply::text(503, "busy") } else { reply }
    }),
    on(
        Topic::Refusals,
        "429-retry-after-seconds",
        "answers 429 with Retry-After: 1 to the first request",
        "retried once the time is over",
        |_, asked, reply| if asked.number == 0 { Reply::text(429, "").with("retry-after", "1") } else { reply },
    ),
    on(
        Topic::Refusals,
        "503-retry-after-date",
        "answers 503 with a date in Retry-After to the first request",
        "retried once the time is over, by the server's own clock",
        |_, asked, reply| match asked.number {
            0 => Reply::text(503, "")
                .with("date", "Wed, 21 Oct 2026 07:28:00 GMT")
                .with("retry-after", "Wed, 21 Oct 2026 07:28:01 GMT"),
            _ => reply,
        },
    ),
    on(Topic::Redirects, "301-without-location", "answers 301 without Location", FINAL, |_, _, _| Reply::empty(301)),
    on(Topic::Redirects, "redirect-loop", "answers 302 to itself", FINAL, |_, asked, _| {
        Reply::empty(302).with("location", asked.target.as_str())
    }),
    on(
        Topic::Redirects,
        "301",
        "answers 301 to another path, which answers",
        "followed by the client",
        |_, asked, reply| moved(301, asked, reply),
    ),
    on(
        Topic::Redirects,
        "307",
        "answers 307 to another path, which answers",
        "followed by the client",
        |_, asked, reply| moved(307, asked, reply),
    ),
    on(
        Topic::Redirects,
        "308",
        "answers 308 to another path, which answers",
        "followed by the client",
        |_, asked, reply| moved(308, asked, reply),
    ),
    on(Topic::Framing, "length-missing", "sends bodies in chunks, without Content-Length", FINAL, |_, _, reply| {
        if reply.is_about_object() { reply.in_chunks() } else { reply }
    }),
    on(
        Topic::Framing,
        "decompressed",
        "decompresses a stored gzip on the way: 200 without length to whatever range, as GCS does",
        FINAL,
        |object, asked, reply| {
            if !reply.is_about_object() {
                return reply;
            }
            whole(object, asked, reply)
                .in_chunks()
                .with("x-goog-stored-content-encoding", "gzip")
                .with("warning", "214 UploadServer gunzipped")
        },
    ),
    on(
        Topic::Framing,
        "encoding-gzip",
        "says Content-Encoding: gzip of what is stored",
        "bytes are handed on as they are stored",
        |_, _, reply| if reply.is_about_object() { reply.with("content-encoding", "gzip") } else { reply },
    ),
    on(Topic::Framing, "long-headers", "sends a header of 16 KB", NOTHING, |_, _, reply| {
        reply.with("x-long", "x".repeat(16 * 1024))
    }),
    on(Topic::Framing, "huge-headers", "sends a header of 1 MB", FINAL, |_, _, reply| {
        reply.with("x-long", "x".repeat(1_000_000))
    }),
    on(Topic::Framing, "many-headers", "sends 150 headers", FINAL, |_, _, reply| {
        (0..150).fold(reply, |reply, n| reply.with(&format!("x-{n}"), "y"))
    }),
    on(Topic::Framing, "garbage", "sends what is no HTTP", FINAL, |_, _, reply| Reply {
        garbage: Some(garbage()),
        body: Vec::new(),
        closes: true,
        ..reply
    }),
    on(Topic::Framing, "length-garbled", "sends a Content-Length that is no number", FINAL, |_, _, reply| {
        if reply.is_about_object() { reply.with("content-length", "many") } else { reply }
    }),
    on(Topic::Bodies, "too-short", "closes each connection ten bytes before the end", RETRIED, |_, _, mut reply| {
        if reply.is_about_object() {
            let range = reply.range();
            reply.body = vec![Step::Object(range.start..range.end.saturating_sub(10).max(range.start)), Step::Close];
        }
        reply
    }),
    on(Topic::Bodies, "too-long", "sends ten bytes more than it said", NOTHING, |_, _, mut reply| {
        if reply.is_about_object() {
            reply.body.push(Step::Bytes(Bytes::from_static(b"and more..")));
            reply.closes = true;
        }
        reply
    }),
    on(
        Topic::Bodies,
        "cut-once",
        "closes the first connection in the middle of the body",
        "resumed at the missing byte",
        |_, asked, mut reply| {
            if asked.number == 0 && reply.is_about_object() {
                let range = reply.range();
                reply.body = vec![Step::Object(range.start..range.start.midpoint(range.end)), Step::Close];
            }
            reply
        },
    ),
    on(
        Topic::Bodies,
        "cut-every-64-kib",
        "closes connections after 64 KiB of a body",
        "resumed at the missing byte as often as the client would",
        |_, _, mut reply| {
            let range = reply.range();
            if reply.is_about_object() && range.end - range.start > 65_536 {
                reply.body = vec![Step::Object(range.start..range.start + 65_536), Step::Close];
            }
            reply
        },
    ),
    on(
        Topic::Bodies,
        "cut-after-headers-once",
        "closes the first connection after the headers",
        "asked for again",
        |_, asked, reply| {
            if asked.number == 0 && reply.is_about_object() { reply.with_body(vec![Step::Close]) } else { reply }
        },
    ),
    on(Topic::Bodies, "cut-after-headers", "closes every connection after the headers", RETRIED, |_, _, reply| {
        if reply.is_about_object() { reply.with_body(vec![Step::Close]) } else { reply }
    }),
    on(
        Topic::Bodies,
        "first-byte-late",
        "sends headers at once and the first byte of each body 5 s later",
        "a second request races the silent one; pauses that end are waited for from then on",
        |_, _, mut reply| {
            if reply.is_about_object() {
                reply.body.insert(0, Step::Pause(5 * SECOND));
            }
            reply
        },
    ),
    on(
        Topic::Bodies,
        "pause-in-body",
        "pauses for 3 s in the middle of each body",
        "a second request races the silent one; pauses that end are waited for from then on",
        |_, _, mut reply| {
            if reply.is_about_object() {
                let range = reply.range();
                let middle = range.start.midpoint(range.end);
                reply.body =
                    vec![Step::Object(range.start..middle), Step::Pause(3 * SECOND), Step::Object(middle..range.end)];
            }
            reply
        },
    ),
    small(on(
        Topic::Bodies,
        "byte-a-second",
        "sends a byte a second",
        "waited for, as the client does",
        |object, asked, reply| {
            if !reply.is_about_object() || asked.range_in(object.size).is_none_or(|range| range.end - range.start > 200)
            {
                return reply;
            }
            let body = pieces(reply.range(), 1, &[Step::Pause(SECOND)]);
            reply.with_body(body)
        },
    )),
    on(
        Topic::Bodies,
        "silent-body",
        "sends headers, and never a byte",
        "given up with the client's own timeout",
        |_, _, reply| {
            if reply.is_about_object() { reply.with_body(vec![Step::Pause(3600 * SECOND)]) } else { reply }
        },
    ),
    on(
        Topic::Bodies,
        "silent-body-once",
        "sends the first body never",
        "a second request takes its place",
        |_, asked, reply| {
            if asked.number == 0 && reply.is_about_object() {
                reply.with_body(vec![Step::Pause(3600 * SECOND)])
            } else {
                reply
            }
        },
    ),
    on(Topic::Bodies, "endless", "sends bytes for ever after what it said", NOTHING, |_, _, mut reply| {
        if reply.is_about_object() {
            reply.body.push(Step::Endless);
        }
        reply
    }),
    on(Topic::Connections, "silent", "never answers", "given up with the client's own timeout", |_, _, reply| Reply {
        after: None,
        ..reply
    }),
    on(
        Topic::Connections,
        "slow",
        "answers after 5 s",
        "a second request is sent where an answer is late",
        |_, _, reply| reply.delayed(5 * SECOND),
    ),
    served(
        ServedConnections::None,
        on(Topic::Connections, "refused", "refuses every connection", RETRIED, |_, _, reply| reply),
    ),
    served(
        ServedConnections::OneAtATime,
        on(
            Topic::Connections,
            "one-at-a-time",
            "serves one connection at a time, and keeps it open",
            NOTHING,
            |_, _, reply| reply,
        ),
    ),
    on(
        Topic::Connections,
        "closes-without-notice",
        "closes the connection after each answer, without saying so",
        "asked again where a request met the end of a connection",
        |_, _, reply| Reply { closes: true, ..reply },
    ),
    on(
        Topic::Connections,
        "closes-unanswered",
        "closes every connection instead of answering",
        RETRIED,
        |_, _, reply| Reply { garbage: Some(Bytes::new()), body: Vec::new(), closes: true, ..reply },
    ),
    on(
        Topic::Connections,
        "closes-unanswered-once",
        "closes the first connection instead of answering",
        RETRIED,
        |_, asked, reply| {
            if asked.number == 0 {
                return Reply { garbage: Some(Bytes::new()), body: Vec::new(), closes: true, ..reply };
            }
            reply
        },
    ),
    on(Topic::Connections, "connection-close", "says Connection: close", NOTHING, |_, _, reply| Reply {
        closes: true,
        ..reply.with("connection", "close")
    }),
];

/// The answer with the whole object, whatever was asked for.
fn whole(object: &HostileObject, asked: &AskedRequest, reply: Reply) -> Reply {
    if reply.is_about_object() || reply.status == 416 {
        Reply::to(object, &without_header(asked, "range"))
    } else {
        reply
    }
}

fn without_header(asked: &AskedRequest, name: &str) -> AskedRequest {
    let mut asked = asked.clone();
    asked.headers.retain(|(known, _)| known != name);
    asked
}

fn without_versions(reply: Reply) -> Reply {
    reply.without("x-goog-generation").without("x-amz-version-id")
}

fn bare(reply: Reply) -> Reply {
    without_versions(reply).without("etag").without("last-modified")
}

fn dated(reply: Reply, date: &str) -> Reply {
    if reply.is_about_object() { reply.with("last-modified", date) } else { reply }
}

/// Sends a reader to the same path with a parameter more, which answers.
fn moved(status: u16, asked: &AskedRequest, reply: Reply) -> Reply {
    if asked.parameter("moved").is_some() {
        return reply;
    }
    let join = if asked.target.contains('?') { '&' } else { '?' };
    Reply::empty(status).with("location", format!("{}{join}moved=1", asked.target))
}
