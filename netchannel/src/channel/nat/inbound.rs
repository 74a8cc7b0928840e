//! Packets to external addresses, from outside and from inside hosts (hairpinning).

use std::net::Ipv4Addr;

use super::flow::{Direction, Kind, Protocol, Tuple};
use super::owner::Handed;
use super::translate::{Rewrite, Side};
use super::{
    Delivery, Filtering, Leaving, Nat, Sender, Target, apply, not_translated, one_to_one, pass_if_local,
};
use crate::dispatch::{Context, Departure, Undelivered};
use crate::drop_reason::DropReason;
use crate::packet::{Fragment, Packet};
use crate::time::Time;

impl Nat {
    /// A packet from outside to an external address.
    pub(super) fn inbound(&mut self, packet: Packet, kind: Kind, context: &mut Context<'_>) {
        let now = context.now();
        let tuple = match kind {
            Kind::Ports(tuple) => tuple,
            Kind::Error => return self.inbound_error(packet, context),
            Kind::Not(reason) => return not_translated(packet, reason, context),
        };
        if packet.headers.fragment != Fragment::Whole
            && let Some(worker) = self.rest_is_with(tuple.protocol, tuple.destination)
        {
            return self.hand_on(packet, worker, Handed::ForTheRest(None), context);
        }
        let Some(target) = self.target_of(&tuple, now) else {
            self.remember_syn(&packet, &tuple, context);
            return self.no_mapping(packet, &tuple, context);
        };
        let session = match self.admit(target, &tuple, now) {
            Ok(session) => session,
            Err(reason) => {
                self.remember_syn(&packet, &tuple, context);
                return context.drop(packet, reason);
            }
        };
        if tuple.opens_connection() {
            self.unsolicited.settle(tuple.destination, tuple.source);
        }
        if let Some(session) = session {
            self.note(&packet, session, Direction::Inbound, context);
        }
        let delivery = Delivery {
            target,
            tuple,
            session,
            sender: Sender::Outside,
        };
        self.deliver(packet, delivery, context);
    }

    /// A SYN from outside that is dropped may be answered, but not before it has been seen whether an inside host connects to its sender
    /// (RFC 5382 REQ-4). A port that is not the translator's may be the box's own.
    pub(super) fn remember_syn(&mut self, packet: &Packet, tuple: &Tuple, context: &Context<'_>) {
        if !self.settings.answer_unsolicited || !tuple.opens_connection() {
            return;
        }
        let external = tuple.destination;
        let is_ours = self.has_port(external.port);
        if (is_ours || !context.is_local(packet.headers.destination))
            && let Some(syn) = Undelivered::of(packet)
        {
            self.unsolicited
                .remember(external, tuple.source, syn, context.now());
        }
    }

    /// A packet from inside to an external address: it leaves as all others do, and comes in again (RFC 4787 REQ-9, RFC 5382 REQ-8).
    pub(super) fn hairpin(&mut self, packet: Packet, kind: Kind, context: &mut Context<'_>) {
        let now = context.now();
        let mut tuple = match kind {
            Kind::Ports(tuple) => tuple,
            Kind::Error => return self.hairpin_error(packet, context),
            Kind::Not(reason) => return not_translated(packet, reason, context),
        };
        if let Some(external) = self.found_elsewhere() {
            tuple.source = external;
            return match self.target_of(&tuple, now) {
                Some(target) => {
                    self.deliver_hairpin(packet, tuple, target, Sender::Elsewhere(external), context)
                }
                None => self.no_mapping(packet, &tuple, context),
            };
        }
        if tuple.protocol != Protocol::Icmp
            && let Some(worker) = self.rest_is_with(tuple.protocol, tuple.destination)
        {
            return self.hairpin_elsewhere(packet, &tuple, worker, context);
        }
        // What is not for another inside host must not open a mapping.
        let target = self.target_of(&tuple, now);
        let Some(target) = target.filter(|_| tuple.protocol != Protocol::Icmp) else {
            return self.no_mapping(packet, &tuple, context);
        };
        let sender = match self.session_from_inside(&packet, &tuple, context) {
            Ok(sender) => sender,
            Err(reason) => return self.refuse(packet, reason, context),
        };
        // A host that sends to its own forwarded port from there has just made the mapping.
        let target = match target {
            Target::Forward(_) => self.target_of(&tuple, now).unwrap_or(target),
            Target::Mapping(_) => target,
        };
        self.note(&packet, sender, Direction::Outbound, context);
        tuple.source = self.table.session(sender).rewrite(Direction::Outbound).to();
        self.deliver_hairpin(packet, tuple, target, Sender::Session(sender), context);
    }

