//! Fragments on their way through the translator (RFC 4787 REQ-14). The first one has the ports and is translated like a whole packet; the
//! others follow it. Those that come before it are kept for a while, then go on behind it.

use std::net::{IpAddr, Ipv4Addr};

use super::datagrams::{DatagramKey, Fate, Fragments, Translation};
use super::owner::Handed;
use super::translate::{Side, replace_address, replace_identification};
use super::{Nat, pass_if_local};
use crate::dispatch::{Context, Departure, is_possible_source};
use crate::drop_reason::DropReason;
use crate::interface::Role;
use crate::packet::{Fragment, Packet, protocol};

/// Offset of the fields of the IPv4 header that follow.
const FLAGS_AND_OFFSET: usize = 6;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;

impl Nat {
    /// A part of a datagram.
    #[cold]
    pub(super) fn fragment(&mut self, packet: Packet, context: &mut Context<'_>) {
        let role = context.interfaces().get(packet.interface).role;
        match packet.headers.fragment {
            _ if !packet.headers.is_ipv4() => context.drop(packet, DropReason::NatNotIpv4),
            _ if self.needs_addresses_only(&packet.headers, role) => self.whole_packet(packet, context),
            Fragment::Later => self.later_fragment(packet, context),
            Fragment::First | Fragment::Whole => self.first_fragment(packet, context),
        }
    }

    /// Translates a packet as if it were a whole one.
    #[inline(never)]
    fn whole_packet(&mut self, packet: Packet, context: &mut Context<'_>) {
        self.with_transport(packet, context);
    }

    /// A fragment that has the transport header.
    fn first_fragment(&mut self, packet: Packet, context: &mut Context<'_>) {
        let Some(key) = DatagramKey::of(&packet) else {
            return context.drop(packet, DropReason::NatNotIpv4);
        };
        let before = (context.passed(), context.dropped(), context.handed_on());
        self.first_was_sent = false;
        self.whole_packet(packet, context);
        let after = (context.passed(), context.dropped(), context.handed_on());
        if !self.first_was_sent {
            let fate = if after.0 > before.0 {
                Fate::Passed
            } else if after.1 > before.1 {
                Fate::Dropped
            } else if after.2 > before.2 {
                Fate::HandedTo(self.handed_to)
            } else {
                // It waits for its next hop, and comes here again.
                return;
            };
            self.fragments
                .with(|known| known.datagrams.decide(key, fate, context.now()));
        }
        for packet in self.fragments.with(|known| known.datagrams.release(&key)) {
            self.later_fragment(packet, context);
        }
    }

    /// A fragment without transport header.
    fn later_fragment(&mut self, packet: Packet, context: &mut Context<'_>) {
        let Some(key) = DatagramKey::of(&packet) else {
            return context.drop(packet, DropReason::NatNotIpv4);
        };
        // RFC 3128: laid over the first one, it would change the flags that were looked at there.
        if key.protocol == protocol::TCP && offset(&packet) == 1 {
            return context.drop(packet, DropReason::NatFragment);
        }
        let now = context.now();
        match self.fragments.with(|known| known.datagrams.fate(&key, now)) {
            Some(Fate::Sent(translation)) => follow(packet, &key, &translation, context),
            Some(Fate::Passed) => context.pass(packet),
            Some(Fate::HandedTo(worker)) if self.may_hand_on() => {
                self.hand_on(packet, worker, Handed::ForTheRest(None), context);
            }
            Some(Fate::Dropped | Fate::HandedTo(_)) => context.drop(packet, DropReason::NatFragment),
            None => self.early_fragment(packet, key, context),
        }
    }

