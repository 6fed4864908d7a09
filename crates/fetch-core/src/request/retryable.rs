//! Which errors are retried: one table, with reasons.
//!
//! Errors that are not known to pass go to the caller at once. The table covers the faults that the clients of
//! `object_store` retry. Those clients report most of them only as text, that of `object_store` 0.14;
//! `odd_servers` and `tls` of the facade's tests fail if the text changes.

use std::{error::Error, io::ErrorKind};

use crate::error::{FetchError, STATUS_PREFIX, Throttled, says_invalid_range, sources};
use crate::options::ConfigError;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct RetryRule {
    /// The error.
    pub error: &'static str,
    /// Whether the request is sent again.
    pub is_retried: bool,
    /// The reason.
    pub why: &'static str,
}

const fn rule(error: &'static str, is_retried: bool, why: &'static str) -> RetryRule {
    RetryRule { error, is_retried, why }
}

/// The table, for documentation. [`is_transient`] implements it.
pub const RETRY_RULES: &[RetryRule] = &[
    rule("429, 503", true, "the store has too many requests now; `Retry-After` is obeyed"),
    rule("408, and every 5xx but 501 and 505", true, "the state of one server, and the next try may meet another one"),
    rule("501, 505", false, "the server does not know how, and will not know next time"),
    rule("connection refused, reset, closed, timed out", true, "connections fail for reasons that pass"),
    rule("body cut short, reset or silent", true, "as above; the rest is asked for, of the same version"),
    rule(
        "errors that the client below has retried already",
        false,
        "retries would multiply; credential errors arrive this way",
    ),
    rule("untrusted or expired certificate", false, "the next connection shows the same one"),
    rule("every other 4xx, redirects that lead nowhere", false, "the store has given its answer"),
    rule(
        "answers that break rules: no length, an unreadable date, another range",
        false,
        "the server makes all its answers so",
    ),
    rule("no such object, no permission, failed precondition", false, "the store has given its answer"),
    rule("everything else", false, "not known to pass"),
];

/// The connection to a store was refused, reset or cut. The request is retried.
///
/// For stores that do not report this by a [`std::io::Error`] or the error of an HTTP client. It is a source of an
/// [`object_store::Error::Generic`], at any depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection failed")]
pub struct ConnectionFault;

/// Whether `error` may pass, so that the request is retried; see [`RETRY_RULES`].
pub fn is_transient(error: &object_store::Error) -> bool {
    let is_about_certificate = || sources(error).any(|cause| cause.to_string().contains("invalid peer certificate"));
    if !matches!(error, object_store::Error::Generic { .. }) || is_about_certificate() {
        return false;
    }
    let mut is_about_request = false;
    for cause in sources(error) {
        if cause.is::<Throttled>() || cause.is::<ConnectionFault>() {
            return true;
        }
        if cause.is::<ConfigError>() || says_invalid_range(cause) {
            return false;
        }
        if let Some(error) = cause.downcast_ref() {
            return matches!(error, FetchError::ShortBody { .. } | FetchError::Stalled { .. });
        }
        let said = cause.to_string();
        if said.starts_with("Error performing ") {
            if said.contains(", after ") && said.contains(" retries, max_retries: ") {
                return false;
            }
            is_about_request = true;
        }
        if let Some(status) = said.strip_prefix(STATUS_PREFIX) {
            return is_transient_status(status.get(..3).unwrap_or_default());
        }
        if let Some(verdict) = is_transient_http_error(cause, &said, is_about_request) {
            return verdict;
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return is_transient_io_error(error);
        }
    }
    false
}

fn is_transient_status(status: &str) -> bool {
    matches!(status, "408" | "429") || status.starts_with('5') && !matches!(status, "501" | "505")
}

/// Judges an error of the HTTP client without a status. For a request, its kind tells whether it may pass. A body
/// that has begun always breaks off for a reason that may pass.
#[cfg(feature = "client")]
fn is_transient_http_error(cause: &(dyn Error + 'static), _: &str, is_about_request: bool) -> Option<bool> {
    use object_store::client::{HttpError, HttpErrorKind};
    let kind = cause.downcast_ref::<HttpError>()?.kind();
    let passes = matches!(
        kind,
        HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Timeout | HttpErrorKind::Interrupted
    );
    // The source may say more, for example that the store throttles.
    (passes || !is_about_request).then_some(true)
}

#[cfg(not(feature = "client"))]
fn is_transient_http_error(_: &(dyn Error + 'static), said: &str, _: bool) -> Option<bool> {
    said.starts_with("HTTP error: ").then_some(true)
}

fn is_transient_io_error(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::BrokenPipe
            | ErrorKind::TimedOut
            | ErrorKind::UnexpectedEof
            | ErrorKind::Interrupted
            | ErrorKind::WouldBlock
    )
}

/// Whether `error` is about the request (its range, its preconditions), not about the object or the store. Another
/// request for the same object may then be answered.
pub fn depends_on_request(error: &object_store::Error) -> bool {
    use object_store::Error::{Generic, NotImplemented, NotModified, NotSupported, Precondition};
    match error {
        Generic { .. } => !is_transient(error),
        Precondition { .. } | NotModified { .. } | NotSupported { .. } | NotImplemented { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::share;
    use object_store::Error as E;
    use std::{sync::Arc, time::Duration};

    fn generic(source: impl Into<Box<dyn Error + Send + Sync>>) -> E {
        E::Generic { store: "test", source: source.into() }
    }

    #[test]
    fn what_may_go_away_by_itself() {
        let throttled = Throttled { status: 429, retry_after: Some(Duration::from_secs(2)) };
        let wrapped = generic(share(&Arc::new(generic(throttled))));
        assert_eq!(Throttled::find(&wrapped), Some(throttled));
        let short = FetchError::ShortBody { start: 0, end: 9, at: 5 };
        let past_the_end = object_store::GetRange::Offset(1).as_range(0).expect_err("no such byte");
        let not_found = || E::NotFound { path: "a".into(), source: "404".into() };
        let status = |status: &str| generic(generic(format!("Server returned non-2xx status code: {status}: ")));
        for (error, transient) in [
            (wrapped, true),
            (generic(ConnectionFault), true),
            (generic(std::io::Error::from(ErrorKind::ConnectionReset)), true),
            (generic(std::io::Error::from(ErrorKind::PermissionDenied)), false),
            (generic("for no reason that anybody knows"), false),
            (short.into(), true),
            (FetchError::LongBody { start: 0, end: 9 }.into(), false),
            (FetchError::TaskLost.into(), false),
            (generic(past_the_end), false),
            (status("416 Range Not Satisfiable"), false),
            (status("400 Bad Request"), false),
            (status("408 Request Timeout"), true),
            (status("429 Too Many Requests"), true),
            (status("500 Internal Server Error"), true),
            (status("501 Not Implemented"), false),
            (status("504 Gateway Timeout"), true),
            (status("505 HTTP Version Not Supported"), false),
            (ConfigError::bad("key", 1, "2").into(), false),
            (not_found(), false),
            (E::Precondition { path: "a".into(), source: "412".into() }, false),
        ] {
            assert_eq!(is_transient(&error), transient, "{error:?}");
        }
    }
}
