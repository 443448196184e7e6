//! The door: the only floor that knows flags, colours, prompts and exit codes.

mod accept;
mod all;
mod check;
mod context;
pub mod deploy;
pub mod doctor;
pub mod down;
mod edit;
mod engines;
mod errors;
mod exec;
mod exposure;
pub mod failure;
mod filter;
mod findings;
mod formats;
mod history;
mod hook;
mod install;
mod interrupt;
mod join;
mod keys;
mod lock;
mod manual;
pub mod materialise;
pub mod plan;
pub mod prune;
mod ps;
mod quote;
mod readers;
mod recipients;
mod repo;
mod reseal;
mod rollback;
mod rotate;
mod seal;
mod server;
mod track;
pub mod ui;
mod uninstall;
pub mod update;
mod values;
pub mod vault;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::keys::locked::Ask;
use crate::repo::init::TEXTCONV;
use crate::sys::namespace;
use context::Context;
pub use failure::{Exit, Failure};
pub use ui::Ui;

/// Encrypted secrets in git and safe deploys for homelabs that run Docker Compose.
#[derive(Debug, Parser)]
#[command(name = "hlx", version, propagate_version = true)]
#[command(
    after_help = "Start with `hlx init` in a clone. `hlx COMMAND --help` and `hlx man` tell more, exit codes included"
)]
struct Args {
    /// Leave out notes on stderr; errors, warnings and hints stay.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Also try the private keys in this file (as does HLX_IDENTITY).
    #[arg(long, short, global = true, value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set this clone up: git then encrypts and decrypts by itself.
    Init(repo::InitArgs),
    /// Add a service: an orphan branch with its first files.
    New(repo::NewArgs),
    /// Protect files: they are encrypted in git from the next `git add` on.
    Track(track::TrackArgs),
    /// Take the protection of files away: they are in clear from the next commit on.
    Untrack(track::UntrackArgs),
    /// Bring the list of services on the landing page up to date.
    ///
    /// Of branches that share their first commit, it has the one that `hlx new` made; where none is left of that name,
    /// those that a remote has, or all.
    Index,
    /// Show which files are protected, in what state, and who can read them.
    Status(repo::StatusArgs),
    /// Find plaintext, broken files, wrong readers and likely secrets, in every branch.
    Check(check::CheckArgs),
    /// Seal files again whose values are all authentic, after `git add -p` or a merge made elsewhere.
    Reseal(reseal::ResealArgs),
    /// Encrypt the protected files of this work tree, until it is unlocked.
    Lock,
    /// Open files that stand encrypted in the work tree.
    Unlock,
    /// Print a file's plaintext.
    Show(values::ShowArgs),
    /// Print one value.
    Get(values::GetArgs),
    /// Set one value; it is asked for, or read from standard input.
    Set(values::SetArgs),
    /// Take one entry out.
    Unset(values::UnsetArgs),
    /// Edit a file's plaintext in your editor.
    Edit(edit::EditArgs),
    /// Encrypt files, as `sops -e` does.
    #[command(after_long_help = seal::more_of_encrypt())]
    Encrypt(seal::SealArgs),
    /// Decrypt files, as `sops -d` does.
    #[command(after_long_help = seal::more_of_decrypt())]
    Decrypt(seal::SealArgs),
    /// Make, list and unlock private keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Add, remove and list those who can read a branch.
    #[command(subcommand)]
    Recipients(recipients::RecipientsCommand),
    Rotate(rotate::RotateArgs),
    Exposure(exposure::ExposureArgs),
    #[command(alias = "deploy")]
    DecryptDeploy(deploy::DeployArgs),
    Plan(plan::PlanArgs),
    Prune(prune::PruneArgs),
    Update(update::UpdateArgs),
    Down(down::DownArgs),
    Rollback(rollback::RollbackArgs),
    Ps(ps::PsArgs),
    History(history::HistoryArgs),
    Exec(exec::ExecArgs),
    Doctor(doctor::DoctorArgs),
    #[command(alias = "materialize")]
    Materialise(materialise::MaterialiseArgs),
    /// Set a server up.
    #[command(subcommand)]
    Server(join::ServerCommand),

    /// Print the manual page, or write one for each command.
    Man(manual::ManArgs),
    /// Print a completion script for a shell.
    Completions(manual::CompletionsArgs),

    #[command(flatten)]
    Plumbing(Plumbing),
    /// What the git hooks call.
    #[command(hide = true, subcommand)]
    Hook(hook::HookCommand),
    #[command(hide = true)]
    VaultInit(vault::VaultArgs),
    #[command(hide = true)]
    EditGuard(edit::GuardArgs),
}

/// What git calls, often once for each version of a file.
#[derive(Debug, Subcommand)]
enum Plumbing {
    /// git's long-running filter.
    #[command(hide = true)]
    FilterProcess,
    /// git's one-shot filter into the repository.
    #[command(hide = true)]
    Clean(filter::PathArgs),
    /// git's one-shot filter into the work tree.
    #[command(hide = true)]
    Smudge(filter::PathArgs),
    /// What `git diff` shows of a file.
    #[command(hide = true)]
    Textconv(filter::PathArgs),
    /// git's merge driver.
    #[command(hide = true)]
    Merge(filter::MergeArgs),
}

