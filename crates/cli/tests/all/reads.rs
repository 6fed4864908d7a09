//! `cat`, `head`, `ls`, `stat`, `du`, `verify` and `config` as processes: over both dialects and over local files.

use super::common::{self, Bucket, MIB, Place, bytes};
use headstart_sim::server::Dialect;

#[test]
fn cat_writes_whole_objects_ranges_and_patterns() {
    let place = Place::new();
    for bucket in Bucket::both() {
        let large = bucket.put_large("dir/large", 20 * MIB + 17);
        bucket.put("dir/empty", "");
        for (key, text) in [("logs/1.txt", "one\n"), ("logs/2.txt", "two\n"), ("logs/3.bin", "three\n"), ("a?b", "odd")]
        {
            bucket.put(key, text);
        }
        let cat = |args: &[&str]| bucket.run(&place, &[&["cat"], args].concat());
        assert!(cat(&[&bucket.url("dir/large")]).bytes() == large);
        assert_eq!(cat(&[&bucket.url("dir/empty")]).bytes(), b"");
        for (range, expected) in [
            ("0-9", &large[..10]),
            ("5000000-15000000", &large[5_000_000..=15_000_000]),
            ("20971520-", &large[20 * MIB..]),
            ("-17", &large[20 * MIB..]),
            ("20971530-99999999999", &large[20 * MIB + 10..]),
        ] {
            assert!(cat(&["--range", range, &bucket.url("dir/large")]).bytes() == expected, "{range}");
        }
        assert_eq!(cat(&[&bucket.url("logs/*.txt")]).ok(), "one\ntwo\n");
        assert_eq!(cat(&[&bucket.url("**/[12].*"), &bucket.url("logs/3.bin")]).ok(), "one\ntwo\nthree\n");
        assert_eq!(cat(&[&bucket.url("a%3Fb")]).ok(), "odd");
        cat(&["--range", "99999999999-", &bucket.url("dir/large")]).fails(2, &["does not have these bytes"]);
        cat(&["--range", "9-3", &bucket.url("dir/large")]).fails(2, &["ends before it begins", "0-99"]);
        cat(&[&bucket.url("logs/*.gz")]).fails(3, &["does not exist", "headstart ls"]);
        cat(&[&bucket.url("logs")]).fails(3, &["logs does not exist"]);
    }
    let file = place.write("a b#c", "local");
    assert_eq!(place.run(&["cat", &file, "--range", "1-3"]).ok(), "oca");
    place.run(&["cat", &place.text("none")]).fails(3, &["does not exist"]);
}

#[test]
fn a_generation_is_read_as_it_was() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    bucket.put("k", "old");
    let old = bucket.server.catalog().get("k", None).unwrap().number;
    bucket.put("k", "newer");
    let url = format!("{}#{old}", bucket.url("k"));
    assert_eq!(bucket.run(&place, &["cat", &url]).ok(), "old");
    let described = bucket.run(&place, &["stat", "--json", &url]).json();
    assert_eq!((&described[0]["size"], &described[0]["version"]), (&3.into(), &old.to_string().into()));
    bucket.run(&place, &["cp", &url, "file"]).ok();
    assert_eq!(std::fs::read(place.path("file")).unwrap(), b"old");
}

#[test]
fn head_writes_the_first_lines_or_bytes() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    let lines: String = (0..30).map(|n| format!("line {n}\n")).collect();
    bucket.put("lines", lines.clone());
    bucket.put("empty", "");
    let head = |args: &[&str]| bucket.run(&place, &[&["head"], args].concat());
    let first = |count| lines.lines().take(count).map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(head(&[&bucket.url("lines")]).ok(), first(10));
    assert_eq!(head(&["-n", "3", &bucket.url("lines")]).ok(), first(3));
    assert_eq!(head(&["-n", "300", &bucket.url("lines")]).ok(), lines);
    assert_eq!(head(&["-c", "4", &bucket.url("lines")]).ok(), "line");
    assert_eq!(head(&["-c", "4", &bucket.url("empty")]).ok(), "");
    assert_eq!(head(&["-n", "0", &bucket.url("none")]).ok(), "");
    head(&[&bucket.url("none")]).fails(3, &["does not exist"]);
    // A large object is not read to its end.
    bucket.put_large("large", 200 * MIB);
    head(&["-c", "1000", &bucket.url("large")]).bytes();
    assert!(bucket.server.log().counts().bytes_sent < 20 * MIB as u64);
}

