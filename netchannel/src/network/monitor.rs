//! Follows the kernel's network in a thread and publishes a snapshot after each change.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netlink_packet_core::NLM_F_CREATE;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::NetworkError;
use super::event::{NetworkEvent, Subscribers, differences};
use super::message;
use super::neighbour::NeighbourState;
use super::resolver::{NeighbourKey, RateLimit, Resolver, Waker};
use super::shared::SharedNetwork;
use super::socket::{NetlinkSocket, Received};
use super::tables::{Reread, Tables};

/// The least time between two snapshots: a single change is published at once, a storm of them this often.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);
/// The least time between two times that tables are read anew.
const REREAD_INTERVAL: Duration = Duration::from_millis(100);
/// How often reading anew may fail in a row.
const REREAD_ATTEMPTS: u32 = 50;
/// Datagrams taken before it is time to look at everything else.
const RECEIVE_BUDGET: usize = 1024;

/// Called after each snapshot was published, from the monitor's thread: to wake those that wait. Must be quick.
pub type OnChange = Box<dyn Fn() + Send>;

/// Follows the kernel's links, addresses, routes and neighbours.
#[derive(Debug)]
pub struct Monitor;

impl Monitor {
    /// Reads the network of the calling thread's network namespace, publishes it in `shared`, and follows its
    /// changes in a thread until the handle is dropped. Each change is published within some 20 ms, and a storm of
    /// them as few snapshots. When it returns, the first snapshot is published.
    ///
    /// # Errors
    ///
    /// When the sockets cannot be opened, the tables not be read, or the thread not be started.
    pub fn start(shared: SharedNetwork, on_change: Vec<OnChange>) -> Result<MonitorHandle, NetworkError> {
        // Subscribed before the first reading, so that no change falls in between.
        let changes = NetlinkSocket::subscribed()?;
        let mut questions = NetlinkSocket::open()?;
        let tables = questions.read_everything()?;
        let waker = Arc::new(Waker::new()?);
        let (resolver, requests) = Resolver::new(Arc::clone(&waker));
        let status = Arc::new(Status::default());
        let now = Instant::now();
        let mut follower = Follower {
            changes,
            questions,
            tables,
            shared,
            on_change,
            requests,
            rate_limit: RateLimit::default(),
            waker: Arc::clone(&waker),
            status: Arc::clone(&status),
            next_publish: now,
            next_reread: now,
            failures: 0,
        };
        follower.publish(now);
        let thread = std::thread::Builder::new()
            .name("network-monitor".into())
            .spawn(move || follower.run())
            .map_err(|source| NetworkError::Thread { source })?;
        Ok(MonitorHandle {
            resolver,
            waker,
            status,
            thread: Some(thread),
        })
    }
}

/// What the thread and the handle share.
#[derive(Debug, Default)]
struct Status {
    stop: AtomicBool,
    subscribers: Subscribers,
    failure: Mutex<Option<Arc<NetworkError>>>,
}

impl Status {
    fn fail(&self, error: NetworkError) {
        log::error!("{error}");
        let reason = error.to_string();
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(error));
        self.subscribers.tell(&[NetworkEvent::MonitorFailed { reason }]);
    }
}

/// Keeps the thread of a [`Monitor`] running; dropping it stops the thread and waits for its end.
#[derive(Debug)]
pub struct MonitorHandle {
    resolver: Resolver,
    waker: Arc<Waker>,
    status: Arc<Status>,
    thread: Option<JoinHandle<()>>,
}

impl MonitorHandle {
    /// For asking the kernel to resolve neighbours.
    pub fn resolver(&self) -> Resolver {
        self.resolver.clone()
    }

    /// Events from now on. The channel holds 1024 unread ones; a subscriber that is slower gets
    /// [`NetworkEvent::Missed`] once there is room again. Drop the receiver to end the subscription.
    pub fn subscribe(&self) -> Receiver<NetworkEvent> {
        self.status.subscribers.subscribe()
    }

    /// Why the network is no longer followed; none while it is.
    pub fn failure(&self) -> Option<Arc<NetworkError>> {
        self.status
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for MonitorHandle {
    fn drop(&mut self) {
        self.status.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told already.
            let _ = thread.join();
        }
    }
}

/// Tells of a panic that ends the thread.
struct PanicReport<'a>(&'a Status);

impl Drop for PanicReport<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(NetworkError::Panicked);
        }
    }
}

/// The state of the thread.
struct Follower {
    changes: NetlinkSocket,
    questions: NetlinkSocket,
    tables: Tables,
    shared: SharedNetwork,
    on_change: Vec<OnChange>,
    requests: Receiver<NeighbourKey>,
    rate_limit: RateLimit,
    waker: Arc<Waker>,
    status: Arc<Status>,
    next_publish: Instant,
    next_reread: Instant,
    /// Failed attempts to read anew since the last success.
    failures: u32,
}

