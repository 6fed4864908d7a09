//! `bench` and `doctor` as processes, over a simulated link.

use super::common::{Bucket, MIB, Place};
use headstart_sim::server::{Dialect, SimServerConfig};
use headstart_sim::{LinkProfile, RequestKind};

/// A bucket 10 ms away, with 20 MB/s a stream and 200 MB/s in all.
fn bucket(dialect: Dialect) -> Bucket {
    let profile = LinkProfile { stream_bytes_per_s: 20e6, nic_bytes_per_s: 200e6, ..LinkProfile::near() };
    Bucket::with(SimServerConfig { dialect, profile, ..SimServerConfig::default() })
}

/// Only reads were sent.
fn only_read(bucket: &Bucket) -> bool {
    bucket.server.log().snapshot().iter().all(|it| matches!(it.kind, RequestKind::Get | RequestKind::Head))
}

#[test]
fn bench_reads_in_every_mode_and_says_first_what_it_costs() {
    let (place, bucket) = (Place::new(), bucket(Dialect::Gcs));
    bucket.put_large("k", 16 * MIB);
    let url = bucket.url("k");
    // Nobody can be asked.
    let ran = bucket.run(&place, &["bench", &url]);
    ran.fails(2, &["only reads", "read requests (about $0.", "Add --yes"]);
    assert_eq!(bucket.server.log().counts().gets, 0);

    let ran = bucket.run(&place, &["bench", "--yes", "--json", "--seconds", "0.2", &url]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let runs: Vec<serde_json::Value> =
        String::from_utf8(ran.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(runs.len(), 13);
    let find = |mode: &str, pattern: &str| {
        let run = runs.iter().find(|run| run["mode"] == mode && run["pattern"] == pattern);
        run.unwrap_or_else(|| panic!("no {mode} {pattern}"))
    };
    for run in &runs {
        assert!(run["read_bytes"].as_u64().unwrap() > 0 && run["seconds"].as_f64().unwrap() < 20.0, "{run}");
    }
    assert_eq!(find("raw", "stream")["gets"], 1);
    let (first, again) = (find("cached", "sequential"), find("cached", "again"));
    assert_eq!((&again["read_bytes"], &again["fetched_bytes"]), (&first["read_bytes"], &0.into()));
    assert!(only_read(&bucket));

    let shown = bucket.run(&place, &["bench", "-y", "-q", "--seconds", "0.05", &url]).ok();
    assert!(shown.contains("streamed") && shown.contains("the bare client"), "{shown}");
    bucket.put("small", "x");
    bucket.run(&place, &["bench", "-y", &bucket.url("small")]).fails(2, &["has only 1 B"]);
    bucket.run(&place, &["bench", "-y", &bucket.url("none")]).fails(3, &["none does not exist"]);
    bucket.run(&place, &["bench", "-y", "--seconds", "0", &url]).fails(2, &["0.05 to 600"]);
    let file = place.write("f", "x");
    place.run(&["bench", "-y", &file]).fails(2, &["is a file of this machine"]);
}

#[test]
fn doctor_says_what_it_finds_and_what_to_set() {
    for dialect in [Dialect::Gcs, Dialect::S3] {
        let (place, bucket) = (Place::new(), bucket(dialect));
        bucket.put_large("k", 16 * MIB);
        let url = bucket.url("k");
        bucket.run(&place, &["doctor", &url]).fails(2, &["only reads", "Add --yes"]);
        let ran = bucket.run(&place, &["doctor", "-y", "--json", "--seconds", "0.2", &url]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let found: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        let findings = &found["findings"];
        let number = |name: &str| findings[name].as_f64().unwrap();
        // Other work on this machine makes the link slower, and never faster than its shape.
        assert!((1e5..40e6).contains(&number("one_stream_bytes_per_s")), "{findings}");
        let first = findings["first_byte_ms"].as_array().unwrap();
        assert!(first.len() == 20 && first[0].as_f64().unwrap() >= 2.0, "{findings}");
        assert_eq!(findings["rates"].as_array().unwrap().len(), 7);
        assert_eq!((&findings["honours_if_match"], &findings["honours_ranges"]), (&true.into(), &true.into()));
        assert_eq!(findings["addresses"], serde_json::json!(["127.0.0.1"]));
        let is_gcs = dialect == Dialect::Gcs;
        assert_eq!(findings["pinned_by"], if is_gcs { "generation" } else { "entity tag" });
        assert!(!found["advice"].as_array().unwrap().is_empty());
        assert!(only_read(&bucket) && !found.to_string().contains("hunter2"), "{found}");
        if is_gcs {
            let shown = bucket.run(&place, &["doctor", "-y", "-q", "--seconds", "0.05", &url]).ok();
            assert!(shown.contains("One stream:") && shown.contains("First byte:"), "{shown}");
        }
        bucket.run(&place, &["doctor", "-y", &bucket.url("none")]).fails(3, &["none does not exist", "127.0.0.1"]);
    }
    // Nobody listens: what is known is told, and then what failed.
    let place = Place::new();
    let ran = place.run(&["-o", "gcs.endpoint=http://127.0.0.1:1", "doctor", "-y", "gs://b/k"]);
    ran.fails(8, &["Address:", "127.0.0.1:1 cannot be reached: it accepts no connection"]);
}
