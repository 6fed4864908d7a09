//! Measures reads of a local file in the page cache, through `LocalFileSystem` alone and through `FetchStore`.
//!
//! `cargo run --release -p headstart-fetch-core --example local_files [MiB]`

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use headstart_fetch_core::{BackendProfile, FetchConfig, FetchStore};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, Result};
use tokio::time::Instant;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The number of random reads.
const LENGTHS: [u64; 5] = [4 * KIB, 64 * KIB, MIB, 4 * MIB, 16 * MIB];

/// Repetitions of each measurement. The fastest counts: other work on the machine only makes one slower.
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let size = std::env::args().nth(1).map_or(Ok(1024), |arg| arg.parse::<u64>())? * MIB;
    let folder = tempfile::tempdir()?;
    let raw: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path())?);
    let path = Path::from("file");
    let mut file = std::fs::File::create(folder.path().join("file"))?;
    for _ in 0..size / MIB {
        file.write_all(&[7; 1 << 20])?;
    }

    let local = FetchConfig { profile: Some(BackendProfile::local()), ..FetchConfig::default() };
    let stores: [(&str, Arc<dyn ObjectStore>); 3] = [
        ("LocalFileSystem", Arc::clone(&raw)),
        ("FetchStore, local profile", Arc::new(FetchStore::new(Arc::clone(&raw), local).expect("valid settings"))),
        (
            "FetchStore, default profile",
            Arc::new(FetchStore::new(raw, FetchConfig::default()).expect("valid settings")),
        ),
    ];
    println!("MiB/s, the best of {ROUNDS}; a file of {} MiB in the page cache", size / MIB);
    print!("{:<28}{:>14}{:>14}", "", "get, stream", "get, bytes");
    LENGTHS.iter().for_each(|length| print!("{:>10} KiB", length / KIB));
    println!();
    // In turn, so that all see the same machine.
    let mut best = vec![vec![Duration::MAX; 2 + LENGTHS.len()]; stores.len()];
    for _ in 0..ROUNDS {
        for ((_, store), best) in stores.iter().zip(&mut best) {
            let begun = Instant::now();
            stream(store, &path).await?;
            best[0] = best[0].min(begun.elapsed());
            let begun = Instant::now();
            store.get(&path).await?.bytes().await?;
            best[1] = best[1].min(begun.elapsed());
        }
        for (n, length) in LENGTHS.into_iter().enumerate() {
            for ((_, store), best) in stores.iter().zip(&mut best) {
                let begun = Instant::now();
                random_reads(store, &path, size, length).await?;
                best[2 + n] = best[2 + n].min(begun.elapsed());
            }
        }
    }
    let read_bytes: Vec<_> = [size; 2].into_iter().chain(LENGTHS.map(|length| reads_of(length) * length)).collect();
    for ((name, _), best) in stores.iter().zip(best) {
        print!("{name:<28}");
        for (took, bytes) in best.iter().zip(&read_bytes) {
            print!("{:>14.0}", mib_per_s(*bytes, *took));
        }
        println!();
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
fn mib_per_s(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / MIB as f64 / took.as_secs_f64()
}

async fn stream(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<()> {
    let mut body = store.get_opts(path, GetOptions::default()).await?.into_stream();
    while let Some(chunk) = body.next().await {
        std::hint::black_box(chunk?);
    }
    Ok(())
}

/// Enough reads to take some 100 ms.
fn reads_of(length: u64) -> u64 {
    (256 * MIB / length).min(4096)
}

/// The same unaligned offsets for all.
async fn random_reads(store: &Arc<dyn ObjectStore>, path: &Path, size: u64, length: u64) -> Result<()> {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..reads_of(length) {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let start = (random >> 20) % (size - length);
        std::hint::black_box(store.get_range(path, start..start + length).await?);
    }
    Ok(())
}
