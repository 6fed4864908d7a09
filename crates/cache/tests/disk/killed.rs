//! Writers that are killed at any moment of a storm of writes: every sealed segment is there, and no byte is wrong.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headstart_sim::{LinkProfile, SimStore};

use crate::home::{Dice, Home, MIB, PAGE, is_full, object, sent, sleep, store};

const DIRECTORY: &str = "HEADSTART_KILLED_WRITER";

/// What a child writes: more than fits.
const OBJECT: u64 = 96 * MIB;

/// The process that is killed: it does nothing unless another test has started it.
#[tokio::test(start_paused = true)]
async fn a_writer_that_will_be_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the other test tells its child")]
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let home = Home { directory: tempfile::tempdir().unwrap() };
    let mut config = home.config();
    config.disk.directory = Some(directory.into());
    let fast = SimStore::builder().profile(LinkProfile::fast()).warm_connections(8).build();
    let cache = crate::home::Cached::new(&fast, config);
    println!("\nready");
    let mut dice = Dice(u64::from(std::process::id()));
    loop {
        for part in dice.shuffled(OBJECT / MIB) {
            cache.read(&object("storm", OBJECT), part * MIB..(part + 1) * MIB).await;
        }
    }
}

fn start(home: &Home) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::a_writer_that_will_be_killed", "--nocapture"])
        .env(DIRECTORY, home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.as_mut().unwrap());
    let is_ready = output.lines().map_while(Result::ok).any(|line| line.ends_with("ready"));
    assert!(is_ready, "the child ends early");
    child
}

#[tokio::test(start_paused = true)]
async fn killed_writers_leave_every_sealed_segment_and_no_wrong_byte() {
    let kills = if is_full() { 300 } else { 24 };
    let mut dice = Dice(5);
    let (mut done, mut sealed, mut left_open, mut hits) = (0, 0, 0, 0);
    let mut home = Home::new();
    while done < kills {
        if dice.roll(4) == 0 {
            home = Home::new();
        }
        let writers = if dice.roll(2) == 0 { 1 } else { 3 };
        let children: Vec<_> = (0..writers).map(|_| start(&home)).collect();
        sleep(Duration::from_millis(dice.roll(120)));
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
            done += 1;
        }
        let (before, open) = (home.segments("segment"), home.segments("open"));
        left_open += open.len();
        let store = store();
        let cache = home.open(&store);
        let stats = cache.disk();
        assert!(stats.segments >= before.len() as u64, "{stats:?}, {} sealed", before.len());
        assert_eq!(home.segments("bad").len(), 0);
        sealed += before.len();
        // Every page that is there, and as many that are not.
        let path = object("storm", OBJECT);
        for page in 0..OBJECT / PAGE {
            if page % 8 == dice.0 % 8 {
                cache.read_page(&path, page).await;
            }
        }
        let stats = cache.disk();
        assert_eq!((stats.damaged, stats.failures), (0, 0), "{stats:?}");
        hits += stats.hits;
        // Nothing is fetched of what is there, except that the version is asked for.
        let fetched = sent(&store).0 / PAGE;
        assert_eq!(fetched + stats.hits, OBJECT / PAGE / 8, "{stats:?}");
        cache.cache.close().await;
    }
    println!("{done} killed; {sealed} sealed segments, {left_open} open ones taken over, {hits} pages right");
    assert!(left_open > 0 && hits > 0);
}
