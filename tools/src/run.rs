//! `netchannel run`.

use std::io::Write;

use netchannel::daemon::Daemon;

use crate::arguments::Run;
use crate::failure::Failure;
use crate::{check, signals};

/// Runs a configuration until a signal stops it.
pub(crate) fn run(arguments: &Run) -> Result<(), Failure> {
    let config = check::load(&arguments.config).map_err(|error| Failure::Refused(vec![error]))?;
    log::info!("{}: {}", arguments.config.display(), check::summary(&config));
    let daemon = Daemon::start(config)?;
    let stopper = daemon.stopper();
    signals::on_stop(move || stopper.stop())?;
    if let Some(logs) = daemon.log_reopener() {
        signals::on_hangup(move || logs.reopen())?;
    }
    for port in daemon.ports() {
        log::info!("{port}");
    }
    ready();
    daemon.wait()?;
    log::info!("stopped");
    Ok(())
}

/// Tells whoever waits on standard output; that nobody does is no reason to stop.
fn ready() {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "ready").and_then(|()| out.flush()) {
        log::debug!("standard output takes nothing: {error}");
    }
}