    /// A later fragment that came before the first one.
    fn early_fragment(&mut self, packet: Packet, key: DatagramKey, context: &mut Context<'_>) {
        if !is_possible_source(IpAddr::V4(key.source)) || self.is_external(key.source) {
            return context.drop(packet, DropReason::NotForwarded);
        }
        let from_outside = context.interfaces().get(packet.interface).role == Role::Outside;
        if from_outside && !self.is_external(key.destination) {
            return pass_if_local(packet, DropReason::NatExternalSource, context);
        }
        let limit = usize::from(self.settings.max_held_fragments);
        let now = context.now();
        let held = self
            .fragments
            .with(|known| known.datagrams.hold(key, packet, limit, now));
        if let Err(packet) = held {
            context.drop(packet, DropReason::NatFragmentLimit);
        }
    }

    /// Remembers how a first fragment is sent, and gives what may be fragmented and hides who sent it an identification that is not in
    /// use. Called with the translated packet.
    #[cold]
    pub(super) fn before_sending(
        &mut self,
        packet: &mut Packet,
        departure: &Departure,
        context: &Context<'_>,
    ) {
        let network = usize::from(packet.headers.network);
        let bytes = packet.frame.bytes();
        let (Some(source), Some(destination)) = (
            address(bytes, network + SOURCE),
            address(bytes, network + DESTINATION),
        ) else {
            return;
        };
        let Some(key) = DatagramKey::of(packet) else {
            return;
        };
        let is_first = packet.headers.fragment == Fragment::First;
        let identification = if source == key.source {
            key.identification
        } else {
            let known = if is_first {
                self.fragments
                    .with(|known| known.datagrams.fate(&key, context.now()))
            } else {
                None
            };
            match known {
                // The first fragment came twice: its others may have left already.
                Some(Fate::Sent(translation)) => translation.identification,
                _ => {
                    let (protocol, original) = (key.protocol, key.identification);
                    let next = |known: &mut Fragments| {
                        known
                            .identifications
                            .next(source, destination, protocol, original)
                    };
                    self.fragments.with(next)
                }
            }
        };
        replace_identification(
            packet.frame.bytes_mut(),
            network,
            key.identification,
            identification,
        );
        if is_first {
            self.first_was_sent = true;
            let translation = Translation {
                source,
                destination,
                identification,
                departure: *departure,
                network_version: context.network_version(),
            };
            let now = context.now();
            self.fragments
                .with(|known| known.datagrams.decide(key, Fate::Sent(translation), now));
        }
    }

    /// Gives up fragments whose first one did not come in time. It may have gone to the kernel without being seen here.
    pub(super) fn give_up_fragments(&mut self, context: &mut Context<'_>) {
        while let Some(packets) = self
            .fragments
            .with(|known| known.datagrams.next_overdue(context.now()))
        {
            for packet in packets {
                pass_if_local(packet, DropReason::NatFragmentTimeout, context);
            }
        }
    }
}

/// Sends a later fragment after the first one.
fn follow(packet: Packet, key: &DatagramKey, translation: &Translation, context: &mut Context<'_>) {
    let Translation {
        source,
        destination,
        identification,
        departure,
        network_version,
    } = *translation;
    let found = if network_version == context.network_version() {
        context
            .check(packet, &departure)
            .map(|packet| (packet, departure))
    } else {
        context.depart(packet, IpAddr::V4(destination))
    };
    let Some((mut packet, way)) = found else { return };
    let role = |departure: &Departure| context.interfaces().get(departure.interface).role;
    if role(&way) != role(&departure) {
        return context.drop(packet, DropReason::NatFragment);
    }
    let network = usize::from(packet.headers.network);
    let bytes = packet.frame.bytes_mut();
    replace_address(bytes, network, Side::Source, source);
    replace_address(bytes, network, Side::Destination, destination);
    replace_identification(bytes, network, key.identification, identification);
    context.send(packet, &way);
}

/// Where the fragment belongs in its datagram, in units of 8 bytes.
fn offset(packet: &Packet) -> u16 {
    let at = usize::from(packet.headers.network) + FLAGS_AND_OFFSET;
    let field = packet.frame.bytes().get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u16::from_be_bytes(*field) & 0x1fff)
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
    Some(Ipv4Addr::from(*octets))
}