#[test]
fn ls_and_du_list_what_is_there() {
    let place = Place::new();
    for bucket in Bucket::both() {
        for (key, size) in [("top", 1), ("a/x", 2), ("a/b/y", 4), ("a/b c#?", 8), ("z/q", 1 << 20)] {
            bucket.put(key, vec![0; size]);
        }
        let run = |args: &[&str]| bucket.run(&place, args);
        let urls = |keys: &[&str]| keys.iter().map(|key| bucket.url(key) + "\n").collect::<String>();
        assert_eq!(run(&["ls", &bucket.url("")]).ok(), urls(&["a/", "top", "z/"]));
        assert_eq!(run(&["ls", &bucket.url("a")]).ok(), urls(&["a/b%20c%23%3F", "a/b/", "a/x"]));
        assert_eq!(run(&["ls", "-r", &bucket.url("a/")]).ok(), urls(&["a/b%20c%23%3F", "a/b/y", "a/x"]));
        assert_eq!(run(&["ls", &bucket.url("*/?")]).ok(), urls(&["a/x", "z/q"]));
        assert_eq!(run(&["ls", &bucket.url("top")]).ok(), urls(&["top"]));
        // What is listed can be pasted.
        assert_eq!(run(&["cat", &bucket.url("a/b%20c%23%3F")]).bytes(), vec![0; 8]);
        let long = run(&["ls", "-l", "-r", &bucket.url("z")]).ok();
        assert!(long.starts_with("1048576  20") && long.ends_with(&urls(&["z/q"])), "{long}");
        let json = run(&["ls", "--json", &bucket.url("")]).json();
        assert_eq!(json[0], serde_json::json!({ "url": bucket.url("a/"), "is_prefix": true }));
        assert_eq!((&json[1]["size"], json[1]["e_tag"].is_string()), (&1.into(), true));
        run(&["ls", &bucket.url("none")]).fails(3, &["none does not exist"]);
        run(&["ls", &bucket.url("none*")]).fails(3, &["none* does not exist"]);

        let usage = run(&["du", &bucket.url("")]).ok();
        assert!(usage.contains("1 MiB") && usage.lines().last().unwrap().contains("5 objects"), "{usage}");
        let usage = run(&["du", "-s", "--json", &bucket.url("a")]).json();
        assert_eq!(usage, [serde_json::json!({ "url": bucket.url("a"), "objects": 3, "bytes": 14 })]);
        run(&["du", &bucket.url("none")]).fails(3, &["none does not exist"]);
    }
    place.write("d/one", "1");
    place.write("d/e/two", "22");
    let folder = place.text("d");
    assert_eq!(place.run(&["ls", &folder]).ok(), format!("{folder}/e/\n{folder}/one\n"));
    let usage = place.run(&["du", "--json", "d"]).json();
    assert_eq!((&usage[0]["bytes"], &usage[1]["bytes"]), (&2.into(), &3.into()));
}

