//! `config`: every option, its value, and where the value comes from.

use clap::Args;
use headstart::{Headstart, Setting, Source};

use crate::config;
use crate::failure::Failure;
use crate::policy::text;
use crate::session::Session;

#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// URL of a store: also shows what the provider's own variables (GOOGLE_*, AWS_*) set
    url: Option<String>,
    /// Also show the options that have their defaults
    #[arg(short, long)]
    all: bool,
}

/// Shows the options in effect.
pub(crate) async fn run(session: &Session, args: &ConfigArgs) -> Result<(), Failure> {
    let url = args.url.as_deref().unwrap_or("memory:///");
    // Not opened by `Session::site`, which refuses a store without credentials.
    let builder = session.builder().url(url);
    let stack: Headstart = builder.build().await.map_err(|error| Failure::open(url, &error))?;
    let shown: Vec<&Setting> =
        stack.effective_config().iter().filter(|setting| args.all || setting.source != Source::Default).collect();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|setting| vec![setting.key.clone(), text::name(&setting.value), source(session, setting.source)])
        .collect();
    for (line, setting) in text::table(&rows, &[]).lines().zip(&shown) {
        session.output.line(|| line.to_owned(), setting)?;
    }
    if !session.output.is_json() {
        session.output.note(&about_file(session));
        if shown.is_empty() {
            session.output.note("All options have their defaults; --all shows them.");
        }
    }
    Ok(())
}

/// Where a value comes from.
fn source(session: &Session, source: Source) -> String {
    match source {
        Source::Default => "default".to_owned(),
        Source::File => session.file.as_ref().map(|file| file.path.display().to_string()).unwrap_or_default(),
        Source::Environment => "environment".to_owned(),
        Source::Url => "URL".to_owned(),
        Source::Explicit => "command line".to_owned(),
    }
}

fn about_file(session: &Session) -> String {
    match (&session.file, config::usual_path()) {
        (Some(file), _) => format!("Configuration file: {}", file.path.display()),
        (None, Some(path)) => format!("There is no configuration file {}.", path.display()),
        (None, None) => "There is no configuration file: neither XDG_CONFIG_HOME nor HOME is set.".to_owned(),
    }
}
