//! The command line of `cargo xtask bench`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use headstart_bench::{results::Group, system::System, workload::Workload};
use headstart_sim::LinkProfile;
use url::Url;

/// How to bench. Without arguments: our layers on six workloads, over HTTP, in about three minutes.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Read the simulated store in virtual time: exact and reproducible counts
    #[arg(long = "virtual", conflicts_with_all = ["url", "seconds"])]
    pub(crate) virtual_time: bool,
    /// Link to the simulated store: gcs, gcs-100g, s3, near, fast, wan, loopback; with `-lognormal` its first bytes
    /// vary [default: the workload's own, or gcs]
    #[arg(long)]
    pub(crate) profile: Option<LinkProfile>,
    /// The simulated server speaks TLS: what encryption costs the client
    #[arg(long, conflicts_with_all = ["virtual_time", "url", "peers"])]
    pub(crate) tls: bool,
    /// All workloads of bench/workloads; over HTTP or from a bucket, those without a link of their own
    #[arg(long, conflicts_with = "workloads")]
    all: bool,
    /// Only this workload; may be given several times
    #[arg(long = "workload", value_name = "WORKLOAD")]
    workloads: Vec<String>,
    /// Other libraries and all workloads; builds or installs the libraries if they are missing
    #[arg(long, conflicts_with_all = ["virtual_time", "url"])]
    pub(crate) peers: bool,
    /// Only this system; may be given several times
    #[arg(long = "system", value_name = "SYSTEM")]
    systems: Vec<System>,
    /// Runs, of which the median counts [default: 3; 1 in virtual time, where all runs are the same]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,
    /// End a run after this time, unless it has read 128 MiB by then: such a run reads to the end of its workload
    #[arg(long, default_value = "1.5", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the results to this file
    #[arg(long, value_name = "FILE", default_value = "bench-results.json")]
    pub(crate) json: PathBuf,
    /// Report changes beyond noise since these results
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
    /// Replace rows of the results in this file by the measured ones, and keep all others
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) update: Option<PathBuf>,
    /// Read this object, up to its first GiB, instead of a simulated one; costs money
    #[arg(long, value_name = "gs://BUCKET/KEY", conflicts_with = "profile", value_parser = object_url)]
    pub(crate) url: Option<Url>,
    /// Do not ask before spending money
    #[arg(long, requires = "url")]
    pub(crate) yes: bool,
}

impl BenchArgs {
    /// The workloads to read.
    ///
    /// # Errors
    /// If a name is unknown, or its workload cannot be read here.
    pub(crate) fn workloads(&self) -> Result<Vec<Workload>> {
        for name in &self.workloads {
            let workload = Workload::named(name)?;
            ensure!(!(self.virtual_time && workload.local), "there are no files in virtual time: {name} needs some");
            ensure!(!(self.virtual_time && workload.has_no_delay()), "{name} takes no time at all in virtual time");
            ensure!(self.url.is_none() || workload.suits_any_object(), "{name} needs objects of its own");
            ensure!(!(self.tls && workload.overwrite_after.is_some()), "objects are overwritten over plain HTTP only");
        }
        let wanted = |workload: &Workload| {
            self.workloads.contains(&workload.name) || (self.reads(workload) && !self.is_left_out(workload))
        };
        Ok(Workload::all()?.into_iter().filter(wanted).collect())
    }

    /// The names of workloads that are left out because they have a link of their own, which only virtual time
    /// simulates exactly.
    ///
    /// # Errors
    /// If a file of workloads is invalid.
    pub(crate) fn left_out(&self) -> Result<Vec<String>> {
        let left_out = |workload: &Workload| self.reads(workload) && self.is_left_out(workload);
        Ok(Workload::all()?.into_iter().filter(left_out).map(|workload| workload.name).collect())
    }

    /// Whether `workload` can be read here and is among those that are read without being named.
    fn reads(&self, workload: &Workload) -> bool {
        let possible = !(self.virtual_time && (workload.local || workload.has_no_delay()))
            && !(self.tls && (workload.local || workload.overwrite_after.is_some()))
            && (self.url.is_none() || workload.suits_any_object());
        let everything = self.all || self.peers || self.virtual_time;
        self.workloads.is_empty() && possible && (everything || workload.core)
    }

    fn is_left_out(&self, workload: &Workload) -> bool {
        !self.virtual_time && workload.link.is_some() && !workload.has_no_delay()
    }

    /// The link of workloads that have none of their own.
    pub(crate) fn link(&self) -> LinkProfile {
        self.profile.clone().unwrap_or_else(LinkProfile::gcs)
    }

