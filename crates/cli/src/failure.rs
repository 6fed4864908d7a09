//! Why a command ends without success: an exit code, and a sentence that says what to do.

use std::fmt;
use std::path::Path;

use headstart::object_store::Error as StoreError;
use headstart::{ConfigError, DownloadError, ObjectChanged};
use headstart_fetch_core::internal::http_status;

use crate::policy::text;

/// The exit codes, as `headstart --help` and docs/cli.md show them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    an error that no other code is for
  2    the arguments, an option or a URL cannot be used
  3    there is no such object, file or bucket
  4    the store refuses the credentials, or there are none
  5    bytes differ: a checksum or a comparison fails
  6    a file or standard output cannot be written, or a file cannot be read
  7    the object changed while it was read
  8    the store, or what `top` watches, cannot be reached, or fails after all retries
  129, 130, 143  stopped by a signal: 128 and its number (130: Ctrl-C)
  141  whoever read standard output closed it (the number of a broken pipe)
Where several objects fail, the code is that of the first.";

/// What kind of failure it is: the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    Other,
    Usage,
    NotFound,
    Denied,
    Different,
    File,
    Changed,
    Unreachable,
    /// The number of the signal.
    Signal(u8),
    ClosedPipe,
}

impl FailureKind {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Different => 5,
            Self::File => 6,
            Self::Changed => 7,
            Self::Unreachable => 8,
            Self::Signal(number) => 128 + number,
            Self::ClosedPipe => 128 + 13,
        }
    }
}

/// A failure of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// For the user; empty where nothing is to be said.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// The error of an operation on a local file.
    pub(crate) fn file(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        let path = text::name(&path.display().to_string());
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => FailureKind::NotFound,
            _ => FailureKind::File,
        };
        Self::new(kind, format!("Cannot {doing} {path}: {}.{}", system_says(error), advice(error.kind())))
    }

    /// The error of reading or writing the object that `url` shows.
    pub(crate) fn store(url: &str, error: &StoreError) -> Self {
        let said = explain(error);
        let (kind, message) = match error {
            _ if ObjectChanged::find(error).is_some() => {
                let what = "changed while it was read, so its bytes cannot be combined. Run the command again.";
                (FailureKind::Changed, format!("{url} {what}"))
            }
            _ if lacks_credentials(&said) => (FailureKind::Denied, Self::no_credentials(url)),
            StoreError::NotFound { .. } => (FailureKind::NotFound, no_such(url, &said)),
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
                (FailureKind::Denied, refused(url, &said))
            }
            // Listings have errors without a kind.
            _ if matches!(http_status(error), Some(401 | 403)) => (FailureKind::Denied, refused(url, &said)),
            _ if http_status(error) == Some(404) => (FailureKind::NotFound, no_such(url, &said)),
            StoreError::Precondition { .. } | StoreError::AlreadyExists { .. } => {
                (FailureKind::Changed, format!("{url} is not in the expected version: {said}."))
            }
            StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
                (FailureKind::Other, format!("The store of {url} cannot do this: {said}."))
            }
            StoreError::InvalidPath { .. } | StoreError::UnknownConfigurationKey { .. } => {
                (FailureKind::Usage, format!("{url} cannot be used: {said}."))
            }
            _ if is_range_error(&said) => {
                // What the store says is a page of XML, and no size.
                (FailureKind::Usage, format!("{url} does not have these bytes. See its size: headstart stat {url}"))
            }
            _ => (FailureKind::Unreachable, format!("{url} cannot be read or written: {said}.")),
        };
        Self::new(kind, message)
    }

    /// The error of downloading `url`.
    pub(crate) fn download(url: &str, error: &DownloadError) -> Self {
        match error {
            DownloadError::Store(error) => Self::store(url, error),
            DownloadError::Checksum { .. } => Self::new(
                FailureKind::Different,
                format!("{url} arrived damaged, and nothing was kept: {error}. Run the command again."),
            ),
            DownloadError::File { doing, path, source } => Self::file(doing, path, source),
            DownloadError::NoDirectory { .. } => Self::new(FailureKind::NotFound, sentence(&error.to_string())),
            DownloadError::Busy { path } => Self::new(
                FailureKind::File,
                format!("Another download to {} is under way. Wait for it, or stop it.", path.display()),
            ),
            _ => Self::new(FailureKind::File, sentence(&error.to_string())),
        }
    }

    /// The error of opening the store of `url`.
    pub(crate) fn open(url: &str, error: &headstart::Error) -> Self {
        match error {
            headstart::Error::Store(error) => Self::store(url, error),
            headstart::Error::Config(error) => Self::option(error),
            error => Self::usage(sentence(&chain(error))),
        }
    }

    /// What to do where there are no credentials for `url`, and no service that gives some.
    pub(crate) fn no_credentials(url: &str) -> String {
        format!("There are no credentials for {url}. {}", credentials_of(url))
    }

    /// An option that cannot be used.
    pub(crate) fn option(error: &ConfigError) -> Self {
        let what = match error {
            ConfigError::BadValue { key, value, allowed } if key == "url" => {
                format!("'{value}' cannot be used: {allowed}")
            }
            error => error.to_string(),
        };
        Self::usage(sentence(&what))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn no_such(url: &str, said: &str) -> String {
    let is_bucket = said.contains("NoSuchBucket") || said.contains("bucket does not exist");
    if is_bucket {
        return format!("The bucket of {url} does not exist. Check its name, and the endpoint if there is one.");
    }
    match url.contains("://") {
        true => format!("{url} does not exist. To see what does, list the directory above it: headstart ls"),
        false => format!("The file {url} does not exist. An object is named by a URL, such as gs://bucket/key"),
    }
}

fn refused(url: &str, said: &str) -> String {
    format!("{url} may not be read or written with these credentials, or needs some: {said}. {}", credentials_of(url))
}

/// How credentials are given for the scheme of `url`.
fn credentials_of(url: &str) -> &'static str {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("gs") => {
            "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file; for a \
             public bucket use -o gcs.anonymous=on."
        }
        Some("s3" | "s3a") => {
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for example by `eval \"$(aws configure \
             export-credentials --format env)\"` (the files of ~/.aws are not read); for a public bucket use \
             -o s3.anonymous=on."
        }
        Some("az" | "azure" | "abfs" | "abfss") => {
            "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or a SAS token; for a public container set \
             AZURE_SKIP_SIGNATURE=true."
        }
        _ => "Check who may read it.",
    }
}

