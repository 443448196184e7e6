//! `hlx keys generate` and `import`: a private key in its place.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use age::secrecy::{ExposeSecret as _, SecretString};
use clap::Args;

use crate::crypto::envelope::Recipient;
use crate::keys::plugins::Idle;
use crate::keys::stored::{self, Imported, Kind};
use crate::keys::{Found, keychain};
use crate::secret::SecretBytes;

use super::super::context::{Context, default_key_file, keychain_list};
use super::super::{Exit, Failure, errors, ui};

#[derive(Debug, Args)]
pub(in crate::cli) struct GenerateArgs {
    /// The file to make; by default the one that sops reads too: ~/.config/sops/age/keys.txt
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Protect it with a passphrase, which is asked for. The public key goes into FILE.pub beside it.
    #[arg(long, short)]
    passphrase: bool,
    /// Keep it in the keychain of the desktop (the Secret Service) rather than in a file.
    #[arg(long, conflicts_with_all = ["output", "passphrase"])]
    keychain: bool,
    /// Make a post-quantum key (`age1pq1…`), as age has them since 1.3. It protects files that all their readers have
    /// such keys for.
    #[arg(long)]
    pq: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The private key, or `-` for standard input.
    file: PathBuf,
    /// The file to make; by default the one that sops reads too: ~/.config/sops/age/keys.txt
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Put it into the keychain of the desktop (the Secret Service) rather than into a file.
    #[arg(long, conflicts_with = "output")]
    keychain: bool,
}

/// `hlx keys generate`
pub(super) fn generate(args: &GenerateArgs, cx: &Context) -> Result<(), Failure> {
    let kind = if args.pq { Kind::PostQuantum } else { Kind::Classical };
    if args.keychain {
        let recipient = stored::generate_in_keychain(&list()?, kind, &cx.now()).map_err(keychain_failure)?;
        cx.ui.result(recipient);
        cx.ui.note(
            "made a private key in the keychain: it is nowhere else, so let a second key read what matters",
        );
        return Ok(());
    }
    let path = place(args.output.as_deref())?;
    // Nobody is asked for a passphrase in vain.
    if path.exists() {
        return Err(exists(&path));
    }
    let passphrase = if args.passphrase { Some(new_passphrase()?) } else { None };
    let is_protected = passphrase.is_some();
    cx.ui.result(make_with(&path, kind, passphrase, cx)?);
    if is_protected {
        cx.ui.hint(
            "`hlx keys unlock` asks for the passphrase once for some hours, so that git can use the key",
        );
    }
    Ok(())
}

/// Makes a key that nothing but the mode of its file protects, and says where it is.
pub(in crate::cli) fn make(path: &Path, cx: &Context) -> Result<Recipient, Failure> {
    make_with(path, Kind::Classical, None, cx)
}

fn make_with(
    path: &Path,
    kind: Kind,
    passphrase: Option<SecretString>,
    cx: &Context,
) -> Result<Recipient, Failure> {
    let recipient = stored::generate(path, kind, &cx.now(), passphrase);
    let recipient = recipient.map_err(|error| unwritten(path, &error))?;
    cx.ui.note(format!("made a private key in {}: keep a copy in a safe place", path.display()));
    Ok(recipient)
}

fn place(output: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = output.map(Path::to_owned).or_else(default_key_file);
    path.ok_or_else(|| Failure::new(Exit::Usage, "no HOME is set").hint("name a file with `--output`"))
}

fn list() -> Result<PathBuf, Failure> {
    keychain_list().ok_or_else(|| Failure::new(Exit::Usage, "no HOME is set"))
}

