//! `hlx keys unlock`: passphrases that are asked for once.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;

use crate::keys::locked::{Error, Shut};
use crate::keys::{Keyring, Locked, Places, Tried};

use super::super::context::{Context, time};
use super::super::ui;
use super::super::{Exit, Failure};

#[derive(Debug, Args)]
pub(in crate::cli) struct UnlockArgs {
    /// For how long, such as 30m or 8h; 30 days at most.
    #[arg(long = "for", value_name = "TIME", default_value = "8h", value_parser = duration)]
    time: Duration,
    /// The private key; by default all that are found and protected.
    file: Option<PathBuf>,
}

const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

fn duration(text: &str) -> Result<Duration, String> {
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    time.filter(|time| (Duration::from_secs(1)..=LONGEST).contains(time))
        .ok_or_else(|| "write a time from 1s to 720h, such as 30m or 8h".to_owned())
}

/// `hlx keys unlock`
pub(super) fn unlock(args: &UnlockArgs, cx: &Context) -> Result<(), Failure> {
    let places = cx.places();
    let keyring = Keyring::load(&match &args.file {
        None => places,
        Some(file) => Places { named: vec![file.clone()], plugins: places.plugins, ..Places::default() },
    });
    if let (Some(_), Some(Tried { place, outcome: Err(reason), .. })) = (&args.file, keyring.tried().first())
    {
        return Err(Failure::new(Exit::NoKey, format!("{place}: {reason}")));
    }
    let open = keyring.tried().iter().filter_map(|tried| Some((&tried.place, tried.until?)));
    let open: Vec<_> = open
        .inspect(|(place, until)| {
            cx.ui.note(format!("{place} is unlocked already, until {}", time(Some(*until))));
        })
        .collect();
    let locked: Vec<&Locked> = keyring.locked().collect();
    if locked.is_empty() && open.is_empty() {
        return Err(Failure::new(Exit::Failed, "no passphrase protects a private key here")
            .hint("`hlx keys list -v` shows where keys were looked for"));
    }
    let mut done = !open.is_empty();
    for key in locked {
        done |= unlock_one(key, args.time, cx)?;
    }
    match done {
        true => Ok(()),
        false => Err(Failure::new(Exit::NoKey, "nothing was unlocked")),
    }
}

/// Tells whether it was unlocked: a key can be skipped.
fn unlock_one(key: &Locked, for_time: Duration, cx: &Context) -> Result<bool, Failure> {
    let place = key.place();
    let failed = |exit, reason: &Error| Failure::new(exit, format!("{place}: {reason}"));
    match key.unlock(ui::ask_passphrase, for_time) {
        Ok(recipients) => {
            recipients.iter().for_each(|recipient| cx.ui.result(recipient));
            cx.ui.note(format!("{place} is unlocked until {}", time(Some(SystemTime::now() + for_time))));
            Ok(true)
        }
        Err(Error::Shut(Shut::Unanswered)) if ui::has_terminal() => {
            cx.ui.note(format!("{place} was skipped"));
            Ok(false)
        }
        Err(error @ Error::Shut(Shut::Unanswered)) => {
            Err(failed(Exit::NoKey, &error).hint("run it in a terminal"))
        }
        Err(error @ Error::Shut(Shut::Wrong | Shut::Broken(_))) => Err(failed(Exit::NoKey, &error)),
        Err(error @ Error::Kernel(_)) => Err(failed(Exit::Missing, &error)
            .hint("without it, commands in a terminal ask each time, and git's filter cannot use this key")),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn times_are_written_as_people_say_them() {
        let seconds = |text| duration(text).map(|time| time.as_secs()).ok();
        let table =
            [("8h", Some(28_800)), ("90m", Some(5400)), ("1h30m", Some(5400)), ("720h", Some(2_592_000))];
        for (text, wanted) in table {
            assert_eq!(seconds(text), wanted, "{text}");
        }
        for text in ["", "8", "0s", "-1h", "721h", "ever"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
