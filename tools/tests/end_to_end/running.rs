//! A command that runs on, and what it has written so far.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use netchannel_benches::service::PATIENCE;
use netchannel_benches::stop::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::eventually;

/// Killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reader = thread::spawn({
            let lines = Arc::clone(&lines);
            move || {
                for line in out.lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            }
        });
        Self {
            child,
            lines,
            reader: Some(reader),
        }
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits until a line is like that, and gives the first one that is.
    pub(crate) fn wait_for(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let mut found = None;
        eventually(what, || {
            found = self
                .lines
                .lock()
                .unwrap()
                .iter()
                .find(|line| is_it(line))
                .cloned();
            found.is_some()
        });
        found.expect("it was found")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("it runs");
    }

    /// Waits for its end, and gives that, all lines and what it said to standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>, String) {
        let child = &mut self.child;
        let status =
            wait_until("its end", PATIENCE, || Ok(child.try_wait().expect("a child"))).expect("it ends");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
        let mut error = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut error).expect("text");
        (status, self.lines(), error)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
