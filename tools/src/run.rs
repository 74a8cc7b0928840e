//! `netchannel run`.

use std::io::Write;
use std::path::Path;

use netchannel::config::Config;
use netchannel::daemon::{Daemon, Reloader};
use netchannel::service::{Notifier, drop_privileges};

use crate::arguments::Run;
use crate::failure::Failure;
use crate::{check, signals};

/// Runs a configuration until a signal stops it.
pub(crate) fn run(arguments: &Run) -> Result<(), Failure> {
    let config = check::load(&arguments.config).map_err(|error| Failure::Refused(vec![error]))?;
    log::info!("{}: {}", arguments.config.display(), check::summary(&config));
    drop_privileges(&config)?;
    let status = check::summary(&config);
    let daemon = Daemon::start(config)?;
    let notifier = Notifier;
    let stopper = daemon.stopper();
    signals::on_stop(move || {
        notifier.stopping();
        stopper.stop();
    })?;
    let (file, reloader, logs) = (arguments.config.clone(), daemon.reloader(), daemon.log_reopener());
    signals::on_hangup(move || {
        notifier.reloading();
        if let Some(logs) = &logs {
            logs.reopen();
        }
        notifier.ready(&reload(&file, &reloader));
    })?;
    for port in daemon.ports() {
        log::info!("{port}");
    }
    ready();
    notifier.ready(&status);
    notifier.watch(daemon.pulse())?;
    daemon.wait()?;
    log::info!("stopped");
    Ok(())
}

/// Has the daemon take up what the configuration is now. Whatever is wrong with it, the daemon goes on as before. Returns how that went, in
/// a line.
fn reload(file: &Path, reloader: &Reloader) -> String {
    let config: Config = match check::load(file) {
        Ok(config) => config,
        Err(error) => {
            let counted = check::counted(error.count(), "problem");
            log::error!("the configuration is refused, {counted}; everything stays as it was\n{error}");
            return "the last reload was refused: see the log".to_owned();
        }
    };
    let summary = check::summary(&config);
    match reloader.reload(config) {
        Ok(reloaded) => {
            let rules = match reloaded.rules_changed {
                true => format!("{} in force", check::counted(reloaded.rules, "rule")),
                false => "the rules are the same".to_owned(),
            };
            log::info!("{}: taken up: {rules}", file.display());
            for key in &reloaded.needs_restart {
                log::warn!("needs a restart: {key}");
            }
            summary
        }
        Err(error) => {
            log::error!("{}: {error}", file.display());
            "the last reload was refused: see the log".to_owned()
        }
    }
}

/// Tells whoever waits on standard output; that nobody does is no reason to stop.
fn ready() {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "ready").and_then(|()| out.flush()) {
        log::debug!("standard output takes nothing: {error}");
    }
}
