//! `hlx encrypt` and `hlx decrypt`: whole files, as `sops -e` and `sops -d` do.

use std::path::PathBuf;

use clap::Args;

use crate::filter::clean::Cleaner;
use crate::keys::Keyring;
use crate::secret::SecretBytes;
use crate::sys::random;
use crate::values::{Error, Place, seal};

use super::context::{Context, time};
use super::values::{FILES, LineFeed, Source, output};
use super::{Exit, Failure, errors, quote};

/// What `hlx encrypt --help` ends with.
pub(super) fn more_of_encrypt() -> String {
    let how = "A protected file of a work tree is encrypted as `git add` would do it. Any other is encrypted for the readers that the nearest \
               `.sops.yaml` names, up from the file's directory, in a git repository or not. A file that is encrypted already is refused.";
    [how, FILES].join("\n\n")
}

/// What `hlx decrypt --help` ends with.
pub(super) fn more_of_decrypt() -> String {
    let how = "Nothing is printed or written before the whole file is known to be authentic. A file that is not encrypted is refused, and so is \
               `--in-place` on a branch, whose history would keep the plaintext: `hlx show` prints any file.";
    [how, FILES].join("\n\n")
}

#[derive(Debug, Args)]
pub(super) struct SealArgs {
    /// Paths, or BRANCH:PATH.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the files, instead of printing the one; on a branch make a commit. (`-i` is `--identity`, as in age.)
    #[arg(long)]
    in_place: bool,
}

/// `hlx encrypt FILE…`
pub(super) fn encrypt(args: &SealArgs, cx: &Context) -> Result<(), Failure> {
    let keyring = cx.keyring();
    let sources = sources(args, cx)?;
    let sealed = sources.iter().map(|source| sealed(source, &keyring, cx)).collect::<Result<Vec<_>, _>>()?;
    finish(args, &sources, &sealed, "encrypt", cx)
}

/// `hlx decrypt FILE…`
pub(super) fn decrypt(args: &SealArgs, cx: &Context) -> Result<(), Failure> {
    let keyring = cx.keyring();
    let sources = sources(args, cx)?;
    let on_branch = |source: &&Source| matches!(source.place, Place::Branch(_));
    if let (true, Some(source)) = (args.in_place, sources.iter().find(on_branch)) {
        let fact = format!("{}: a commit of its plaintext would be there for ever", source.name);
        return Err(Failure::new(Exit::Policy, fact)
            .hint(format!("`hlx show {}` prints it", quote::word(&source.name))));
    }
    let open =
        |source: &Source| seal::decrypt(&source.content, &keyring).map_err(|error| source.failure(error));
    let opened = sources.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    if args.in_place {
        sources.iter().for_each(|source| source.warn_if_unprotected(cx));
    }
    finish(args, &sources, &opened, "decrypt", cx)
}

fn sources(args: &SealArgs, cx: &Context) -> Result<Vec<Source>, Failure> {
    if args.files.len() > 1 && !args.in_place {
        return Err(Failure::new(Exit::Usage, "several files can only be written, not printed")
            .hint("name one, or add `--in-place`"));
    }
    args.files.iter().map(|file| Source::read(file, cx)).collect()
}

fn sealed(source: &Source, keyring: &Keyring, cx: &Context) -> Result<SecretBytes, Failure> {
    if let Place::Tree(tree) = &source.place
        && let Some((repository, path)) = tree.in_repository()
        && source.place.attributes().map_err(|error| source.failure(error))?.filtered
    {
        if crate::sops::is_sealed(source.content.expose()) {
            return Err(source.failure(Error::SealedAlready));
        }
        let cleaned = Cleaner::new(repository, keyring, &time).clean(path, source.content.expose());
        return cleaned.map(SecretBytes::new).map_err(|error| errors::cleaning(&source.name, error));
    }
    seal::encrypt(&source.place, &source.content, keyring, cx.stamp(&mut random::fill))
        .map_err(|error| source.failure(error))
}

/// Prints or writes what was made; nothing is written before all of it was made.
fn finish(
    args: &SealArgs,
    sources: &[Source],
    contents: &[SecretBytes],
    verb: &str,
    cx: &Context,
) -> Result<(), Failure> {
    for (source, content) in sources.iter().zip(contents) {
        if !args.in_place {
            output(content.expose(), LineFeed::Never, cx)?;
            continue;
        }
        let message = format!("{}: {verb}", source.place.path());
        let changed = source.place.replace(&source.content, content, &message);
        source.report(changed.map_err(|error| source.failure(error))?, cx);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn each_of_the_two_is_explained_by_itself() {
        let help = |name: &str| {
            let command = super::super::Args::command();
            let help = command.find_subcommand(name).unwrap().clone().render_long_help().to_string();
            help.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let (encrypt, decrypt) = (help("encrypt"), help("decrypt"));
        assert!(encrypt.contains("for the readers") && !decrypt.contains("for the readers"), "{decrypt}");
        assert!(decrypt.contains("is known to be authentic") && decrypt.contains("BRANCH:PATH"), "{decrypt}");
    }
}
