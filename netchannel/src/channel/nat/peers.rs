//! Which outside addresses a mapping has sessions with, for filtering that asks for it (address-dependent, RFC 4787 §5).

use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

use super::chain::{Chains, NONE};
use super::index::Index;
use super::session::Session;
use super::slab::Slab;

struct PeerKey {
    mapping: u32,
    address: Ipv4Addr,
}

impl PeerKey {
    fn of(session: &Session) -> Self {
        Self {
            mapping: session.mapping,
            address: session.remote.address,
        }
    }
}

impl Hash for PeerKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.mapping) << 32 | u64::from(self.address.to_bits()));
    }
}

/// The sessions of each mapping with each outside address: a list, found by its first one. Everything is O(1).
pub(super) struct Peers {
    first: Index,
    chains: Chains,
}

impl Peers {
    /// For this many sessions.
    pub(super) fn for_sessions(sessions: usize) -> Self {
        Self {
            first: Index::for_entries(sessions),
            chains: Chains::with_capacity(sessions),
        }
    }

    /// Bytes that are reserved.
    pub(super) fn memory(&self) -> usize {
        self.first.memory() + self.chains.memory()
    }

    /// A session of a mapping with an outside address, at any port.
    pub(super) fn first(&self, sessions: &Slab<Session>, mapping: u32, address: Ipv4Addr) -> Option<u32> {
        self.first.find(&PeerKey { mapping, address }, |index| {
            let session = sessions.get(index);
            session.mapping == mapping && session.remote.address == address
        })
    }

    /// Puts a session in front of those with the same outside address.
    pub(super) fn add(&mut self, sessions: &Slab<Session>, index: u32) {
        let key = PeerKey::of(sessions.get(index));
        let first = self.first(sessions, key.mapping, key.address);
        let mut head = first.unwrap_or(NONE);
        self.chains.push(&mut head, index);
        match first {
            Some(first) => {
                self.first.replace(&key, first, index);
            }
            None => self.first.insert(&key, index),
        }
    }

    /// Takes a session, which is still there, out of those with the same outside address.
    pub(super) fn remove(&mut self, sessions: &Slab<Session>, index: u32) {
        let key = PeerKey::of(sessions.get(index));
        let Some(first) = self.first(sessions, key.mapping, key.address) else {
            return;
        };
        let mut head = first;
        self.chains.remove(&mut head, index);
        if head == NONE {
            self.first.remove(&key, first);
        } else if head != first {
            self.first.replace(&key, first, head);
        }
    }
}