    /// The first half of what [`hairpin`](Self::hairpin) does, for an external endpoint of which another worker knows what it stands for. Here a
    /// mapping is opened for a packet that may turn out to be for nobody.
    fn hairpin_elsewhere(&mut self, packet: Packet, tuple: &Tuple, worker: usize, context: &mut Context<'_>) {
        let sender = match self.session_from_inside(&packet, tuple, context) {
            Ok(sender) => sender,
            Err(reason) => return self.refuse(packet, reason, context),
        };
        self.note(&packet, sender, Direction::Outbound, context);
        self.table
            .touch(sender, Direction::Outbound, tuple.flags, context.now());
        let external = self.table.session(sender).rewrite(Direction::Outbound).to();
        self.hand_on(packet, worker, Handed::ForTheRest(Some(external)), context);
    }

    /// Delivers a packet of another inside host, if it is admitted.
    pub(super) fn deliver_hairpin(
        &mut self,
        packet: Packet,
        tuple: Tuple,
        target: Target,
        sender: Sender,
        context: &mut Context<'_>,
    ) {
        let session = match self.admit(target, &tuple, context.now()) {
            Ok(session) => session,
            Err(reason) => return context.drop(packet, reason),
        };
        let delivery = Delivery {
            target,
            tuple,
            session,
            sender,
        };
        self.deliver(packet, delivery, context);
    }

    /// What a packet to an external address is for.
    pub(super) fn target_of(&mut self, tuple: &Tuple, now: Time) -> Option<Target> {
        if !tuple.can_go(Direction::Inbound) {
            return None;
        }
        let Tuple {
            protocol,
            destination,
            ..
        } = *tuple;
        if let Some(mapping) = self.table.of_external(protocol, destination, now) {
            return Some(Target::Mapping(mapping));
        }
        let forwards = &self.table.mappings.forwards;
        forwards.inside_of(protocol, destination).map(Target::Forward)
    }

    /// Whether this is an external address, of mappings or of one inside host.
    pub(super) fn is_external(&self, address: Ipv4Addr) -> bool {
        self.table.mappings.pool.contains(address) || self.one_to_one.inside_of(address).is_some()
    }

    /// A packet to an external endpoint that stands for no inside host. If the address is the box's own, it may be for the box: ports
    /// that are not the translator's, and ICMP queries, whose identifiers the box's own programs choose as they like.
    pub(super) fn no_mapping(&self, packet: Packet, tuple: &Tuple, context: &mut Context<'_>) {
        let has_port = self.has_port(tuple.destination.port);
        if has_port && tuple.protocol != Protocol::Icmp {
            return context.drop(packet, DropReason::NatNoMapping);
        }
        pass_if_local(packet, DropReason::NatNoMapping, context);
    }

    /// Whether a packet may come in to a mapping (RFC 4787 §5): returns its session if it has one, and `None` if it may come without.
    pub(super) fn admit(
        &mut self,
        target: Target,
        tuple: &Tuple,
        now: Time,
    ) -> Result<Option<u32>, DropReason> {
        let remote = tuple.source;
        let mapping = match target {
            Target::Mapping(mapping) => mapping,
            Target::Forward(_) if tuple.opens() => return Ok(None),
            Target::Forward(_) => return Err(DropReason::NatNotOpening),
        };
        if let Some(session) = self.table.find(mapping, remote, now) {
            return Ok(Some(session));
        }
        let is_admitted = match self.table.mappings.get(mapping).filtering {
            None => true,
            // Nobody answers a query that he was not sent.
            _ if tuple.protocol == Protocol::Icmp => false,
            Some(Filtering::EndpointIndependent) => true,
            Some(Filtering::AddressDependent) => self.table.knows_peer(mapping, remote.address, now),
            Some(Filtering::AddressAndPortDependent) => false,
        };
        match (is_admitted, tuple.opens()) {
            (false, _) => Err(DropReason::NatFiltered),
            (true, false) => Err(DropReason::NatNotOpening),
            (true, true) => Ok(None),
        }
    }

