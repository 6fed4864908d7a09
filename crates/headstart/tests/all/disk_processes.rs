//! Eight processes on one directory, that read one data set of a server over HTTP, each in an order of its own. Some
//! are killed.
//!
//! `HEADSTART_DISK_TESTS=full` reads 1 GiB, the promised size, in place of a part of it.

#![cfg(feature = "gcp")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path as FilePath, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headstart::Headstart;
use headstart_sim::server::{SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{Content, FIRST_GENERATION};
use object_store::ObjectStoreExt;
use object_store::path::Path;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 64 << 10;
const PROCESSES: u64 = 8;
const CHILD: &str = "HEADSTART_DISK_PROCESS";

/// Bytes of the data set.
#[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the library")]
fn set_bytes() -> u64 {
    let is_full = std::env::var("HEADSTART_DISK_TESTS").is_ok_and(|value| value == "full");
    if is_full { 1024 * MIB } else { 96 * MIB }
}

#[expect(clippy::disallowed_methods, reason = "the processes are real")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// What a child process does: reads the data set once for each line that it is told, and answers with a line.
#[tokio::test]
async fn a_process_of_the_eight() {
    #[expect(clippy::disallowed_methods, reason = "how the other test tells its children")]
    let Ok(told) = std::env::var(CHILD) else { return };
    let [endpoint, directory, disk, seed] = told.split('|').collect::<Vec<_>>().try_into().unwrap();
    let set = set_bytes();
    let store = Headstart::builder()
        .url("gs://bucket")
        .environment([])
        .options_str("mode=cached,prefetch=off,memory_bytes=64MiB,cache.memory_bytes=16MiB,cache.freshness=immutable")
        .option("gcs.endpoint", endpoint)
        .option("gcs.anonymous", "on")
        .option("cache.disk_directory", directory)
        .option("cache.disk_bytes", disk)
        .option("cache.disk_floor_bytes", "0")
        .build()
        .await
        .unwrap();
    println!("\nready");
    let mut dice: u64 = seed.parse().unwrap();
    let path = Path::from(format!("synthetic/{set}/set"));
    let content = Content::new(path.as_ref(), FIRST_GENERATION);
    for line in std::io::stdin().lines() {
        if line.unwrap() == "close" {
            store.close().await;
            break;
        }
        let mut order: Vec<u64> = (0..set / PAGE).collect();
        for at in (1..order.len()).rev() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, usize::try_from((dice >> 33) % (at as u64 + 1)).unwrap());
        }
        for (n, page) in order.into_iter().enumerate() {
            if n as u64 == set / PAGE / 2 {
                println!("\nhalf");
            }
            let range = page * PAGE..(page + 1) * PAGE;
            let bytes = store.get_range(&path, range.clone()).await.unwrap();
            content.check(range.start, &bytes).unwrap();
        }
        println!("\ndone {:?}", store.stats().cache.unwrap().disk);
    }
    println!("\nclosed");
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Eight processes, and what they have in common.
struct Host {
    server: SimServerHandle,
    directory: PathBuf,
    disk: u64,
    processes: Vec<Process>,
    /// Processes begun, also those that were killed.
    begun: u64,
    /// Pages that the disk had later than the store, in the processes that live.
    late: u64,
}

impl Process {
    fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
    }

    fn hear(&mut self, what: &str) -> String {
        let lines = self.output.by_ref().lines().map_while(Result::ok);
        lines.into_iter().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("a process ends before {what}"))
    }
}

impl Host {
    fn new(directory: PathBuf, disk: u64) -> Self {
        let server = SimServer::start(SimServerConfig::default()).unwrap();
        let mut host = Self { server, directory, disk, processes: Vec::new(), begun: 0, late: 0 };
        host.processes = (0..PROCESSES).map(|_| host.start()).collect();
        host
    }

