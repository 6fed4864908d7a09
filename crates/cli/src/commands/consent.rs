//! What a measurement may cost, and whether the user wants it.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use headstart::Prices;
use headstart_gcs_backend::gcs_profile;
use headstart_s3_backend::s3_profile;

use crate::failure::{Failure, FailureKind};
use crate::file_crc::blocking;
use crate::policy::text;
use crate::session::Session;

/// The most that a measurement sends and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MeasurementLimits {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
}

/// What requests cost at the store of `url`: list prices of reads. Nothing, where there are none.
pub(crate) fn prices(store_url: &str) -> Prices {
    match store_url.split_once("://").map(|(scheme, _)| scheme) {
        Some("gs") => gcs_profile().prices,
        Some("s3" | "s3a") => s3_profile().prices,
        _ => Prices::default(),
    }
}

/// Says what a measurement costs at most. Goes on if the user agrees, or has agreed by `--yes`.
///
/// # Errors
/// The user does not agree, or cannot be asked.
pub(crate) async fn ask(
    session: &Session,
    url: &str,
    limits: MeasurementLimits,
    has_agreed: bool,
) -> Result<(), Failure> {
    session.output.note(&costs(url, limits, &prices(url)));
    if has_agreed {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("Nothing was read. Add --yes to go on."));
    }
    let agrees = blocking(|| {
        let mut stderr = std::io::stderr();
        // Nobody may be listening; then nobody answers.
        let _ = write!(stderr, "Go on? [y/N] ").and_then(|()| stderr.flush());
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
    });
    match agrees.await? {
        true => Ok(()),
        false => Err(Failure::new(FailureKind::Usage, "Nothing was read.")),
    }
}

/// What a measurement costs at most, in a sentence.
fn costs(url: &str, limits: MeasurementLimits, prices: &Prices) -> String {
    let MeasurementLimits { requests, bytes, time } = limits;
    let (reads, all) = (text::counted(requests, "read request", "read requests"), text::size(bytes));
    let time = text::time(time);
    let price = match prices.cost(requests, bytes) {
        0.0 => String::new(),
        cost => format!(" (about {} at list price)", text::dollars(cost)),
    };
    format!(
        "This only reads {url}: at most {reads}{price} and {all} in about {time}, usually much less. Bytes are free \
         within the bucket's region; elsewhere you pay for egress."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_told_in_a_sentence() {
        let limits = MeasurementLimits { requests: 10_000, bytes: 3 << 30, time: Duration::from_secs(50) };
        let said = costs("gs://b/k", limits, &prices("gs://b/"));
        assert!(
            said.contains("10,000 read requests (about $0.004000 at list price) and 3 GiB in about 50 s"),
            "{said}"
        );
        assert!(!costs("https://h/k", limits, &prices("https://h/")).contains('$'));
    }
}
