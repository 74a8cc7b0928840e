//! Inside hosts that have mappings: their external address, what they use, and how fast.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::address_set::AddressId;
use super::blocks::BlockId;
use super::chain::NONE;
use super::flow::Protocol;
use super::index::Index;
use super::limits::{Counts, Limits, Pace};
use super::slab::Slab;
use crate::channel::TableMemory;
use crate::drop_reason::DropReason;
use crate::time::Time;

/// Hosts without mappings that are remembered for their pace; of those beyond, the pace is forgotten.
const MOST_LINGERING: usize = 4096;

/// One inside host, or subscriber.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) inside: Ipv4Addr,
    /// The external address of its first mapping.
    pub(super) address: Option<AddressId>,
    /// Blocks of ports that it has, and the head of their list.
    pub(super) blocks: u16,
    pub(super) first_block: BlockId,
    counts: Counts,
    pace: Pace,
    lingers: bool,
}

impl Host {
    fn is_idle(&self) -> bool {
        self.counts.mappings == [0; 3] && self.blocks == 0
    }
}

/// The hosts that have mappings or blocks, and those that opened some within the last second. Everything is O(1).
pub(super) struct Hosts {
    table: Slab<Host>,
    by_address: Index,
    /// Those that had no mappings at some time, but had opened some just before.
    lingering: VecDeque<u32>,
    limits: Limits,
    /// By external address, the hosts that have it, and all of them.
    paired: Vec<u32>,
    all_paired: u32,
}

impl Hosts {
    /// For as many hosts as there may be mappings, and so many external addresses.
    pub(super) fn new(capacity: usize, limits: Limits, addresses: AddressId) -> Self {
        let capacity = capacity + MOST_LINGERING;
        Self {
            table: Slab::with_capacity(capacity),
            by_address: Index::for_entries(capacity),
            lingering: VecDeque::new(),
            limits,
            paired: vec![0; addresses as usize],
            all_paired: 0,
        }
    }

    /// Its size.
    pub(super) fn memory(&self) -> TableMemory {
        TableMemory {
            name: "hosts",
            entries: self.table.len() as u64,
            capacity: self.table.capacity() as u64,
            bytes: (self.table.memory() + self.by_address.memory()) as u64,
        }
    }

    /// Hosts that have an external address.
    pub(super) fn paired(&self) -> u32 {
        self.all_paired
    }

    /// Hosts that have this external address.
    pub(super) fn paired_with(&self, address: AddressId) -> u32 {
        self.paired[address as usize]
    }

    pub(super) fn find(&self, inside: Ipv4Addr) -> Option<u32> {
        self.by_address
            .find(&inside.to_bits(), |host| self.table.get(host).inside == inside)
    }

    pub(super) fn get(&self, host: u32) -> &Host {
        self.table.get(host)
    }

    pub(super) fn get_mut(&mut self, host: u32) -> &mut Host {
        self.table.get_mut(host)
    }

    /// Whether this host, `None` for a new one, may have another mapping now.
    pub(super) fn check_mapping(
        &self,
        host: Option<u32>,
        protocol: Protocol,
        now: Time,
    ) -> Result<(), DropReason> {
        let none = (Counts::default(), Pace::default());
        let (counts, pace) = host.map_or(none, |host| {
            let host = self.table.get(host);
            (host.counts, host.pace)
        });
        if !counts.has_room_for_mapping(&self.limits, protocol) {
            return Err(DropReason::NatHostMappingLimit);
        }
        if !pace.allows(self.limits.new_mappings_per_second, now) {
            return Err(DropReason::NatHostRateLimit);
        }
        Ok(())
    }

    /// The bounds on each host.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The bound that keeps this host, `None` for a new one, from having another mapping.
    pub(super) fn reached(&self, host: Option<u32>, protocol: Protocol) -> u32 {
        let counts = host.map_or(Counts::default(), |host| self.table.get(host).counts);
        counts.reached(&self.limits, protocol)
    }

    /// Whether this host may have another session.
    pub(super) fn has_room_for_session(&self, host: Option<u32>) -> bool {
        let sessions = host.map_or(0, |host| self.table.get(host).counts.sessions);
        sessions < self.limits.sessions
    }

    /// Counts a mapping. `host` is what `find` found.
    pub(super) fn add_mapping(
        &mut self,
        host: Option<u32>,
        inside: Ipv4Addr,
        address: Option<AddressId>,
        protocol: Protocol,
        now: Time,
    ) -> u32 {
        let index = self.add_former_mapping(host, inside, address, protocol);
        let pace = &mut self.table.get_mut(index).pace;
        pace.count(self.limits.new_mappings_per_second, now);
        index
    }

    /// Counts a mapping that was opened before the start: as [`add_mapping`](Self::add_mapping), without its pace.
    pub(super) fn add_former_mapping(
        &mut self,
        host: Option<u32>,
        inside: Ipv4Addr,
        address: Option<AddressId>,
        protocol: Protocol,
    ) -> u32 {
        let index = host.unwrap_or_else(|| {
            let index = self.table.insert(Host {
                inside,
                address: None,
                blocks: 0,
                first_block: NONE,
                counts: Counts::default(),
                pace: Pace::default(),
                lingers: false,
            });
            self.by_address.insert(&inside.to_bits(), index);
            index
        });
        let host = self.table.get_mut(index);
        if host.address.is_none()
            && let Some(address) = address
        {
            host.address = Some(address);
            self.paired[address as usize] += 1;
            self.all_paired += 1;
        }
        host.counts.mappings[protocol as usize] += 1;
        index
    }

    pub(super) fn remove_mapping(&mut self, index: u32, protocol: Protocol, now: Time) {
        self.table.get_mut(index).counts.mappings[protocol as usize] -= 1;
        self.forget_if_idle(index, now);
    }

    /// Forgets a host that has neither mappings nor blocks, unless its pace has to be remembered.
    pub(super) fn forget_if_idle(&mut self, index: u32, now: Time) {
        let host = self.table.get_mut(index);
        if !host.is_idle() {
            return;
        }
        // Its address is its own only as long as it has something there.
        if let Some(address) = host.address.take() {
            self.paired[address as usize] -= 1;
            self.all_paired -= 1;
        }
        if host.lingers {
            return;
        }
        if !host.pace.is_full(now) && self.lingering.len() < MOST_LINGERING {
            host.lingers = true;
            self.lingering.push_back(index);
        } else {
            self.remove(index);
        }
    }

    /// Forgets hosts whose pace needs not be remembered any more, up to `limit`.
    pub(super) fn release(&mut self, now: Time, limit: usize) {
        for _ in 0..limit {
            let Some(&index) = self.lingering.front() else {
                return;
            };
            let host = self.table.get_mut(index);
            if !host.pace.is_full(now) {
                return;
            }
            self.lingering.pop_front();
            host.lingers = false;
            if host.is_idle() {
                self.remove(index);
            }
        }
    }

    fn remove(&mut self, index: u32) {
        if let Some(host) = self.table.remove(index) {
            self.by_address.remove(&host.inside.to_bits(), index);
        }
    }

    pub(super) fn add_session(&mut self, host: u32) {
        self.table.get_mut(host).counts.sessions += 1;
    }

    pub(super) fn remove_session(&mut self, host: u32) {
        self.table.get_mut(host).counts.sessions -= 1;
    }
}
