//! Which Ethernet address belongs to which IP address on a link: the kernel's ARP and neighbour discovery cache.

use std::net::IpAddr;

use ahash::AHashMap;

use super::link::{InterfaceIndex, MacAddress};

/// How far the kernel's knowledge of a neighbour can be relied upon (RFC 4861 section 7.3.2, and the same for ARP).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Known, and either confirmed, configured by hand or just being confirmed by the kernel: send.
    Fresh,
    /// Known, not confirmed for a while: send, and ask the kernel to confirm it
    /// ([`Resolver::resolve`](super::Resolver::resolve)).
    Stale,
    /// The kernel has asked for it and waits for the answer.
    Incomplete,
    /// Nobody answered.
    Failed,
}

/// What the kernel knows of one neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// Its Ethernet address; there exactly when the state is `Fresh` or `Stale`.
    pub mac: Option<MacAddress>,
    /// How far to rely on it.
    pub state: NeighbourState,
}

impl Neighbour {
    /// A neighbour whose address is known and needs no confirmation.
    pub fn fresh(mac: MacAddress) -> Self {
        Self {
            mac: Some(mac),
            state: NeighbourState::Fresh,
        }
    }
}

/// All neighbours of the network namespace at one moment.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    entries: AHashMap<(InterfaceIndex, IpAddr), Neighbour>,
}

impl Neighbours {
    /// What is known of the neighbour `address` on link `interface`; none if nobody asked for it yet.
    /// Constant time.
    pub fn lookup(&self, interface: InterfaceIndex, address: IpAddr) -> Option<Neighbour> {
        self.entries.get(&(interface, address)).copied()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (InterfaceIndex, IpAddr, Neighbour)> {
        self.entries
            .iter()
            .map(|(&(interface, address), &neighbour)| (interface, address, neighbour))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets one; whether that changed anything.
    pub(super) fn insert(
        &mut self,
        interface: InterfaceIndex,
        address: IpAddr,
        neighbour: Neighbour,
    ) -> bool {
        self.entries.insert((interface, address), neighbour) != Some(neighbour)
    }

    /// Removes one; whether it was there.
    pub(super) fn remove(&mut self, interface: InterfaceIndex, address: IpAddr) -> bool {
        self.entries.remove(&(interface, address)).is_some()
    }

    /// Removes all of a link; whether there were any.
    pub(super) fn remove_link(&mut self, interface: InterfaceIndex) -> bool {
        let before = self.entries.len();
        self.entries.retain(|&(of, _), _| of != interface);
        self.entries.len() != before
    }
}
