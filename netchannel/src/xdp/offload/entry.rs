//! Entries of either IP version: what they say of a flow, in the words that the XDP program reads.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xdp_prog::offload::{self, Ipv4Entry, Ipv6Entry, State};

use super::memory::Shared;
use super::{OffloadFlow, OffloadKey, OffloadSide, Seeds};
use crate::packet::{checksum, protocol};

pub(super) type AtomicState = State<AtomicU32, AtomicU64>;

/// An entry as it lies in shared memory.
pub(super) trait Entry: Shared {
    /// The same as plain numbers; what they say of the state has no meaning.
    type Content;

    fn hash(seeds: &Seeds, content: &Self::Content) -> u32;

    /// Whether it is that flow's.
    fn is_of(&self, content: &Self::Content) -> bool;

    /// Writes all but the state.
    fn write(&self, content: &Self::Content);

    fn state(&self) -> &AtomicState;
}

/// What a flow's entry must say.
pub(super) enum Content {
    Ipv4(Ipv4Entry<u32, u64>),
    Ipv6(Ipv6Entry<u32, u64>),
}

/// What lowering the time to live does to the sum of an IPv4 header.
const TIME_TO_LIVE: u16 = 0xfeff;

impl Content {
    /// None for a flow that the program can't carry, whatever there is room for.
    pub(super) fn of(flow: &OffloadFlow) -> Option<Self> {
        let key = &flow.key;
        let is_tcp = match key.protocol {
            protocol::TCP => true,
            protocol::UDP => false,
            _ => return None,
        };
        if key.ifindex > i32::MAX as u32 {
            return None;
        }
        let arrival = offload::arrival(key.ifindex, is_tcp);
        let ports = ports(key.source_port, key.destination_port);
        match (key.source, key.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (mut new_source, mut new_destination) = (source, destination);
                let OffloadKey {
                    mut source_port,
                    mut destination_port,
                    ..
                } = *key;
                let (mut network, mut transport) = (TIME_TO_LIVE, 0);
                if let Some(translation) = &flow.translation {
                    match translation.side {
                        OffloadSide::Source => {
                            (new_source, source_port) = (translation.address, translation.port)
                        }
                        OffloadSide::Destination => {
                            (new_destination, destination_port) = (translation.address, translation.port)
                        }
                    }
                    network = checksum::add(translation.network, TIME_TO_LIVE);
                    transport = translation.transport;
                }
                let addresses = |[a, b, c, d]: [u8; 4], [e, f, g, h]: [u8; 4]| {
                    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
                };
                Some(Self::Ipv4(Ipv4Entry {
                    addresses: addresses(source.octets(), destination.octets()),
                    ports,
                    arrival,
                    new_addresses: addresses(new_source.octets(), new_destination.octets()),
                    new_ports: self::ports(source_port, destination_port),
                    deltas: u32::from(network.to_be()) | u32::from(transport.to_be()) << 16,
                    ..Default::default()
                }))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) if flow.translation.is_none() => {
                let [a, b] = halves(source);
                let [c, d] = halves(destination);
                Some(Self::Ipv6(Ipv6Entry {
                    addresses: [a, b, c, d],
                    ports,
                    arrival,
                    ..Default::default()
                }))
            }
            _ => None,
        }
    }
}

/// As they are in a packet.
fn ports(source: u16, destination: u16) -> u32 {
    let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// As they are in a packet.
fn halves(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits();
    [((bits >> 64) as u64).to_be(), (bits as u64).to_be()]
}

impl Entry for Ipv4Entry<AtomicU32, AtomicU64> {
    type Content = Ipv4Entry<u32, u64>;

    fn hash(seeds: &Seeds, content: &Self::Content) -> u32 {
        let [a, b, c, d, ..] = *seeds;
        offload::hash_ipv4([a, b, c, d], content.addresses, content.ports, content.arrival)
    }

    fn is_of(&self, content: &Self::Content) -> bool {
        self.addresses.load(Ordering::Relaxed) == content.addresses
            && self.ports.load(Ordering::Relaxed) == content.ports
            && self.arrival.load(Ordering::Relaxed) == content.arrival
    }

    fn write(&self, content: &Self::Content) {
        self.addresses.store(content.addresses, Ordering::Relaxed);
        self.ports.store(content.ports, Ordering::Relaxed);
        self.arrival.store(content.arrival, Ordering::Relaxed);
        self.new_addresses.store(content.new_addresses, Ordering::Relaxed);
        self.new_ports.store(content.new_ports, Ordering::Relaxed);
        self.deltas.store(content.deltas, Ordering::Relaxed);
    }

    #[inline(always)]
    fn state(&self) -> &AtomicState {
        &self.state
    }
}

impl Entry for Ipv6Entry<AtomicU32, AtomicU64> {
    type Content = Ipv6Entry<u32, u64>;

    fn hash(seeds: &Seeds, content: &Self::Content) -> u32 {
        offload::hash_ipv6(*seeds, content.addresses, content.ports, content.arrival)
    }

    fn is_of(&self, content: &Self::Content) -> bool {
        self.addresses
            .iter()
            .zip(content.addresses)
            .all(|(mine, other)| mine.load(Ordering::Relaxed) == other)
            && self.ports.load(Ordering::Relaxed) == content.ports
            && self.arrival.load(Ordering::Relaxed) == content.arrival
    }

    fn write(&self, content: &Self::Content) {
        for (mine, new) in self.addresses.iter().zip(content.addresses) {
            mine.store(new, Ordering::Relaxed);
        }
        self.ports.store(content.ports, Ordering::Relaxed);
        self.arrival.store(content.arrival, Ordering::Relaxed);
    }

    #[inline(always)]
    fn state(&self) -> &AtomicState {
        &self.state
    }
}
