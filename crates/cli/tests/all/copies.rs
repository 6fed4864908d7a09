//! `cp` as a process: down, up, across, trees, patterns, and what is refused.

use super::common::{Bucket, MIB, Place, Ran, bytes, files};
use headstart_sim::server::{Dialect, SimServerConfig};
use headstart_sim::{FaultEvent, FaultPlan, ReadAnswer, RequestKind, When};
use object_store::{Attribute, Attributes};

#[test]
fn one_object_goes_down_and_up() {
    let place = Place::new();
    for bucket in Bucket::both() {
        let large = bucket.put_large("dir/large", 40 * MIB + 3);
        bucket.run(&place, &["cp", &bucket.url("dir/large"), "down"]).ok();
        assert!(std::fs::read(place.path("down")).unwrap() == large);
        std::fs::create_dir_all(place.path("into")).unwrap();
        let json = bucket.run(&place, &["cp", "--json", "--verify", &bucket.url("dir/large"), "into"]).json();
        assert!(std::fs::read(place.path("into/large")).unwrap() == large);
        let check = if bucket.url("").starts_with("gs") { "crc32c" } else { "read_back" };
        assert_eq!((&json[0]["bytes"], &json[0]["checked"]), (&large.len().into(), &check.into()));
        assert_eq!(json[0]["crc32c"], format!("{:08x}", crc32c::crc32c(&large)));
        assert_eq!((&json[1]["copied"], &json[1]["failed"]), (&1.into(), &0.into()));

        // In parts, in one request, and empty; to a name and below a prefix.
        for (name, size) in [("large", 40 * MIB + 3), ("small", 1000), ("empty", 0)] {
            let content = bytes(7, size);
            let file = place.write(name, &content);
            let json = bucket.run(&place, &["cp", "--json", "--verify", &file, &bucket.url("up/")]).json();
            assert_eq!(
                (&json[0]["to"], &json[0]["checked"]),
                (&bucket.url(&format!("up/{name}")).into(), &check.into())
            );
            assert!(bucket.get(&place, &format!("up/{name}")) == content, "{name}");
        }
        let parts = bucket.server.log().snapshot().iter().filter(|it| it.kind == RequestKind::Multipart).count();
        assert!(parts >= 7, "{parts} requests of an upload in parts");
        bucket.run(&place, &["cp", "small", &bucket.url("name")]).ok();
        assert_eq!(bucket.get(&place, "name"), bytes(7, 1000));
    }
}

#[test]
fn trees_patterns_and_several_sources() {
    let place = Place::new();
    for bucket in Bucket::both() {
        let tree = [("a.txt", "1"), ("b/c.txt", "22"), ("b/d.bin", "333"), ("ü/e f", "4444")];
        for (name, text) in tree {
            bucket.put(&format!("tree/{name}"), text);
        }
        let is_tree = |folder: &str| {
            let found = files(&place.path(folder));
            let expected = tree.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
            assert_eq!(found, expected, "{folder}");
        };
        // Twice: the second copy does not depend on what the first has made.
        for _ in 0..2 {
            bucket.run(&place, &["cp", "-r", &bucket.url("tree"), "down"]).ok();
            is_tree("down");
        }
        bucket.run(&place, &["cp", "-r", "down", &bucket.url("up")]).ok();
        bucket.run(&place, &["cp", "-r", &bucket.url("up/"), "--jobs", "4", "again/"]).ok();
        is_tree("again");
        bucket.run(&place, &["cp", &bucket.url("tree/**/*.txt"), "texts"]).ok();
        let names: Vec<_> = files(&place.path("texts")).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.txt", "b/c.txt"]);
        bucket.run(&place, &["cp", &bucket.url("tree/a.txt"), &bucket.url("tree/b/d.bin"), "two"]).ok();
        assert_eq!(files(&place.path("two")).len(), 2);
        bucket
            .run(&place, &["cp", "-r", &bucket.url("tree/b"), &bucket.url("up/b"), "clash"])
            .fails(2, &["would both be"]);
        bucket.run(&place, &["cp", "-r", &bucket.url("tree/b"), &bucket.url("tree/ü"), "both"]).ok();
        assert_eq!(files(&place.path("both")).len(), 3);
        assert!(place.path("both/b/c.txt").exists() && place.path("both/ü/e f").exists());

        let planned = bucket.run(&place, &["cp", "-n", "-r", &bucket.url("tree/b"), "planned"]).ok();
        let line = |name: &str| format!("{} -> planned/{name}\n", bucket.url(&format!("tree/b/{name}")));
        assert_eq!(planned, line("c.txt") + &line("d.bin"));
        assert!(!place.path("planned").exists());
        for folder in ["down", "again", "texts", "two", "both"] {
            std::fs::remove_dir_all(place.path(folder)).unwrap();
        }
    }
}

