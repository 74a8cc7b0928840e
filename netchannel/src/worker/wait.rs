//! What a worker does when there is nothing to do: it sleeps, looks on for a while, or looks on forever.
//!
//! | | an idle worker takes | the first packet after silence waits for |
//! | --- | --- | --- |
//! | [`Waiting::Sleep`] | nothing | the scheduler, and a processor that may sleep itself |
//! | [`Waiting::Spin`] | nothing, but its whole processor for a while after each packet | the same, unless it comes within that while |
//! | [`Waiting::Never`] | its whole processor | nothing |

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Mailbox;
use crate::dispatch::Dispatcher;

/// How long a port's backlog waits for another attempt.
const BACKLOG_WAIT: Duration = Duration::from_millis(1);

/// How long it looks for more before it sleeps in any case: to be woken costs about as much, so looking that long never costs more than
/// twice what knowing when the next packet comes would.
const PATIENCE: Duration = Duration::from_micros(50);

/// What a worker does when no port has packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// It sleeps until the kernel or somebody who asks it something wakes it, 50 microseconds after the last packet.
    #[default]
    Sleep,
    /// It looks for more for this long after the last packet or question, and then sleeps.
    Spin(Duration),
    /// It never sleeps.
    Never,
}

impl Waiting {
    /// Whether to sleep when there has been nothing to do for so long.
    #[inline]
    pub(super) fn is_over(self, idle: Duration) -> bool {
        match self {
            Self::Sleep => idle >= PATIENCE,
            Self::Spin(patience) => idle >= patience,
            Self::Never => false,
        }
    }
}

/// Sleeps until a port has something, somebody wakes the worker, or `longest` has passed.
pub(super) fn sleep(dispatcher: &Dispatcher, mailbox: &Mailbox, longest: Duration) {
    if !dispatcher.falls_asleep() {
        return;
    }
    let backlog = dispatcher.ports().iter().any(|port| port.has_backlog());
    let longest = if backlog {
        BACKLOG_WAIT.min(longest)
    } else {
        longest
    };
    let timeout = PollTimeout::try_from(longest + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    let ports = dispatcher.ports().iter().flat_map(|port| port.descriptors());
    let mut all: Vec<PollFd<'_>> = ports.map(readable).collect();
    all.push(readable(mailbox.wake.as_fd()));
    match poll(&mut all, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => log::warn!("waiting for packets failed: {error}"),
    }
    dispatcher.wakes_up();
    // Packets mostly: then there is nothing to read.
    if all.last().and_then(PollFd::any).unwrap_or(true) {
        let _ = mailbox.wake.read();
    }
}

fn readable(descriptor: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(descriptor, PollFlags::POLLIN)
}
