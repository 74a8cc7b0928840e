//! Inside hosts that have an external address each (Basic NAT, RFC 3022 §2.1): the address is replaced in every packet, whatever its
//! protocol, and nothing is remembered.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use super::flow::{Direction, Endpoint, Kind, Tuple};
use super::owner::Handed;
use super::translate::{Side, replace_address};
use super::{Nat, Sender, apply};
use crate::dispatch::{Context, is_possible_source};
use crate::drop_reason::DropReason;
use crate::interface::Role;
use crate::packet::checksum::{self, Delta};
use crate::packet::{Fragment, Headers, Packet, protocol};

/// Their checksums cover the addresses, as UDP's does.
const DCCP: u8 = 33;
const UDP_LITE: u8 = 136;

/// External addresses that stand for inside hosts one to one, for all protocols and ports. Whoever sends to them is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneToOne {
    /// The external addresses; mappings never use them.
    pub external: RangeInclusive<Ipv4Addr>,
    /// The inside host that the first one stands for; the others follow it.
    pub inside: Ipv4Addr,
}

impl OneToOne {
    /// How many addresses, less one.
    fn span(&self) -> u32 {
        self.external
            .end()
            .to_bits()
            .wrapping_sub(self.external.start().to_bits())
    }

    /// First and last inside host. `None` if they reach beyond the last address there is.
    pub(super) fn inside_hosts(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let last = self.inside.to_bits().checked_add(self.span())?;
        Some((self.inside, Ipv4Addr::from_bits(last)))
    }
}

/// Addresses by the first of each range: that, the last one, and what stands for the first.
type Ranges = Vec<(u32, u32, u32)>;

/// All of them, found by both sides. O(log ranges).
pub(super) struct OneToOnes {
    by_external: Ranges,
    by_inside: Ranges,
}

impl OneToOnes {
    pub(super) fn new(given: &[OneToOne]) -> Self {
        let ranges = |other_way: bool| {
            let mut ranges: Ranges = given
                .iter()
                .map(|one| {
                    let (external, inside) = (one.external.start().to_bits(), one.inside.to_bits());
                    let (from, to) = if other_way {
                        (inside, external)
                    } else {
                        (external, inside)
                    };
                    (from, from + one.span(), to)
                })
                .collect();
            ranges.sort_unstable();
            ranges
        };
        Self {
            by_external: ranges(false),
            by_inside: ranges(true),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.by_external.is_empty()
    }

    /// The inside host that an external address stands for.
    pub(super) fn inside_of(&self, external: Ipv4Addr) -> Option<Ipv4Addr> {
        counterpart(&self.by_external, external)
    }

    /// The external address of an inside host.
    pub(super) fn external_of(&self, inside: Ipv4Addr) -> Option<Ipv4Addr> {
        counterpart(&self.by_inside, inside)
    }
}

fn counterpart(ranges: &Ranges, address: Ipv4Addr) -> Option<Ipv4Addr> {
    let address = address.to_bits();
    let after = ranges.partition_point(|&(first, _, _)| first <= address);
    let &(first, last, to) = ranges[..after].last()?;
    (address <= last).then(|| Ipv4Addr::from_bits(to + (address - first)))
}

impl Nat {
    /// Translates a packet from or to a host with an external address of its own; any other packet is given back, and ICMP errors, which
    /// are translated as all others.
    pub(super) fn translate_one_to_one(
        &mut self,
        packet: Packet,
        context: &mut Context<'_>,
    ) -> Option<Packet> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) =
            (packet.headers.source, packet.headers.destination)
        else {
            return Some(packet);
        };
        let role = context.interfaces().get(packet.interface).role;
        let from = match role {
            Role::Inside => self.one_to_one.external_of(source),
            Role::Outside => None,
        };
        let to = self.one_to_one.inside_of(destination);
        let kind = Kind::of(&packet.headers);
        let is_for_others = matches!(kind, Kind::Error | Kind::Not(DropReason::NatIcmpKind));
        if is_for_others || (from.is_none() && to.is_none()) {
            return Some(packet);
        }
        if !is_possible_source(IpAddr::V4(source)) || self.is_external(source) {
            context.drop(packet, DropReason::NotForwarded);
            return None;
        }
        match (from, to) {
            (None, Some(to)) if role == Role::Inside => self.mapping_to_one(packet, kind, to, context),
            (Some(from), None) if self.table.mappings.pool.contains(destination) => {
                self.one_to_mapping(packet, kind, from, context);
            }
            (from, to) => self.replace_both(packet, from, to, context),
        }
        None
    }

    /// Whether nothing but addresses is replaced in a packet, so that each fragment can go by itself: between a host with an address of its
    /// own and anyone who has no mapping.
    pub(super) fn needs_addresses_only(&self, headers: &Headers, role: Role) -> bool {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (headers.source, headers.destination) else {
            return false;
        };
        let from_inside = role == Role::Inside;
        let from = from_inside.then(|| self.one_to_one.external_of(source)).flatten();
        match (from, self.one_to_one.inside_of(destination)) {
            (None, None) => false,
            (None, Some(_)) => !from_inside,
            (Some(_), None) => !self.table.mappings.pool.contains(destination),
            (Some(_), Some(_)) => true,
        }
    }

    /// Between a host with an address of its own and the outside, or another such host.
    fn replace_both(
        &mut self,
        packet: Packet,
        from: Option<Ipv4Addr>,
        to: Option<Ipv4Addr>,
        context: &mut Context<'_>,
    ) {
        let destination = to.map_or(packet.headers.destination, IpAddr::V4);
        let Some((mut packet, departure)) = context.depart(packet, destination) else {
            return;
        };
        let role = context.interfaces().get(departure.interface).role;
        match (role, to) {
            (Role::Outside, Some(_)) => return context.drop(packet, DropReason::NatNotInside),
            // Hosts inside know each other by their own addresses.
            (Role::Inside, None) => return context.send(packet, &departure),
            _ => {}
        }
        if let Some(from) = from {
            replace(&mut packet, Side::Source, from);
        }
        if let Some(to) = to {
            replace(&mut packet, Side::Destination, to);
        }
        self.lower_segment_size(&mut packet, &departure, context);
        context.send(packet, &departure);
    }

    /// From an inside host without an address of its own to one with: the sender's mapping is what the receiver sees (RFC 4787 REQ-9).
    fn mapping_to_one(&mut self, packet: Packet, kind: Kind, to: Ipv4Addr, context: &mut Context<'_>) {
        let now = context.now();
        let tuple = match kind {
            Kind::Ports(tuple) if tuple.can_go(Direction::Outbound) => tuple,
            Kind::Ports(_) | Kind::Error => return context.drop(packet, DropReason::NatIcmpKind),
            Kind::Not(reason) => return context.drop(packet, reason),
        };
        let sender = match self.session_from_inside(&packet, &tuple, context) {
            Ok(sender) => sender,
            Err(reason) => return self.refuse(packet, reason, context),
        };
        let Some((mut packet, departure)) = self.leave_inside(packet, None, to, context) else {
            return;
        };
        self.table.touch(sender, Direction::Outbound, tuple.flags, now);
        let outbound = self.table.session(sender).rewrite(Direction::Outbound);
        apply(outbound, &mut packet, tuple.protocol, Side::Source);
        replace(&mut packet, Side::Destination, to);
        self.send(packet, &departure, context);
    }

    /// From a host with an address of its own to the mapping of another one.
    fn one_to_mapping(&mut self, packet: Packet, kind: Kind, from: Ipv4Addr, context: &mut Context<'_>) {
        let tuple = match kind {
            Kind::Ports(tuple) => Tuple {
                source: Endpoint {
                    address: from,
                    ..tuple.source
                },
                ..tuple
            },
            Kind::Error => return context.drop(packet, DropReason::NatIcmpKind),
            Kind::Not(reason) => return context.drop(packet, reason),
        };
        if let Some(worker) = self.rest_is_with(tuple.protocol, tuple.destination) {
            return self.hand_on(packet, worker, Handed::ForTheRest(None), context);
        }
        let Some(target) = self.target_of(&tuple, context.now()) else {
            return self.no_mapping(packet, &tuple, context);
        };
        self.deliver_hairpin(packet, tuple, target, Sender::OneToOne(from), context);
    }

    /// The inside endpoint that an external one stands for one to one.
    pub(super) fn one_to_one_inside(&self, external: Endpoint) -> Option<Endpoint> {
        let address = self.one_to_one.inside_of(external.address)?;
        Some(Endpoint { address, ..external })
    }

    /// The external endpoint of an inside one that has an address of its own.
    pub(super) fn one_to_one_external(&self, inside: Endpoint) -> Option<Endpoint> {
        let address = self.one_to_one.external_of(inside.address)?;
        Some(Endpoint { address, ..inside })
    }
}

