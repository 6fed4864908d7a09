//! The arguments that all commands share, and the list of commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::failure::EXIT_CODES;

/// Look at objects, copy them and measure a link, with Headstart's parallel fetching and caching.
///
/// An object is named by a URL: gs://bucket/key, s3://bucket/key, az://container/key, https://host/path, or the path of
/// a file of this machine. Wildcards (*, ?, [...]; ** across slashes) in a URL select objects; quote them, so that the
/// shell leaves them alone. %3F, %2A and %5B stand for these characters themselves.
#[derive(Debug, Parser)]
#[command(name = "headstart", version, after_long_help = EXIT_CODES, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) shared: SharedArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Arguments that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct SharedArgs {
    /// Set an option, such as mode=cached or gcs.anonymous=on; may be given several times
    ///
    /// All options: docs/configuration.md, or `headstart config`. This overrides the environment (HEADSTART_*), which
    /// overrides the provider's own variables (GOOGLE_*, AWS_*), which override the configuration file.
    #[arg(short, long = "option", value_name = "KEY=VALUE", global = true)]
    pub(crate) options: Vec<String>,
    /// Read this configuration file [default: headstart/config.toml in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON, one object a line; errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show no progress and no summary
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

impl Cli {
    /// Reads arguments, the program's name first.
    ///
    /// # Errors
    /// What `clap` says, a request for help included.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let (args, mut early) = split_early(args.into_iter().collect());
        let mut cli = Self::try_parse_from(args)?;
        early.append(&mut cli.shared.options);
        cli.shared.options = early;
        Ok(cli)
    }
}

/// Takes out the options `-o` that stand before the command. Of a global argument that stands on both sides of the
/// command, clap would drop those.
fn split_early(args: Vec<OsString>) -> (Vec<OsString>, Vec<String>) {
    let (mut left, mut early) = (Vec::new(), Vec::new());
    let mut args = args.into_iter();
    left.extend(args.next());
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        let inline =
            text.strip_prefix("--option=").or_else(|| text.strip_prefix("-o").filter(|value| !value.is_empty()));
        if let Some(value) = inline {
            early.push(value.to_owned());
        } else if matches!(text, "-o" | "--option") {
            match args.next().map(OsString::into_string) {
                Some(Ok(value)) => early.push(value),
                // clap says what is missing.
                other => left.extend([Some(arg), other.and_then(Result::err)].into_iter().flatten()),
            }
        } else if text == "--config" {
            left.push(arg);
            left.extend(args.next());
        } else {
            let is_flag = text.starts_with('-');
            left.push(arg);
            if !is_flag {
                break;
            }
        }
    }
    left.extend(args);
    (left, early)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write objects, or a range of bytes of them, to standard output
    Cat(commands::cat::CatArgs),
    /// Write the first lines or bytes of an object to standard output
    Head(commands::cat::HeadArgs),
    /// List what is in a bucket or below a prefix
    Ls(commands::ls::LsArgs),
    /// Show an object's size, version, times and attributes, and what pins its version
    Stat(commands::stat::StatArgs),
    /// Copy objects and files: download, upload, or from one store to another
    Cp(commands::cp::CpArgs),
    /// Sum up the sizes of objects
    Du(commands::du::DuArgs),
    /// Compare an object with a file
    Verify(commands::verify::VerifyArgs),
    /// Measure what reads gain on this link: the bare client, fetch, read-ahead and the cache; reads only
    Bench(commands::bench::BenchArgs),
    /// Examine the way to a bucket, and say what to set and why; reads only
    Doctor(commands::doctor::DoctorArgs),
    /// Fetch objects into the cache on disk
    Warm(commands::warm::WarmArgs),
    /// Let other programs read a bucket through Headstart, at an endpoint on this machine
    ///
    /// Clients of S3, of Google Cloud Storage and of plain HTTP get parallel fetching, read-ahead and one cache, by
    /// setting their endpoint. Options are those of the library, and the cache is on (-o mode=adaptive turns it off):
    /// what was read is trusted for cache.freshness, a minute by default. The credentials are those of this command;
    /// whoever can connect can read. It ends without an error when it is told to stop (Ctrl-C, SIGTERM).
    Serve(commands::serve::ServeArgs),
    /// Watch a process live: throughput, requests, hit ratio, read-ahead and waste, from the metrics that it exports
    ///
    /// The process is `headstart serve --metrics`, or a program that exports Headstart's metrics to Prometheus. q, Esc
    /// or Ctrl-C ends. --json prints one line an interval until it is interrupted, --once and --count print text (with
    /// --json, lines) for so many intervals. Where a process has several stacks, the panels show their sum.
    Top(commands::top::TopArgs),
    /// Look at the directory of a cache, check it, or empty it
    Cache(commands::cache::CacheArgs),
    /// Record what a command reads, show a recording, or replay it in virtual time
    Trace(commands::trace::TraceArgs),
    /// Show every option, its value, and where the value comes from
    Config(commands::config::ConfigArgs),
    /// Print completions for a shell
    Completions(commands::reference::CompletionsArgs),
    /// Write the manual pages into a directory
    Man(commands::reference::ManArgs),
    /// Print docs/cli.md
    #[command(hide = true)]
    Reference,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_on_both_sides_of_the_command_are_kept_in_order() {
        for (words, options) in [
            (
                "headstart -o a=1 --option b=2 -q -oc=3 --option=d=4 ls x -o e=5",
                &["a=1", "b=2", "c=3", "d=4", "e=5"][..],
            ),
            ("headstart --config c ls x -o a=1", &["a=1"]),
            ("headstart ls -o a=1 x", &["a=1"]),
            ("headstart -o a=1 ls x", &["a=1"]),
        ] {
            let cli = Cli::read(words.split(' ').map(OsString::from)).expect(words);
            assert_eq!(cli.shared.options, options, "{words}");
        }
        for words in ["headstart -o", "headstart", "headstart ls -o"] {
            assert!(Cli::read(words.split(' ').map(OsString::from)).is_err(), "{words}");
        }
    }
}
