//! `netchannel run`.

use std::io::Write;

use crate::arguments::Run;
use crate::failure::Failure;
use crate::{check, engine, signals};

/// Runs a configuration until a signal stops it.
pub(crate) fn run(arguments: &Run) -> Result<(), Failure> {
    let config = check::load(&arguments.config).map_err(|error| Failure::Refused(vec![error]))?;
    log::info!("{}: {}", arguments.config.display(), check::summary(&config));
    engine::run(config, signals::on_stop, ready)?;
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
