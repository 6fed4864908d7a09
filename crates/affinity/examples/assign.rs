//! Assigns the files of a query to workers, and again after one of them left.
//!
//! `cargo run -p headstart-affinity --example assign`

use headstart_affinity::{FileKey, Placement};

fn main() {
    let paths: Vec<String> = (0..12).map(|n| format!("table/part-{n}.parquet")).collect();
    let key = |path: &str| FileKey { store: "s3://bucket", path, version: "\"1\"", start: 0 }.hash();
    let mut placement = Placement::new(["worker-a", "worker-b", "worker-c"]);
    for path in &paths {
        println!("{path}: {}", placement.place(key(path), 1).unwrap_or("nobody"));
    }
    println!("worker-b leaves");
    for moved in placement.leave("worker-b") {
        let path = paths.iter().find(|path| key(path) == moved.key);
        println!("{}: {}", path.map_or("?", String::as_str), moved.to.as_deref().unwrap_or("nobody"));
    }
}
