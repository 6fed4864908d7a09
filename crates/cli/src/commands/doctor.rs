//! `doctor`: examines the way to a bucket by a few reads of one object, and says what to set.

mod endpoint;
mod probes;

use std::time::Duration;

use clap::Args;
use headstart::{Headstart, Mode, ObjectVersion, Source};

use self::endpoint::examine_endpoint;
use self::probes::Probes;
use super::consent::{self, MeasurementLimits};
use crate::config;
use crate::failure::{Failure, FailureKind};
use crate::policy::diagnosis::LinkFindings;
use crate::policy::text;
use crate::progress::Progress;
use crate::session::{Session, Site};

/// Measurements of a rate: one stream, and every round.
const RATES: u32 = 8;

#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// URL of an object; the larger the better, up to 256 MiB
    url: String,
    /// Go on without asking
    #[arg(short, long)]
    yes: bool,
    /// The most that each of the eight measurements of a rate takes
    #[arg(long, value_name = "SECONDS", default_value = "1.5", value_parser = super::bench::parse_seconds)]
    seconds: Duration,
}

/// Examines the way to a bucket.
pub(crate) async fn run(session: &Session, args: &DoctorArgs) -> Result<(), Failure> {
    let site = session.site(&args.url).await?;
    site.check_one_of_bucket()?;
    let progress = Progress::of_items(&session.output, "probes");
    let mut findings = LinkFindings {
        credentials: credentials(&site.stack, &site.store_url),
        memory_bytes: memory_bytes(&site.stack),
        ..LinkFindings::default()
    };
    // Before anything that needs credentials: what it finds explains why others fail.
    examine_endpoint(&site, &mut findings).await;
    progress.add(1);
    check_reachable(&findings).map_err(|failure| explained(session, &findings, failure))?;
    // The bare client: what the store and the link are, without our layers.
    let builder = session.builder_without_disk().url(&site.store_url).mode(Mode::None);
    let bare = builder.build().await.map_err(|error| Failure::open(&site.shown, &error))?;
    let probes = Probes::begin(&bare, &site, args.seconds).await;
    let probes = probes.map_err(|failure| explained(session, &findings, failure))?;
    progress.end();
    consent::ask(session, &args.url, limits(probes.size, args.seconds), args.yes).await?;
    describe_object(&mut findings, &probes, &site);
    examine(&probes, &mut findings, &Progress::of_items(&session.output, "probes")).await?;
    let advice = findings.advice();
    let data = serde_json::json!({ "url": args.url, "findings": findings, "advice": advice });
    session.output.line(|| format!("{}\n\n{}", text::fields(findings.lines()), advice.join("\n")), &data)
}

/// Refuses a server that accepts no connection: the client would try for minutes.
fn check_reachable(findings: &LinkFindings) -> Result<(), Failure> {
    let Some(endpoint) = &findings.endpoint else { return Ok(()) };
    if findings.connect_ms.is_some() || config::has_proxy() {
        return Ok(());
    }
    let what = if findings.addresses.is_empty() { "its name is not known here" } else { "it accepts no connection" };
    Err(Failure::new(
        FailureKind::Unreachable,
        format!("{endpoint} cannot be reached: {what}. Check the endpoint, the network and whether a proxy is needed."),
    ))
}

/// The failure of the first request, after what is known by then.
fn explained(session: &Session, findings: &LinkFindings, failure: Failure) -> Failure {
    if session.output.is_json() {
        return failure;
    }
    let known = findings.lines().into_iter().take_while(|(name, _)| *name != "Object");
    session.output.note(&text::fields(known));
    let advice = findings.advice_before_reads().join(" ");
    Failure { message: format!("{} {advice}", failure.message).trim_end().to_owned(), ..failure }
}

/// How requests are authorised, and what says so.
fn credentials(stack: &Headstart, store_url: &str) -> String {
    let section = match store_url.split_once("://").map(|(scheme, _)| scheme) {
        Some("gs") => "gcs.",
        Some("s3" | "s3a") => "s3.",
        Some("http" | "https") => return "none: a web server".to_owned(),
        _ => return "those of the client's own variables".to_owned(),
    };
    let names = [
        ("anonymous", "none: anonymous requests"),
        ("access_key_id", "an access key"),
        ("token", "a token that is never refreshed"),
        ("service_account_key", "a service account's key"),
        ("service_account", "a service account's key file"),
        ("application_credentials", "an application default credentials file"),
    ];
    let found = names.iter().find_map(|(key, what)| {
        let key = format!("{section}{key}");
        let setting = stack.effective_config().iter().find(|setting| setting.key == key)?;
        let from = match setting.source {
            Source::Explicit | Source::Url => "the command line",
            Source::Environment => "the environment",
            Source::File => "the configuration file",
            Source::Default => return None,
        };
        (!matches!(setting.value.as_str(), "" | "off")).then(|| format!("{what}, from {from}"))
    });
    found.unwrap_or_else(|| "what this machine or a login provides".to_owned())
}

fn memory_bytes(stack: &Headstart) -> u64 {
    stack.stats().budget.limit_bytes
}

/// The most that the probes send and read.
fn limits(size: u64, round_time: Duration) -> MeasurementLimits {
    let rounds = probes::ROUNDS.len() as u64;
    let bytes = probes::STREAM_BYTES.min(size) + rounds * probes::ROUND_BYTES;
    let requests = probes::FIRST_BYTES as u64 + rounds * probes::ROUND_BYTES / probes::PIECE_BYTES.min(size.max(1));
    let time = round_time * (RATES) + probes::SMALL_READS_TIME;
    MeasurementLimits { requests: requests.min(20_000) + 10, bytes, time }
}

fn describe_object(findings: &mut LinkFindings, probes: &Probes<'_>, site: &Site) {
    let version = ObjectVersion::of(&probes.meta);
    findings.object_bytes = probes.meta.size;
    findings.has_checksum = probes.has_checksum;
    findings.pinned_by = match &version {
        version if version.version.is_some() && site.store_url.starts_with("gs:") => Some("generation"),
        version if version.is_exact() => Some("entity tag"),
        version if version.has_validator() => Some("date of the last change"),
        _ => None,
    };
}

async fn examine(probes: &Probes<'_>, findings: &mut LinkFindings, progress: &Progress) -> Result<(), Failure> {
    findings.first_byte_ms = probes.first_bytes().await?;
    progress.add(1);
    findings.honours_ranges = probes.honours_ranges().await?;
    findings.honours_if_match = probes.honours_if_match().await?;
    progress.add(1);
    findings.one_stream_bytes_per_s = probes.one_stream().await?;
    for in_flight in probes::ROUNDS {
        progress.add(1);
        findings.rates.push((in_flight, probes.round(in_flight).await?));
    }
    progress.end();
    Ok(())
}