#[test]
fn across_stores_and_through_pipes() {
    let place = Place::new();
    let [gcs, s3] = Bucket::both();
    let content = gcs.put_large("k", 20 * MIB);
    let args = [gcs.args(&[]), s3.args(&["cp", "--verify", "--json"]), vec![gcs.url("k"), s3.url("copy")]].concat();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let json = place.run(&args).json();
    assert_eq!(json[0]["checked"], "read_back");
    assert!(s3.get(&place, "copy") == content);

    assert!(gcs.run(&place, &["cp", &gcs.url("k"), "-"]).bytes() == content);
    let input = bytes(3, 70 * MIB);
    let ran = Ran::of(gcs.command(&place, &["cp", "-", &gcs.url("piped")]), &input);
    ran.ok();
    assert!(gcs.get(&place, "piped") == input);
}

#[test]
fn what_is_there_already_is_passed_over() {
    let place = Place::new();
    for bucket in Bucket::both() {
        bucket.put("t/a", "one");
        bucket.put("t/b", "two");
        let copy = |args: &[&str]| {
            let json = bucket.run(&place, &[&["cp", "-r", "--json", "--skip-same"], args].concat()).json();
            let summary = json.last().unwrap();
            (summary["copied"].as_u64().unwrap(), summary["skipped"].as_u64().unwrap())
        };
        assert_eq!(copy(&[&bucket.url("t"), "t"]), (2, 0));
        assert_eq!(copy(&[&bucket.url("t"), "t"]), (0, 2));
        // Another length, and, where there is a checksum, other bytes of the same length.
        std::fs::write(place.path("t/a"), "longer").unwrap();
        assert_eq!(copy(&[&bucket.url("t"), "t"]), (1, 1));
        if bucket.url("").starts_with("gs") {
            std::fs::write(place.path("t/b"), "owt").unwrap();
            assert_eq!(copy(&[&bucket.url("t"), "t"]), (1, 1));
        }
        assert_eq!(std::fs::read(place.path("t/b")).unwrap(), b"two");
        assert_eq!(copy(&["t", &bucket.url("up")]), (2, 0));
        // The simulated bucket dates its objects in the past, so without a checksum they are older than the files.
        let skipped = if bucket.url("").starts_with("gs") { 2 } else { 0 };
        assert_eq!(copy(&["t", &bucket.url("up")]), (2 - skipped, skipped));
        std::fs::remove_dir_all(place.path("t")).unwrap();
    }
}

#[test]
fn what_no_copy_should_do_is_refused_before_anything_is_written() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    bucket.put("d/a", "1");
    bucket.put("d/a/b", "2");
    bucket.put("one", "1");
    place.write("file", "x");
    place.write("folder/f", "x");
    let requests = bucket.server.log().snapshot().len();
    for (args, code, says) in [
        (&["cp", "file", "other"][..], 2, "both on this machine"),
        (&["cp", "folder", "gs://bucket/x"], 2, "Add -r"),
        (&["cp", "gs://bucket/d", "x"], 2, "Add -r"),
        (&["cp", "gs://bucket", "x"], 2, "Add -r"),
        (&["cp", "-r", "gs://bucket/d", "x"], 2, "would be a file, and a directory"),
        (&["cp", "gs://bucket/one", "gs://bucket/d/a", "file"], 2, "Name a directory"),
        (&["cp", "gs://bucket/none", "x"], 3, "none does not exist"),
        (&["cp", "gs://bucket/none*", "x"], 2, "matches nothing"),
        (&["cp", "none", "gs://bucket/x"], 3, "none: no such file"),
        (&["cp", "gs://bucket/one", "gs://bucket/one"], 2, "is the source and the target"),
        (&["cp", "-r", "gs://bucket/d", "gs://bucket/d"], 2, "gs://bucket/d/a is the source and the target"),
        (&["cp", "gs://bucket/one", "gs://bucket/*"], 2, "and no target"),
        (&["cp", "-r", "gs://bucket/", "-"], 2, "headstart cat"),
        (&["cp", "-", "x"], 2, "Standard input can only"),
        (&["cp", "gs://bucket/one"], 2, "then where to"),
    ] {
        bucket.run(&place, args).fails(code, &[says]);
        assert!(!place.path("x").exists(), "{args:?}");
    }
    let written = bucket.server.log().snapshot();
    assert!(
        written[requests..]
            .iter()
            .all(|it| matches!(it.kind, RequestKind::Head | RequestKind::Get | RequestKind::List))
    );
    // A path that goes through a file.
    bucket.run(&place, &["cp", "gs://bucket/one", "file/x"]).fails(6, &["file"]);
}

