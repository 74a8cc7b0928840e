//! A `trace` or `capture` of the command, while it watches.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Stdio};
use std::thread;

use netchannel::control::report::TracedPacket;
use netchannel_benches::service::PATIENCE;
use netchannel_benches::stop::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::Site;

/// Killed when dropped.
pub(crate) struct PacketWatch {
    child: Child,
    errors: BufReader<ChildStderr>,
}

impl PacketWatch {
    /// Starts it, and returns when it watches.
    pub(crate) fn start(site: &Site, line: &str) -> Self {
        let mut child = site
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        errors.read_line(&mut said).expect("text");
        assert!(said.contains("Ctrl-C ends it"), "{line}: {said}");
        Self { child, errors }
    }

    /// Waits for its end, and returns what it printed and complained about.
    pub(crate) fn finish(mut self) -> (Vec<u8>, String) {
        let mut pipe = self.child.stdout.take().expect("a pipe");
        let reader = thread::spawn(move || {
            let mut printed = Vec::new();
            pipe.read_to_end(&mut printed).map(|_| printed)
        });
        let status = wait_until("the end of a trace", PATIENCE, || {
            Ok(self.child.try_wait().expect("a child"))
        });
        let status = status.expect("it ends");
        let mut said = String::new();
        self.errors.read_to_string(&mut said).expect("text");
        assert_eq!(status.code(), Some(0), "{said}");
        (reader.join().expect("no panic").expect("read"), said)
    }

    /// The packets that a trace with `-j` showed.
    pub(crate) fn packets(self) -> Vec<TracedPacket> {
        let (printed, _) = self.finish();
        let text = String::from_utf8(printed).expect("text");
        let packet =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        text.lines().map(packet).collect()
    }

    /// What it prints up to these bytes, and perhaps a little more.
    pub(crate) fn printed_until(&mut self, wanted: &[u8]) -> Vec<u8> {
        let pipe = self.child.stdout.as_mut().expect("a pipe");
        let mut printed = Vec::new();
        while !printed.windows(wanted.len()).any(|bytes| bytes == wanted) {
            let mut part = [0; 4096];
            let length = pipe.read(&mut part).expect("a pipe");
            assert_ne!(length, 0, "it ended too early");
            printed.extend_from_slice(&part[..length]);
        }
        printed
    }

    pub(crate) fn interrupt(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).expect("it runs");
    }
}

impl Drop for PacketWatch {
    fn drop(&mut self) {
        // One that has ended needs nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
