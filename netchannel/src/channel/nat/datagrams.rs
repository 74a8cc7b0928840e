//! Fragmented datagrams: what became of the first fragment, which has the ports, for the others to follow; and those fragments that
//! came before it (RFC 4787 REQ-14).

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use ahash::RandomState;

use super::identification::Identifications;
use crate::dispatch::Departure;
use crate::interface::InterfaceId;
use crate::packet::Packet;
use crate::time::Time;

/// How long fragments are kept that came before their first one. They arrive together, but for what the paths of a datagram's
/// fragments differ; RFC 6146 §3.4 asks for 2 seconds at least.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long the others may follow the first one: as long as Linux takes for reassembly.
const MEMORY: Duration = Duration::from_secs(30);
/// Datagrams that are remembered. Beyond that, the ones whose first fragment came earliest are forgotten.
const CAPACITY: usize = 16_384;

/// What all fragments of a datagram have in common (RFC 791 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DatagramKey {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) identification: u16,
    pub(super) protocol: u8,
    interface: InterfaceId,
}

impl DatagramKey {
    /// The key of an IPv4 packet that was not changed since it arrived.
    pub(super) fn of(packet: &Packet) -> Option<Self> {
        let headers = &packet.headers;
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (headers.source, headers.destination) else {
            return None;
        };
        let at = usize::from(headers.network) + 4;
        let identification = packet.frame.bytes().get(at..)?.first_chunk()?;
        Some(Self {
            source,
            destination,
            identification: u16::from_be_bytes(*identification),
            protocol: headers.protocol,
            interface: packet.interface,
        })
    }
}

impl Hash for DatagramKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.source.to_bits()) << 32 | u64::from(self.destination.to_bits()));
        let rest = u64::from(self.identification) << 32 | u64::from(self.interface.0) << 8;
        state.write_u64(rest | u64::from(self.protocol));
    }
}

/// How the first fragment was sent, which the others follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Translation {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) identification: u16,
    pub(super) departure: Departure,
    /// The view of the network that the departure is good for.
    pub(super) network_version: u64,
}

/// What became of the first fragment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Sent(Translation),
    Passed,
    Dropped,
    /// To this worker, which has the rest to do.
    HandedTo(usize),
}

struct Decided {
    since: Time,
    fate: Fate,
}

struct Early {
    since: Time,
    packets: Vec<Packet>,
}

/// All fragmented datagrams. Everything is O(1), amortised over what ends. Neither part takes from the other: fragments without a first one do
/// not push out what is known.
pub(super) struct Datagrams {
    decided: HashMap<DatagramKey, Decided, RandomState>,
    /// In the order of time. A datagram that was decided anew is there once more.
    decided_order: VecDeque<(Time, DatagramKey)>,
    early: HashMap<DatagramKey, Early, RandomState>,
    /// In the order of time. Those whose first fragment came stay until their time is up.
    early_order: VecDeque<(Time, DatagramKey)>,
    /// How many are kept of each source.
    of_source: HashMap<Ipv4Addr, usize, RandomState>,
    held: usize,
}

/// What the translators of a worker know of fragmented datagrams. Later fragments have no ports for rules to ask for, and so may come to
/// another translator than their first one, such as where two share an external address by ports. They follow it all the same.
#[derive(Clone)]
pub struct SharedFragments(Rc<RefCell<Fragments>>);

pub(super) struct Fragments {
    pub(super) datagrams: Datagrams,
    /// Behind one external address there may be hosts of several translators.
    pub(super) identifications: Identifications,
}

impl SharedFragments {
    pub(super) fn new(identifications: Identifications) -> Self {
        Self(Rc::new(RefCell::new(Fragments {
            datagrams: Datagrams::new(),
            identifications,
        })))
    }

    /// Does something with them.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Fragments) -> T) -> T {
        work(&mut self.0.borrow_mut())
    }
}

impl Datagrams {
    pub(super) fn new() -> Self {
        Self {
            decided: HashMap::with_hasher(RandomState::new()),
            decided_order: VecDeque::new(),
            early: HashMap::with_hasher(RandomState::new()),
            early_order: VecDeque::new(),
            of_source: HashMap::with_hasher(RandomState::new()),
            held: 0,
        }
    }

    /// Fragments that are kept.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// What became of the datagram's first fragment, if it came lately.
    pub(super) fn fate(&self, key: &DatagramKey, now: Time) -> Option<Fate> {
        let decided = self.decided.get(key)?;
        (now.since(decided.since) < MEMORY).then_some(decided.fate)
    }

    /// The first fragment came.
    pub(super) fn decide(&mut self, key: DatagramKey, fate: Fate, now: Time) {
        while let Some(&(since, oldest)) = self.decided_order.front()
            && (now.since(since) >= MEMORY || self.decided_order.len() >= CAPACITY)
        {
            self.decided_order.pop_front();
            if self
                .decided
                .get(&oldest)
                .is_some_and(|decided| decided.since == since)
            {
                self.decided.remove(&oldest);
            }
        }
        self.decided.insert(key, Decided { since: now, fate });
        self.decided_order.push_back((now, key));
    }

    /// Keeps a fragment until the first one comes. `limit`: early fragments that may be kept, a quarter of them from one source.
    ///
    /// # Errors
    /// The fragment, if too many are kept.
    pub(super) fn hold(
        &mut self,
        key: DatagramKey,
        packet: Packet,
        limit: usize,
        now: Time,
    ) -> Result<(), Packet> {
        let per_source = limit.div_ceil(4);
        // Those whose first fragment came are in the order a while longer.
        if self.held >= limit || self.early_order.len() >= CAPACITY {
            return Err(packet);
        }
        let of_source = self.of_source.entry(key.source).or_insert(0);
        if *of_source >= per_source {
            return Err(packet);
        }
        *of_source += 1;
        self.held += 1;
        let early = self.early.entry(key).or_insert_with(|| {
            self.early_order.push_back((now, key));
            Early {
                since: now,
                packets: Vec::new(),
            }
        });
        early.packets.push(packet);
        Ok(())
    }

    /// Takes out the fragments that waited for this first one, in the order of their arrival.
    pub(super) fn release(&mut self, key: &DatagramKey) -> Vec<Packet> {
        let packets = self.early.remove(key).map_or(Vec::new(), |early| early.packets);
        self.held -= packets.len();
        if let Some(of_source) = self.of_source.get_mut(&key.source) {
            *of_source -= packets.len();
            if *of_source == 0 {
                self.of_source.remove(&key.source);
            }
        }
        packets
    }

    /// Takes out the fragments of a datagram whose first one did not come in time.
    pub(super) fn next_overdue(&mut self, now: Time) -> Option<Vec<Packet>> {
        while let Some(&(since, key)) = self.early_order.front()
            && now.since(since) >= PATIENCE
        {
            self.early_order.pop_front();
            // The same datagram may have been released and begun anew since.
            if self.early.get(&key).is_some_and(|early| early.since == since) {
                return Some(self.release(&key));
            }
        }
        None
    }

    /// Takes out all fragments that are kept.
    pub(super) fn drain(&mut self) -> Vec<Packet> {
        self.early_order.clear();
        self.of_source.clear();
        self.held = 0;
        self.early.drain().flat_map(|(_, early)| early.packets).collect()
    }
}
