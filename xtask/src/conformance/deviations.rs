//! Where a server is not what it stands for: functions of the suite that the bare client fails there, and why.
//!
//! Each was found by running it. One that passes has to be struck off, one that newly fails to be looked at: both are errors.

use super::backend::Backend;

/// The functions that the bare client fails on `backend`, each with the reason.
pub(super) fn of(backend: Backend) -> impl Iterator<Item = (&'static str, &'static str)> {
    DEVIATIONS.iter().filter(move |(of, ..)| *of == backend).map(|(_, function, why)| (*function, *why))
}

const DEVIATIONS: &[(Backend, &str, &str)] = &[
    (Backend::FakeGcs, "get_opts", "it ignores If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since"),
    (Backend::FakeGcs, "list_with_offset_exclusivity", "it ignores start-after"),
    (Backend::FakeGcs, "put_get_delete_list", "it ignores start-after"),
    (Backend::FakeGcs, "put_get_attributes", "it refuses the client's uploads, and is written by its own means"),
    (Backend::FakeGcs, "put_opts", "it refuses the client's uploads, and is written by its own means"),
    (Backend::MotoGcs, "copy_if_not_exists", "it ignores x-goog-copy-source and x-goog-if-generation-match"),
    (Backend::MotoGcs, "copy_rename_nonexistent_object", "it ignores x-goog-copy-source: an empty object is made"),
    (Backend::MotoGcs, "rename_and_copy", "it ignores x-goog-copy-source: an empty object is made"),
    (Backend::MotoGcs, "put_get_attributes", "it drops x-goog-meta-*"),
    (Backend::MotoGcs, "put_opts", "it has no generations, and ignores x-goog-if-generation-match"),
    (Backend::HadroGcs, "get_opts", "it ignores If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since"),
    (Backend::HadroGcs, "put_get_attributes", "it is read-only, and written as files"),
    (Backend::HadroGcs, "put_opts", "it is read-only, and written as files"),
    (Backend::HadroS3, "get_opts", "it ignores If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since"),
    (Backend::HadroS3, "put_get_attributes", "it is read-only, and written as files"),
    (Backend::HadroS3, "put_opts", "it is read-only, and written as files"),
    (
        Backend::Azurite,
        "list_with_offset_exclusivity",
        "it ignores startFrom, by which the client lists from an offset",
    ),
    (Backend::Azurite, "put_get_delete_list", "it ignores startFrom, by which the client lists from an offset"),
];