#[test]
fn stat_shows_the_version_and_what_pins_it() {
    let place = Place::new();
    for bucket in Bucket::both() {
        bucket.put("k", "12345");
        let found = bucket.server.catalog().get("k", None).unwrap();
        let json = &bucket.run(&place, &["stat", "--json", &bucket.url("k")]).json()[0];
        assert_eq!((&json["url"], &json["size"]), (&bucket.url("k").into(), &5.into()));
        assert!(json["e_tag"].is_string() && json["last_modified"].is_string(), "{json}");
        let text = bucket.run(&place, &["stat", &bucket.url("k")]).ok();
        assert!(text.contains("5 bytes (5 B)"), "{text}");
        let is_gcs = bucket.url("").starts_with("gs");
        assert_eq!(json["pinned_by"], if is_gcs { "generation" } else { "entity tag" });
        if is_gcs {
            assert_eq!(json["version"], found.number.to_string());
            assert_eq!(json["crc32c"], format!("{:08x}", crc32c::crc32c(b"12345")));
        }
        bucket.run(&place, &["stat", &bucket.url("none")]).fails(3, &["none does not exist"]);
        bucket.run(&place, &["stat", &bucket.url("")]).fails(2, &["names no object"]);
    }
    place.write("f", "1234");
    assert_eq!(place.run(&["stat", "--json", "f"]).json()[0]["size"], 4);
}

#[test]
fn verify_finds_the_first_difference() {
    let place = Place::new();
    for bucket in Bucket::both() {
        let right = bucket.put_large("k", 3 * MIB);
        let mut wrong = right.clone();
        wrong[2 * MIB + 5] ^= 1;
        let (same, differs) = (place.write("same", &right), place.write("differs", &wrong));
        let shorter = place.write("shorter", &right[1..]);
        let url = bucket.url("k");
        let verify = |args: &[&str]| bucket.run(&place, &[&["verify", "--json", &url], args].concat());
        let is_gcs = url.starts_with("gs");
        let json = verify(&[&same]).json();
        assert_eq!(
            (&json[0]["is_same"], &json[0]["compared"]),
            (&true.into(), &(if is_gcs { "crc32c" } else { "bytes" }).into())
        );
        assert_eq!(verify(&["--read", &same]).json()[0]["compared"], "bytes");
        let found = verify(&["--read", &differs]);
        assert_eq!(found.code, 5);
        let line: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
        assert_eq!((&line["is_same"], &line["first_difference"]), (&false.into(), &(2 * MIB + 5).into()));
        bucket.run(&place, &["verify", &url, &differs]).fails(5, &["differ"]);
        bucket.run(&place, &["verify", &url, &shorter]).fails(5, &["3,145,728 and 3,145,727 bytes long"]);
        bucket.run(&place, &["verify", &url, &place.text("none")]).fails(3, &["none: no such file"]);
        bucket.run(&place, &["verify", &bucket.url("none"), &same]).fails(3, &["none does not exist"]);
    }
}

