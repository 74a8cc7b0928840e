//! Packets that inside hosts send to the outside.

use super::flow::{Direction, Kind, Tuple};
use super::translate::Side;
use super::{Leaving, Nat, Refusal, SegmentSize, apply, segment_size, tcp};
use crate::dispatch::{Context, Departure, IcmpError};
use crate::drop_reason::DropReason;
use crate::interface::Role;
use crate::packet::{Fragment, Packet, Transport};

impl Nat {
    /// A packet from inside to somewhere else than an external address.
    pub(super) fn outbound(&mut self, packet: Packet, kind: Kind, context: &mut Context<'_>) {
        if kind == Kind::Error {
            return self.outbound_error(packet, context);
        }
        let destination = packet.headers.destination;
        let Some((packet, departure)) = context.depart(packet, destination) else {
            return;
        };
        if context.interfaces().get(departure.interface).role == Role::Inside {
            return self.send(packet, &departure, context);
        }
        let tuple = match kind {
            Kind::Ports(tuple) if tuple.can_go(Direction::Outbound) => tuple,
            Kind::Ports(_) | Kind::Error => return context.drop(packet, DropReason::NatIcmpKind),
            Kind::Not(reason) => return context.drop(packet, reason),
        };
        let session = match self.session_from_inside(&packet, &tuple, context) {
            Ok(session) => session,
            Err(reason) => return self.refuse(packet, reason, context),
        };
        let version = context.network_version();
        self.table
            .set_way(session, Direction::Outbound, version, departure);
        self.note(&packet, session, Direction::Outbound, context);
        let leaving = Leaving {
            packet,
            departure,
            crosses: true,
        };
        self.send_out(leaving, session, &tuple, context);
    }

    /// The session of a packet from inside; it is opened if it isn't there and the packet may do that.
    pub(super) fn session_from_inside(
        &mut self,
        packet: &Packet,
        tuple: &Tuple,
        context: &mut Context<'_>,
    ) -> Result<u32, DropReason> {
        let Tuple {
            protocol,
            source,
            destination,
            ..
        } = *tuple;
        let now = context.now();
        if let Some(session) = self.table.session_of_inside(protocol, source, destination, now) {
            return Ok(session);
        }
        if !tuple.opens() {
            return Err(DropReason::NatNotOpening);
        }
        let filtering = self
            .settings
            .filtering_by(context.rule_parameter(packet), protocol);
        self.table
            .open_outbound(protocol, source, destination, filtering, now)
    }

    /// Drops a packet from inside that no session could be opened for, and says so to its sender if that is for want of room (RFC 5508
    /// REQ-8, RFC 6888 REQ-11).
    pub(super) fn refuse(&self, packet: Packet, reason: DropReason, context: &mut Context<'_>) {
        let error = match self.settings.refusal {
            Refusal::Prohibited => Some(IcmpError::Prohibited),
            Refusal::HostUnreachable => Some(IcmpError::HostUnreachable),
            Refusal::Silent => None,
        };
        if let Some(error) = error.filter(|_| reason != DropReason::NatNotOpening) {
            context.answer(&packet, error);
        }
        context.drop(packet, reason);
    }

    /// Sends a packet to the outside with its source translated.
    #[inline]
    pub(super) fn send_out(
        &mut self,
        leaving: Leaving,
        session: u32,
        tuple: &Tuple,
        context: &mut Context<'_>,
    ) {
        let Leaving {
            mut packet,
            departure,
            crosses,
        } = leaving;
        if crosses {
            self.table
                .touch(session, Direction::Outbound, tuple.flags, context.now());
            let rewrite = self.table.session(session).rewrite(Direction::Outbound);
            if tuple.opens_connection() {
                self.unsolicited.settle(rewrite.to(), tuple.destination);
            }
            apply(rewrite, &mut packet, tuple.protocol, Side::Source);
        }
        self.send(packet, &departure, context);
    }

    /// Sends a packet that is translated, or needs not be.
    #[inline(always)]
    pub(super) fn send(&mut self, mut packet: Packet, departure: &Departure, context: &mut Context<'_>) {
        if !packet.headers.dont_fragment || packet.headers.fragment != Fragment::Whole {
            self.before_sending(&mut packet, departure, context);
        }
        self.lower_segment_size(&mut packet, departure, context);
        context.send(packet, departure);
    }

    /// Lowers the largest segment that a SYN offers, if that is wanted.
    #[inline]
    pub(super) fn lower_segment_size(
        &self,
        packet: &mut Packet,
        departure: &Departure,
        context: &Context<'_>,
    ) {
        if let Some(limit) = self.settings.segment_size
            && let Transport::Tcp { flags, .. } = packet.headers.transport
            && flags & tcp::SYN != 0
        {
            let limit = match limit {
                SegmentSize::Fitting => {
                    let arrival = context.mtu(packet.interface);
                    segment_size::fitting(departure.mtu.min(arrival))
                }
                SegmentSize::AtMost(limit) => limit,
            };
            segment_size::clamp(packet, limit);
        }
    }
}
