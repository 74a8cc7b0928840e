//! Workers: a thread that owns a dispatcher, waits for packets, and lets others ask it something between two bursts.

mod statistics;
mod wait;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::dispatch::{Dispatcher, PortFailed};
use crate::time::{Clock, Time};

use statistics::{Account, Shared};
pub use statistics::{Statistics, Work};
pub use wait::Waiting;

/// How often time passes for the channels.
const TICK: Duration = Duration::from_millis(100);
/// Tasks that may wait for a worker.
pub(crate) const MAILBOX: usize = 64;

type Task = Box<dyn FnOnce(&mut Dispatcher, Time) + Send>;

/// The worker did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It has stopped.
    #[error("the worker has stopped")]
    Stopped,
    /// Too many questions wait for it already.
    #[error("the worker has too many questions to answer; try again")]
    Busy,
    /// It took too long.
    #[error("the worker took too long to answer; try again")]
    TooLate,
}

enum Letter {
    Task(Task),
    Stop,
}

/// A way to ask a worker, or to stop it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    letters: SyncSender<Letter>,
    wake: Arc<EventFd>,
    shared: Arc<Shared>,
}

impl Handle {
    /// Runs `question` on the worker between two bursts, and returns what it returns. It should take well under a millisecond:
    /// packets wait meanwhile.
    ///
    /// # Errors
    /// If the worker has stopped, is busy, or did not answer in `timeout`; then the question may still run later.
    pub fn ask<T: Send + 'static>(
        &self,
        timeout: Duration,
        question: impl FnOnce(&mut Dispatcher, Time) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        self.begin(question)?.wait(timeout)
    }

    /// As [`ask`](Self::ask), but waits for nothing: others may be asked before the answer is [waited for](Answer::wait).
    ///
    /// # Errors
    /// If the worker has stopped or is busy.
    pub fn begin<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Dispatcher, Time) -> T + Send + 'static,
    ) -> Result<Answer<T>, Unanswered> {
        let (answer, answered) = sync_channel(1);
        self.send(Letter::Task(Box::new(move |dispatcher, now| {
            dispatcher.count_offloaded(now);
            let answered = question(dispatcher, now);
            dispatcher.take_back_offloaded();
            // Whoever asked may have given up.
            let _ = answer.send(answered);
        })))?;
        Ok(Answer(answered))
    }

    /// What the worker does with its time, as of its last tick, a tenth of a second ago at most; it is not asked for this.
    pub fn statistics(&self) -> Statistics {
        self.shared.load()
    }

    /// Stops the worker after its present burst.
    pub fn stop(&self) {
        // Full means busy, so it will look again soon: whoever stops it repeats.
        let _ = self.send(Letter::Stop);
    }

    /// Makes a worker that waits look at what is new.
    pub fn wake(&self) {
        // Fails only if the counter is at its end, and then the worker is awake.
        let _ = self.wake.write(1);
    }

    fn send(&self, letter: Letter) -> Result<(), Unanswered> {
        self.letters.try_send(letter).map_err(|error| match error {
            TrySendError::Full(_) => Unanswered::Busy,
            TrySendError::Disconnected(_) => Unanswered::Stopped,
        })?;
        self.shared.asked.fetch_add(1, Ordering::Relaxed);
        self.wake();
        Ok(())
    }
}

/// What a worker will say to a question.
pub struct Answer<T>(Receiver<T>);

impl<T> Answer<T> {
    /// Waits for it.
    ///
    /// # Errors
    /// If the worker has stopped, or did not answer in `timeout`; then the question may still run later.
    pub fn wait(self, timeout: Duration) -> Result<T, Unanswered> {
        self.0.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => Unanswered::TooLate,
            RecvTimeoutError::Disconnected => Unanswered::Stopped,
        })
    }
}

/// The worker's end of its handles.
pub struct Mailbox {
    letters: Receiver<Letter>,
    wake: Arc<EventFd>,
    shared: Arc<Shared>,
}

/// Makes a handle and the mailbox for a worker to come.
///
/// # Errors
/// If the system has no event descriptor to give.
pub fn mailbox() -> Result<(Handle, Mailbox), std::io::Error> {
    let wake = Arc::new(EventFd::from_flags(
        EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC,
    )?);
    let (sender, letters) = sync_channel(MAILBOX);
    let shared = Arc::new(Shared::default());
    let handle = Handle {
        letters: sender,
        wake: Arc::clone(&wake),
        shared: Arc::clone(&shared),
    };
    let mailbox = Mailbox {
        letters,
        wake,
        shared,
    };
    Ok((handle, mailbox))
}

/// Works until it is stopped: receives, dispatches, answers, and waits when there is nothing to do. A port that is gone is told to
/// `failed`, once; the others go on.
pub fn run(
    dispatcher: &mut Dispatcher,
    mailbox: &Mailbox,
    clock: &Clock,
    waiting: Waiting,
    mut failed: impl FnMut(PortFailed),
) {
    let start = clock.now();
    let mut next_tick = start + TICK;
    let mut last_work = Time::ZERO;
    let mut account = Account::open(&mailbox.shared, waiting, start);
    loop {
        let now = clock.now();
        account.round(now);
        let mut is_busy = match dispatcher.poll(now) {
            Ok(received) => {
                account.polled(received);
                received > 0
            }
            Err(gone) => {
                failed(gone);
                true
            }
        };
        // One letter a burst, so that neither packets nor those who ask starve.
        match mailbox.letters.try_recv() {
            Ok(Letter::Task(task)) => {
                task(dispatcher, now);
                account.answered();
                is_busy = true;
            }
            Ok(Letter::Stop) => return,
            Err(_) => {}
        }
        if now >= next_tick {
            let before = clock.now();
            dispatcher.tick(now);
            account.ticked(now, clock.now().since(before));
            next_tick = now + TICK;
        }
        if is_busy {
            last_work = now;
        } else if waiting.is_over(now.since(last_work)) {
            account.sleeps();
            wait::sleep(dispatcher, mailbox, next_tick.since(now));
        }
    }
}