#[test]
fn options_come_from_the_command_line_the_environment_and_the_file() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    bucket.put("k", "value");
    let file = format!(
        "mode = 'fetch'\n[fetch]\nconcurrency = 7\nretries = 3\n[gcs]\nendpoint = '{}'\ntoken = 'hunter2'",
        bucket.server.url()
    );
    let path = place.write("home/.config/headstart/config.toml", &file);
    // The endpoint of the file leads to the server.
    assert_eq!(place.run(&["cat", "gs://bucket/k"]).ok(), "value");
    let settings = |command: std::process::Command| {
        let ran = common::Ran::of(command, b"");
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!String::from_utf8(ran.stdout.clone()).unwrap().contains("hunter2"));
        let lines = String::from_utf8(ran.stdout).unwrap();
        let line = |key: &str| {
            let find = |line: &&str| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"] == key;
            serde_json::from_str::<serde_json::Value>(lines.lines().find(find).unwrap()).unwrap()
        };
        ["mode", "fetch.concurrency", "fetch.retries", "gcs.token"].map(|key| {
            let line = line(key);
            format!("{} {}", line["value"].as_str().unwrap(), line["source"].as_str().unwrap())
        })
    };
    let mut command = place.command(&["config", "--json", "gs://bucket/k", "-o", "mode=cached"]);
    command.env("HEADSTART_FETCH_CONCURRENCY", "8");
    assert_eq!(settings(command), ["cached explicit", "8 environment", "3 file", "*** file"]);
    let shown = place.run(&["config"]);
    assert!(String::from_utf8(shown.stdout).unwrap().contains(&path) && shown.stderr.contains(&path));

    // Options before the command and behind it count alike.
    let command =
        place.command(&["-o", "mode=none", "-ofetch.retries=5", "config", "--json", "gs://b/k", "-o", "mode=cached"]);
    assert_eq!(settings(command), ["cached explicit", "7 file", "5 explicit", "*** file"]);

    // XDG_CONFIG_HOME and --config choose another one.
    let file = "mode = 'none'\n[fetch]\nconcurrency = 9\nretries = 4\n[gcs]\ntoken = 'hunter2'";
    place.write("xdg/headstart/config.toml", file);
    let mut command = place.command(&["config", "--json", "gs://bucket/k"]);
    command.env("XDG_CONFIG_HOME", place.path("xdg"));
    assert_eq!(settings(command), ["none file", "9 file", "4 file", "*** file"]);
    for (text, says) in [
        ("[fetch]\nconcurency = 1", "did you mean 'fetch.concurrency'?"),
        ("[fetch]\nconcurrency = 0", "expected 1 to 4096"),
        ("[gcs]\ntoken = [1]", "'gcs.token' is a array"),
        ("a b", "line 1 is not TOML"),
    ] {
        let file = place.write("bad.toml", text);
        place.run(&["--config", &file, "ls", "gs://bucket"]).fails(2, &[&file, says]);
    }
    place.run(&["--config", "none.toml", "ls", "gs://bucket"]).fails(3, &["none.toml"]);
}

#[test]
fn bad_arguments_are_told_what_to_do() {
    let place = Place::new();
    for (args, says) in [
        (&["cat", "ftp://host/file"][..], "nsupported URL scheme"),
        (&["cat", "gs://"], "gs"),
        (&["cat", "-o", "gcs.anonymous=on", "gs://bucket"], "Add its key"),
        (&["cat", "s3://b/k?X-Amz-Signature=hunter2"], "is not used"),
        (&["ls", "https://u:hunter2@h/x"], "password"),
        (&["cat", "-o", "mode", "x"], "KEY=VALUE"),
        (&["cat", "-o", "moed=fetch", "x"], "did you mean 'mode'?"),
        (&["cat", "-o", "fetch.concurrency=0", "x"], "expected 1 to 4096"),
        (
            &["cat", "-o", "gcs.token=hunter2 ", "-o", "gcs.endpoint=http://u:hunter2@h", "gs://b/k"],
            "expected https://",
        ),
        (&["cat", "-"], "'-' stands for a stream"),
        (&["stat", "-o", "gcs.endpoint=http://127.0.0.1:1", "gs://b/*"], "cannot be read"),
        (&["fly"], "unrecognized subcommand"),
        (&[], "Usage: headstart"),
    ] {
        let ran = place.run(args);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
        let code = if says == "cannot be read" { 8 } else { 2 };
        // A bucket that cannot be listed is tried for minutes otherwise.
        if code == 2 {
            ran.fails(2, &[says]);
        }
    }
    let json = place.run(&["--json", "cat", "-o", "gcs.anonymous=on", "gs://bucket"]);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!((json.code, &error["exit_code"]), (2, &2.into()));
}

#[test]
fn the_reference_the_manual_pages_and_completions_are_made() {
    let place = Place::new();
    let page = place.run(&["reference"]).ok();
    assert!(page.contains("headstart cp") && page.contains("141"));
    let ran = place.run(&["man", "man1"]);
    assert_eq!(ran.code, 0);
    for name in ["headstart.1", "headstart-cp.1", "headstart-cache-verify.1"] {
        let page = std::fs::read_to_string(place.path("man1").join(name)).unwrap();
        assert!(page.contains(".TH"), "{name}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.run(&["completions", shell]).ok().contains("headstart"), "{shell}");
    }
    assert!(bytes(1, 8) != bytes(2, 8), "files of two seeds differ");
}
