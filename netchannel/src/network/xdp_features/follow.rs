//! Follows what devices can do with XDP in a thread.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::SharedRedirectTargets;
use super::generic::NetdevSocket;
use crate::network::NetworkError;
use crate::network::monitor::OnChange;
use crate::network::resolver::Waker;

/// Follows to which devices frames may be redirected, until it is dropped.
#[derive(Debug)]
pub struct RedirectMonitor {
    targets: SharedRedirectTargets,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RedirectMonitor {
    /// Reads what the devices of the calling thread's network namespace can do, and follows it in a thread. When it returns, the first
    /// targets are there. `on_change` is called after each change. On a kernel that is too old to say, nothing is followed.
    ///
    /// # Errors
    ///
    /// When the sockets can't be opened, the devices not be read, or the thread not be started.
    pub fn start(on_change: Vec<OnChange>) -> Result<Self, NetworkError> {
        let targets = SharedRedirectTargets::default();
        let waker = Arc::new(Waker::new()?);
        let stop = Arc::new(AtomicBool::new(false));
        let mut monitor = Self {
            targets: targets.clone(),
            waker: Arc::clone(&waker),
            stop: Arc::clone(&stop),
            thread: None,
        };
        let (Some(mut changes), Some(mut questions)) = (NetdevSocket::open()?, NetdevSocket::open()?) else {
            return Ok(monitor);
        };
        // Before the first reading, so that no change falls in between.
        changes.subscribe()?;
        targets.publish(Some(questions.read()?));
        let mut follower = Follower {
            changes,
            questions,
            targets,
            on_change,
            waker,
            stop,
        };
        let thread = std::thread::Builder::new()
            .name("xdp-features".into())
            .spawn(move || follower.run())
            .map_err(|source| NetworkError::Thread { source })?;
        monitor.thread = Some(thread);
        Ok(monitor)
    }

    /// To which devices frames may be redirected.
    pub fn targets(&self) -> SharedRedirectTargets {
        self.targets.clone()
    }
}

impl Drop for RedirectMonitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told already.
            let _ = thread.join();
        }
    }
}

struct Follower {
    changes: NetdevSocket,
    questions: NetdevSocket,
    targets: SharedRedirectTargets,
    on_change: Vec<OnChange>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
}

impl Follower {
    fn run(&mut self) {
        while !self.stop.load(Ordering::Acquire) {
            if let Err(error) = self.turn() {
                log::error!("{error}; no frames are redirected to other devices from now on");
                self.publish(HashMap::new());
                return;
            }
        }
    }

    /// Waits for a change, and reads all devices anew: they are few.
    fn turn(&mut self) -> Result<(), NetworkError> {
        let mut sources = [
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.waker.event().as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(NetworkError::Receive { source: error.into() }),
        }
        self.waker.reset();
        if self.changes.take_changes()? {
            let features = self.questions.read()?;
            self.publish(features);
        }
        Ok(())
    }

    fn publish(&self, features: HashMap<u32, u64>) {
        if self.targets.publish(Some(features)) {
            self.on_change.iter().for_each(|call| call());
        }
    }
}
