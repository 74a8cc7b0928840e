//! Which worker has what a packet is about, where several share a translator's work; and packets that one of them hands to another.
//!
//! An inside host's sessions are with the worker that [`worker_of`] names; so are its external ports, which are of that worker's slice,
//! or by the settings its own. The dispatcher asks for the owner of a flow that it does not know. Three kinds of packets don't tell it by their
//! flow, and are handed on by the translator itself: ICMP errors, which belong where the packet that they quote does; fragments from outside,
//! of which all go to one worker, by their source, and from there after the first one; and packets from one inside host to another one's
//! external endpoint, which both hosts' workers have to do with.

use std::net::{IpAddr, Ipv4Addr};

use super::Nat;
use super::deterministic::PortScheme;
use super::flow::{Direction, Endpoint, Kind, Protocol};
use super::forwards::Forwards;
use super::settings::NatSettings;
use super::share::{Share, Slices, worker_of};
use crate::dispatch::Context;
use crate::interface::Role;
use crate::packet::{Fragment, Headers, Packet};

/// Who has what.
pub(super) struct Owners {
    share: Share,
    slices: Slices,
    scheme: Option<PortScheme>,
}

impl Owners {
    /// Those of a translator whose work is shared.
    pub(super) fn of(settings: &NatSettings) -> Option<Self> {
        let share = settings.share?;
        Some(Self {
            share,
            slices: Slices::new(settings, share),
            scheme: settings.port_scheme().and_then(Result::ok),
        })
    }

    /// Whether an inside host is this worker's.
    pub(super) fn has_host(&self, inside: Ipv4Addr) -> bool {
        self.host(inside) == self.share.worker()
    }

    fn host(&self, inside: Ipv4Addr) -> usize {
        worker_of(inside, self.share.workers())
    }

    fn external(&self, forwards: &Forwards, protocol: Protocol, external: Endpoint) -> Option<usize> {
        if let Some(inside) = forwards.inside_of(protocol, external) {
            return Some(self.host(inside.address));
        }
        self.slices.worker_of(external.port).or_else(|| {
            let host = self.scheme.as_ref()?.host_of(external.address, external.port)?;
            Some(self.host(host))
        })
    }

    fn elsewhere(&self, worker: usize) -> Option<usize> {
        (worker != self.share.worker()).then_some(worker)
    }
}

/// What a packet was handed on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// It was not, or to be looked at as one that has just come in.
    No,
    /// For what this worker knows of the inside host that it is from; another worker may have the rest.
    ForSource,
    /// For all that is left to be done. The external endpoint is that of the inside host that sent it, or that an error is about,
    /// if another worker has that.
    ForTheRest(Option<Endpoint>),
}

impl Handed {
    const FOR_SOURCE: u64 = 1;
    const FOR_THE_REST: u64 = 2;
    const WITH_ENDPOINT: u64 = 3;

    fn to_word(self) -> u64 {
        match self {
            Self::No => 0,
            Self::ForSource => Self::FOR_SOURCE,
            Self::ForTheRest(None) => Self::FOR_THE_REST,
            Self::ForTheRest(Some(Endpoint { address, port })) => {
                u64::from(address.to_bits()) << 32 | u64::from(port) << 16 | Self::WITH_ENDPOINT
            }
        }
    }

    fn of_word(word: u64) -> Self {
        match word & 0xffff {
            Self::FOR_SOURCE => Self::ForSource,
            Self::FOR_THE_REST => Self::ForTheRest(None),
            Self::WITH_ENDPOINT => Self::ForTheRest(Some(Endpoint {
                address: Ipv4Addr::from_bits((word >> 32) as u32),
                port: (word >> 16) as u16,
            })),
            _ => Self::No,
        }
    }
}

impl Nat {
    /// The other worker that all packets with the flow key of this one belong to.
    pub(super) fn owner_of_flow(&self, headers: &Headers, role: Role) -> Option<usize> {
        let owners = self.owners.as_ref()?;
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (headers.source, headers.destination) else {
            return None;
        };
        if headers.fragment != Fragment::Whole {
            if self.needs_addresses_only(headers, role)
                || (role == Role::Outside && !self.is_external(destination))
            {
                return None;
            }
            // Later fragments have no ports: those from outside first go where their source leads.
            return owners.elsewhere(owners.host(source));
        }
        let Kind::Ports(tuple) = Kind::of(headers) else {
            return None;
        };
        let has_own_address = role == Role::Inside && self.one_to_one.external_of(source).is_some();
        let direction = match role {
            Role::Inside if !has_own_address => Direction::Outbound,
            _ => Direction::Inbound,
        };
        match direction {
            Direction::Outbound if tuple.can_go(direction) => owners.elsewhere(owners.host(source)),
            Direction::Inbound if tuple.can_go(direction) => {
                self.owner_of_external(tuple.protocol, tuple.destination)
            }
            _ => None,
        }
    }

    /// The other worker that an external endpoint belongs to.
    pub(super) fn owner_of_external(&self, protocol: Protocol, external: Endpoint) -> Option<usize> {
        let owners = self.owners.as_ref()?;
        let mappings = &self.table.mappings;
        if !mappings.pool.contains(external.address) {
            return None;
        }
        owners.elsewhere(owners.external(&mappings.forwards, protocol, external)?)
    }

    /// The other worker that has the rest of what there is to do with a packet to an external endpoint, if this one may hand it on.
    pub(super) fn rest_is_with(&self, protocol: Protocol, external: Endpoint) -> Option<usize> {
        if self.may_hand_on() {
            self.owner_of_external(protocol, external)
        } else {
            None
        }
    }

    /// The other worker that has what is known of an inside host, if this one may hand a packet on to it.
    pub(super) fn source_is_with(&self, inside: Ipv4Addr) -> Option<usize> {
        let owners = self.owners.as_ref().filter(|_| self.handed == Handed::No)?;
        // Of a host with an address of its own nothing needs to be known.
        if self.one_to_one.external_of(inside).is_some() {
            return None;
        }
        owners.elsewhere(owners.host(inside))
    }

    /// Whether a packet may be handed on at all: what was handed on for the rest to be done stays here.
    pub(super) fn may_hand_on(&self) -> bool {
        !matches!(self.handed, Handed::ForTheRest(_))
    }

    /// Whether ports of this number are the translator's, of whichever worker.
    pub(super) fn has_port(&self, port: u16) -> bool {
        let shared = self
            .owners
            .as_ref()
            .is_some_and(|owners| owners.slices.worker_of(port).is_some());
        shared || self.table.mappings.pool.has_port(port)
    }

    /// The external endpoint that another worker found for the packet's inside host.
    pub(super) fn found_elsewhere(&self) -> Option<Endpoint> {
        match self.handed {
            Handed::ForTheRest(found) => found,
            Handed::No | Handed::ForSource => None,
        }
    }

    /// Hands a packet, unchanged, to another worker.
    pub(super) fn hand_on(
        &mut self,
        packet: Packet,
        worker: usize,
        handed: Handed,
        context: &mut Context<'_>,
    ) {
        self.handed_to = worker;
        context.hand_on(packet, self.channel, worker, handed.to_word());
    }

    /// A packet that another worker handed on.
    #[cold]
    pub(super) fn take_over_packet(&mut self, packet: Packet, word: u64, context: &mut Context<'_>) {
        self.table.start_burst();
        self.handed = Handed::of_word(word);
        self.handle(packet, context);
        self.handed = Handed::No;
    }
}
