//! A time in which a change must be confirmed.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Dropping it ends it.
#[derive(Debug)]
pub(super) struct Trial {
    _alive: Sender<()>,
}

impl Trial {
    /// Calls `late` after `time`, unless it is dropped before.
    pub(super) fn start(time: Duration, late: impl FnOnce() + Send + 'static) -> Self {
        let (alive, ended) = channel();
        let wait = move || {
            if ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                late();
            }
        };
        if let Err(error) = std::thread::Builder::new().name("rules-trial".into()).spawn(wait) {
            log::error!("the rules can't be taken back by themselves: {error}; confirm or undo them");
        }
        Self { _alive: alive }
    }
}