/// The command line as git writes it. To set up the parser of all commands takes longer than all else that such a call does.
#[derive(Debug, Parser)]
#[command(name = "hlx")]
struct GitArgs {
    #[command(subcommand)]
    command: Plumbing,
}

impl Args {
    fn read() -> Self {
        let mut words = std::env::args_os();
        let (own, first) = (words.next().unwrap_or_default(), words.next());
        let quick =
            |command| Self { quiet: false, identity: Vec::new(), command: Command::Plumbing(command) };
        if Path::new(&own).file_name() == Some(OsStr::new(TEXTCONV)) {
            let words = ["hlx", "textconv", "--"].map(OsString::from).into_iter().chain(first).chain(words);
            return quick(GitArgs::parse_from(words).command);
        }
        if first.and_then(|word| word.into_string().ok()).is_some_and(|word| Plumbing::has_subcommand(&word))
        {
            return quick(GitArgs::parse().command);
        }
        Self::parse()
    }
}

impl Command {
    /// How this command asks for passphrases. What git starts asks for none: nobody may sit there, and git waits.
    fn asks(&self) -> Option<Ask> {
        let asks =
            !matches!(self, Self::Plumbing(_) | Self::Hook(_) | Self::VaultInit(_) | Self::EditGuard(_));
        asks.then_some(ui::ask_passphrase)
    }
}

/// Runs the program: reads the command line, does what it says, prints, and gives the exit code.
pub fn main() -> ExitCode {
    keep_secrets_in();
    let args = Args::read();
    let cx = Context::new(args.quiet, args.identity, args.command.asks());
    let done = match &args.command {
        Command::Exec(args) => exec::run(args, &cx),
        command => run(command, &cx).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            // That there are changes is a result, and has been printed.
            if failure.exit() != Exit::Changes {
                cx.ui.failure(&failure);
            }
            ExitCode::from(failure.exit() as u8)
        }
    }
}

/// No core dumps, no debugger, and no panic message: each could show a part of a file.
fn keep_secrets_in() {
    // Where even this is forbidden, there is nothing more to do.
    let _ = namespace::no_dumps();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        Ui::default().error(format!("this is a defect of hlx, at {place}: please report it"));
    }));
}

fn run(command: &Command, cx: &Context) -> Result<(), Failure> {
    match command {
        Command::Init(args) => repo::init(args, cx),
        Command::New(args) => repo::new(args, cx),
        Command::Track(args) => track::track(args, cx),
        Command::Untrack(args) => track::untrack(args, cx),
        Command::Index => repo::index(cx),
        Command::Status(args) => repo::status(args, cx),
        Command::Check(args) => check::check(args, cx),
        Command::Reseal(args) => reseal::reseal(args, cx),
        Command::Lock => lock::lock(cx),
        Command::Unlock => lock::unlock(cx),
        Command::Keys(command) => keys::run(command, cx),
        Command::Recipients(command) => recipients::run(command, cx),
        Command::Rotate(args) => rotate::rotate(args, cx),
        Command::Exposure(args) => exposure::run(args, cx),
        Command::Plumbing(command) => plumbing(command, cx),
        Command::Hook(command) => hook::run(command, cx),
        Command::DecryptDeploy(args) => deploy::run(args, cx),
        Command::Plan(args) => plan::run(args, cx),
        Command::Prune(args) => prune::run(args, cx),
        Command::Update(args) => update::run(args, cx),
        Command::Down(args) => down::run(args, cx),
        Command::Rollback(args) => rollback::run(args, cx),
        Command::Ps(args) => ps::run(args, cx),
        Command::History(args) => history::run(args, cx),
        // Its exit code is another program's.
        Command::Exec(args) => exec::run(args, cx).map(drop),
        Command::Doctor(args) => doctor::run(args, cx),
        Command::Materialise(args) => materialise::run(args, cx),
        Command::Server(command) => join::run(command, cx),
        Command::VaultInit(args) => vault::run(args),
        Command::EditGuard(args) => edit::guard(args),
        Command::Show(args) => values::show(args, cx),
        Command::Get(args) => values::get(args, cx),
        Command::Set(args) => values::set(args, cx),
        Command::Unset(args) => values::unset(args, cx),
        Command::Edit(args) => edit::edit(args, cx),
        Command::Encrypt(args) => seal::encrypt(args, cx),
        Command::Decrypt(args) => seal::decrypt(args, cx),
        Command::Man(args) => manual::man(args, Args::command(), cx),
        Command::Completions(args) => manual::completions(args, Args::command(), cx),
    }
}

fn plumbing(command: &Plumbing, cx: &Context) -> Result<(), Failure> {
    match command {
        Plumbing::FilterProcess => filter::process(cx),
        Plumbing::Clean(args) => filter::clean(args, cx),
        Plumbing::Smudge(args) => filter::smudge(args, cx),
        Plumbing::Textconv(args) => filter::textconv(args, cx),
        Plumbing::Merge(args) => filter::merge(args, cx),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Args::command().debug_assert();
        super::GitArgs::command().debug_assert();
    }
}
