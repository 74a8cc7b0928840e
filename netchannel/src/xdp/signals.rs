//! Keeping signals away while the kernel verifies a program.

use nix::sys::signal::{SigSet, SigmaskHow};

/// While this lives, the thread that made it takes no signals; they wait, or go to other threads.
///
/// The verifier gives up with EAGAIN when its thread has a signal pending. That may be SIGCHLD, which nobody asked for:
/// a thread that starts a process (`posix_spawn`) blocks signals until it runs again, the child may have ended by then,
/// and its signal goes to any other thread. aya tries again once, with a log, by which verifying takes far
/// longer; and what it finds out about the kernel by loading programs, it tries once and for all.
pub(super) struct SignalsBlocked {
    before: SigSet,
}

impl SignalsBlocked {
    pub(super) fn new() -> nix::Result<Self> {
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { before })
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // It fails only if it is told to do what does not exist.
        let _ = self.before.thread_set_mask();
    }
}
