//! The short way of packets whose session was noted about their flow, if nothing else has to be done than to translate and to send them.

use super::flow::{Direction, Protocol};
use super::session::Cookie;
use super::table::Passing;
use super::translate::{Place, Side};
use super::{Nat, tcp};
use crate::dispatch::{Context, Departure};
use crate::packet::{Fragment, Packet, Transport};

impl Nat {
    /// Translates a packet, and returns the way out that it may be sent on, once its identification is right. `None` if the packet, which is
    /// unchanged then, has to go the long way: of its session nothing is known, or no way out; it is between inside hosts; it opens or ends
    /// a connection; it is a fragment, too big, or its time to live is over.
    #[inline(always)]
    pub(super) fn translate_known(
        &mut self,
        packet: &mut Packet,
        context: &mut Context<'_>,
    ) -> Option<&Departure> {
        let headers = &packet.headers;
        let protocol = match headers.transport {
            Transport::Udp { .. } => Protocol::Udp,
            Transport::Tcp { flags, .. } if flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0 => Protocol::Tcp,
            Transport::IcmpQuery { .. } => Protocol::Icmp,
            _ => return None,
        };
        if headers.fragment != Fragment::Whole || headers.ttl <= 1 {
            return None;
        }
        let cookie = Cookie::from_note(context.note(packet));
        let direction = cookie.direction;
        // A query and an answer may be one flow: if their identifier is 0.
        if matches!(headers.transport, Transport::IcmpQuery { reply, .. } if reply != (direction == Direction::Inbound))
        {
            return None;
        }
        let passing = Passing {
            cookie,
            length: headers.network_len(),
            network_version: context.network_version(),
        };
        let (rewrite, departure) = self.table.pass(&passing, context.now())?;
        let place = Place {
            network: usize::from(headers.network),
            transport: usize::from(headers.transport_start),
            end: usize::from(headers.end),
            protocol,
        };
        let side = match direction {
            Direction::Outbound => Side::Source,
            Direction::Inbound => Side::Destination,
        };
        rewrite.apply(packet.frame.bytes_mut(), place, side);
        Some(departure)
    }
}
