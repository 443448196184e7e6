//! What is said when a person stops a deploy.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::{Exit, Failure, Ui};
use crate::deploy::Service;

/// From here on a signal that ends hlx is explained first. It ends all the same, at once: whatever was
/// begun is settled by the next command for the stack, as after a power cut.
pub(super) fn explain(service: &Service, ui: Ui) -> Result<(), Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("cannot listen to signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let told = format!(
        "stopped: `hlx ps {service}` shows what runs; the next deploy of it, or `hlx down {service}`, puts right what is half done"
    );
    std::thread::spawn(move || {
        for signal in signals.forever() {
            ui.warning(&told);
            let _ = emulate_default_handler(signal);
        }
    });
    Ok(())
}
