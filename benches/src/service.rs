//! Programs that run on in a namespace, say when they are ready, and write a log.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::During;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::stop::wait_until;
use crate::{Error, Result};

/// How long such a program may take to be ready, and to end.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The line that it prints when it works.
const READY: &str = "ready";

/// A command that runs `program`, on one processor if it is to be pinned.
pub(crate) fn pinned(program: &Path, processor: Option<usize>) -> Command {
    match processor {
        Some(processor) => {
            let mut command = Command::new("taskset");
            command.args([
                OsStr::new("--cpu-list"),
                OsStr::new(&processor.to_string()),
                program.as_os_str(),
            ]);
            command
        }
        None => Command::new(program),
    }
}

/// A running program with its log.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) process: Process,
    log: PathBuf,
}

impl Service {
    /// Starts a program that is killed when the value is dropped or this process dies. The file `log` in
    /// `directory` gets what it writes.
    pub(crate) fn start(namespace: &Namespace, command: Command, directory: &Path) -> Result<Self> {
        Self::start_by(command, directory, |command| namespace.spawn(command))
    }

    /// As [`Service::start`], for a program that may be left running.
    pub(crate) fn start_free(namespace: &Namespace, command: Command, directory: &Path) -> Result<Self> {
        Self::start_by(command, directory, |command| namespace.spawn_free(command))
    }

    fn start_by(
        mut command: Command,
        directory: &Path,
        spawn: impl FnOnce(Command) -> Result<Process>,
    ) -> Result<Self> {
        let log = directory.join("log");
        let output = File::create(&log).during(format!("make {}", log.display()))?;
        let errors = output.try_clone().during(format!("make {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        Ok(Self {
            process: spawn(command)?,
            log,
        })
    }

    /// Waits until the program has said that it is ready and `answers` agrees.
    pub(crate) fn wait_until_ready(&mut self, mut answers: impl FnMut() -> Result<bool>) -> Result<()> {
        let result = wait_until("the program to be ready", PATIENCE, || {
            if let Some(status) = self.process.ended()? {
                return Err(self.failure(&format!("ended ({status}) before it was ready")));
            }
            let said = self.log().lines().any(|line| line.trim_end() == READY);
            Ok((said && answers()?).then_some(()))
        });
        result.map_err(|error| match error {
            Error::Timeout { .. } => self.failure("did not get ready"),
            other => other,
        })
    }

    /// Everything that it wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |error| format!("(its log can't be read: {error})"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    pub(crate) fn failure(&self, what: &str) -> Error {
        Error::Program {
            what: what.to_owned(),
            log: self.log(),
        }
    }
}
