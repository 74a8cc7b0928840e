//! ICMP errors on their way through the translator (RFC 5508 §4). They neither open anything nor keep anything alive (RFC 4787 REQ-12,
//! RFC 5382 REQ-10, RFC 5508 REQ-6, RFC 7857 §7.1).

use std::net::IpAddr;

use super::datagrams::Fragments;
use super::flow::{Endpoint, Protocol};
use super::icmp::Quote;
use super::owner::Handed;
use super::translate::{Side, replace_address};
use super::{Nat, pass_if_local};
use crate::dispatch::Context;
use crate::drop_reason::DropReason;
use crate::interface::Role;
use crate::packet::Packet;

impl Nat {
    /// An error from outside about a packet that left through a mapping. It may come from any router on the way (RFC 4787 REQ-12 (a)).
    pub(super) fn inbound_error(&mut self, packet: Packet, context: &mut Context<'_>) {
        let quote = match Quote::of(&packet) {
            Ok(quote) => quote,
            Err(reason) => return context.drop(packet, reason),
        };
        if let Some(worker) = self.rest_is_with(quote.protocol(), quote.source) {
            return self.hand_on(packet, worker, Handed::ForTheRest(None), context);
        }
        let Some(sender) = self.sender_of(&quote, &packet, context) else {
            return self.unrelated(packet, &quote, context);
        };
        let Some((mut packet, departure)) = context.depart(packet, IpAddr::V4(sender.address)) else {
            return;
        };
        if context.interfaces().get(departure.interface).role != Role::Inside {
            return context.drop(packet, DropReason::NatNotInside);
        }
        let external = quote.source;
        let network = usize::from(packet.headers.network);
        let bytes = packet.frame.bytes_mut();
        self.restore_identification(&quote, bytes);
        quote.replace(bytes, Side::Source, external, sender);
        quote.finish(bytes);
        replace_address(bytes, network, Side::Destination, sender.address);
        context.send(packet, &departure);
    }

    /// An error from inside about a packet that came in through a mapping. It may come from a router inside.
    pub(super) fn outbound_error(&mut self, packet: Packet, context: &mut Context<'_>) {
        let destination = packet.headers.destination;
        let Some((mut packet, departure)) = context.depart(packet, destination) else {
            return;
        };
        if context.interfaces().get(departure.interface).role == Role::Inside {
            return context.send(packet, &departure);
        }
        let quote = match Quote::of(&packet) {
            Ok(quote) => quote,
            Err(reason) => return context.drop(packet, reason),
        };
        if let Some(worker) = self.source_is_with(quote.destination.address) {
            return self.hand_on(packet, worker, Handed::ForSource, context);
        }
        let receiver = self.receiver_of(&quote, context);
        // Whoever sent the packet is told, nobody else: the packet may not give away other addresses.
        let (Some((inside, external)), true) = (receiver, IpAddr::V4(quote.source.address) == destination)
        else {
            return context.drop(packet, DropReason::NatIcmpUnrelated);
        };
        let network = usize::from(packet.headers.network);
        let bytes = packet.frame.bytes_mut();
        quote.replace(bytes, Side::Destination, inside, external);
        quote.finish(bytes);
        replace_address(bytes, network, Side::Source, external.address);
        context.send(packet, &departure);
    }

    /// An error from inside about a packet from another inside host (RFC 5508 REQ-7): the sender knows the receiver by its
    /// external address.
    pub(super) fn hairpin_error(&mut self, packet: Packet, context: &mut Context<'_>) {
        let quote = match Quote::of(&packet) {
            Ok(quote) => quote,
            Err(reason) => return context.drop(packet, reason),
        };
        if let Some(worker) = self.source_is_with(quote.destination.address) {
            return self.hand_on(packet, worker, Handed::ForSource, context);
        }
        if let Some(worker) = self.rest_is_with(quote.protocol(), quote.source) {
            let receiver = self.receiver_of(&quote, context).map(|(_, external)| external);
            return self.hand_on(packet, worker, Handed::ForTheRest(receiver), context);
        }
        let Some(sender) = self.sender_of(&quote, &packet, context) else {
            return self.unrelated(packet, &quote, context);
        };
        let Some((inside, external)) = self.receiver_of(&quote, context) else {
            return context.drop(packet, DropReason::NatIcmpUnrelated);
        };
        let Some((mut packet, departure)) = context.depart(packet, IpAddr::V4(sender.address)) else {
            return;
        };
        if context.interfaces().get(departure.interface).role != Role::Inside {
            return context.drop(packet, DropReason::NatNotInside);
        }
        let network = usize::from(packet.headers.network);
        let bytes = packet.frame.bytes_mut();
        self.restore_identification(&quote, bytes);
        quote.replace(bytes, Side::Source, quote.source, sender);
        quote.replace(bytes, Side::Destination, inside, external);
        quote.finish(bytes);
        replace_address(bytes, network, Side::Source, external.address);
        replace_address(bytes, network, Side::Destination, sender.address);
        context.send(packet, &departure);
    }

    /// Gives a quoted packet that left through the translator its identification back, if that is still known (RFC 5508 REQ-4).
    fn restore_identification(&self, quote: &Quote, bytes: &mut [u8]) {
        let (source, destination) = (quote.source.address, quote.destination.address);
        let protocol = quote.protocol().number();
        let original = quote.identification(bytes).and_then(|outside| {
            let original = |known: &mut Fragments| {
                known
                    .identifications
                    .original(source, destination, protocol, outside)
            };
            Some((outside, self.fragments.with(original)?))
        });
        if let Some((outside, original)) = original {
            quote.restore_identification(bytes, outside, original);
        }
    }

    /// The inside endpoint whose packet is quoted; the error must have come to the address that the packet had.
    fn sender_of(&mut self, quote: &Quote, packet: &Packet, context: &Context<'_>) -> Option<Endpoint> {
        if IpAddr::V4(quote.source.address) != packet.headers.destination {
            return None;
        }
        if let Some(inside) = self.one_to_one_inside(quote.source) {
            return Some(inside);
        }
        let mapping = self
            .table
            .of_external(quote.protocol(), quote.source, context.now())?;
        Some(self.table.mappings.get(mapping).inside)
    }

    /// The inside and the external endpoint of the mapping through which the quoted packet came in.
    fn receiver_of(&mut self, quote: &Quote, context: &Context<'_>) -> Option<(Endpoint, Endpoint)> {
        if let Some(external) = self.found_elsewhere() {
            return Some((quote.destination, external));
        }
        if let Some(external) = self.one_to_one_external(quote.destination) {
            return Some((quote.destination, external));
        }
        if !quote.has_destination_port() {
            return None;
        }
        let (protocol, inside, remote, now) =
            (quote.protocol(), quote.destination, quote.source, context.now());
        // Of several external ports that are forwarded to the same one inside, the session knows which it was.
        let mapping = match self.table.session_of_inside(protocol, inside, remote, now) {
            Some(session) => self.table.session(session).mapping,
            None => self.table.of_inside(protocol, inside, remote, now)?,
        };
        let mapping = self.table.mappings.get(mapping);
        Some((mapping.inside, mapping.external))
    }

    /// An error to an external address about a packet of no mapping: perhaps the box itself sent that packet.
    fn unrelated(&self, packet: Packet, quote: &Quote, context: &mut Context<'_>) {
        let has_port = self.has_port(quote.source.port);
        if has_port && quote.protocol() != Protocol::Icmp {
            return context.drop(packet, DropReason::NatIcmpUnrelated);
        }
        pass_if_local(packet, DropReason::NatIcmpUnrelated, context);
    }
}
