//! What can go wrong in the laboratory.

use std::io;
use std::time::Duration;

/// A failure in the laboratory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A helper program (`ip`, `ethtool`, `nft`) is not installed.
    #[error(
        "`{program}` could not be started: {source}; install the package that has it (iproute2, ethtool, nftables)"
    )]
    NoProgram {
        /// The program's name.
        program: String,
        /// Why it did not start.
        source: io::Error,
    },
    /// A helper program ended with an error.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command {
        /// The whole command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// A system call failed.
    #[error("could not {action}: {source}")]
    Io {
        /// What was to be done.
        action: String,
        /// Why it was not.
        source: io::Error,
    },
    /// Something that was waited for did not happen.
    #[error("gave up after {after:?} waiting for {what}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// The daemon, or what stands for it, ended or failed when it should have run.
    #[error("the program under test {what}; it wrote:\n{log}")]
    Program {
        /// What it did.
        what: String,
        /// Its output so far.
        log: String,
    },
    /// The kernel lacks what something needs.
    #[error("not possible here: {0}")]
    Unsupported(String),
    /// A peer answered something else than it should have.
    #[error("unexpected answer: {0}")]
    Answer(String),
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
}

/// Result with the laboratory's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says what was being done when a system call failed.
pub trait During<T> {
    /// Turns the error into [`Error::Io`] with `action`, a phrase that fits behind "could not".
    ///
    /// # Errors
    /// The error of `self`, explained.
    fn during(self, action: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> During<T> for std::result::Result<T, E> {
    fn during(self, action: impl Into<String>) -> Result<T> {
        self.map_err(|error| Error::Io {
            action: action.into(),
            source: error.into(),
        })
    }
}
