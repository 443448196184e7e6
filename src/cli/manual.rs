//! `hlx man` and `hlx completions`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::{Man, roff};

use super::context::Context;
use super::values::{LineFeed, output};
use super::{Exit, Failure, errors};

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write a page for every command into this directory, for example /usr/local/share/man/man1.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    shell: Shell,
}

/// `hlx man`
pub(super) fn man(args: &ManArgs, command: Command, cx: &Context) -> Result<(), Failure> {
    let unwritten =
        |error: io::Error| Failure::new(Exit::Failed, format!("the page cannot be made: {error}"));
    match &args.dir {
        None => output(&page(command).map_err(unwritten)?, LineFeed::Never, cx),
        Some(dir) => {
            fs::create_dir_all(dir).map_err(|error| errors::io(dir, &error))?;
            pages(command, "", dir)
        }
    }
}

/// A page for a command and for all below it.
fn pages(mut command: Command, above: &str, dir: &Path) -> Result<(), Failure> {
    let name = format!("{above}{}", command.get_name());
    command.build();
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        pages(inner.clone(), &format!("{name}-"), dir)?;
    }
    let path = dir.join(format!("{name}.1"));
    let page = page(command.display_name(&name)).map_err(|error| errors::io(&path, &error))?;
    fs::write(&path, page).map_err(|error| errors::io(&path, &error))
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).section("1");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|inner| !inner.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    exit_codes(&mut page)?;
    if command.get_after_help().is_some() || command.get_after_long_help().is_some() {
        man.render_extra_section(&mut page)?;
    }
    Ok(page)
}

fn exit_codes(page: &mut Vec<u8>) -> io::Result<()> {
    let mut section = roff::Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in Exit::meanings() {
        section.control("TP", []);
        section.text([roff::bold(code.to_string())]);
        section.text([roff::roman(meaning)]);
    }
    section.to_writer(page)
}

/// `hlx completions SHELL`
pub(super) fn completions(args: &CompletionsArgs, mut command: Command, cx: &Context) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "hlx", &mut script);
    output(&script, LineFeed::Never, cx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_exit_code_stands_in_the_page_and_in_the_readme() {
        let page = String::from_utf8(page(crate::cli::Args::command()).unwrap()).unwrap();
        let readme = include_str!("../../README.md");
        for (code, meaning) in Exit::meanings() {
            assert!(page.contains(&format!("\\fB{code}\\fR\n")), "{code}\n{page}");
            assert!(readme.contains(&format!("| {code} | {meaning} |")), "{code}: {meaning}");
        }
    }

    #[test]
    fn there_is_a_page_for_every_command() {
        let dir = tempfile::tempdir().unwrap();
        pages(crate::cli::Args::command(), "", dir.path()).unwrap();
        let page = fs::read_to_string(dir.path().join("hlx-recipients-add.1")).unwrap();
        assert!(page.contains("hlx recipients add") && page.contains("EXIT STATUS"), "{page}");
        assert!(!dir.path().join("hlx-smudge.1").exists());
    }
}
