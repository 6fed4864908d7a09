//! The command line of `cargo xtask bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use headstart_sim::LinkProfile;
use url::Url;

use super::system::System;
use super::workload::Workload;

/// How to bench. Without arguments: every system and workload, over HTTP, in under three minutes.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Read the simulated store in virtual time, to the object's end: exact, and the same every time
    #[arg(long = "virtual", conflicts_with_all = ["url", "seconds"])]
    pub(crate) virtual_time: bool,
    /// Link to the simulated store: gcs, s3, near, wan, loopback; with `-lognormal` its first bytes vary
    #[arg(long, default_value = "gcs")]
    pub(crate) profile: LinkProfile,
    /// Only this workload; may be given several times
    #[arg(long = "workload", value_name = "WORKLOAD")]
    workloads: Vec<Workload>,
    /// Only this system; may be given several times
    #[arg(long = "system", value_name = "SYSTEM")]
    systems: Vec<System>,
    /// Runs of which the median counts [default: 3, and 1 in virtual time, where all are the same]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,
    /// End a run after so many seconds, if the object has not ended before
    #[arg(long, default_value = "1.5", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the results to this file
    #[arg(long, value_name = "FILE", default_value = "bench-results.json")]
    pub(crate) json: PathBuf,
    /// Read this object, up to its first GiB, instead of a simulated one; costs money
    #[arg(long, value_name = "gs://BUCKET/KEY", conflicts_with = "profile", value_parser = object_url)]
    pub(crate) url: Option<Url>,
    /// Do not ask before spending money
    #[arg(long, requires = "url")]
    pub(crate) yes: bool,
}

impl BenchArgs {
    /// The workloads to read; all of them unless some are named.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        named_or_all(&self.workloads)
    }

    /// The systems to compare; all of them unless some are named.
    pub(crate) fn systems(&self) -> Vec<System> {
        named_or_all(&self.systems)
    }

    /// How often each is run.
    pub(crate) fn runs(&self) -> usize {
        self.runs.map_or(if self.virtual_time { 1 } else { 3 }, |runs| runs as usize)
    }
}

fn named_or_all<T: ValueEnum + PartialEq>(named: &[T]) -> Vec<T> {
    T::value_variants().iter().filter(|value| named.is_empty() || named.contains(value)).cloned().collect()
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("expected a number of seconds above 0".into()),
    }
}

fn object_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("no URL: {error}"))?;
    if url.scheme() != "gs" || url.host_str().is_none() || url.path().len() < 2 {
        return Err("expected gs://bucket/key".into());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(words: &[&str]) -> Result<BenchArgs, String> {
        let cli = Cli::try_parse_from(std::iter::once(&"bench").chain(words));
        cli.map(|cli| cli.bench).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_taken_in_the_tables_order_and_once() {
        let args = parse(&["--system", "ideal", "--system", "raw", "--system", "raw"]).unwrap();
        assert_eq!(args.systems(), [System::Raw, System::Ideal]);
        assert_eq!(args.workloads().len(), Workload::value_variants().len());
        assert_eq!((args.runs(), parse(&["--virtual"]).unwrap().runs()), (3, 1));
    }

    #[test]
    fn a_bad_value_is_told_what_there_is() {
        for (words, says) in [
            (&["--system", "warp"][..], "headstart+cache"),
            (&["--workload", "seq"], "seq-64k"),
            (&["--profile", "moon"], "loopback"),
            (&["--runs", "0"], "1..=1000"),
            (&["--seconds", "0"], "above 0"),
            (&["--seconds", "soon"], "a number of seconds"),
            (&["--url", "http://x/y"], "gs://bucket/key"),
            (&["--url", "gs://bucket"], "gs://bucket/key"),
            (&["--yes"], "--url"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }
}
