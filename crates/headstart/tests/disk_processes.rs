//! Eight processes on one directory, that read one data set of a server over HTTP, each in an order of its own.
//!
//! `HEADSTART_DISK_TESTS=full` reads 1 GiB, the promised size, in place of a part of it.

#![cfg(feature = "gcp")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path as FilePath;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use headstart::Headstart;
use headstart_sim::server::{SimServer, SimServerConfig};
use headstart_sim::{Content, FIRST_GENERATION};
use object_store::ObjectStoreExt;
use object_store::path::Path;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 64 << 10;
const PROCESSES: u64 = 8;
const CHILD: &str = "HEADSTART_DISK_PROCESS";

/// Bytes of the data set, and of the directory.
#[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the library")]
fn sizes() -> (u64, u64) {
    let is_full = std::env::var("HEADSTART_DISK_TESTS").is_ok_and(|value| value == "full");
    if is_full { (1024 * MIB, 2048 * MIB) } else { (96 * MIB, 192 * MIB) }
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
    let [endpoint, directory, seed] = told.split('|').collect::<Vec<_>>().try_into().unwrap();
    let (set, disk) = sizes();
    let store = Headstart::builder()
        .url("gs://bucket")
        .environment([])
        .options_str("mode=cached,prefetch=off,memory_bytes=64MiB,cache.memory_bytes=16MiB,cache.freshness=immutable")
        .option("gcs.endpoint", endpoint)
        .option("gcs.anonymous", "on")
        .option("cache.disk_directory", directory)
        .option("cache.disk_bytes", disk.to_string())
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
        for page in order {
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

impl Process {
    fn start(endpoint: &str, directory: &FilePath, seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_of_the_eight", "--nocapture"])
            .env(CHILD, format!("{endpoint}|{}|{seed}", directory.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut process = Self { child, input, output };
        process.hear("ready");
        process
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
    }

    fn hear(&mut self, what: &str) -> String {
        let lines = self.output.by_ref().lines().map_while(Result::ok);
        lines
            .into_iter()
            .find(|line| line.starts_with(what))
            .unwrap_or_else(|| panic!("the process ends before {what}"))
    }
}

fn bytes_in(directory: &FilePath) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten();
    files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}

#[test]
fn eight_processes_fetch_a_data_set_once() {
    let (set, disk) = sizes();
    let server = SimServer::start(SimServerConfig::default()).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    let (is_done, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watch = {
        let (directory, is_done, most) = (directory.clone(), Arc::clone(&is_done), Arc::clone(&most));
        std::thread::spawn(move || {
            while !is_done.load(Ordering::Relaxed) {
                most.fetch_max(bytes_in(&directory), Ordering::Relaxed);
                sleep(Duration::from_millis(1));
            }
        })
    };
    let mut processes: Vec<_> = (0..PROCESSES).map(|n| Process::start(server.url(), &directory, n + 1)).collect();
    let epoch = |processes: &mut Vec<Process>| {
        server.log().clear();
        processes.iter_mut().for_each(|process| process.tell("epoch"));
        let last = processes.iter_mut().map(|process| process.hear("done")).last().unwrap();
        // What waits is written, and found by the others.
        sleep(Duration::from_millis(500));
        (server.log().counts().bytes_sent as f64 / set as f64, last)
    };
    let (first, stats) = epoch(&mut processes);
    println!("first epoch: {first:.3} x the set from the store; {stats}");
    let (second, stats) = epoch(&mut processes);
    println!("second epoch: {second:.3} x; {stats}");
    // One is killed, and starts again.
    processes[3].child.kill().unwrap();
    processes[3].child.wait().unwrap();
    processes[3] = Process::start(server.url(), &directory, 99);
    let (third, _) = epoch(&mut processes);
    println!("after a kill and a restart: {third:.3} x");
    for process in &mut processes {
        process.tell("close");
        process.hear("closed");
        process.child.wait().unwrap();
    }
    is_done.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    let (most, segment) = (most.load(Ordering::Relaxed), (disk / 16).min(64 * MIB));
    println!("at most {} MiB on disk of {} and a segment of {} each", most / MIB, disk / MIB, segment / MIB);
    assert!(first <= 1.5, "{first}");
    assert!(second == 0.0 && third == 0.0, "{second} {third}");
    assert!(most <= disk + PROCESSES * segment, "{most}");
}
