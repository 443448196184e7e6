//! What happens when a person, or the system, stops a deploy.

use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::{Exit, Failure, Ui};
use crate::deploy::Stop;
use crate::deploy::stop::Then;

/// From here on a signal stops the deploy, and it is said how. Once containers are touched it goes back by
/// itself; before that, and at the second signal, hlx ends at once, and whatever was begun is settled by the next command
/// for the stack, as after a power cut. `what` is the stack, as other commands are told it.
pub(super) fn explain(what: &str, stop: Arc<Stop>, ui: Ui) -> Result<(), Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("cannot listen to signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let ended = format!(
        "stopped: `hlx ps {what}` shows what runs; the next deploy of it, or `hlx down {what}`, puts right what is half done"
    );
    let going = "stopping: what ran before is brought back first; another signal ends it at once";
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match stop.wish() {
                Then::Wait => ui.warning(going),
                Then::End => {
                    ui.warning(&ended);
                    let _ = emulate_default_handler(signal);
                }
            }
        }
    });
    Ok(())
}
