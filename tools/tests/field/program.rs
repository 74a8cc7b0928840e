//! Programs that run on while a test asks them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use netchannel_benches::namespace::Namespace;
use netchannel_benches::process::{Process, words};
use netchannel_benches::service::PATIENCE;
use netchannel_benches::stop::wait_until;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A running program and what it says. Dropping it kills it and what it started.
pub(crate) struct Program {
    line: String,
    process: Process,
    log: PathBuf,
}

impl Program {
    /// Starts the program of `line`, words separated by blanks, in a namespace. The file `log` gets what it says.
    pub(crate) fn start(namespace: &Namespace, line: &str, log: &Path) -> Self {
        let output = File::create(log).expect("a file in the scratch directory");
        let errors = output.try_clone().expect("a descriptor");
        let mut command = words(line);
        command
            // Where a program puts what it is told nothing about.
            .current_dir(log.parent().expect("the scratch directory"))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        Self {
            line: line.to_owned(),
            process: namespace.spawn(command).expect("an installed program"),
            log: log.to_owned(),
        }
    }

    /// Everything that it said so far.
    pub(crate) fn said(&self) -> String {
        let bytes = fs::read(&self.log).expect("the log is there");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `condition` holds.
    pub(crate) fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&str) -> bool) {
        let result = wait_until(what, PATIENCE, || {
            let ended = self.process.ended()?;
            assert!(ended.is_none(), "`{}` ended: {}", self.line, self.said());
            Ok(condition(&self.said()).then_some(()))
        });
        if let Err(error) = result {
            panic!("`{}`: {error}: {}", self.line, self.said());
        }
    }

    /// Waits until it has said something.
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |said| said.contains(text));
    }

    /// Waits until it listens at `endpoint`, in any of `sockets` TCP or UDP sockets.
    pub(crate) fn wait_for_sockets(&mut self, namespace: &Namespace, endpoint: &str, sockets: usize) {
        self.wait_until(&format!("{endpoint} to be served"), |_| {
            let listening = namespace.command("ss -Hlntu").expect("ss works");
            let here = |line: &&str| line.split_whitespace().any(|word| word == endpoint);
            listening.lines().filter(here).count() >= sockets
        });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It leads a process group of its own. If it has ended, those that it started may not have.
        let group = Pid::from_raw(self.process.pid().cast_signed());
        let _ = killpg(group, Signal::SIGKILL);
    }
}
