//! `top` as a process: over `serve --metrics`, over servers that are something else, and in a terminal.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::common::{self, Bucket, Endpoint, Place, answering, signal, wait, wait_until};
use headstart_sim::server::Dialect;
use rustix::fs::OFlags;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

/// The size of the object `k`.
const SIZE: usize = 200_000;

/// A `serve` with metrics, and where both are.
struct Served {
    _endpoint: Endpoint,
    url: String,
    metrics: String,
}

impl Served {
    fn start(place: &Place, bucket: &Bucket, metrics: &str) -> Self {
        let endpoint = Endpoint::start(place, bucket, &bucket.url(""), &["--metrics", metrics, "--json"]);
        let said: Value = serde_json::from_str(&endpoint.url).unwrap();
        let [url, metrics] = ["url", "metrics"].map(|key| said[key].as_str().unwrap().to_owned());
        Self { _endpoint: endpoint, url, metrics }
    }

    /// Reads the whole object, and then this range of it.
    async fn read(&self, bytes: &[u8], range: std::ops::RangeInclusive<usize>) {
        let client = common::http();
        let url = format!("{}/bucket/k", self.url);
        assert!(client.get(&url).send().await.unwrap().bytes().await.unwrap() == bytes);
        let header = format!("bytes={}-{}", range.start(), range.end());
        let part = client.get(&url).header("range", header).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(part, bytes[range]);
    }
}

fn bucket() -> (Bucket, Vec<u8>) {
    let bucket = Bucket::new(Dialect::Gcs);
    let bytes = common::bytes(7, SIZE);
    bucket.put("k", bytes.clone());
    (bucket, bytes)
}

/// The lines that `top --json` prints.
struct Lines {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Lines {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that fits.
    #[track_caller]
    fn find(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        for line in self.lines.by_ref().take(300) {
            let line = serde_json::from_str(&line.unwrap()).unwrap();
            if fits(&line) {
                return line;
            }
        }
        panic!("no line with {what}");
    }
}

#[tokio::test]
async fn figures_are_those_of_the_reads_through_serve() {
    let (place, (bucket, bytes)) = (Place::new(), bucket());
    let served = Served::start(&place, &bucket, "127.0.0.1:0");
    served.read(&bytes, 1000..=1999).await;
    let ran = place.run(&["--json", "top", "--once", "--interval", "0.2", &served.metrics]);
    let [line] = &ran.json()[..] else { panic!("not one line") };
    assert_eq!(line["address"], served.metrics);
    assert_eq!(line["fetched_bytes"], serde_json::json!({ "per_s": 0.0, "total": SIZE as f64 }));
    assert_eq!(line["delivered_bytes"]["total"], 201_000.0);
    assert_eq!(line["requests"]["demand"]["answered"]["total"], bucket.server.log().counts().gets as f64);
    // Four pages of 64 KiB came from the store, and the range is in one of them.
    let pages = |place: &str| line["pages"][place]["share"]["total"].as_f64().unwrap();
    assert_eq!((pages("store"), pages("memory"), pages("joined")), (0.8, 0.2, 0.0));
    assert_eq!((&line["in_flight"], &line["stacks"][0]["labels"]), (&0.0.into(), &serde_json::json!({})));

    // As lines while it is read: what is gained adds up.
    let mut lines = Lines::of(place.command(&["--json", "top", "--interval", "0.1", &served.metrics]));
    lines.find("a rate", |line| line["delivered_bytes"]["per_s"] == 0.0);
    bucket.put("k", common::bytes(8, SIZE));
    served.read(&bytes, 0..=4999).await;
    let line = lines.find("the read", |line| line["delivered_bytes"]["total"] == 406_000.0);
    assert!(line["delivered_bytes"]["per_s"].as_f64().unwrap() > 5000.0, "{line}");
    assert_eq!(line["fetched_bytes"]["total"], SIZE as f64, "from the cache");
    signal(&lines.child, Signal::INT);
    assert_eq!(wait(lines.child).code, 130);
}

#[tokio::test]
async fn a_process_that_ends_and_begins_anew_is_followed() {
    let (place, (bucket, bytes)) = (Place::new(), bucket());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let served = Served::start(&place, &bucket, &address);
    served.read(&bytes, 0..=9).await;
    let mut lines = Lines::of(place.command(&["--json", "top", "--interval", "0.1", &address]));
    lines.find("bytes", |line| line["fetched_bytes"]["total"] == SIZE as f64);
    drop(served);
    let gone = lines.find("silence", |line| line["no_answer_s"].as_f64() > Some(0.2));
    assert!(gone["error"].as_str().unwrap().contains("connection refused"), "{gone}");
    assert!(gone.get("fetched_bytes").is_none(), "old figures: {gone}");
    let served = Served::start(&place, &bucket, &address);
    let back = lines.find("an answer", |line| line.get("error").is_none());
    assert!(back["restarted_s"].as_f64().is_some() && back["fetched_bytes"]["total"] == 0.0, "{back}");
    served.read(&bytes, 0..=9).await;
    lines.find("bytes", |line| line["fetched_bytes"]["total"] == SIZE as f64);
    // Nobody reads the lines any more.
    drop(lines.lines);
    let ran = wait(lines.child);
    assert_eq!((ran.code, ran.stderr.as_str()), (141, ""));
}

#[tokio::test]
async fn a_socket_is_watched_and_text_printed() {
    let (place, (bucket, bytes)) = (Place::new(), bucket());
    let served = Served::start(&place, &bucket, &format!("unix:{}", place.text("m.sock")));
    served.read(&bytes, 0..=999).await;
    let text = place.run(&["top", "--count", "2", "-i", "0.1", "unix:m.sock"]).ok();
    let pages: Vec<&str> = text.split("unix:m.sock\n").collect();
    assert_eq!(pages.len(), 3, "{text}");
    for said in
        ["Throughput\n  delivered    0 MB/s, 196 KiB in all\n", "from store   0 MB/s, 195 KiB in all", "hit ratio"]
    {
        assert!(pages[1].contains(said) && pages[2].contains(said), "'{said}' is not in: {text}");
    }
}

#[test]
fn wrong_addresses_and_other_servers_say_what_to_do() {
    let place = Place::new();
    let answers = |status, body| answering(status, body).replace("http://", "");
    for (address, code, says) in [
        (
            "127.0.0.1:1".to_owned(),
            8,
            &["http://127.0.0.1:1/metrics cannot be read: connection refused", "--metrics"][..],
        ),
        ("unix:none.sock".to_owned(), 8, &["unix:none.sock cannot be read: no such file"]),
        (answers("500 Internal Server Error", ""), 8, &["500 Internal Server Error"]),
        (answers("404 Not Found", ""), 2, &["404 Not Found", "Name the address"]),
        (answers("200 OK", "<!doctype html>\u{1b}[2J"), 2, &["line 1 is '<!doctype html>"]),
        (answers("200 OK", "\u{0}\u{1}\u{fffd}"), 2, &["no text of Prometheus"]),
        (answers("200 OK", "process_cpu_seconds_total 1\n"), 2, &["no metrics of Headstart", "serve --metrics"]),
        ("gs://bucket".to_owned(), 2, &["HOST:PORT"]),
    ] {
        for shape in [&["--once"][..], &["--json"], &["--once", "--json", "-i", "0.1"]] {
            place.run(&[&["top", &address], shape].concat()).fails(code, says);
        }
    }
    place.run(&["top", "--once", "-i", "0"]).fails(2, &["0.1 to 3600"]);
    let (bucket, _) = bucket();
    let served = Served::start(&place, &bucket, "127.0.0.1:0");
    place.run(&["top", &served.metrics]).fails(2, &["no terminal", "--once", "--json"]);
}

/// A terminal of this test, and what programs have written to it.
struct Terminal {
    master: File,
    slave: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, rustix::fs::Mode::empty()).unwrap();
        let (master, shown) = (File::from(master), Arc::default());
        let (mut reader, written): (File, Arc<Mutex<Vec<u8>>>) = (master.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = reader.read(&mut bytes) {
                written.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        let terminal = Self { master, slave: File::from(slave), shown };
        terminal.resize(100, 30);
        terminal
    }

    fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.master, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    }

