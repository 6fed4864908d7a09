//! Servers that mishandle `Range` or HEAD.

use super::{
    AskedRequest, Behaviour, FALLS_BACK, FINAL, Reply, always, is_about_object, is_head, is_partial, row, whole,
};

/// The most that a server with capped ranges sends at once.
const CAP_BYTES: u64 = 65_536;

const READS_WITHOUT_HEAD: &str = "reads without HEAD";
const BELIEVES_GET: &str = "believes answers to GET";

pub(super) const RANGES: &[Behaviour] = &[
    row("ranges-ignored", "answers 200 with the whole object to every range", FALLS_BACK).when(always, whole),
    row("covering-range-200", "answers 200 to a range that covers the whole object", FALLS_BACK).when(
        always,
        |object, asked, reply| {
            let covers = asked.range_in(object.size).is_some_and(|range| range == (0..object.size));
            if covers { whole(object, asked, reply) } else { reply }
        },
    ),
    row("end-past-object-416", "answers 416 to a range that ends past the object", FALLS_BACK).when(
        always,
        |object, asked, reply| match asked.range_as_sent() {
            Some((Some(_), Some(last))) if last >= object.size => Reply::text(416, ""),
            _ => reply,
        },
    ),
    row("ranges-capped-short", "answers a range of more than 64 KiB with its first 64 KiB", FALLS_BACK).when(
        |_, reply| reply.status == 206 && reply.range_bytes() > CAP_BYTES,
        |object, _, reply| {
            let start = reply.range().start;
            reply.with_range(start..start + CAP_BYTES, object)
        },
    ),
    row("ranges-capped-400", "answers 400 to a range of more than 64 KiB", FALLS_BACK).when(
        always,
        |object, asked, reply| {
            let is_long = asked.range_in(object.size).is_some_and(|range| range.end - range.start > CAP_BYTES);
            if is_long { Reply::text(400, "too much at once") } else { reply }
        },
    ),
    row("ranges-416", "answers 416 to every range", FALLS_BACK).when(has_range, |_, _, _| Reply::text(416, "")),
    row("ranges-501", "answers 501 to every range", FALLS_BACK)
        .when(has_range, |_, _, _| Reply::text(501, "no ranges")),
    row("open-ranges-ignored", "answers 200 to ranges without an end", FALLS_BACK)
        .when(|asked, _| matches!(asked.range_as_sent(), Some((_, None) | (None, _))), whole),
    row("suffix-ranges-416", "answers 416 to a range that counts from the end", FALLS_BACK)
        .when(|asked, _| matches!(asked.range_as_sent(), Some((None, _))), |_, _, _| Reply::text(416, "")),
    row("another-range", "answers with the range one byte further on", FINAL).when(is_partial, |object, _, reply| {
        let range = reply.range();
        if range.end < object.size { reply.with_range(range.start + 1..range.end + 1, object) } else { reply }
    }),
    row("content-range-missing", "answers 206 without Content-Range", FALLS_BACK)
        .when(always, |_, _, reply| reply.without("content-range")),
    row("content-range-size-unknown", "says Content-Range: bytes a-b/*", FALLS_BACK).when(is_partial, |_, _, reply| {
        let range = reply.range();
        reply.with("content-range", format!("bytes {}-{}/*", range.start, range.end - 1))
    }),
    row("content-range-garbled", "says a Content-Range that nobody can read", FALLS_BACK)
        .when(is_partial, |_, _, reply| reply.with("content-range", "from here to there")),
];

pub(super) const HEAD: &[Behaviour] = &[
    row("head-405", "answers 405 to HEAD", READS_WITHOUT_HEAD).when(is_head, |_, _, _| Reply::text(405, "")),
    row("head-403", "answers 403 to HEAD", READS_WITHOUT_HEAD).when(is_head, |_, _, _| Reply::text(403, "")),
    row("head-501", "answers 501 to HEAD", READS_WITHOUT_HEAD).when(is_head, |_, _, _| Reply::text(501, "")),
    row("head-without-length", "answers HEAD without Content-Length", READS_WITHOUT_HEAD)
        .when(is_head, |_, _, reply| reply.without("content-length")),
    row("head-length-0", "says Content-Length: 0 in answers to HEAD", BELIEVES_GET)
        .when(is_head, |_, _, reply| reply.with("content-length", "0")),
    row("head-another-tag", "shows another entity tag in answers to HEAD than to GET", BELIEVES_GET).when(
        |asked, reply| is_head(asked, reply) && is_about_object(asked, reply),
        |_, _, reply| reply.with("etag", "\"of-head\""),
    ),
];

fn has_range(asked: &AskedRequest, _: &Reply) -> bool {
    asked.has_range()
}
