//! What went wrong, and the exit code that says so.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use netchannel::config::ConfigError;
use netchannel::workload::{self, ReadError};

/// What ends the command without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit code 1.
    General(anyhow::Error),
    /// Exit code 1, and all was told already.
    Told,
    /// Exit code 2: what was found on the command line and what was expected.
    Usage(String),
    /// Exit code 3.
    Refused(Vec<ConfigError>),
    /// Exit code 3, for a rule set or a trace.
    RefusedWorkload(workload::Refused),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::General(error.into())
    }
}

impl Failure {
    /// Of a rule set or a trace.
    pub(crate) fn of_reading(error: ReadError) -> Self {
        match error {
            ReadError::Refused(refused) => Failure::RefusedWorkload(refused),
            unreadable => unreadable.into(),
        }
    }

    /// Tells standard error, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Failure::General(error) => {
                eprintln!("netchannel: {}", with_causes(error));
                ExitCode::from(1)
            }
            Failure::Told => ExitCode::from(1),
            Failure::Usage(message) => {
                eprintln!("netchannel: {message}");
                ExitCode::from(2)
            }
            Failure::Refused(errors) => {
                for error in errors {
                    refused(&error.file, error.count(), error);
                }
                ExitCode::from(3)
            }
            Failure::RefusedWorkload(error) => {
                refused(&error.file, error.count(), error);
                ExitCode::from(3)
            }
        }
    }
}

/// Tells which file was refused, and its problems.
fn refused(file: &Path, count: usize, problems: &dyn fmt::Display) {
    let counted = crate::check::counted(count, "problem");
    eprintln!("netchannel: {}: refused, {counted}\n{problems}", file.display());
}

/// An error and its causes, but for those that it has told already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Tells what clap says: help and version are no errors.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Who asked for help may have closed its end already.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    eprint!("netchannel: {}", text.strip_prefix("error: ").unwrap_or(&text));
    ExitCode::from(2)
}

/// Whether the reader of the output is gone.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref().is_some_and(of_pipe)
        || error
            .downcast_ref()
            .is_some_and(|error: &serde_json::Error| error.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cause_is_told_twice() {
        let error = anyhow::anyhow!("no such file")
            .context("a.toml: no such file")
            .context("reading failed");
        assert_eq!(with_causes(&error), "reading failed: a.toml: no such file");
    }
}
