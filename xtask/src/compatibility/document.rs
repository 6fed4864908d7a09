//! Writes `docs/compatibility.md`, what servers need and what happens without it, from the tables of the matrix and the
//! retry rules.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use headstart_fetch_core::RETRY_RULES;
use headstart_sim::hostile::behaviours::{self, Topic};

use super::exceptions::{self, Exception};

const INTRO: &str = "\
# Servers

<!-- Written by `cargo xtask compatibility --write`: do not edit. -->

Headstart reads from any server that the bare `object_store` client reads from. It is never worse off: what a
layer adds to a request (a part of a range, a page, a pin to a version, a HEAD) is left out once a server has refused
it twice, and tried once more after 256 requests.

`cargo xtask compatibility` tries every behaviour below with every way to read (`get`, `get_range`, `get_ranges`,
`head`, `Reader::read_at`, `stream`, `read_to_end`), every `mode` and the clients of S3, GCS and plain HTTP, in virtual
time, and compares with the bare client. Each cell reads twice. It fails where ours has wrong bytes, an error that the
bare client has not, more requests than twice the bare client's and one a read (a large object: than twice what a
correct server takes), more than one and a half times its time and a second, a panic or no end. CI runs it.

## What a server needs

| for | it needs | without it |
|---|---|---|
| any read | what the bare client needs: `Content-Length`; of S3 and GCS also `ETag` and `Last-Modified` | an error at once |
| parallel parts, read-ahead, pages | ranges within an object, answered 206 with `Content-Range` | what the caller asks for is asked for as it is |
| two requests for one read | a strong `ETag`, a version, or a `Last-Modified` at least a minute old | each read is one request |
| a pin to a version | `If-Match`, or versions in requests | every answer is compared instead |
| the size before the first byte | HEAD | a GET, of which only the headers are read |
";

const RETRIES: &str = "
## What is tried again

At most ten times, with pauses that add up to 3.3 s on average, as those of the bare client. Where the store is down,
one request of a read is tried, and the others wait for it.

| error | tried again | why |
|---|---|---|
";

const EXCEPTIONS: &str = "
## Where ours differs from the bare client

| behaviour | reads | mode | more | why |
|---|---|---|---|---|
";

fn text() -> String {
    let mut text = INTRO.to_owned();
    let mut topic = None;
    for behaviour in behaviours::ALL {
        if topic != Some(behaviour.topic) {
            topic = Some(behaviour.topic);
            let title = title(behaviour.topic);
            write!(text, "\n## {title}\n\n| behaviour | the server | Headstart |\n|---|---|---|\n").expect("a string");
        }
        writeln!(text, "| `{}` | {} | {} |", behaviour.name, behaviour.server, behaviour.ours).expect("a string");
    }
    text.push_str(RETRIES);
    for rule in RETRY_RULES {
        let retried = if rule.is_retried { "yes" } else { "no" };
        writeln!(text, "| {} | {retried} | {} |", rule.error, rule.why).expect("a string");
    }
    text.push_str(EXCEPTIONS);
    for exception in exceptions::ALL {
        text.push_str(&row(exception));
    }
    text
}

fn title(topic: Topic) -> &'static str {
    match topic {
        Topic::Preconditions => "Preconditions",
        Topic::Ranges => "Ranges",
        Topic::Head => "HEAD",
        Topic::Validators => "Entity tags and dates",
        Topic::Refusals => "Status codes",
        Topic::Redirects => "Redirects",
        Topic::Framing => "Headers and lengths",
        Topic::Bodies => "Bodies",
        Topic::Connections => "Connections",
    }
}

fn row(exception: &Exception) -> String {
    let names: Vec<_> = exception.behaviours.iter().map(|name| format!("`{name}`")).collect();
    let all = |list: Vec<String>| if list.is_empty() { "all".to_owned() } else { list.join(", ") };
    let reads = all(exception.accesses.iter().map(ToString::to_string).collect());
    let modes = all(exception.modes.iter().map(ToString::to_string).collect());
    let faults: Vec<_> = exception.faults.iter().map(|fault| fault.what()).collect();
    let reads = if exception.size.is_some() { format!("{reads}, of large objects") } else { reads };
    format!("| {} | {reads} | {modes} | {} | {} |\n", names.join(", "), faults.join(", "), exception.why)
}

fn path() -> PathBuf {
    crate::workspace_root().join("docs/compatibility.md")
}

pub(super) fn write() -> Result<()> {
    std::fs::write(path(), text()).context("cannot write docs/compatibility.md")
}

/// Fails if the document is out of date.
pub(super) fn check() -> Result<()> {
    if std::fs::read_to_string(path()).is_ok_and(|found| found == text()) {
        return Ok(());
    }
    bail!("docs/compatibility.md is out of date: run `cargo xtask compatibility --write`")
}
