//! Asking git whose signature a commit bears.
//!
//! git chooses the program by the kind of the signature; the kinds that are not asked for get one that accepts nothing.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::{Error, LOCAL, Mirror};
use crate::sys::process::{Call, Finished};

impl Mirror<'_> {
    /// Asks git whether one of these ssh keys signed the commit.
    pub fn verify_ssh(&self, commit: &str, signers: &Path) -> Result<Finished, Error> {
        let mut list = OsString::from("gpg.ssh.allowedSignersFile=");
        list.push(signers);
        // A key that is not in the list is of undefined trust.
        let programs =
            [list.as_os_str(), "gpg.ssh.program=ssh-keygen".as_ref(), "gpg.program=false".as_ref()];
        let call = self.settings(&programs).args(["-c", "gpg.minTrustLevel=fully"]);
        let call = call.args(["-c", "gpg.openpgp.program=false", "-c", "gpg.x509.program=false"]);
        call.args(["verify-commit", "--", commit]).output(b"").map_err(Error::Start)
    }

    /// Asks git whether a key of this home of gpg signed the commit; its standard error has gpg's status lines.
    pub fn verify_openpgp(&self, commit: &str, home: &Path) -> Result<Finished, Error> {
        let programs = ["gpg.program=gpg", "gpg.openpgp.program=gpg", "gpg.ssh.program=false"];
        let call = self.settings(&programs).args(["-c", "gpg.x509.program=false"]);
        // The home has no web of trust: who is in it is trusted.
        let call = call.args(["-c", "gpg.minTrustLevel=undefined"]).var("GNUPGHOME", home);
        call.args(["verify-commit", "--raw", "--", commit]).output(b"").map_err(Error::Start)
    }

    fn settings<S: AsRef<OsStr>>(&self, settings: &[S]) -> Call {
        let pair = |setting| [OsStr::new("-c"), OsStr::new(setting)];
        let call = self.git.call(&self.dir, LOCAL);
        call.args(settings.iter().flat_map(pair))
    }
}
