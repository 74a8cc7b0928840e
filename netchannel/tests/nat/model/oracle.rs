//! The rules of the RFCs written down once more: what becomes of each packet.

use std::net::{Ipv4Addr, SocketAddrV4};

use netchannel::channel::nat::Filtering;
use netchannel::drop_reason::DropReason;
use netchannel::time::Time;

use super::connection::{IN, OUT, Session, opens};
use super::state::{Mapping, Model};
use super::world::Packet;
use crate::harness::OWN;
use crate::packets::*;

/// What becomes of a packet: where it comes from and goes to when it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    ToOutside(SocketAddrV4, SocketAddrV4),
    ToInside(SocketAddrV4, SocketAddrV4),
    /// An ICMP error, to the inside or not, between these, that quotes a packet between those.
    Error(bool, (Ipv4Addr, Ipv4Addr), (SocketAddrV4, SocketAddrV4)),
    ToKernel,
    Dropped(DropReason),
}

impl Verdict {
    /// The external endpoint that a packet from inside left with, or that the packet which an error from inside quotes came to.
    pub fn seen_as(&self) -> Option<SocketAddrV4> {
        match *self {
            Self::ToOutside(source, _) | Self::ToInside(source, _) => Some(source),
            Self::Error(_, _, (_, destination)) => Some(destination),
            Self::ToKernel | Self::Dropped(_) => None,
        }
    }
}

/// What an external endpoint stands for.
#[derive(Clone, Copy)]
enum Target {
    Mapping(usize),
    Forward(SocketAddrV4),
}

fn is_private(address: Ipv4Addr) -> bool {
    address.octets()[0] == 10
}

/// Queries go out, answers come in.
fn is_answer(body: Body) -> bool {
    matches!(body, Body::Query(0 | 14))
}

