//! How far something is, on a terminal.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line changes.
const INTERVAL: Duration = Duration::from_millis(100);

/// A line on standard error that changes in place; nothing where that is no terminal.
pub(crate) struct Progress {
    is_shown: bool,
    last: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            is_shown: std::io::stderr().is_terminal(),
            last: None,
        }
    }

    /// Shows where things are.
    pub(crate) fn tell(&mut self, what: fmt::Arguments<'_>) {
        if !self.is_shown || self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        self.last = Some(Instant::now());
        let mut out = std::io::stderr().lock();
        // A terminal that is gone is no reason to stop.
        let _ = write!(out, "\r\x1b[K{what} ...");
        let _ = out.flush();
    }

    /// Takes the line away.
    pub(crate) fn end(&mut self) {
        if self.is_shown && self.last.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
