//! The thread that saves the translators' state while the daemon runs.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::state::StateFiles;
use super::team::Team;
use crate::worker::Unanswered;

/// Places that are looked at in one part: packets wait meanwhile, some hundred microseconds at most.
const PLACES: usize = 2048;
/// Between two parts, so that packets have most of the time.
const PAUSE: Duration = Duration::from_millis(2);

/// The thread. Dropping it ends it, and waits for that.
pub(super) struct Saver {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    /// Starts the thread, or does without if the state is saved at the end only.
    pub(super) fn start(files: StateFiles, team: Team) -> io::Result<Option<Self>> {
        files.forget_taken_up();
        let Some(interval) = files.interval() else {
            return Ok(None);
        };
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("state".into())
            .spawn(move || run(&files, interval, &team, &stopped))?;
        Ok(Some(Self {
            stop: Some(stop),
            thread: Some(thread),
        }))
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell but what it logged.
            let _ = thread.join();
        }
    }
}

fn run(files: &StateFiles, interval: Duration, team: &Team, stopped: &Receiver<()>) {
    let goes_on = |wait| stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
    while goes_on(interval) {
        for channel in files.channels() {
            let (mut worker, mut after) = (0, 0);
            let saved = files.save_parts(channel, || {
                while worker < team.len() {
                    if !goes_on(PAUSE) {
                        // It is saved once more at the end.
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                    let channel = channel.clone();
                    let part = team.ask_one(worker, move |dispatcher, now| {
                        dispatcher.state(&channel, after, PLACES, now)
                    });
                    let part = part.map_err(unanswered)?;
                    match part.as_ref().and_then(|part| part.next) {
                        Some(next) => after = next,
                        None => (worker, after) = (worker + 1, 0),
                    }
                    if part.is_some() {
                        return Ok(part);
                    }
                }
                Ok(None)
            });
            if let Some(records) = saved {
                log::debug!("channel {channel}: {records} sessions and held ports saved");
            }
        }
    }
}

fn unanswered(error: Unanswered) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, error)
}