impl Model {
    /// The session for a packet from inside, opened if need be.
    fn go_out(
        &mut self,
        body: Body,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Result<(usize, usize), DropReason> {
        let protocol = body.number();
        if let Some(session) = self.session_of(protocol, inside, remote) {
            return Ok(session);
        }
        if !opens(body) {
            return Err(DropReason::NatNotOpening);
        }
        if let Some(reason) = self.choice.refused.filter(|_| self.is_vague()) {
            return Err(reason);
        }
        if self.sessions() >= self.settings.limits.sessions as usize {
            return Err(DropReason::NatSessionLimit);
        }
        if self.host_sessions(*inside.ip()) >= self.settings.host_limits.sessions as usize {
            return Err(DropReason::NatHostSessionLimit);
        }
        let per_mapping = self.settings.sessions_per_mapping as usize;
        let mapping = match self.of_inside(protocol, inside, remote) {
            Some(mapping) if self.mappings[mapping].sessions.len() >= per_mapping => {
                return Err(DropReason::NatMappingSessionLimit);
            }
            Some(mapping) => mapping,
            None => self.open_mapping(protocol, inside, remote)?,
        };
        Ok((mapping, self.add_session(mapping, body, remote, OUT)))
    }

    fn open_mapping(
        &mut self,
        protocol: u8,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Result<usize, DropReason> {
        self.check_mapping_limits(protocol, *inside.ip())?;
        if let Some(&external) = self.forwards_to(protocol, inside).first() {
            return Ok(self.add_mapping(protocol, inside, external, None, None));
        }
        let is_vague = self.is_vague();
        let external = self.ports.check(
            &self.settings,
            &self.mappings,
            (protocol, inside),
            self.choice.external,
            (self.now, is_vague),
        )?;
        let towards = self.towards(protocol, remote);
        let filtering = self.filtering_towards(protocol, remote);
        Ok(self.add_mapping(protocol, inside, external, towards, Some(filtering)))
    }

    fn add_session(&mut self, mapping: usize, body: Body, remote: SocketAddrV4, opener: usize) -> usize {
        let sessions = &mut self.mappings[mapping].sessions;
        sessions.push(Session::new(body, remote, opener, self.now));
        sessions.len() - 1
    }

    fn see(&mut self, (mapping, session): (usize, usize), body: Body, direction: usize) {
        let refresh = self.settings.refresh_inbound;
        self.mappings[mapping].sessions[session].see(body, direction, refresh, self.now);
    }

    /// What a packet to an external endpoint is for.
    fn target(&self, body: Body, external: SocketAddrV4) -> Option<Target> {
        if matches!(body, Body::Query(_)) && !is_answer(body) {
            return None;
        }
        let mapping = self.of_external(body.number(), external).map(Target::Mapping);
        mapping.or_else(|| self.forwarded(body.number(), external).map(Target::Forward))
    }

    /// What lets a packet in: a session, or the filtering (RFC 4787 §5).
    fn come_in(&self, body: Body, remote: SocketAddrV4, target: Target) -> Result<Option<usize>, DropReason> {
        let opening = if opens(body) {
            Ok(None)
        } else {
            Err(DropReason::NatNotOpening)
        };
        let Target::Mapping(mapping) = target else {
            return opening;
        };
        let Mapping {
            sessions, filtering, ..
        } = &self.mappings[mapping];
        if let Some(session) = sessions.iter().position(|session| session.remote == remote) {
            return Ok(Some(session));
        }
        let is_admitted = match filtering {
            None => true,
            _ if matches!(body, Body::Query(_)) => false,
            Some(Filtering::EndpointIndependent) => true,
            Some(Filtering::AddressDependent) => {
                sessions.iter().any(|session| session.remote.ip() == remote.ip())
            }
            Some(Filtering::AddressAndPortDependent) => false,
        };
        if is_admitted {
            opening
        } else {
            Err(DropReason::NatFiltered)
        }
    }

    /// Opens a session for a packet that comes in without one, if there is room.
    fn open_inbound(
        &mut self,
        body: Body,
        remote: SocketAddrV4,
        to: SocketAddrV4,
        target: Target,
    ) -> Option<(usize, usize)> {
        let host = match target {
            Target::Mapping(mapping) => *self.mappings[mapping].inside.ip(),
            Target::Forward(inside) => *inside.ip(),
        };
        // A quarter is left to inside hosts.
        let limit = self.settings.limits.sessions as usize;
        if self.sessions() >= limit - limit / 4
            || self.host_sessions(host) >= self.settings.host_limits.sessions as usize
        {
            return None;
        }
        let mapping = match target {
            Target::Mapping(mapping) => {
                let per_mapping = self.settings.sessions_per_mapping as usize;
                (self.mappings[mapping].sessions.len() < per_mapping).then_some(mapping)?
            }
            Target::Forward(inside) => {
                self.check_mapping_limits(body.number(), host).ok()?;
                self.add_mapping(body.number(), inside, to, None, None)
            }
        };
        Some((mapping, self.add_session(mapping, body, remote, IN)))
    }

    /// Lets an admitted packet in, `sender` being the session that an inside host sends it by.
    fn deliver(
        &mut self,
        packet: Packet,
        target: Target,
        session: Option<usize>,
        sender: Option<(usize, usize)>,
    ) -> Verdict {
        let Packet {
            body,
            source,
            destination,
        } = packet;
        let inside = match target {
            Target::Mapping(mapping) => self.mappings[mapping].inside,
            Target::Forward(inside) => inside,
        };
        let session = match (session, target) {
            (Some(session), Target::Mapping(mapping)) => Some((mapping, session)),
            _ if body == Body::Udp && !self.settings.refresh_inbound => None,
            _ => match self.open_inbound(body, source, destination, target) {
                None if body != Body::Udp => return Verdict::Dropped(DropReason::NatSessionLimit),
                opened => opened,
            },
        };
        if let Some(sender) = sender {
            self.see(sender, body, OUT);
        }
        if let Some(session) = session {
            self.see(session, body, IN);
        }
        Verdict::ToInside(source, inside)
    }

    /// A packet that an inside host sends.
    pub fn packet_from_inside(&mut self, packet: Packet) -> Verdict {
        self.expire();
        self.try_from_inside(packet).unwrap_or_else(Verdict::Dropped)
    }

    fn try_from_inside(&mut self, packet: Packet) -> Result<Verdict, DropReason> {
        let Packet {
            body,
            source,
            destination,
        } = packet;
        if self.is_external(*source.ip()) {
            return Err(DropReason::NotForwarded);
        }
        let own = self.one_external(*source.ip());
        let own = own.map(|address| SocketAddrV4::new(address, source.port()));
        if let Some(inside) = self.one_inside(*destination.ip()) {
            let inside = SocketAddrV4::new(inside, destination.port());
            if let Some(own) = own {
                return Ok(Verdict::ToInside(own, inside));
            }
            let sender = self.translated(packet)?;
            return Ok(Verdict::ToInside(self.mappings[sender.0].external, inside));
        }
        if self.in_pool(*destination.ip()) {
            return self.hairpin(packet, own);
        }
        if is_private(*destination.ip()) {
            return Ok(Verdict::ToInside(source, destination));
        }
        if let Some(own) = own {
            return Ok(Verdict::ToOutside(own, destination));
        }
        let sender = self.translated(packet)?;
        let external = self.mappings[sender.0].external;
        self.connects(body, external, destination);
        Ok(Verdict::ToOutside(external, destination))
    }

    /// The session of a packet that leaves by its mapping.
    fn translated(&mut self, packet: Packet) -> Result<(usize, usize), DropReason> {
        if is_answer(packet.body) {
            return Err(DropReason::NatIcmpKind);
        }
        let sender = self.go_out(packet.body, packet.source, packet.destination)?;
        self.see(sender, packet.body, OUT);
        Ok(sender)
    }

    /// To another inside host's mapping or forwarded port (RFC 4787 REQ-9), from one with an address of its own or not.
    fn hairpin(&mut self, packet: Packet, own: Option<SocketAddrV4>) -> Result<Verdict, DropReason> {
        let Packet {
            body,
            source,
            destination,
        } = packet;
        let is_query = matches!(body, Body::Query(_));
        let target = self
            .target(body, destination)
            .filter(|_| own.is_some() || !is_query);
        let Some(target) = target else {
            return Ok(self.no_mapping(body, destination));
        };
        let (seen_as, sender) = match own {
            Some(own) => (own, None),
            None => {
                let sender = self.go_out(body, source, destination)?;
                (self.mappings[sender.0].external, Some(sender))
            }
        };
        // The sender may have made the mapping that it sends to.
        let target = self.target(body, destination).unwrap_or(target);
        let session = self.come_in(body, seen_as, target)?;
        let seen = Packet {
            source: seen_as,
            ..packet
        };
        Ok(self.deliver(seen, target, session, sender))
    }

    /// A packet that an outside host sends.
    pub fn packet_from_outside(&mut self, packet: Packet) -> Verdict {
        self.expire();
        let Packet {
            body,
            source,
            destination,
        } = packet;
        if self.is_external(*source.ip()) {
            return Verdict::Dropped(DropReason::NotForwarded);
        }
        if let Some(inside) = self.one_inside(*destination.ip()) {
            return Verdict::ToInside(source, SocketAddrV4::new(inside, destination.port()));
        }
        if !self.in_pool(*destination.ip()) {
            return to_kernel_if_local(*destination.ip(), DropReason::NatExternalSource);
        }
        let Some(target) = self.target(body, destination) else {
            self.remember(packet);
            return self.no_mapping(body, destination);
        };
        match self.come_in(body, source, target) {
            Err(reason) => {
                self.remember(packet);
                Verdict::Dropped(reason)
            }
            Ok(session) => {
                self.connects(body, destination, source);
                self.deliver(packet, target, session, None)
            }
        }
    }

    /// To an external endpoint that stands for nobody: the box itself may have it.
    pub fn no_mapping(&self, body: Body, to: SocketAddrV4) -> Verdict {
        let is_ours = self.ports.is_usable(to.port()) && !matches!(body, Body::Query(_));
        if is_ours {
            Verdict::Dropped(DropReason::NatNoMapping)
        } else {
            to_kernel_if_local(*to.ip(), DropReason::NatNoMapping)
        }
    }

    /// A SYN from outside that was dropped: nothing is said about it for 6 seconds (RFC 5382 REQ-4).
    fn remember(&mut self, packet: Packet) {
        let Packet {
            body,
            source,
            destination,
        } = packet;
        let is_syn = matches!(body, Body::Tcp(_)) && opens(body);
        let is_ours = self.ports.is_usable(destination.port()) || *destination.ip() != OWN;
        let is_known =
            |&(_, to, from): &(Time, SocketAddrV4, SocketAddrV4)| (to, from) == (destination, source);
        if self.settings.answer_unsolicited && is_syn && is_ours && !self.unsolicited.iter().any(is_known) {
            self.unsolicited.push((self.now, destination, source));
        }
    }

    /// A SYN passed: one that came before for the same connection is forgotten.
    fn connects(&mut self, body: Body, external: SocketAddrV4, remote: SocketAddrV4) {
        if matches!(body, Body::Tcp(_)) && opens(body) {
            self.unsolicited
                .retain(|&(_, to, from)| (to, from) != (external, remote));
        }
    }

    /// What is answered now: the ends of SYNs, sorted.
    pub fn answers(&mut self) -> Vec<(SocketAddrV4, SocketAddrV4)> {
        let now = self.now;
        let is_due = |since: Time| now.since(since).as_secs() >= 6;
        let mut due: Vec<_> = self
            .unsolicited
            .extract_if(.., |(since, _, _)| is_due(*since))
            .map(|(_, external, remote)| (remote, external))
            .collect();
        due.sort();
        due
    }
}

pub fn to_kernel_if_local(address: Ipv4Addr, reason: DropReason) -> Verdict {
    if address == OWN {
        Verdict::ToKernel
    } else {
        Verdict::Dropped(reason)
    }
}