/// Replaces an address in a packet and brings its checksums up to date; those of TCP, UDP and their like cover the addresses (RFC 3022
/// §4.1), and are in the first fragment only.
pub(super) fn replace(packet: &mut Packet, side: Side, new: Ipv4Addr) {
    let headers = packet.headers;
    let old = match side {
        Side::Source => headers.source,
        Side::Destination => headers.destination,
    };
    let bytes = packet.frame.bytes_mut();
    replace_address(bytes, usize::from(headers.network), side, new);
    let offset = match headers.protocol {
        protocol::TCP => 16,
        protocol::UDP | UDP_LITE | DCCP => 6,
        _ => return,
    };
    let (IpAddr::V4(old), true) = (old, headers.fragment != Fragment::Later) else {
        return;
    };
    let start = usize::from(headers.transport_start) + offset;
    if start + 2 > usize::from(headers.end) {
        return;
    }
    if let Some(field) = bytes
        .get_mut(start..start + 2)
        .and_then(|field| field.try_into().ok())
    {
        let delta = Delta::NONE.address(old, new);
        if headers.protocol == protocol::UDP {
            checksum::update_udp(field, delta);
        } else {
            checksum::update(field, delta);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_for_each_other_in_order() {
        let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let one_to_ones = OneToOnes::new(&[
            OneToOne {
                external: address("203.0.113.16")..=address("203.0.113.23"),
                inside: address("10.0.0.100"),
            },
            OneToOne {
                external: address("203.0.113.9")..=address("203.0.113.9"),
                inside: address("10.0.0.5"),
            },
        ]);
        for (external, inside) in [
            ("203.0.113.16", "10.0.0.100"),
            ("203.0.113.23", "10.0.0.107"),
            ("203.0.113.9", "10.0.0.5"),
        ] {
            assert_eq!(one_to_ones.inside_of(address(external)), Some(address(inside)));
            assert_eq!(one_to_ones.external_of(address(inside)), Some(address(external)));
        }
        for other in [
            "203.0.113.8",
            "203.0.113.10",
            "203.0.113.24",
            "10.0.0.99",
            "10.0.0.108",
        ] {
            assert_eq!(one_to_ones.inside_of(address(other)), None);
            assert_eq!(one_to_ones.external_of(address(other)), None);
        }
    }
}