    fn start(&mut self) -> Process {
        self.begun += 1;
        let (url, directory) = (self.server.url(), self.directory.display());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "disk_processes::a_process_of_the_eight", "--nocapture"])
            .env(CHILD, format!("{url}|{directory}|{}|{}", self.disk, self.begun))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut process = Process { child, input, output };
        process.hear("ready");
        process
    }

    /// All read the data set once; one may be killed half way, and begin again. Returns how much of the set the store
    /// has sent, and what the last process has counted.
    fn epoch(&mut self, kills_one: bool) -> (f64, String) {
        self.server.log().clear();
        self.processes.iter_mut().for_each(|process| process.tell("epoch"));
        if kills_one {
            let mut victim = self.processes.remove(3);
            victim.hear("half");
            victim.child.kill().unwrap();
            victim.child.wait().unwrap();
            let mut next = self.start();
            next.tell("epoch");
            self.processes.push(next);
        }
        let said: Vec<_> = self.processes.iter_mut().map(|process| process.hear("done")).collect();
        let late = said.iter().map(|stats| late_in(stats)).sum::<u64>();
        let newly_late = late.saturating_sub(std::mem::replace(&mut self.late, late));
        // What waits is written, and found by the others.
        sleep(Duration::from_millis(500));
        // What the disk had, but the store had sooner, is fetched by design: only on a busy machine, as nothing else
        // keeps a page of the page cache waiting.
        let fetched = self.server.log().counts().bytes_sent.saturating_sub(newly_late * PAGE);
        println!("{newly_late} pages were on disk, but fetching was sooner");
        (fetched as f64 / set_bytes() as f64, said.last().unwrap().clone())
    }

    fn close(mut self) {
        for process in &mut self.processes {
            process.tell("close");
            process.hear("closed");
            assert!(process.child.wait().unwrap().success());
        }
    }
}

/// The field `late` of printed statistics.
fn late_in(stats: &str) -> u64 {
    let (_, after) = stats.split_once(" late: ").unwrap();
    after.split_once(',').unwrap().0.parse().unwrap()
}

/// The most bytes that a directory has at any moment of `work`.
fn most_bytes_in(directory: &FilePath, work: impl FnOnce()) -> u64 {
    let is_done = Arc::new(AtomicBool::new(false));
    let watch = {
        let (directory, is_done) = (directory.to_owned(), Arc::clone(&is_done));
        std::thread::spawn(move || {
            let (mut most, mut samples) = (0, 0);
            while !is_done.load(Ordering::Relaxed) {
                most = most.max(bytes_in(&directory));
                samples += 1;
                sleep(Duration::from_millis(1));
            }
            println!("{samples} samples");
            most
        })
    };
    work();
    is_done.store(true, Ordering::Relaxed);
    watch.join().unwrap()
}

fn bytes_in(directory: &FilePath) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten();
    files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}

fn check_size(most: u64, disk: u64) {
    let segment = (disk / 16).min(64 * MIB);
    println!("at most {} MiB on disk of {} and a segment of {} each", most / MIB, disk / MIB, segment / MIB);
    assert!(most <= disk + PROCESSES * segment, "{most}");
}

#[test]
fn eight_processes_fetch_a_data_set_once() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, disk) = (parent.path().join("cache"), 2 * set_bytes());
    let most = most_bytes_in(&directory, || {
        let mut host = Host::new(directory.clone(), disk);
        let (first, stats) = host.epoch(false);
        println!("first epoch: {first:.3} x the set from the store; {stats}");
        let (second, stats) = host.epoch(false);
        println!("second epoch: {second:.3} x; {stats}");
        let (third, _) = host.epoch(true);
        println!("third epoch, one is killed half way and begins again: {third:.3} x");
        host.close();
        assert!(first <= 1.5, "{first}");
        // What the killed process had found to be later than the store died with it: a few pages on a busy machine.
        assert!(second == 0.0 && third <= 0.001, "{second} {third}");
    });
    check_size(most, disk);
}

#[test]
fn a_process_killed_in_the_first_epoch_costs_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, disk) = (parent.path().join("cache"), 2 * set_bytes());
    let most = most_bytes_in(&directory, || {
        let mut host = Host::new(directory.clone(), disk);
        let (first, _) = host.epoch(true);
        let (second, stats) = host.epoch(false);
        println!("killed half way: {first:.3} x the set from the store, then {second:.3} x; {stats}");
        host.close();
        assert!(first <= 1.5 && second == 0.0, "{first} {second}");
    });
    check_size(most, disk);
}

#[test]
fn a_directory_of_half_the_data_set_keeps_to_its_size() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, disk) = (parent.path().join("cache"), set_bytes() / 2);
    let most = most_bytes_in(&directory, || {
        let mut host = Host::new(directory.clone(), disk);
        let epochs: Vec<_> = [false, true].into_iter().map(|kills_one| host.epoch(kills_one).0).collect();
        println!("half of the set fits: {epochs:.3?} x the set from the store");
        host.close();
        // Eight processes that find nothing on disk fetch eight sets.
        assert!(epochs.iter().all(|fetched| *fetched < 7.0), "{epochs:?}");
    });
    check_size(most, disk);
}