    /// The systems to compare.
    ///
    /// # Errors
    /// If a peer is named without `--peers`.
    pub(crate) fn systems(&self) -> Result<Vec<System>> {
        let peer = self.systems.iter().find(|system| system.group() == Group::Peer && !self.peers);
        if let Some(peer) = peer {
            bail!("{peer} is other people's: say --peers");
        }
        let all = System::value_variants().iter().copied();
        Ok(all
            .filter(|system| self.peers || system.group() != Group::Peer)
            .filter(|system| self.systems.is_empty() || self.systems.contains(system))
            .collect())
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.map_or(if self.virtual_time { 1 } else { 3 }, |runs| runs as usize)
    }
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
    if !matches!(url.scheme(), "gs" | "s3") || url.host_str().is_none() || url.path().len() < 2 {
        return Err("expected gs://bucket/key or s3://bucket/key".into());
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

    fn workloads(words: &[&str]) -> Vec<String> {
        parse(words).unwrap().workloads().unwrap().into_iter().map(|workload| workload.name).collect()
    }

    #[test]
    fn named_workloads_and_systems_come_once_and_in_order() {
        let args = parse(&["--system", "ideal", "--system", "raw", "--system", "raw"]).unwrap();
        assert_eq!(args.systems().unwrap(), [System::Raw, System::Ideal]);
        assert_eq!(workloads(&["--workload", "rand-1m", "--workload", "seq-1m"]), ["seq-1m", "rand-1m"]);
        assert_eq!((args.runs(), parse(&["--virtual"]).unwrap().runs()), (3, 1));
    }

    #[test]
    fn default_workloads_depend_on_the_store() {
        let core = workloads(&[]);
        assert_eq!(core, ["seq-64k", "seq-1m", "seq-16m", "rand-64k", "rand-1m", "interleaved-2"]);
        let (all, virtual_time) = (workloads(&["--all"]), workloads(&["--virtual"]));
        let only_in = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|name| !those.contains(name)).cloned().collect()
        };
        let real = only_in(&all, &virtual_time);
        assert!(real.iter().all(|name| name.starts_with("local-") || name.ends_with("-loopback")), "{real:?}");
        assert_eq!(real.len(), 7);
        let linked = only_in(&virtual_time, &all);
        assert!(linked.contains(&"rand-64k-x1000".into()) && !linked.contains(&"shares-1m-x16".into()), "{linked:?}");
        assert_eq!(parse(&["--all"]).unwrap().left_out().unwrap(), linked);
        assert_eq!(workloads(&["--workload", "rand-64k-x1000"]), ["rand-64k-x1000"]);
        assert_eq!(workloads(&["--peers"]), all);
        assert_eq!(only_in(&all, &workloads(&["--all", "--tls"])).len(), 4, "files, and an overwrite");
        for words in [&[][..], &["--virtual"], &["--workload", "seq-1m"]] {
            assert_eq!(parse(words).unwrap().left_out().unwrap(), [""; 0], "{words:?}");
        }
        assert_eq!(workloads(&["--url", "s3://bucket/key"]), core);
        assert!(!workloads(&["--url", "s3://bucket/key", "--all"]).contains(&"overwrite".into()));
        assert!(parse(&["--peers"]).unwrap().systems().unwrap().contains(&System::Ocra));
        assert!(!parse(&[]).unwrap().systems().unwrap().contains(&System::Ocra));
    }

    #[test]
    fn errors_list_valid_values() {
        for (words, says) in [
            (&["--system", "warp"][..], "headstart+cache"),
            (&["--profile", "moon"], "loopback"),
            (&["--runs", "0"], "1..=1000"),
            (&["--seconds", "0"], "above 0"),
            (&["--seconds", "soon"], "a number of seconds"),
            (&["--url", "http://x/y"], "gs://bucket/key"),
            (&["--url", "gs://bucket"], "gs://bucket/key"),
            (&["--yes"], "--url"),
            (&["--workload", "seq"], "seq-64k"),
            (&["--workload", "local-seq-1m", "--virtual"], "no files"),
            (&["--workload", "rand-4k-loopback", "--virtual"], "no time"),
            (&["--workload", "overwrite", "--tls"], "plain HTTP"),
            (&["--workload", "overwrite", "--url", "gs://bucket/key"], "objects of its own"),
        ] {
            let read = parse(words).and_then(|args| args.workloads().map_err(|error| error.to_string()));
            let error = read.unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
        assert!(parse(&["--system", "ocra"]).unwrap().systems().unwrap_err().to_string().contains("--peers"));
    }
}
