//! The program as a process, with an environment of its own, and stores for it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{Content, LinkProfile, WriteCondition};
use object_store::Attributes;
use tempfile::TempDir;

pub(crate) const MIB: usize = 1 << 20;

/// A time that no command takes.
const HANGS: Duration = Duration::from_secs(60);

/// A folder for a test: its files, and the home of its user.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.path("home")).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        self.text(name)
    }

    /// The command with these arguments, and no variables but a home and the path of programs.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headstart"));
        command.args(args).env_clear().env("HOME", self.path("home")).env("PATH", "/usr/bin:/bin");
        // No test asks the metadata service of a cloud.
        command.env("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1").env("GCE_METADATA_HOST", "127.0.0.1:1");
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args), b"")
    }
}

/// What a command has left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn of(mut command: Command, input: &[u8]) -> Self {
        let piped = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let mut child = command.stdin(piped).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            std::thread::spawn(move || stdin.write_all(&input));
        }
        Self::from(child.wait_with_output().unwrap())
    }

    fn from(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        Self { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr }
    }

    /// The output of a success, which says nothing beside it.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{}", String::from_utf8_lossy(&self.stdout));
        String::from_utf8(self.stdout).unwrap()
    }

    /// The bytes of a success.
    #[track_caller]
    pub(crate) fn bytes(self) -> Vec<u8> {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""));
        self.stdout
    }

    /// The lines of a success with `--json`.
    #[track_caller]
    pub(crate) fn json(self) -> Vec<serde_json::Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }

    /// Checks the code of a failure, and that one sentence says all of this.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stderr, String::from_utf8_lossy(&self.stdout));
        for said in says {
            assert!(self.stderr.contains(said), "'{said}' is not in: {}", self.stderr);
        }
        let sentence = self.stderr.trim_end();
        assert!(!sentence.contains("panicked") && !sentence.contains("Error {"), "{sentence}");
    }
}

/// A bucket of the simulated cloud.
pub(crate) struct Bucket {
    pub(crate) server: SimServerHandle,
    dialect: Dialect,
}

impl Bucket {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self::with(SimServerConfig { dialect, ..SimServerConfig::default() })
    }

    /// A bucket behind a slow link: so many bytes per second.
    pub(crate) fn slow(dialect: Dialect, bytes_per_s: f64) -> Self {
        let profile =
            LinkProfile { stream_bytes_per_s: bytes_per_s, nic_bytes_per_s: bytes_per_s, ..LinkProfile::near() };
        Self::with(SimServerConfig { dialect, profile, ..SimServerConfig::default() })
    }

    pub(crate) fn with(config: SimServerConfig) -> Self {
        let dialect = config.dialect;
        Self { server: SimServer::start(config).unwrap(), dialect }
    }

    /// Both dialects.
    pub(crate) fn both() -> [Self; 2] {
        [Self::new(Dialect::Gcs), Self::new(Dialect::S3)]
    }

    pub(crate) fn url(&self, key: &str) -> String {
        let scheme = if self.dialect == Dialect::Gcs { "gs" } else { "s3" };
        format!("{scheme}://bucket/{key}")
    }

    /// The arguments that lead to the server, and then `args`.
    pub(crate) fn args<'a>(&'a self, args: &[&'a str]) -> Vec<String> {
        let options = match self.dialect {
            Dialect::Gcs => vec![format!("gcs.endpoint={}", self.server.url())],
            Dialect::S3 => vec![
                format!("s3.endpoint={}", self.server.url()),
                "s3.region=eu-west-1".to_owned(),
                "s3.access_key_id=me".to_owned(),
                "s3.secret_access_key=hunter2".to_owned(),
            ],
        };
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]);
        options.chain(args.iter().map(|arg| (*arg).to_owned())).collect()
    }

    pub(crate) fn command(&self, place: &Place, args: &[&str]) -> Command {
        let args = self.args(args);
        place.command(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[track_caller]
    pub(crate) fn run(&self, place: &Place, args: &[&str]) -> Ran {
        Ran::of(self.command(place, args), b"")
    }

    pub(crate) fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.put_with(key, bytes.into(), Attributes::new());
    }

    pub(crate) fn put_with(&self, key: &str, bytes: Vec<u8>, attributes: Attributes) {
        let always = WriteCondition::Always;
        self.server.catalog().put(key, bytes.into(), attributes, &always, chrono::Utc::now()).unwrap();
    }

    /// Adds a large object, and returns its bytes.
    pub(crate) fn put_large(&self, key: &str, size: usize) -> Vec<u8> {
        // Of written objects the server reports the checksum.
        let bytes = bytes(size as u64, size);
        self.put(key, bytes.clone());
        bytes
    }

    /// The bytes of an object that was written.
    pub(crate) fn get(&self, place: &Place, key: &str) -> Vec<u8> {
        self.run(place, &["cat", &self.url(key)]).bytes()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.server.catalog().get(key, None).is_ok()
    }
}

/// Waits until `is_so`.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = now();
    while !is_so() {
        assert!(started.elapsed() < HANGS, "{what} never was so");
        sleep(Duration::from_millis(5));
    }
}

/// The end of a process, which comes in time.
#[track_caller]
pub(crate) fn wait(mut child: Child) -> Ran {
    wait_until("the end of the command", || child.try_wait().unwrap().is_some());
    Ran::from(child.wait_with_output().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "processes take real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "processes take real time")]
pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Sends a signal.
pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(process, signal).unwrap();
}

/// A server that answers every request in the same way.
pub(crate) fn answering(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 8192];
            let _ = stream.read(&mut request);
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    url
}

/// Bytes that no compression and no repetition can hide: each says where it is.
pub(crate) fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    Content::new("file", seed).fill(0, &mut bytes);
    bytes
}

/// All regular files below a folder, with their bytes.
pub(crate) fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                    found.push((name, std::fs::read(&path).unwrap()));
                }
            }
        }
    }
    found.sort();
    found
}

/// `headstart serve` as a process; ended when it is dropped.
#[cfg(unix)]
pub(crate) struct Endpoint {
    child: Option<Child>,
    pub(crate) url: String,
}

#[cfg(unix)]
impl Endpoint {
    /// Serves `url` of a bucket at a free port, with more arguments.
    #[track_caller]
    pub(crate) fn start(place: &Place, bucket: &Bucket, url: &str, args: &[&str]) -> Self {
        Self::of(bucket.command(place, &[&["serve", "--listen", "127.0.0.1:0", url], args].concat()))
    }

    #[track_caller]
    pub(crate) fn of(mut command: Command) -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        if url.is_empty() {
            panic!("no address: {}", Ran::from(child.wait_with_output().unwrap()).stderr);
        }
        Self { child: Some(child), url: url.trim_end().to_owned() }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self::signal(self.child.as_ref().unwrap(), signal);
    }

    /// The end of the process, which was told to stop.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ran {
        wait(self.child.take().unwrap())
    }
}

#[cfg(unix)]
impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A client of HTTP that no proxy serves.
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
