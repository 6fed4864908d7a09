//! What a command works with: options, output, and the stacks that it opens, one for each store.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headstart::object_store::path::Path;
use headstart::object_store::{GetOptions, ObjectStore};
use headstart::{Headstart, HeadstartBuilder};
use headstart_trace::{TraceRecorder, TraceSummary};
use parking_lot::Mutex;
use url::Url;

use crate::args::SharedArgs;
use crate::config::{self, ConfigFile};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::policy::place::{self, Place, RemotePlace};
use crate::upload::PendingUploads;

/// How long a metadata service of a cloud's machine may take to accept a connection. It is on the same host.
const METADATA_WAIT: Duration = Duration::from_secs(2);

/// Where AWS and Google Cloud have the metadata service of a machine.
const METADATA_ADDRESS: &str = "169.254.169.254:80";

/// What the parts of a command share.
pub(crate) struct Session {
    pub(crate) output: Output,
    pub(crate) shared: SharedArgs,
    pub(crate) file: Option<ConfigFile>,
    /// Multipart uploads that are neither complete nor aborted.
    pub(crate) uploads: PendingUploads,
    options: Vec<(String, String)>,
    stacks: Mutex<BTreeMap<String, Headstart>>,
    recording: Option<Recording>,
}

/// A file that the reads of a command are recorded into.
struct Recording {
    file: PathBuf,
    /// The recorder, and the store that it records.
    recorder: Mutex<Option<(String, TraceRecorder)>>,
}

/// A store and what an argument names in it.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) stack: Headstart,
    /// The stack, recorded where that is asked for.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The URL of the store, with a slash at the end.
    pub(crate) store_url: String,
    /// The object, prefix or file.
    pub(crate) path: Path,
    /// What matches below `path`.
    pub(crate) pattern: Option<String>,
    pub(crate) generation: Option<String>,
    /// As the user typed it, for messages.
    pub(crate) shown: String,
    /// The path, where it is a file of this machine.
    pub(crate) local: Option<PathBuf>,
}

impl Session {
    /// # Errors
    /// The configuration file or an option cannot be used.
    pub(crate) fn new(shared: SharedArgs) -> Result<Self, Failure> {
        let options = shared.options.iter().map(|text| config::pair(text)).collect::<Result<_, _>>()?;
        Ok(Self {
            output: Output::new(shared.json, shared.quiet),
            file: config::load(shared.config.as_deref())?,
            uploads: PendingUploads::default(),
            options,
            stacks: Mutex::default(),
            recording: None,
            shared,
        })
    }

    /// Records all reads of one store into `file`.
    pub(crate) fn recording_into(mut self, file: &FilePath) -> Self {
        self.recording = Some(Recording { file: file.to_owned(), recorder: Mutex::default() });
        self
    }

    /// Ends the recording. `None` where nothing was read.
    pub(crate) fn finish_recording(&self) -> Result<Option<TraceSummary>, Failure> {
        let Some(recording) = &self.recording else { return Ok(None) };
        let recorder = recording.recorder.lock().take();
        let finish = |(_, recorder): (String, TraceRecorder)| tokio::task::block_in_place(|| recorder.finish());
        let summary = recorder.map(finish).transpose();
        summary.map_err(|error| Failure::file("write", &recording.file, &error))
    }

    /// A builder with the options of the file and the command line.
    pub(crate) fn builder(&self) -> HeadstartBuilder {
        let builder = match &self.file {
            Some(file) => Headstart::builder().file_options(file.path.display().to_string(), file.options.clone()),
            None => Headstart::builder(),
        };
        self.options.iter().fold(builder, |builder, (key, value)| builder.option(key, value))
    }

    /// As [`Session::builder`], without a cache on disk.
    pub(crate) fn builder_without_disk(&self) -> HeadstartBuilder {
        self.builder().option("cache.disk_directory", "")
    }

    /// The options of the command line.
    pub(crate) fn options(&self) -> &[(String, String)] {
        &self.options
    }

    /// Opens the store of an argument. Sends no request.
    ///
    /// # Errors
    /// The URL or an option cannot be used, or there are no credentials.
    pub(crate) async fn site(&self, text: &str) -> Result<Site, Failure> {
        self.site_of(text, |builder| builder).await
    }

    /// As [`Session::site`], with more options. All sites of a store share one stack, that of the first call.
    pub(crate) async fn site_of(
        &self,
        text: &str,
        with: impl FnOnce(HeadstartBuilder) -> HeadstartBuilder + Send,
    ) -> Result<Site, Failure> {
        let (remote, local) = match place::parse(text) {
            Place::Stream => {
                return Err(Failure::usage("'-' stands for a stream, and this command needs a URL or a path."));
            }
            Place::Local(path) => {
                let path = PathBuf::from(path);
                let url = file_url(&path)?;
                (RemotePlace { url, pattern: None, generation: None }, Some(path))
            }
            Place::Remote(remote) => {
                // The whole is checked, not the part before a pattern alone: what follows '?' may be a signature.
                headstart::split_url(text).map_err(|error| Failure::open(text, &error))?;
                (remote, None)
            }
        };
        let (store_url, path) = headstart::split_url(&remote.url).map_err(|error| Failure::open(text, &error))?;
        let stack = self.stack(&store_url, with).await?;
        let store = self.recorded(&store_url, &stack)?;
        let RemotePlace { pattern, generation, .. } = remote;
        Ok(Site { stack, store, store_url, path, pattern, generation, shown: text.to_owned(), local })
    }

