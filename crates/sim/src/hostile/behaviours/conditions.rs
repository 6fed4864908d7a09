//! Servers that mishandle `If-Match`, versions in requests, entity tags or dates.

use super::{
    AskedRequest, Behaviour, FINAL, HostileObject, NOTHING, Reply, always, bare, is_about_object, is_partial, row,
    without_header, without_versions,
};

/// What Headstart does where nothing proves that two answers are of one version.
const ONE_REQUEST: &str = "each read is one request; nothing is split, resumed, read ahead or cached";
/// What Headstart does where entity tags differ and dates do not.
const TAGS_TELL_NOTHING: &str = "where size and date agree, compares dates in place of tags from then on";
/// What Headstart does where a pin is refused.
const UNPINNED: &str =
    "one HEAD; where it shows the same version, compares answers instead, and after two refusals pins no more";
const BY_DATE: &str = "compares dates";
const BY_TAG: &str = "compares entity tags";

pub(super) const PRECONDITIONS: &[Behaviour] = &[
    row("correct", "does everything right", NOTHING),
    row("if-match-refused", "answers 412 to every If-Match", UNPINNED)
        .when(has_if_match, |_, _, _| Reply::text(412, "")),
    row("if-match-unquoted", "answers 412 to an If-Match with quotes, as it sends them itself", UNPINNED).when(
        |asked, _| asked.header("if-match").is_some_and(|tag| tag.starts_with('"')),
        |_, _, _| Reply::text(412, ""),
    ),
    row("if-match-501", "answers 501 to every If-Match", UNPINNED)
        .when(has_if_match, |_, _, _| Reply::text(501, "not implemented")),
    row("if-match-400", "answers 400 to every If-Match", UNPINNED)
        .when(has_if_match, |_, _, _| Reply::text(400, "unknown header")),
    row("version-refused", "answers 400 to every request that names a version", UNPINNED)
        .when(|asked, _| asked.version().is_some(), |_, _, _| Reply::text(400, "unknown parameter")),
];

pub(super) const VALIDATORS: &[Behaviour] = &[
    row("tag-missing", "sends no entity tag", BY_DATE).when(always, |_, _, reply| reply.without("etag")),
    row("no-validators", "sends neither tag nor date nor version", ONE_REQUEST).when(always, |_, _, reply| bare(reply)),
    row("tag-weak", "sends weak entity tags", "compares dates too")
        .when(is_about_object, |_, _, reply| reply.with("etag", "W/\"weak\"")),
    row("tag-weak-alone", "sends weak entity tags, and no date", ONE_REQUEST)
        .when(is_about_object, |_, _, reply| bare(reply).with("etag", "W/\"weak\"")),
    row("tag-unquoted", "sends entity tags without quotes, and refuses them with quotes", UNPINNED).when(
        always,
        |object, asked, reply| {
            let bare_tag = object.e_tag.trim_matches('"');
            let reply = match asked.header("if-match") {
                Some(tag) if tag == bare_tag => Reply::to(object, &without_header(asked, "if-match")),
                _ => reply,
            };
            if reply.is_about_object() { reply.with("etag", bare_tag) } else { reply }
        },
    ),
    row("tag-empty", "sends an empty entity tag", BY_DATE).when(is_about_object, |_, _, reply| reply.with("etag", "")),
    row("tag-changes", "sends another entity tag with each answer, and refuses those of before", TAGS_TELL_NOTHING)
        .when(
            |asked, reply| has_if_match(asked, reply) || reply.is_about_object(),
            |_, asked, reply| match asked.header("if-match") {
                Some(_) => Reply::text(412, ""),
                None => without_versions(reply).with("etag", format!("\"{}\"", asked.number)),
            },
        ),
    row("tag-of-replica", "is two replicas in turn, each with an entity tag of its own", TAGS_TELL_NOTHING).when(
        always,
        |object, asked, _| {
            let replica = HostileObject { e_tag: format!("\"replica-{}\"", asked.number % 2), ..object.clone() };
            without_versions(Reply::to(&replica, asked))
        },
    ),
    row("tag-only-whole", "sends no entity tag with ranges", BY_DATE)
        .when(is_partial, |_, _, reply| reply.without("etag")),
    row("date-missing", "sends no date", BY_TAG).when(always, |_, _, reply| reply.without("last-modified")),
    row("date-future", "sends a date of the year 2099", BY_TAG)
        .when(is_about_object, |_, _, reply| reply.with("last-modified", "Mon, 05 Jan 2099 00:00:00 GMT")),
    row("date-zero", "sends the date 1970-01-01", BY_TAG)
        .when(is_about_object, |_, _, reply| reply.with("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")),
    row("date-changes", "sends another date with each answer, and one entity tag", BY_TAG)
        .when(is_about_object, |_, asked, reply| {
            reply.with("last-modified", format!("Wed, 21 Oct 2020 07:28:{:02} GMT", asked.number % 60))
        }),
    row("date-garbled", "sends a date that nobody can read", FINAL)
        .when(is_about_object, |_, _, reply| reply.with("last-modified", "yesterday")),
    row("date-iso", "sends an ISO 8601 date", FINAL)
        .when(is_about_object, |_, _, reply| reply.with("last-modified", "2020-10-21T07:28:00Z")),
];

fn has_if_match(asked: &AskedRequest, _: &Reply) -> bool {
    asked.header("if-match").is_some()
}
