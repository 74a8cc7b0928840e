//! Lets packet workers ask for a neighbour without waiting.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::error::NetworkError;
use super::link::InterfaceIndex;

/// Requests that wait for the monitor's thread; those beyond are dropped.
const QUEUE: usize = 1024;
/// How long after a request for a neighbour another one for the same is ignored.
const INTERVAL: Duration = Duration::from_secs(1);
/// Neighbours whose last request is remembered. While as many were asked for within one interval,
/// requests for further ones are dropped: somebody scans a subnet.
const REMEMBERED: usize = 4096;

/// Which neighbour: its link and its IP address.
pub(super) type NeighbourKey = (InterfaceIndex, IpAddr);

/// Wakes the monitor's thread out of its wait.
#[derive(Debug)]
pub(super) struct Waker {
    event: EventFd,
    pending: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> Result<Self, NetworkError> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(|error| {
            NetworkError::Socket {
                action: "open an eventfd",
                source: error.into(),
            }
        })?;
        Ok(Self {
            event,
            pending: AtomicBool::new(false),
        })
    }

    pub(super) fn event(&self) -> &EventFd {
        &self.event
    }

    /// One system call, or none if the thread was woken already and has not looked yet.
    pub(super) fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            // It fails only if the counter is full, and then the thread is awake.
            let _ = self.event.write(1);
        }
    }

    /// Makes ready for the next wake; to be called before looking for what there is to do.
    pub(super) fn reset(&self) {
        // It fails only if nobody woke, and then there is nothing to reset.
        let _ = self.event.read();
        self.pending.store(false, Ordering::Release);
    }
}

/// Asks the kernel to find out neighbours' Ethernet addresses. For packet workers: clone one for each.
#[derive(Debug, Clone)]
pub struct Resolver {
    requests: SyncSender<NeighbourKey>,
    waker: Arc<Waker>,
}

impl Resolver {
    pub(super) fn new(waker: Arc<Waker>) -> (Self, Receiver<NeighbourKey>) {
        let (requests, receiver) = sync_channel(QUEUE);
        (Self { requests, waker }, receiver)
    }

    /// Asks the kernel to resolve `address` on link `interface`: it sends an ARP request or a neighbour
    /// solicitation to find it out, or to confirm a stale one. The outcome comes with a later snapshot.
    ///
    /// The kernel tells when it has an answer or gives up, not that it has begun to ask: until then the snapshot
    /// may have no entry. Never waits: a request that finds the queue full is dropped, so repeat it with each packet that needs it.
    /// At most one request a second and neighbour reaches the kernel.
    pub fn resolve(&self, interface: InterfaceIndex, address: IpAddr) {
        if self.requests.try_send((interface, address)).is_ok() {
            self.waker.wake();
        }
    }
}

/// Lets a request for each neighbour through once an interval.
#[derive(Debug, Default)]
pub(super) struct RateLimit {
    last: AHashMap<NeighbourKey, Instant>,
    /// When those that no longer count were last forgotten.
    swept: Option<Instant>,
}

impl RateLimit {
    /// Whether a request at time `now` may go to the kernel.
    pub(super) fn admit(&mut self, neighbour: NeighbourKey, now: Instant) -> bool {
        let recent = |last: &Instant| now.saturating_duration_since(*last) < INTERVAL;
        if self.last.get(&neighbour).is_some_and(recent) {
            return false;
        }
        if self.last.len() >= REMEMBERED && !self.swept.as_ref().is_some_and(recent) {
            self.last.retain(|_, last| recent(last));
            self.swept = Some(now);
        }
        if self.last.len() >= REMEMBERED && !self.last.contains_key(&neighbour) {
            return false;
        }
        self.last.insert(neighbour, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_a_second_and_neighbour() {
        let mut limit = RateLimit::default();
        let start = Instant::now();
        let (first, second) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let link = InterfaceIndex(1);
        assert!(limit.admit((link, first), start));
        assert!(!limit.admit((link, first), start + Duration::from_millis(999)));
        assert!(limit.admit((link, second), start));
        assert!(limit.admit((InterfaceIndex(2), first), start));
        assert!(limit.admit((link, first), start + Duration::from_secs(1)));
    }

    #[test]
    fn a_scan_is_bounded_and_passes() {
        let mut limit = RateLimit::default();
        let start = Instant::now();
        let key = |number: u32| (InterfaceIndex(1), IpAddr::from(number.to_be_bytes()));
        let admitted = (0..100_000)
            .filter(|&number| limit.admit(key(number), start))
            .count();
        assert_eq!(admitted, REMEMBERED);
        assert!(limit.admit(key(200_000), start + INTERVAL));
    }

    #[test]
    fn requests_beyond_the_queue_are_dropped() {
        let waker = Arc::new(Waker::new().unwrap());
        let (resolver, requests) = Resolver::new(waker);
        for number in 0..2000_u32 {
            resolver.resolve(InterfaceIndex(1), IpAddr::from(number.to_be_bytes()));
        }
        assert_eq!(requests.try_iter().count(), QUEUE);
    }
}
