//! Hands snapshots of the network from one writer to many readers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Network;

#[derive(Debug)]
struct Slot {
    version: AtomicU64,
    network: Mutex<Arc<Network>>,
}

/// The current snapshot of the network, shared between threads. Clones show the same one.
///
/// A reader compares [`version`](Self::version), one atomic load, and takes the lock of [`load`](Self::load) only
/// when it has moved; [`NetworkReader`] does that.
#[derive(Debug, Clone)]
pub struct SharedNetwork {
    slot: Arc<Slot>,
}

impl SharedNetwork {
    /// Starts with a snapshot, as version 1.
    pub fn new(network: Network) -> Self {
        Self {
            slot: Arc::new(Slot {
                version: AtomicU64::new(1),
                network: Mutex::new(Arc::new(network)),
            }),
        }
    }

    /// The number of the current snapshot. It grows with each one. Read it before [`load`](Self::load): then a
    /// snapshot published in between is at worst loaded twice, never missed.
    pub fn version(&self) -> u64 {
        self.slot.version.load(Ordering::Acquire)
    }

    /// The current snapshot. Takes a lock for as long as it takes to count one reference more.
    pub fn load(&self) -> Arc<Network> {
        Arc::clone(&self.slot.network.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the snapshot and returns its version. Readers keep the one they hold until they load again.
    pub fn publish(&self, network: impl Into<Arc<Network>>) -> u64 {
        let mut current = self.slot.network.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = std::mem::replace(&mut *current, network.into());
        let version = self.slot.version.fetch_add(1, Ordering::Release) + 1;
        drop(current);
        // Perhaps the last reference to a large table: freed outside of the lock.
        drop(previous);
        version
    }

    /// A reader with a snapshot of its own, for one thread.
    pub fn reader(&self) -> NetworkReader {
        let version = self.version();
        NetworkReader {
            network: self.load(),
            shared: self.clone(),
            version,
        }
    }
}

impl Default for SharedNetwork {
    fn default() -> Self {
        Self::new(Network::default())
    }
}

/// One thread's view of a [`SharedNetwork`]: a snapshot that stays the same between two calls of
/// [`refresh`](Self::refresh).
#[derive(Debug, Clone)]
pub struct NetworkReader {
    shared: SharedNetwork,
    network: Arc<Network>,
    version: u64,
}

impl NetworkReader {
    /// Takes a newer snapshot if there is one; whether there was. One atomic load if not: call it once a burst.
    pub fn refresh(&mut self) -> bool {
        let version = self.shared.version();
        if version == self.version {
            return false;
        }
        self.version = version;
        self.network = self.shared.load();
        true
    }

    /// The snapshot as of the last refresh.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The version of that snapshot, or an earlier one if it was published during the refresh.
    pub fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::super::{InterfaceIndex, Link, NetworkBuilder};
    use super::*;

    fn network(links: u32) -> Network {
        let link = |number| Link::ethernet(InterfaceIndex(number), format!("link{number}"), [0; 6]);
        (1..=links)
            .map(link)
            .fold(NetworkBuilder::new(), NetworkBuilder::link)
            .build()
    }

    #[test]
    fn a_reader_keeps_its_snapshot_until_it_refreshes() {
        let shared = SharedNetwork::new(network(1));
        let mut reader = shared.reader();
        assert!(!reader.refresh());
        shared.publish(network(2));
        assert_eq!(reader.network().links.len(), 1);
        assert!(reader.refresh());
        assert_eq!(reader.network().links.len(), 2);
        assert!(!reader.refresh());
    }

    #[test]
    fn readers_never_see_versions_go_back() {
        const LAST: u32 = 200;
        let shared = SharedNetwork::new(network(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let mut reader = shared.reader();
                scope.spawn(move || {
                    let mut seen = 0;
                    while seen < LAST as usize {
                        if reader.refresh() {
                            let now = reader.network().links.len();
                            assert!(now >= seen);
                            seen = now;
                        }
                        std::thread::yield_now();
                    }
                });
            }
            for links in 1..=LAST {
                shared.publish(network(links));
            }
        });
        assert_eq!(shared.version(), u64::from(LAST) + 1);
    }
}
