//! `cargo xtask report`: writes the results of a bench as a document, an HTML page and pictures of timelines.

pub(crate) mod columns;
mod comparison;
mod markdown;
mod page;
pub(crate) mod panel;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod svg;
mod timeline;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use headstart_bench::results::Results;

use comparison::WorkloadRows;
use panel::Panel;
use svg::{Anchor, Canvas, Point, Scale};

/// What to read and where to write.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Read the results of a bench from this file
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.json")]
    json: PathBuf,
    /// Write the summary as Markdown to this file
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    docs: PathBuf,
    /// Write a page with every number to this file
    #[arg(long, value_name = "FILE", default_value = "target/benchmarks.html")]
    html: PathBuf,
    /// Write a picture of each timeline into this folder
    #[arg(long, value_name = "FOLDER", default_value = "docs/pictures")]
    pictures: PathBuf,
}

/// Reads the results and writes the document, the page and the pictures.
pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    let json = args.json.display();
    ensure!(args.json.is_file(), "there is no {json}: run `cargo xtask bench … --json {json}` first");
    let results = Results::read(&args.json)?;
    ensure!(!results.rows.is_empty(), "{json} has no rows: run `cargo xtask bench … --json {json}` again");
    write(&args.docs, &markdown::document(&results))?;
    write(&args.html, &page::page(&results))?;
    for run in &results.timelines {
        let name = format!("{}-{}.svg", run.workload, run.system.replace('+', "-"));
        write(&args.pictures.join(name), &timeline::timeline(run))?;
    }
    Ok(())
}

/// Writes `text` to `file`, creates its folder if needed, and prints the path.
pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    let problem = || format!("cannot write {}", file.display());
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
            docs: folder.join("benchmarks.md"),
            html: folder.join("target/benchmarks.html"),
            pictures: folder.join("pictures"),
        }
    }

    #[test]
    fn the_document_the_page_and_the_pictures_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let args = arguments(folder.path());
        std::fs::write(&args.json, serde_json::to_string(&sample::results()).unwrap()).unwrap();
        run(&args).unwrap();
        let read = |file: &Path| std::fs::read_to_string(file).unwrap();
        assert!(read(&args.html).starts_with("<!DOCTYPE html>"));
        assert!(read(&args.docs).contains("# Benchmarks"));
        assert!(read(&args.pictures.join("seq-headstart-cache.svg")).starts_with("<svg xmlns="));
    }

    #[test]
    fn without_results_the_error_names_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(&arguments(folder.path())).unwrap_err().to_string();
        assert!(error.contains("run `cargo xtask bench"), "{error}");
    }
}
