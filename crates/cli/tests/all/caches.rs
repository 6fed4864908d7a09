//! `warm`, `cache` and `trace` as processes.

use std::os::unix::fs::FileExt;

use super::common::{Bucket, MIB, Place, files};
use headstart_sim::server::Dialect;

#[test]
fn a_warmed_cache_answers_other_processes_until_it_is_cleared() {
    let place = Place::new();
    for bucket in Bucket::both() {
        let contents: Vec<_> = ["w/a", "w/b"].iter().map(|key| bucket.put_large(key, 5 * MIB)).collect();
        bucket.put("w/empty", "");
        let directory = place.text("cache");
        let option = format!("cache.disk_directory={directory}");
        bucket.run(&place, &["warm", &bucket.url("w/a")]).fails(2, &["-o cache.disk_directory=DIRECTORY"]);
        let warm = |args: &[&str]| bucket.run(&place, &[&["-o", &option, "--json", "warm"], args].concat());
        let json = warm(&["-r", &bucket.url("w")]).json();
        assert_eq!((&json[0]["objects"], &json[0]["bytes"]), (&3.into(), &(10 * MIB).into()));
        assert_eq!((&json[0]["fetched_bytes"], &json[0]["pages_not_written"]), (&(10 * MIB).into(), &0.into()));
        assert_eq!(warm(&["-r", &bucket.url("w")]).json()[0]["fetched_bytes"], 0);
        warm(&[&bucket.url("w/none")]).fails(3, &["none does not exist"]);

        // Another process reads without a GET.
        let gets = bucket.server.log().counts().gets;
        for (key, content) in ["w/a", "w/b"].iter().zip(&contents) {
            let args = ["-o", &option, "-o", "mode=cached", "cat", &bucket.url(key)];
            assert!(bucket.run(&place, &args).bytes() == *content);
        }
        assert_eq!(bucket.server.log().counts().gets, gets);

        let stat = place.run(&["cache", "stat", "--json", &directory]).json();
        assert_eq!((&stat[0]["page_bytes"], &stat[0]["open_caches"]), (&(10 * MIB).into(), &0.into()));
        assert!(place.run(&["cache", "stat", &directory]).ok().contains("160 of 10 MiB"));
        assert!(place.run(&["cache", "verify", &directory]).ok().contains("no damage"));
        let (name, _) = files(&place.path("cache")).into_iter().find(|(name, _)| name.ends_with(".segment")).unwrap();
        let segment = std::fs::OpenOptions::new().write(true).open(place.path("cache").join(name)).unwrap();
        let end = segment.metadata().unwrap().len();
        segment.write_all_at(b"damage", end - 1000).unwrap();
        place.run(&["cache", "verify", &directory]).fails(5, &["has damage", "headstart cache clear"]);
        assert!(place.run(&["cache", "clear", &directory]).ok().contains("freed"));
        assert_eq!(place.run(&["cache", "stat", "--json", &directory]).json()[0]["pages"], 0);
        std::fs::remove_dir_all(&directory).unwrap();
    }
    place.write("other/photo.jpg", "x");
    for (directory, code, says) in [("none", 3, "no such directory"), ("other", 2, "no file headstart-cache")] {
        for command in ["stat", "verify", "clear"] {
            place.run(&["cache", command, directory]).fails(code, &[directory, says]);
        }
    }
    assert!(place.path("other/photo.jpg").exists());
}

#[test]
fn reads_are_recorded_shown_and_replayed() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    let content = bucket.put_large("k", 8 * MIB);
    let url = bucket.url("k");
    let ran = bucket.run(&place, &["trace", "record", "t.jsonl", "cat", "--range", "1048576-2097151", &url]);
    assert_eq!((ran.code, ran.stderr.trim()), (0, "1 call in t.jsonl"));
    assert!(ran.stdout == content[MIB..2 * MIB]);
    let show = place.run(&["trace", "show", "--json", "t.jsonl"]).json();
    assert_eq!((&show[0]["calls"]["get"], &show[0]["bytes"]), (&1.into(), &MIB.into()));
    assert!(place.run(&["trace", "show", "t.jsonl"]).ok().contains("1 MiB"));
    assert!(place.run(&["trace", "show", "--calls", "t.jsonl"]).ok().contains("1048576..2097152"));
    let replay = place.run(&["trace", "replay", "--json", "t.jsonl"]).json();
    let raw = replay.iter().find(|system| system["system"] == "raw").unwrap();
    assert_eq!((&raw["gets"], &raw["read_bytes"], replay.len()), (&1.into(), &MIB.into(), 4));
    let requests = (raw["gets"].as_f64().unwrap() + raw["heads"].as_f64().unwrap()) / 1000.0;
    assert!((raw["usd"].as_f64().unwrap() - requests * 0.0004).abs() < 1e-12, "{raw}");
    let table = place.run(&["trace", "replay", "--profile", "wan", "-o", "memory_bytes=1GiB", "t.jsonl"]).ok();
    assert!(table.contains("headstart+cache") && table.contains("'wan'"), "{table}");

    place.write("not.jsonl", "{}\n");
    for (args, code, says) in [
        (&["trace", "show", "none.jsonl"][..], 3, "none.jsonl"),
        (&["trace", "show", "not.jsonl"], 2, "not a trace"),
        (&["trace", "replay", "--profile", "moon", "t.jsonl"], 2, "--profile moon"),
        (&["trace", "replay", "-o", "moed=x", "t.jsonl"], 2, "did you mean 'mode'?"),
        (&["trace", "record", "x.jsonl", "cp", "a", "b"], 2, "Only cat, head, stat and verify"),
    ] {
        place.run(args).fails(code, &[says]);
    }
}