impl Follower {
    fn run(mut self) {
        let status = Arc::clone(&self.status);
        let _report = PanicReport(&status);
        while !status.stop.load(Ordering::Acquire) {
            if let Err(error) = self.turn() {
                status.fail(error);
                return;
            }
        }
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) -> Result<(), NetworkError> {
        self.wait(Instant::now())?;
        self.waker.reset();
        if self.status.stop.load(Ordering::Acquire) {
            return Ok(());
        }
        let drained = self.take_changes()?;
        let now = Instant::now();
        // After an overrun the kernel drops messages until all that it kept are taken: only then does it tell
        // what changes during the reading.
        if drained && self.tables.reread() != Reread::Nothing && now >= self.next_reread {
            self.reread(now)?;
        }
        // With a reading due the tables may show half of a change, which is still better than nothing new.
        let complete = self.tables.reread() == Reread::Nothing || self.failures > 0 || !drained;
        if self.tables.is_changed() && complete && now >= self.next_publish {
            self.publish(now);
        }
        self.ask_for_neighbours(now);
        Ok(())
    }

    fn wait(&self, now: Instant) -> Result<(), NetworkError> {
        let publish = self.tables.is_changed().then_some(self.next_publish);
        let reread = (self.tables.reread() != Reread::Nothing).then_some(self.next_reread);
        let timeout = match publish.into_iter().chain(reread).max() {
            None => PollTimeout::NONE,
            Some(due) => {
                let wait = due.saturating_duration_since(now);
                // Rounded up, so that it is due when the wait ends.
                let milliseconds = u16::try_from(wait.as_millis() + 1).unwrap_or(u16::MAX);
                if wait.is_zero() {
                    PollTimeout::ZERO
                } else {
                    PollTimeout::from(milliseconds)
                }
            }
        };
        let mut sources = [
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.waker.event().as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => Ok(()),
            Err(error) => Err(NetworkError::Receive { source: error.into() }),
        }
    }

    /// Takes what the kernel tells; whether that was all that it has.
    fn take_changes(&mut self) -> Result<bool, NetworkError> {
        for _ in 0..RECEIVE_BUDGET {
            match self.changes.receive(&mut self.tables)? {
                Received::Messages => {}
                Received::Nothing => return Ok(true),
                Received::Overrun => {
                    log::warn!("the kernel's network changed faster than it was followed: reading it anew");
                    self.tables.ask_reread(Reread::Everything);
                }
            }
        }
        Ok(false)
    }

    fn reread(&mut self, now: Instant) -> Result<(), NetworkError> {
        let everything = self.tables.reread() == Reread::Everything;
        let read = if everything {
            self.questions.read_everything()
        } else {
            let mut tables = Tables::new();
            self.questions.read_links_and_routes(&mut tables).map(|()| tables)
        };
        self.next_reread = now + REREAD_INTERVAL;
        match read {
            Ok(read) => {
                self.failures = 0;
                self.tables.take_in(read, everything);
                Ok(())
            }
            Err(error) if self.failures < REREAD_ATTEMPTS => {
                log::warn!("{error}; trying again");
                self.failures += 1;
                Ok(())
            }
            Err(error) => Err(NetworkError::GaveUp {
                attempts: self.failures + 1,
                source: Box::new(error),
            }),
        }
    }

    fn publish(&mut self, now: Instant) {
        let before = self.shared.load();
        let after = Arc::new(self.tables.snapshot(&before));
        let events = if Arc::ptr_eq(&before.links, &after.links) {
            Vec::new()
        } else {
            differences(&before.links, &after.links)
        };
        self.shared.publish(after);
        self.on_change.iter().for_each(|call| call());
        self.status.subscribers.tell(&events);
        self.next_publish = now + PUBLISH_INTERVAL;
    }

    fn ask_for_neighbours(&mut self, now: Instant) {
        while let Ok((interface, address)) = self.requests.try_recv() {
            let known = self.tables.neighbours().lookup(interface, address);
            // One that needs nothing, above all a permanent one, is better left alone.
            if known.is_some_and(|neighbour| neighbour.state == NeighbourState::Fresh) {
                continue;
            }
            if self.rate_limit.admit((interface, address), now) {
                let request = message::use_neighbour(interface, address);
                if let Err(error) = self.changes.send(request, NLM_F_CREATE) {
                    log::debug!("cannot ask for neighbour {address} on link {interface}: {error}");
                }
            }
        }
    }
}
