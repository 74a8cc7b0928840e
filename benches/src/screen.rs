//! Progress for people: a line that changes in place on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write, stdout};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::table::scaled;
use crate::traffic::Live;

/// How often a line changes on a terminal.
const REFRESH: Duration = Duration::from_millis(100);

/// Cells of a progress bar.
const BAR: usize = 20;

/// What a stage counts towards its end.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// Bytes of content.
    Bytes(u64),
    /// Answers.
    Answers(u64),
}

/// Standard output.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    colour: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// Looks at what standard output is, and at `NO_COLOR`.
    pub fn new() -> Self {
        let terminal = stdout().is_terminal();
        Self {
            terminal,
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// `text` in bold.
    pub fn bold(&self, text: &str) -> String {
        self.coded("1", text)
    }

    /// A sign and word for success or failure.
    pub fn verdict(&self, good: bool) -> String {
        if good {
            self.coded("32", "ok")
        } else {
            self.coded("31", "FAILED")
        }
    }

    fn coded(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Replaces the changing line. Nothing where there is no terminal.
    pub fn change(&self, line: &str) {
        if self.terminal {
            print!("\r\x1b[K{line}");
            let _ = stdout().flush();
        }
    }

    /// Prints a line that stays, in place of the changing one.
    pub fn line(&self, line: &str) {
        if self.terminal {
            print!("\r\x1b[K");
        }
        println!("{line}");
        let _ = stdout().flush();
    }

    /// Does `work` in another thread and shows how far it is. A panic in `work` goes on in the caller.
    ///
    /// # Errors
    /// The error of `work`.
    pub fn watch<R: Send>(
        &self,
        name: &str,
        goal: Goal,
        live: &Live,
        work: impl FnOnce() -> Result<R> + Send,
    ) -> Result<R> {
        if !self.terminal {
            self.line(&format!("  {name} ..."));
        }
        let started = Instant::now();
        thread::scope(|scope| {
            let worker = scope.spawn(work);
            while !worker.is_finished() {
                self.change(&progress(name, goal, live, started.elapsed()));
                // Woken early when the work is done, so that short stages don't wait for the screen.
                let until = Instant::now() + REFRESH;
                while Instant::now() < until && !worker.is_finished() {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            self.change("");
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.change("");
    }
}

fn progress(name: &str, goal: Goal, live: &Live, elapsed: Duration) -> String {
    let (sent, received, bytes) = live.read();
    let (done, all) = match goal {
        Goal::Bytes(all) => (bytes, all),
        Goal::Answers(all) => (received, all),
    };
    let part = if all == 0 {
        0.0
    } else {
        (done as f64 / all as f64).min(1.0)
    };
    let full = (part * BAR as f64) as usize;
    let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR - full));
    let rate = bytes as f64 * 8.0 / elapsed.as_secs_f64().max(1e-3);
    let percent = part * 100.0;
    format!(
        "  {name} [{bar}] {percent:3.0} %  sent {sent}, back {received}, {}B, {}bit/s",
        scaled(bytes as f64),
        scaled(rate)
    )
}
