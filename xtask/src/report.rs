//! `cargo xtask report`: makes a page, a document and pictures of what a bench found.

mod cost;
mod findings;
mod latency;
mod legend;
mod markdown;
mod overview;
mod page;
mod panel;
mod picture;
#[cfg(test)]
pub(crate) mod sample;
mod scale;
mod tables;
mod taps;
mod text;
mod theme;
mod throughput;
mod timeline;
mod way;
mod words;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use headstart_bench::results::Results;

pub(crate) use self::text::number;

/// Width of a picture that stands alone.
const PICTURE_WIDTH: f64 = 860.0;

/// What to read and where to write.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Read the results of a bench from this file
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.json")]
    json: PathBuf,
    /// Write a page with pictures to this file; it needs no other
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.html")]
    html: PathBuf,
    /// Write the tables as Markdown to this file
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    docs: PathBuf,
    /// Write a picture of each timeline, and the guide's of the stack, into this folder
    #[arg(long, value_name = "FOLDER", default_value = "docs/pictures")]
    pictures: PathBuf,
}

/// Reads the results and writes all three.
pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    let json = args.json.display();
    ensure!(args.json.is_file(), "there is no {json}: run `cargo xtask bench … --json {json}` first");
    let results = Results::read(&args.json)?;
    ensure!(!results.rows.is_empty(), "{json} has no rows: run `cargo xtask bench … --json {json}` again");
    write(&args.html, &page::page(&results)?)?;
    write(&args.docs, &markdown::document(&results, neighbour(&args.docs, &args.html).as_deref()))?;
    for run in &results.timelines {
        let (svg, size) = timeline::timeline(run, PICTURE_WIDTH, true)?;
        let name = format!("{}-{}.svg", text::slug(&run.workload), text::slug(&run.system));
        write(&args.pictures.join(name), &picture::standalone(&svg, size))?;
    }
    let levels = taps::record()?;
    for (name, (svg, size)) in [("components.svg", way::components(&levels)?), ("read.svg", way::way(&levels)?)] {
        write(&args.pictures.join(name), &picture::standalone(&svg, size))?;
    }
    Ok(())
}

/// The name of `file` as a link in `from`, if they are in one folder.
fn neighbour(from: &Path, file: &Path) -> Option<String> {
    (from.parent() == file.parent()).then(|| file.file_name()).flatten()?.to_str().map(str::to_owned)
}

fn write(file: &Path, text: &str) -> Result<()> {
    let problem = || format!("cannot write {}: is its folder one you may write to?", file.display());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(problem)?;
    }
    std::fs::write(file, text).with_context(problem)?;
    println!("written to {}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(folder: &Path) -> ReportArgs {
        ReportArgs {
            json: folder.join("benchmarks.json"),
            html: folder.join("benchmarks.html"),
            docs: folder.join("benchmarks.md"),
            pictures: folder.join("pictures"),
        }
    }

    #[test]
    fn all_three_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let args = arguments(folder.path());
        std::fs::write(&args.json, serde_json::to_string(&sample::results()).unwrap()).unwrap();
        run(&args).unwrap();
        let read = |file: &Path| std::fs::read_to_string(file).unwrap();
        assert!(read(&args.html).starts_with("<!DOCTYPE html>"));
        assert!(read(&args.docs).contains("[benchmarks.html](benchmarks.html)"));
        assert!(read(&args.pictures.join("seq-headstart-cache.svg")).starts_with("<svg xmlns="));
    }

    #[test]
    fn without_results_it_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(&arguments(folder.path())).unwrap_err().to_string();
        assert!(error.contains("run `cargo xtask bench"), "{error}");
    }
}