    async fn stack(
        &self,
        store_url: &str,
        with: impl FnOnce(HeadstartBuilder) -> HeadstartBuilder + Send,
    ) -> Result<Headstart, Failure> {
        if let Some(stack) = self.stacks.lock().get(store_url) {
            return Ok(stack.clone());
        }
        let stack = with(self.builder().url(store_url)).build().await;
        let stack = stack.map_err(|error| Failure::open(store_url, &error))?;
        check_credentials(store_url, &stack).await?;
        Ok(self.stacks.lock().entry(store_url.to_owned()).or_insert(stack).clone())
    }

    fn recorded(&self, store_url: &str, stack: &Headstart) -> Result<Arc<dyn ObjectStore>, Failure> {
        let store: Arc<dyn ObjectStore> = Arc::new(stack.clone());
        let Some(Recording { file, recorder }) = &self.recording else { return Ok(store) };
        let mut recorder = recorder.lock();
        match &*recorder {
            Some((url, recorder)) if url == store_url => Ok(Arc::new(recorder.clone())),
            Some((url, _)) => Err(Failure::usage(format!(
                "A recording has the reads of one store, and this command reads from {url} and {store_url}."
            ))),
            None => {
                let new = TraceRecorder::create(store, file).map_err(|error| Failure::file("write", file, &error))?;
                *recorder = Some((store_url.to_owned(), new.clone()));
                Ok(Arc::new(new))
            }
        }
    }

    /// Writes what waits for the cache on disk.
    pub(crate) async fn close(&self) {
        let stacks: Vec<Headstart> = self.stacks.lock().values().cloned().collect();
        futures::future::join_all(stacks.iter().map(Headstart::close)).await;
    }
}

impl Site {
    /// The URL of an object of this store, or the path of a file, to be shown and pasted.
    pub(crate) fn url_of(&self, path: &Path) -> String {
        match &self.local {
            Some(_) => format!("/{path}"),
            None => place::url_of(&self.store_url, path.as_ref()),
        }
    }

    /// Options that name the generation, where there is one.
    pub(crate) fn get_options(&self) -> GetOptions {
        GetOptions::new().with_version(self.generation.clone())
    }

    /// The same for a HEAD.
    pub(crate) fn head_options(&self) -> GetOptions {
        self.get_options().with_head(true)
    }

    /// # Errors
    /// The argument does not name one object of a bucket.
    pub(crate) fn check_one_of_bucket(&self) -> Result<(), Failure> {
        self.check_one()?;
        match self.local {
            Some(_) => {
                let what = "is a file of this machine. Name an object of a bucket.";
                Err(Failure::usage(format!("{} {what}", self.shown)))
            }
            None => Ok(()),
        }
    }

    /// # Errors
    /// The argument names a bucket or a pattern, and not one object.
    pub(crate) fn check_one(&self) -> Result<(), Failure> {
        if self.pattern.is_some() {
            return Err(Failure::usage(format!(
                "{} is a pattern, and this command takes one object. Write %3F, %2A and %5B for ?, * and [.",
                self.shown
            )));
        }
        if self.path.is_root() {
            return Err(Failure::usage(format!("{} names no object. Add its key: {}KEY", self.shown, self.store_url)));
        }
        Ok(())
    }

    pub(crate) fn failure(&self, error: &headstart::object_store::Error) -> Failure {
        Failure::store(&self.shown, error)
    }
}

/// The URL of a path of this machine.
pub(crate) fn file_url(path: &FilePath) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map_err(|error| Failure::file("find", path, &error))?;
    let url = Url::from_file_path(&absolute);
    url.map(String::from).map_err(|()| Failure::usage(format!("{} cannot be named by a URL.", path.display())))
}

/// Refuses a store without credentials where none can be had: the client would ask a service that is not there, and try
/// again for minutes.
async fn check_credentials(store_url: &str, stack: &Headstart) -> Result<(), Failure> {
    let value =
        |key: &str| stack.effective_config().iter().find(|setting| setting.key == key).map(|it| it.value.clone());
    let is_set = |key: &str| value(key).is_some_and(|value| !matches!(value.as_str(), "" | "off"));
    let lacks = match store_url.split_once("://").map(|(scheme, _)| scheme) {
        Some("s3" | "s3a") => !is_set("s3.anonymous") && !is_set("s3.access_key_id") && !config::has_aws_service(),
        Some("gs") => {
            let keys = ["anonymous", "token", "service_account", "service_account_key", "application_credentials"];
            let is_emulator = value("gcs.endpoint").is_some_and(|endpoint| endpoint.starts_with("http://"));
            !is_emulator && !keys.iter().any(|key| is_set(&format!("gcs.{key}"))) && !config::has_google_login()
        }
        _ => false,
    };
    if !lacks {
        return Ok(());
    }
    let named = config::metadata_address(store_url.starts_with("gs:"));
    let connect = tokio::net::TcpStream::connect(named.unwrap_or_else(|| METADATA_ADDRESS.to_owned()));
    match tokio::time::timeout(METADATA_WAIT, connect).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Failure::new(FailureKind::Denied, Failure::no_credentials(store_url))),
    }
}
