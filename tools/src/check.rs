//! `netchannel check`, and loading configurations for the other commands.

use std::io::Write;
use std::path::{Path, PathBuf};

use netchannel::config::{Config, ConfigError};

use crate::arguments::{Check, ConfigArguments, ConfigCommand};
use crate::failure::Failure;

/// Checks every file of a configuration.
pub(crate) fn check(arguments: &Check) -> Result<(), Failure> {
    check_each(&arguments.files, |file| load(file).map(|config| summary(&config)))
}

/// Checks every file and writes what each that is good holds, in a line, then fails if one was refused.
pub(crate) fn check_each(
    files: &[PathBuf],
    check: impl Fn(&Path) -> Result<String, ConfigError>,
) -> Result<(), Failure> {
    let mut refused = Vec::new();
    let mut out = std::io::stdout().lock();
    for file in files {
        match check(file) {
            Ok(summary) => writeln!(out, "{}: ok: {summary}", file.display())?,
            Err(error) => refused.push(error),
        }
    }
    out.flush()?;
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Failure::Refused(refused))
    }
}

/// `netchannel config`.
pub(crate) fn config(arguments: &ConfigArguments) -> Result<(), Failure> {
    match &arguments.command {
        ConfigCommand::Check(arguments) => check(arguments),
        ConfigCommand::Schema => {
            let mut out = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &netchannel::config::json_schema())?;
            writeln!(out)?;
            Ok(())
        }
    }
}

/// Loads a file and tells its warnings.
pub(crate) fn load(file: &Path) -> Result<Config, ConfigError> {
    let config = Config::load(file)?;
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    Ok(config)
}

/// What a configuration holds, in one line.
pub(crate) fn summary(config: &Config) -> String {
    [
        counted(config.interfaces.len(), "interface"),
        counted(config.channels.len(), "channel"),
        counted(config.rules.len(), "rule"),
    ]
    .join(", ")
}

/// `1 rule`, `2 rules`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