/// Whether a client found no credentials: it then asks the machine's metadata service, which only clouds have.
fn lacks_credentials(said: &str) -> bool {
    ["169.254.169.254", "metadata.google.internal", "computeMetadata", "latest/api/token", "security-credentials"]
        .iter()
        .any(|service| said.contains(service))
}

/// Whether the object ends before the range.
fn is_range_error(said: &str) -> bool {
    said.contains("416") && said.contains("Range") || said.contains("the range starts at byte")
}

/// An error with its sources, without those that its text contains: errors of `object_store` repeat their sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_said = cause.to_string();
        if !said.contains(&cause_said) {
            said = format!("{said}: {cause_said}");
        }
        source = cause.source();
    }
    said
}

/// What a store's error says, in one line, of reasonable length.
fn explain(error: &StoreError) -> String {
    const MOST: usize = 600;
    let said = text::name(&chain(error).split_whitespace().collect::<Vec<_>>().join(" "));
    let said = said.trim_end_matches(['.', ' ']);
    match said.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &said[..end]),
        None => said.to_owned(),
    }
}

/// What the operating system says, without the number of the error.
fn system_says(error: &std::io::Error) -> String {
    let said = error.to_string();
    match said.split_once(" (os error") {
        Some((said, _)) => said.to_lowercase(),
        None => said,
    }
}

fn advice(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind as Kind;
    match kind {
        Kind::StorageFull | Kind::QuotaExceeded => {
            " Make room, and run the command again: it goes on where it stopped."
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => " Choose a place that you may write to and read.",
        _ => "",
    }
}

/// `text` with a capital at its beginning and a full stop at its end.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    match chars.next() {
        // A path or a URL keeps its first letter.
        Some(first) if !text.split(' ').next().unwrap_or_default().contains(['/', '.']) => {
            format!("{}{}.", first.to_uppercase(), chars.as_str())
        }
        _ => format!("{text}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_errors_have_codes_and_say_what_to_do() {
        let generic = |source: &str| StoreError::Generic { store: "S3", source: source.into() };
        for (url, error, code, says) in [
            ("gs://b/k", StoreError::NotFound { path: "k".into(), source: "404".into() }, 3, "headstart ls"),
            ("s3://b/k", StoreError::NotFound { path: "k".into(), source: "NoSuchBucket".into() }, 3, "bucket of"),
            ("gs://b/k", StoreError::PermissionDenied { path: "k".into(), source: "403".into() }, 4, "gcloud auth"),
            (
                "s3://b/k",
                StoreError::Unauthenticated { path: "k".into(), source: "401".into() },
                4,
                "AWS_ACCESS_KEY_ID",
            ),
            ("s3://b/k", generic("error sending request for url (http://169.254.169.254/latest)"), 4, "no credentials"),
            ("s3://b/k", generic("connection refused"), 8, "connection refused."),
            ("s3://b", generic("Server returned non-2xx status code: 403 Forbidden: no"), 4, "s3.anonymous=on"),
            ("s3://b", generic("Server returned non-2xx status code: 404: NoSuchBucket"), 3, "bucket of"),
            ("s3://b/k", StoreError::Precondition { path: "k".into(), source: "412".into() }, 7, "expected version"),
        ] {
            let failure = Failure::store(url, &error);
            assert_eq!(failure.kind.exit_code(), code, "{failure}");
            assert!(failure.message.contains(says) && failure.message.contains(url), "{failure}");
        }
    }

    #[test]
    fn a_full_disk_says_that_the_command_goes_on() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let failure = Failure::file("write", Path::new("/x"), &full);
        assert_eq!(failure.kind.exit_code(), 6);
        assert!(failure.message.contains("Make room"), "{failure}");
    }

    #[test]
    fn sentences_begin_and_end_as_such() {
        assert_eq!(sentence("unknown option 'x'"), "Unknown option 'x'.");
        assert_eq!(sentence("/a/config.toml: bad."), "/a/config.toml: bad.");
    }
}
