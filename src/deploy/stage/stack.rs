//! `docker stack`, run in the vault as Compose is: its file holds what the environment of services
//! is to hold.

use std::time::Duration;

use super::{ASK, LONG, Stage};
use crate::deploy::error::Error;
use crate::deploy::mirror::{indented, os};
use crate::deploy::swarm;
use crate::sys::process::{Call, End};

const STACK: &str = "stack.yaml";

/// The newest version of the format in Docker 20.10.
const OLDER: &str = "3.9";

impl Stage<'_> {
    /// Puts a stack's file into the vault, and lets Docker read it if its version does that without
    /// deploying.
    pub(in crate::deploy) fn put_stack(&mut self, stack: &swarm::Stack) -> Result<(), Error> {
        let reads = self.knows("config", "--compose-file")?;
        // Without a version, newer ones take all that they know; older ones may want one named.
        let text = stack.text(if reads { None } else { Some(OLDER) });
        self.vault.put(STACK, 0o600, text).map_err(Error::Vault)?;
        if !reads {
            return Ok(());
        }
        let call = self.docker_stack("config", ASK);
        let done = self.vault.output(call).map_err(Error::Vault)?;
        if done.end.is_success() {
            return Ok(());
        }
        let said = self.ground.unsealed.masker.text(done.err.expose());
        Err(Error::Step { what: "`docker stack config`", end: done.end, said })
    }

    /// Deploys the stack that was put into the vault; what it said last if that fails. That it
    /// succeeds means no more than that the Swarm has taken it.
    pub(in crate::deploy) fn deploy_stack(
        &mut self,
        project: &str,
        limit: Duration,
    ) -> Result<Result<(), String>, Error> {
        let mut call = self.docker_stack("deploy", limit.min(LONG));
        // hlx has looked the digests up, and waits by itself.
        call = call.args(["--prune", "--with-registry-auth", "--resolve-image", "never"]);
        if self.knows("deploy", "--detach")? {
            call = call.arg("--detach=true");
        }
        let (end, tail) = self.stream("stack deploy", call.arg(project))?;
        Ok(match end {
            // A version that waits would go on for ever; whether all is well is asked next.
            End::Code(0) | End::TimeUp => Ok(()),
            End::Code(_) | End::Signal(_) => Err(format!("`docker stack deploy`: {end}{}", indented(&tail))),
        })
    }

    fn docker_stack(&self, command: &str, limit: Duration) -> Call {
        let mut call = self.call(limit);
        call.argv = ["docker", "stack", command, "-c"].map(os).into();
        call.arg(self.vault.dir().join(STACK))
    }

    /// True if this version of a command has the option.
    fn knows(&mut self, command: &str, option: &str) -> Result<bool, Error> {
        let mut call = self.call(ASK);
        call.argv = ["docker", "stack", command, "--help"].map(os).into();
        let done = self.vault.output(call).map_err(Error::Vault)?;
        Ok(String::from_utf8_lossy(done.out.expose()).contains(option))
    }
}
