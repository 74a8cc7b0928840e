//! What the model says about ICMP errors (RFC 5508 §4, RFC 3022 §4.3), and about what can't be translated by ports.

use std::net::{Ipv4Addr, SocketAddrV4};

use netchannel::drop_reason::DropReason;

use super::oracle::{Verdict, to_kernel_if_local};
use super::state::Model;
use super::world::Packet;
use crate::packets::*;

/// An error about a packet.
#[derive(Clone, Copy, Debug)]
pub struct Error {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub about: Packet,
}

impl Model {
    /// From an outside host or router.
    pub fn error_from_outside(&mut self, error: Error) -> Verdict {
        self.expire();
        match self.quoted_sender(&error) {
            Some(inside) => Verdict::Error(
                true,
                (error.source, *inside.ip()),
                (inside, error.about.destination),
            ),
            None => self.unrelated(&error),
        }
    }

    /// From an inside host or router.
    pub fn error_from_inside(&mut self, error: Error) -> Verdict {
        self.expire();
        let Error {
            destination, about, ..
        } = error;
        let receiver = self.quoted_receiver(&about);
        let unrelated = Verdict::Dropped(DropReason::NatIcmpUnrelated);
        if self.is_external(destination) {
            // About a packet of another inside host (RFC 5508 REQ-7).
            let Some(sender) = self.quoted_sender(&error) else {
                return self.unrelated(&error);
            };
            return receiver.map_or(unrelated, |external| {
                Verdict::Error(true, (*external.ip(), *sender.ip()), (sender, external))
            });
        }
        match receiver {
            Some(external) if *about.source.ip() == destination => {
                Verdict::Error(false, (*external.ip(), destination), (about.source, external))
            }
            _ => unrelated,
        }
    }

    /// The inside endpoint that sent the quoted packet, if the error goes to where that came from.
    fn quoted_sender(&self, error: &Error) -> Option<SocketAddrV4> {
        let source = error.about.source;
        if *source.ip() != error.destination {
            return None;
        }
        if let Some(inside) = self.one_inside(*source.ip()) {
            return Some(SocketAddrV4::new(inside, source.port()));
        }
        let mapping = self.of_external(error.about.body.number(), source)?;
        Some(self.mappings[mapping].inside)
    }

    /// The external endpoint that the quoted packet was sent to.
    fn quoted_receiver(&self, about: &Packet) -> Option<SocketAddrV4> {
        let inside = about.destination;
        if let Some(address) = self.one_external(*inside.ip()) {
            return Some(SocketAddrV4::new(address, inside.port()));
        }
        if matches!(about.body, Body::Query(kind) if !matches!(kind, 0 | 14)) {
            return None;
        }
        let mapping = self.came_through(about.body.number(), inside, about.source)?;
        Some(self.mappings[mapping].external)
    }

    /// About a packet that none of the inside hosts has sent: perhaps the box itself did.
    fn unrelated(&self, error: &Error) -> Verdict {
        let is_query = matches!(error.about.body, Body::Query(_));
        if self.ports.is_usable(error.about.source.port()) && !is_query {
            return Verdict::Dropped(DropReason::NatIcmpUnrelated);
        }
        to_kernel_if_local(error.destination, DropReason::NatIcmpUnrelated)
    }

    /// Another protocol, which only hosts with an address of their own can use (RFC 6888 REQ-1), or another ICMP message, which nobody can
    /// (RFC 5508 REQ-10 and REQ-11).
    pub fn untranslatable(
        &mut self,
        from_inside: bool,
        is_icmp: bool,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Verdict {
        self.expire();
        if is_icmp {
            return Verdict::Dropped(DropReason::NatIcmpKind);
        }
        let end = |address| SocketAddrV4::new(address, 0);
        let own = self.one_external(source).filter(|_| from_inside);
        match (own, self.one_inside(destination)) {
            (Some(own), Some(inside)) => Verdict::ToInside(end(own), end(inside)),
            (None, Some(inside)) if !from_inside => Verdict::ToInside(end(source), end(inside)),
            (Some(_), None) | (None, Some(_)) => Verdict::Dropped(DropReason::NatProtocol),
            (None, None) => to_kernel_if_local(destination, DropReason::NatProtocol),
        }
    }
}
