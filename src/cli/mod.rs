//! The door: the only floor that knows flags, colours, prompts and exit codes.

pub mod deploy;
pub mod down;
pub mod failure;
mod server;
pub mod ui;
pub mod vault;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::{Exit, Failure};
pub use ui::Ui;

/// Encrypted secrets in git and safe deploys for homelabs that run Docker Compose.
#[derive(Debug, Parser)]
#[command(name = "hlx", version, propagate_version = true, disable_help_subcommand = true)]
struct Args {
    /// Leave out notes on stderr; errors, warnings and hints stay.
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(alias = "deploy")]
    DecryptDeploy(deploy::DeployArgs),
    Down(down::DownArgs),
    #[command(hide = true)]
    VaultInit(vault::VaultArgs),
}

/// Runs the program: reads the command line, does what it says, prints, and gives the exit code.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let ui = Ui { quiet: args.quiet };
    match run(args.command, ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            ui.error(failure.message());
            failure.hints().iter().for_each(|hint| ui.hint(hint));
            ExitCode::from(failure.exit() as u8)
        }
    }
}

fn run(command: Command, ui: Ui) -> Result<(), Failure> {
    match command {
        Command::DecryptDeploy(args) => deploy::run(&args, ui),
        Command::Down(args) => down::run(&args, ui),
        Command::VaultInit(args) => vault::run(&args),
    }
}