pub(super) fn keychain_failure(error: keychain::Error) -> Failure {
    use keychain::Error as E;
    let message = error.to_string();
    match error {
        E::Unavailable(_) => Failure::new(Exit::Missing, message)
            .hint("a keychain such as GNOME Keyring, KWallet or KeePassXC must run in this session")
            .hint("without one: `hlx keys generate --passphrase`"),
        E::Missing | E::Refused(_) | E::Other | E::Io(_) => Failure::new(Exit::Failed, message),
        E::Unfit => {
            Failure::new(Exit::Usage, message).hint("without `--keychain`, it goes into a file as it is")
        }
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => errors::io(path, error),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(Exit::Failed, format!("{} exists already", path.display()))
        .hint(format!("`hlx -i {} keys list` shows its public key", path.display()))
        .hint(
            "`--output FILE` makes another key elsewhere; `hlx keys import FILE` adds that to those you have",
        )
}

/// Asks for a new passphrase, twice.
fn new_passphrase() -> Result<SecretString, Failure> {
    let no_terminal = || {
        Failure::new(Exit::Failed, "there is no terminal to ask for a passphrase")
            .hint("run it in a terminal")
    };
    let first = ui::ask_secret("new passphrase:").ok_or_else(no_terminal)?;
    if first.expose_secret().is_empty() {
        return Err(Failure::new(Exit::Usage, "an empty passphrase protects nothing")
            .hint("without `--passphrase`, the key is protected by the mode of its file alone"));
    }
    let again = ui::ask_secret("the same again:").ok_or_else(no_terminal)?;
    match first.expose_secret() == again.expose_secret() {
        true => Ok(first),
        false => Err(Failure::new(Exit::Usage, "the two differ").hint("nothing was made")),
    }
}

/// `hlx keys import`
pub(super) fn import(args: &ImportArgs, cx: &Context) -> Result<(), Failure> {
    let name = args.file.display().to_string();
    let refused = |reason: String| Failure::new(Exit::NoKey, format!("{name}: {reason}"));
    if args.file.as_os_str() != "-" && !args.file.exists() {
        return Err(Failure::new(Exit::Usage, format!("{name}: there is no such file")));
    }
    // What came by a pipe is nowhere else.
    let as_before = if name == "-" { String::new() } else { format!("; {name} is as it was") };
    let plugins = cx.places().plugins;
    let key = match args.file.as_os_str() == "-" {
        true => stored::Key::parse(from_stdin(cx)?, &plugins),
        false => stored::Key::read(&args.file, &plugins),
    };
    let key = key.map_err(refused)?;
    if args.keychain {
        key.import_into_keychain(&list()?).map_err(keychain_failure)?;
        key.recipients().for_each(|recipient| cx.ui.result(recipient));
        cx.ui.note(format!("the private key is in the keychain now{as_before}"));
        return Ok(());
    }
    let to = place(args.output.as_deref())?;
    let imported = key.import(&to).map_err(|error| match error {
        stored::Error::Io(error) => unwritten(&to, &error),
        error @ stored::Error::OwnFile => Failure::new(Exit::Failed, format!("{}: {error}", to.display()))
            .hint("`--output FILE` puts it elsewhere; name that in HLX_IDENTITY, or with `--identity`"),
        error @ stored::Error::Unreadable(_) => {
            Failure::new(Exit::Failed, format!("{}: {error}", to.display()))
        }
    })?;
    key.recipients().for_each(|recipient| cx.ui.result(recipient));
    let place = to.display();
    match imported {
        Imported::Made => cx.ui.note(format!("the private key is in {place} now{as_before}")),
        Imported::Added => cx.ui.note(format!("the private key was added to those in {place}{as_before}")),
        Imported::There => cx.ui.note(format!("{place} has that private key already")),
    }
    for found in key.found() {
        if let Found::Idle(plugin, Idle::NotAllowed) = found {
            cx.ui.note(format!("it is a key of the age plugin `{plugin}`, which is not allowed to run"));
            cx.ui.hint(errors::allow(plugin));
        }
    }
    Ok(())
}

fn from_stdin(cx: &Context) -> Result<SecretBytes, Failure> {
    if io::stdin().is_terminal() {
        cx.ui.note("paste the private key, then press Ctrl-D");
    }
    let mut content = SecretBytes::new(Vec::new());
    ui::past_the_buffer(io::stdin())
        .and_then(|mut stdin| stdin.read_to_end(content.expose_mut()))
        .map_err(|error| errors::io(Path::new("-"), &error))?;
    Ok(content)
}
