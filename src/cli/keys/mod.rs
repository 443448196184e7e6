//! `hlx keys`: making, taking in, listing and unlocking private keys.

mod forget;
mod list;
mod make;
mod unlock;

use clap::Subcommand;

use super::Failure;
use super::context::Context;
pub(super) use make::make;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a private key, and print the public key that belongs to it.
    ///
    /// A key in a TPM or on a YubiKey is made by its age plugin, as the README says; hlx uses it from its file like others.
    Generate(make::GenerateArgs),
    /// Take in a private key that there is already: a file of age, or an ssh key.
    Import(make::ImportArgs),
    /// Print the public keys, as `hlx recipients add` and age take them.
    Export(list::ExportArgs),
    /// List the public keys of all private keys that are found, and where.
    List(list::ListArgs),
    /// Ask for the passphrase of a private key once, for some hours: git and all of hlx can use it then.
    ///
    /// The kernel keeps the key in its memory, for this user alone, and drops it when the time is up. Nothing is written
    /// to a disk. Without a file, all keys that are protected and found are asked for.
    Unlock(unlock::UnlockArgs),
    /// Lock again what was unlocked: the kernel drops it at once. Files with private keys stay as they are.
    ///
    /// With `--keychain`, take a private key out of the keychain of the desktop instead, where `generate --keychain` or
    /// `import --keychain` put it.
    Forget(forget::ForgetArgs),
}

/// Runs `hlx keys …`.
pub(super) fn run(command: &KeysCommand, cx: &Context) -> Result<(), Failure> {
    match command {
        KeysCommand::Generate(args) => make::generate(args, cx),
        KeysCommand::Import(args) => make::import(args, cx),
        KeysCommand::Export(args) => list::export(args, cx),
        KeysCommand::List(args) => list::list(args, cx),
        KeysCommand::Unlock(args) => unlock::unlock(args, cx),
        KeysCommand::Forget(args) => forget::forget(args, cx),
    }
}