    /// Sends an admitted packet to its inside host, with its destination translated.
    #[inline]
    pub(super) fn deliver(&mut self, packet: Packet, delivery: Delivery, context: &mut Context<'_>) {
        let now = context.now();
        let Delivery {
            target,
            tuple,
            session,
            sender,
        } = delivery;
        let destination = match (session, target) {
            (Some(session), _) => self.table.session(session).rewrite(Direction::Inbound).to(),
            (None, Target::Mapping(mapping)) => self.table.mappings.get(mapping).inside,
            (None, Target::Forward(inside)) => inside,
        };
        let leaving = self.leave_inside(packet, session, destination.address, context);
        let Some((mut packet, departure)) = leaving else {
            return;
        };
        let session = match session {
            Some(session) => Some(session),
            None => match self.open_inbound(target, &tuple, now) {
                Ok(session) => session,
                Err(reason) => return context.drop(packet, reason),
            },
        };
        match sender {
            Sender::Outside => {}
            Sender::Session(sender) => {
                self.table.touch(sender, Direction::Outbound, tuple.flags, now);
                let outbound = self.table.session(sender).rewrite(Direction::Outbound);
                apply(outbound, &mut packet, tuple.protocol, Side::Source);
            }
            Sender::Elsewhere(external) => {
                let inside = Kind::source_of(&packet.headers);
                let outbound = Rewrite::new(tuple.protocol, inside, external);
                apply(&outbound, &mut packet, tuple.protocol, Side::Source);
            }
            Sender::OneToOne(address) => one_to_one::replace(&mut packet, Side::Source, address),
        }
        let inbound = match session {
            Some(session) => {
                self.table.touch(session, Direction::Inbound, tuple.flags, now);
                *self.table.session(session).rewrite(Direction::Inbound)
            }
            None => Rewrite::new(tuple.protocol, tuple.destination, destination),
        };
        apply(&inbound, &mut packet, tuple.protocol, Side::Destination);
        self.send(packet, &departure, context);
    }

    /// Finds the way to an inside host. `None` if there is none now, and the packet was taken care of.
    pub(super) fn leave_inside(
        &mut self,
        packet: Packet,
        session: Option<u32>,
        inside: Ipv4Addr,
        context: &mut Context<'_>,
    ) -> Option<(Packet, Departure)> {
        let Leaving {
            packet,
            departure,
            crosses,
        } = self.leave(packet, session, Direction::Inbound, inside, context)?;
        if crosses {
            return Some((packet, departure));
        }
        context.drop(packet, DropReason::NatNotInside);
        None
    }

    /// Opens the session of a packet that was admitted without one. UDP goes on without where inbound packets must not keep the mapping
    /// alive, and where there is no room for a session: who may send does not change with the load (RFC 4787 REQ-11).
    pub(super) fn open_inbound(
        &mut self,
        target: Target,
        tuple: &Tuple,
        now: Time,
    ) -> Result<Option<u32>, DropReason> {
        let is_udp = tuple.protocol == Protocol::Udp;
        if is_udp && !self.settings.refresh_inbound {
            return Ok(None);
        }
        let session = match target {
            Target::Mapping(mapping) => self.table.open_inbound(mapping, tuple.source, now),
            Target::Forward(inside) => self.table.open_forwarded(tuple, inside, now),
        };
        match session {
            Some(session) => Ok(Some(session)),
            None if is_udp => Ok(None),
            None => {
                let limit = DropReason::NatSessionLimit;
                let inside = match target {
                    Target::Mapping(mapping) => self.table.mappings.get(mapping).inside,
                    Target::Forward(inside) => inside,
                };
                let mappings = &mut self.table.mappings;
                mappings.refused(limit, tuple.protocol, inside.address, now);
                Err(limit)
            }
        }
    }
}
