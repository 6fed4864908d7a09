//! `completions`, `man` and `reference`: documents that are made from the arguments' definitions.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_markdown::MarkdownOptions;

use crate::args::Cli;
use crate::failure::{EXIT_CODES, Failure};
use crate::output;
use crate::session::Session;

#[derive(Debug, Clone, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ManArgs {
    /// The directory, such as ~/.local/share/man/man1
    directory: PathBuf,
}

/// Prints completions.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "headstart", &mut text);
    output::print(&text)
}

/// Writes one page for each command.
pub(crate) fn man(session: &Session, args: &ManArgs) -> Result<(), Failure> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory).map_err(|error| Failure::file("make", directory, &error))?;
    clap_mangen::generate_to(Cli::command(), directory)
        .map_err(|error| Failure::file("write to", directory, &error))?;
    let note = format!("The manual pages are in {}; the first is headstart.1.", directory.display());
    session.output.note(&note);
    Ok(())
}

/// Prints docs/cli.md.
pub(crate) fn markdown() -> Result<(), Failure> {
    output::print(page().as_bytes())
}

/// The text of docs/cli.md.
fn page() -> String {
    let options = MarkdownOptions::new().title("The command headstart".to_owned()).show_footer(false);
    let page = clap_markdown::help_markdown_command_custom(&Cli::command(), &options);
    let title = page.find('\n').map_or(page.len(), |end| end + 1);
    let (title, rest) = page.split_at(title);
    let note = "\n<!-- Made by `headstart reference`; do not edit. -->\n";
    // A usage that is written out has the name already.
    let rest = rest.replace("`headstart headstart ", "`headstart ");
    let rest = rest.replace(EXIT_CODES, &format!("```text\n{EXIT_CODES}\n```"));
    format!("{title}{note}{}\n", rest.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_of_arguments_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_page_of_the_commands_says_what_they_take() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(written == page(), "docs/cli.md is out of date: cargo run -p headstart-cli -- reference > docs/cli.md");
    }
}