#[test]
fn failures_of_some_objects_are_told_and_the_others_are_copied() {
    let place = Place::new();
    let bucket = Bucket::new(Dialect::S3);
    for n in 0..5 {
        bucket.put(&format!("t/{n}"), "x");
    }
    // A directory is in the way of one of them.
    std::fs::create_dir_all(place.path("down/3/x")).unwrap();
    let ran = bucket.run(&place, &["cp", "-r", &bucket.url("t"), "down"]);
    ran.fails(6, &["3", "directory"]);
    std::fs::remove_dir_all(place.path("down")).unwrap();

    // An object goes between listing and copying.
    let delete = headstart_sim::ExternalChange::Delete { key: "t/2".to_owned() };
    let faults = FaultPlan { script: vec![(When::Read(0), FaultEvent::Change(delete))], ..FaultPlan::default() };
    let bucket = Bucket::with(SimServerConfig { dialect: Dialect::S3, faults, ..SimServerConfig::default() });
    for n in 0..5 {
        bucket.put(&format!("t/{n}"), "x");
    }
    let ran = bucket.run(&place, &["cp", "-r", "-j", "1", &bucket.url("t"), "down"]);
    ran.fails(3, &["t/2 does not exist", "1 object was not copied"]);
    assert_eq!(files(&place.path("down")).len(), 4);
}

#[test]
fn a_damaged_body_is_never_a_file() {
    let place = Place::new();
    let script = (0..200).map(|n| (When::Read(n), FaultEvent::Answer(ReadAnswer::Cut { after: 0.5 }))).collect();
    let faults = FaultPlan { script, ..FaultPlan::default() };
    let bucket = Bucket::with(SimServerConfig { faults, ..SimServerConfig::default() });
    bucket.put_large("k", 3 * MIB);
    let ran = bucket.run(&place, &["cp", "-o", "fetch.retries=2", &bucket.url("k"), "k"]);
    ran.fails(8, &["gs://bucket/k cannot be read"]);
    assert!(!place.path("k").exists());
}

/// Consoles of clouds, and Hadoop, mark directories by empty objects whose keys end with a slash.
#[test]
fn markers_of_directories_are_no_files() {
    let place = Place::new();
    for bucket in Bucket::both() {
        for (key, text) in [("t/a/", ""), ("t/a/x", "1"), ("t/e/", ""), ("t/empty", "")] {
            bucket.put(key, text);
        }
        bucket.run(&place, &["cp", "-r", &bucket.url("t"), "down"]).ok();
        assert_eq!(files(&place.path("down")), [("a/x".into(), b"1".to_vec()), ("empty".into(), Vec::new())]);
        bucket.run(&place, &["cp", "-r", &bucket.url("t"), &bucket.url("u/")]).ok();
        assert!(bucket.has("u/a/x") && bucket.has("u/empty") && !bucket.has("u/a") && !bucket.has("u/e"));
        assert_eq!(bucket.run(&place, &["cat", &bucket.url("t/**")]).bytes(), b"1");
        std::fs::remove_dir_all(place.path("down")).unwrap();
    }
}

#[test]
fn copies_between_stores_keep_what_describes_the_object() {
    let place = Place::new();
    let attributes = [
        (Attribute::ContentType, "text/plain"),
        (Attribute::ContentEncoding, "identity"),
        (Attribute::Metadata("origin".into()), "probe 7"),
    ];
    for bucket in Bucket::both() {
        for (key, size) in [("small", 10), ("large", 20 * MIB)] {
            let given = Attributes::from_iter(attributes.clone());
            bucket.put_with(key, bytes(7, size), given.clone());
            bucket.run(&place, &["cp", &bucket.url(key), &bucket.url("copy")]).ok();
            let copy = bucket.server.catalog().get("copy", None).unwrap();
            assert_eq!((copy.size, &copy.attributes), (size as u64, &given), "{key}");
        }
    }
}

#[test]
fn what_a_key_cannot_have_is_encoded_in_its_segment() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    place.write("tree/d/a\u{1}b", "1");
    bucket.run(&place, &["cp", "-r", "tree", &bucket.url("up")]).ok();
    assert!(bucket.has("up/d/a%01b"));
}