    fn start(&self, mut command: Command) -> Child {
        let end = || Stdio::from(self.slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until `what` was written, and forgets all before its end.
    #[track_caller]
    fn wait_for(&self, what: &str) {
        wait_until(what, || {
            let mut shown = self.shown.lock().unwrap();
            let found = shown.windows(what.len()).position(|written| written == what.as_bytes());
            found.is_some_and(|place| shown.drain(..place + what.len()).len() > 0)
        });
    }

    fn forget(&self) {
        self.shown.lock().unwrap().clear();
    }

    /// Whether keys come as they are pressed, and the modes in full.
    fn modes(&self) -> (bool, String) {
        let modes = tcgetattr(&self.slave).unwrap();
        let all = (modes.input_modes, modes.output_modes, modes.control_modes, modes.local_modes);
        (!modes.local_modes.contains(LocalModes::ICANON), format!("{all:?}"))
    }
}

#[test]
fn a_terminal_shows_it_and_is_restored() {
    let (place, (bucket, _)) = (Place::new(), bucket());
    let served = Served::start(&place, &bucket, "127.0.0.1:0");
    let mut terminal = Terminal::open();
    let before = terminal.modes();
    assert!(!before.0);
    let ends: [(&[u8], i32); 4] = [(b"q", 0), (b"\x03", 0), (b"\x1b", 0), (b"", 143)];
    for (keys, code) in ends {
        let child = terminal.start(place.command(&["top", "-i", "0.1", &served.metrics]));
        // The alternate screen, and the panels.
        terminal.wait_for("\u{1b}[?1049h");
        terminal.wait_for("Read-ahead");
        assert!(terminal.modes().0);
        terminal.forget();
        terminal.resize(40, 10);
        signal(&child, Signal::WINCH);
        terminal.wait_for("hit ratio");
        match keys {
            b"" => signal(&child, Signal::TERM),
            keys => terminal.master.write_all(keys).unwrap(),
        }
        let ran = wait(child);
        assert_eq!(ran.code, code, "{keys:?}: {}", terminal.shown());
        assert_eq!(terminal.modes(), before, "{keys:?}");
        // The cursor is seen again, and the screen is as it was.
        wait_until("the old screen", || terminal.shown().contains("\u{1b}[?1049l"));
        assert!(terminal.shown().contains("\u{1b}[?25h"), "{:?}", terminal.shown());
        terminal.forget();
        terminal.resize(100, 30);
    }
}
