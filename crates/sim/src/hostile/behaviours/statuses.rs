//! Servers that answer with an error status or a redirect.

use super::{AskedRequest, Behaviour, FINAL, RETRIED, Reply, always, is_first, row};

const FOLLOWED: &str = "followed by the client";

pub(super) const REFUSALS: &[Behaviour] = &[
    row("400", "answers 400 to everything", FINAL).when(always, |_, _, _| Reply::text(400, "bad request")),
    row("401", "answers 401 to everything", FINAL).when(always, |_, _, _| Reply::text(401, "who are you?")),
    row("403", "answers 403 to everything", FINAL).when(always, |_, _, _| Reply::text(403, "not you")),
    row("404", "answers 404 to everything", FINAL).when(always, |_, _, _| Reply::text(404, "no such object")),
    row("410", "answers 410 to everything", FINAL).when(always, |_, _, _| Reply::text(410, "gone")),
    row("451", "answers 451 to everything", FINAL).when(always, |_, _, _| Reply::text(451, "by law")),
    row("501", "answers 501 to everything", FINAL).when(always, |_, _, _| Reply::text(501, "not implemented")),
    row("505", "answers 505 to everything", FINAL).when(always, |_, _, _| Reply::text(505, "not this version")),
    row("401-later", "answers 401 from the third request on", FINAL)
        .when(is_third_or_later, |_, _, _| Reply::text(401, "your token has expired")),
    row("403-later", "answers 403 from the third request on", FINAL)
        .when(is_third_or_later, |_, _, _| Reply::text(403, "no longer")),
    row("500", "answers 500 to everything", RETRIED).when(always, |_, _, _| Reply::text(500, "broken")),
    row("503", "answers 503 to everything", RETRIED).when(always, |_, _, _| Reply::text(503, "busy")),
    row("429", "answers 429 to everything", RETRIED).when(always, |_, _, _| Reply::text(429, "slow down")),
    row("408", "answers 408 to everything", RETRIED).when(always, |_, _, _| Reply::text(408, "too slow")),
    row("500-once", "answers 500 to the first request", RETRIED).when(is_first, |_, _, _| Reply::text(500, "broken")),
    row("504-once", "answers 504 to the first request", RETRIED).when(is_first, |_, _, _| Reply::text(504, "late")),
    row("408-once", "answers 408 to the first request", RETRIED).when(is_first, |_, _, _| Reply::text(408, "too slow")),
    row("503-every-third", "answers 503 to every third request", RETRIED)
        .when(|asked, _| asked.number % 3 == 0, |_, _, _| Reply::text(503, "busy")),
    row(
        "429-retry-after-seconds",
        "answers 429 with Retry-After: 1 to the first request",
        "retried once the time is over",
    )
    .when(is_first, |_, _, _| Reply::text(429, "").with("retry-after", "1")),
    row(
        "503-retry-after-date",
        "answers 503 with a date in Retry-After to the first request",
        "retried once the time is over, by the server's own clock",
    )
    .when(is_first, |_, _, _| {
        Reply::text(503, "")
            .with("date", "Wed, 21 Oct 2026 07:28:00 GMT")
            .with("retry-after", "Wed, 21 Oct 2026 07:28:01 GMT")
    }),
];

pub(super) const REDIRECTS: &[Behaviour] = &[
    row("301-without-location", "answers 301 without Location", FINAL).when(always, |_, _, _| Reply::empty(301)),
    row("redirect-loop", "answers 302 to itself", FINAL)
        .when(always, |_, asked, _| Reply::empty(302).with("location", asked.target.as_str())),
    row("301", "answers 301 to another path, which answers", FOLLOWED)
        .when(is_not_moved, |_, asked, _| moved(301, asked)),
    row("307", "answers 307 to another path, which answers", FOLLOWED)
        .when(is_not_moved, |_, asked, _| moved(307, asked)),
    row("308", "answers 308 to another path, which answers", FOLLOWED)
        .when(is_not_moved, |_, asked, _| moved(308, asked)),
];

fn is_third_or_later(asked: &AskedRequest, _: &Reply) -> bool {
    asked.number >= 2
}

/// Whether the request does not follow a redirect of [`moved`].
fn is_not_moved(asked: &AskedRequest, _: &Reply) -> bool {
    asked.parameter("moved").is_none()
}

/// Redirects to the same path with the parameter `moved`.
fn moved(status: u16, asked: &AskedRequest) -> Reply {
    let join = if asked.target.contains('?') { '&' } else { '?' };
    Reply::empty(status).with("location", format!("{}{join}moved=1", asked.target))
}
