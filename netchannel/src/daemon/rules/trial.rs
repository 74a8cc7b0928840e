//! A time in which a change must be confirmed.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// When what could not be done in time is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Dropping it ends it.
#[derive(Debug)]
pub(super) struct Trial {
    _alive: Sender<()>,
}

impl Trial {
    /// Calls `late` after `time`, and again until it says that it is done, unless this is dropped before.
    pub(super) fn start(time: Duration, late: impl FnMut() -> bool + Send + 'static) -> Self {
        Self::with_retry(time, RETRY, late)
    }

    fn with_retry(time: Duration, retry: Duration, mut late: impl FnMut() -> bool + Send + 'static) -> Self {
        let (alive, ended) = channel();
        let wait = move || {
            let mut time = time;
            while ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                if late() {
                    return;
                }
                time = retry;
            }
        };
        if let Err(error) = std::thread::Builder::new().name("rules-trial".into()).spawn(wait) {
            log::error!("the rules can't be taken back by themselves: {error}; confirm or undo them");
        }
        Self { _alive: alive }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_until_it_is_done() {
        let (tell, told) = channel();
        let mut attempts = 0;
        let _trial = Trial::with_retry(Duration::ZERO, Duration::ZERO, move || {
            attempts += 1;
            // The test may be over.
            let _ = tell.send(attempts);
            attempts == 3
        });
        // Ends with the thread, which holds the sender.
        assert_eq!(told.iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn one_that_is_dropped_never_comes() {
        let (tell, told) = channel::<()>();
        drop(Trial::start(Duration::from_secs(3600), move || {
            tell.send(()).is_ok()
        }));
        assert_eq!(told.recv(), Err(std::sync::mpsc::RecvError));
    }
}
