//! The channel `nat`: many inside hosts share few external IPv4 addresses, each connection by a port of its own (NAPT, RFC 3022 §2.2).
//!
//! Mappings are endpoint-independent (RFC 4787, RFC 5382, RFC 5508), filtering is as configured. Packets between inside interfaces are
//! forwarded as they are, those to an external address are translated twice (hairpinning), and packets for the box itself go
//! to the kernel. TCP, UDP and ICMP queries are translated, fragmented ones too, and ICMP errors about them with the packet that they
//! quote; other protocols are dropped.
//!
//! The first packet of a session costs a lookup by hash or index, a choice of a port if a mapping is made, and a search for the way out.
//! For the others the flow table has a note that leads to the session, which has everything ready: the addresses, what they
//! do to the checksums, and the way out as long as the network does not change.

mod chain;
mod datagrams;
mod deterministic;
mod errors;
mod flow;
mod forwards;
mod fragments;
mod hosts;
mod icmp;
mod identification;
mod index;
mod limits;
mod listing;
mod mapping;
mod one_to_one;
mod pool;
mod ports;
mod segment_size;
mod session;
mod settings;
mod slab;
mod table;
mod tcp;
mod timers;
mod translate;
mod unsolicited;

pub use deterministic::{Deterministic, HostPorts, PortScheme, TooFewPorts};
pub use flow::{PerProtocol, Protocol};
pub use forwards::Forward;
pub use limits::Limits;
pub use one_to_one::OneToOne;
pub use settings::{
    Filtering, HIGHEST_LIMIT, HIGHEST_WELL_KNOWN_PORT, MOST_ADDRESSES, MappingBehavior, NatSettings, Pooling,
    PortHold, Refusal, SegmentSize, SettingsError, Timeouts,
};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::Netchannel;
use crate::control::report;
use crate::dispatch::{Context, Departure, IcmpError, Undelivered, is_possible_source};
use crate::drop_reason::DropReason;
use crate::interface::Role;
use crate::packet::{Fragment, Packet, Transport};
use crate::time::Time;
use datagrams::Datagrams;
use flow::{Direction, Endpoint, Kind, Tuple};
use identification::Identifications;
use one_to_one::OneToOnes;
use table::Table;
use translate::{Place, Rewrite, Side};
use unsolicited::Unsolicited;

/// Timers that are looked at in one tick, some ten times a second: a tick takes less than a millisecond. Those that are opened faster than
/// this clears them away are cleared away by the opening of others.
const TIMERS_PER_TICK: usize = 4096;

/// Sessions of which the processor's caches most likely hold what is in use: of more, those of a burst are loaded ahead.
const CACHED_SESSIONS: usize = 4096;

/// The translator. Its state belongs to one worker.
pub struct Nat {
    settings: NatSettings,
    table: Table,
    one_to_one: OneToOnes,
    unsolicited: Unsolicited,
    datagrams: Datagrams,
    identifications: Identifications,
    /// Whether the first fragment that is being translated was sent.
    first_was_sent: bool,
    /// ICMP messages that are not translated, by type.
    unsupported: BTreeMap<u8, u64>,
}

/// A translator before its first packet, which can still be sent to another thread.
pub struct PreparedNat {
    settings: NatSettings,
    table: Table,
    identifications: Identifications,
}

impl PreparedNat {
    /// Checks the settings and reserves memory.
    ///
    /// # Errors
    /// If the settings can't be used; see [`SettingsError`].
    pub fn new(settings: NatSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(SettingsError::NoRandomness)?;
        let mut random = StdRng::from_seed(seed);
        Ok(Self {
            identifications: Identifications::new(&mut random),
            table: Table::new(&settings, random),
            settings,
        })
    }

    /// The channel, which stays on the thread that its packets are on.
    pub fn into_channel(self) -> Nat {
        Nat {
            datagrams: Datagrams::new(usize::from(self.settings.max_held_fragments)),
            one_to_one: OneToOnes::new(&self.settings.one_to_one),
            settings: self.settings,
            table: self.table,
            unsolicited: Unsolicited::new(),
            identifications: self.identifications,
            first_was_sent: false,
            unsupported: BTreeMap::new(),
        }
    }
}

/// A packet that may leave, and how.
struct Leaving {
    packet: Packet,
    departure: Departure,
    /// It leaves to the side that it did not come from.
    crosses: bool,
}

/// A packet's way to an inside host, once it is known that it may take it.
struct Delivery {
    target: Target,
    tuple: Tuple,
    /// The session of the packet, if there is one already.
    session: Option<u32>,
    sender: Sender,
}

/// What an external endpoint stands for.
#[derive(Clone, Copy)]
enum Target {
    Mapping(u32),
    /// A forwarded port without a mapping as yet, which stands for this inside endpoint.
    Forward(Endpoint),
}

/// Who sent a packet to an external endpoint.
#[derive(Clone, Copy)]
enum Sender {
    Outside,
    /// An inside host, by this session.
    Session(u32),
    /// An inside host with this external address of its own.
    OneToOne(Ipv4Addr),
}

impl Nat {
    /// A translator without mappings. Its memory is reserved at once, and touched only as it is used.
    ///
    /// # Errors
    /// If the settings can't be used; see [`SettingsError`].
    pub fn new(settings: NatSettings) -> Result<Self, SettingsError> {
        Ok(PreparedNat::new(settings)?.into_channel())
    }

    /// The settings that it was made with.
    pub fn settings(&self) -> &NatSettings {
        &self.settings
    }

    #[inline]
    fn handle(&mut self, packet: Packet, context: &mut Context<'_>) {
        if packet.headers.fragment == Fragment::Whole {
            self.with_transport(packet, context);
        } else {
            self.fragment(packet, context);
        }
    }

    /// A packet with its transport header, or one that needs none.
    // Moving a packet from one function to the next costs as much as what is done with it.
    #[inline(always)]
    fn with_transport(&mut self, packet: Packet, context: &mut Context<'_>) {
        let packet = if self.one_to_one.is_empty() {
            Some(packet)
        } else {
            self.translate_one_to_one(packet, context)
        };
        if let Some(packet) = packet {
            self.translate(packet, context);
        }
    }

    /// A packet with its transport header, by mapping.
    #[inline(always)]
    fn translate(&mut self, packet: Packet, context: &mut Context<'_>) {
        let (IpAddr::V4(source), IpAddr::V4(destination)) =
            (packet.headers.source, packet.headers.destination)
        else {
            return context.drop(packet, DropReason::NatNotIpv4);
        };
        let kind = Kind::of(&packet.headers);
        let direction = match context.interfaces().get(packet.interface).role {
            Role::Inside => Direction::Outbound,
            Role::Outside => Direction::Inbound,
        };
        if let Kind::Ports(tuple) = kind
            && tuple.can_go(direction)
        {
            let note = context.note(&packet);
            if let Some(session) = self.table.noted(note, direction, context.now()) {
                return self.in_session(packet, tuple, session, direction, context);
            }
        }
        if kind == Kind::Not(DropReason::NatIcmpKind) {
            let (message, _) = packet.headers.icmp_type_and_code(packet.frame.bytes());
            *self.unsupported.entry(message).or_default() += 1;
        }
        // Nothing is known of the flow yet.
        if !is_possible_source(IpAddr::V4(source)) || self.is_external(source) {
            return context.drop(packet, DropReason::NotForwarded);
        }
        match (direction, self.is_external(destination)) {
            (Direction::Outbound, false) => self.outbound(packet, kind, context),
            (Direction::Outbound, true) => self.hairpin(packet, kind, context),
            (Direction::Inbound, true) => self.inbound(packet, kind, context),
            (Direction::Inbound, false) => pass_if_local(packet, DropReason::NatExternalSource, context),
        }
    }

    /// A packet whose session was noted.
    #[inline]
    fn in_session(
        &mut self,
        packet: Packet,
        tuple: Tuple,
        session: u32,
        direction: Direction,
        context: &mut Context<'_>,
    ) {
        match direction {
            Direction::Inbound => {
                let delivery = Delivery {
                    target: Target::Mapping(self.table.session(session).mapping),
                    tuple,
                    session: Some(session),
                    sender: Sender::Outside,
                };
                self.deliver(packet, delivery, context);
            }
            Direction::Outbound if self.table.session(session).is_hairpin => {
                self.hairpin(packet, Kind::Ports(tuple), context);
            }
            Direction::Outbound => {
                let destination = tuple.destination.address;
                let Some(leaving) = self.leave(packet, Some(session), direction, destination, context) else {
                    return;
                };
                self.send_out(leaving, session, &tuple, context);
            }
        }
    }

    /// A packet from inside to somewhere else than an external address.
    fn outbound(&mut self, packet: Packet, kind: Kind, context: &mut Context<'_>) {
        if kind == Kind::Error {
            return self.outbound_error(packet, context);
        }
        let now = context.now();
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
        let session = match self.session_from_inside(&tuple, now) {
            Ok(session) => session,
            Err(reason) => return self.refuse(packet, reason, context),
        };
        let version = context.network_version();
        self.table
            .session_mut(session)
            .set_way(Direction::Outbound, version, departure);
        self.note(&packet, session, Direction::Outbound, context);
        let leaving = Leaving {
            packet,
            departure,
            crosses: true,
        };
        self.send_out(leaving, session, &tuple, context);
    }

    /// The session of a packet from inside; it is opened if it isn't there and the packet may do that.
    fn session_from_inside(&mut self, tuple: &Tuple, now: Time) -> Result<u32, DropReason> {
        let Tuple {
            protocol,
            source,
            destination,
            ..
        } = *tuple;
        if let Some(session) = self.table.session_of_inside(protocol, source, destination, now) {
            return Ok(session);
        }
        if !tuple.opens() {
            return Err(DropReason::NatNotOpening);
        }
        self.table.open_outbound(protocol, source, destination, now)
    }

    /// Drops a packet from inside that no session could be opened for, and says so to its sender if that is for want of room (RFC 5508
    /// REQ-8, RFC 6888 REQ-11).
    fn refuse(&self, packet: Packet, reason: DropReason, context: &mut Context<'_>) {
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
    fn send_out(&mut self, leaving: Leaving, session: u32, tuple: &Tuple, context: &mut Context<'_>) {
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
            apply(&rewrite, &mut packet, tuple.protocol, Side::Source);
        }
        self.send(packet, &departure, context);
    }

    /// Sends a packet that is translated, or needs not be.
    #[inline(always)]
    fn send(&mut self, mut packet: Packet, departure: &Departure, context: &mut Context<'_>) {
        if !packet.headers.dont_fragment || packet.headers.fragment != Fragment::Whole {
            self.before_sending(&mut packet, departure, context);
        }
        self.lower_segment_size(&mut packet, departure, context);
        context.send(packet, departure);
    }

    /// Lowers the largest segment that a SYN offers, if that is wanted.
    #[inline]
    fn lower_segment_size(&self, packet: &mut Packet, departure: &Departure, context: &Context<'_>) {
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

    /// A packet from outside to an external address.
    fn inbound(&mut self, packet: Packet, kind: Kind, context: &mut Context<'_>) {
        let now = context.now();
        let tuple = match kind {
            Kind::Ports(tuple) => tuple,
            Kind::Error => return self.inbound_error(packet, context),
            Kind::Not(reason) => return not_translated(packet, reason, context),
        };
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
    fn remember_syn(&mut self, packet: &Packet, tuple: &Tuple, context: &Context<'_>) {
        if !self.settings.answer_unsolicited || !tuple.opens_connection() {
            return;
        }
        let external = tuple.destination;
        let is_ours = self.table.mappings.pool.has_port(external.port);
        if (is_ours || !context.is_local(packet.headers.destination))
            && let Some(syn) = Undelivered::of(packet)
        {
            self.unsolicited
                .remember(external, tuple.source, syn, context.now());
        }
    }

    /// A packet from inside to an external address: it leaves as all others do, and comes in again (RFC 4787 REQ-9, RFC 5382 REQ-8).
    fn hairpin(&mut self, packet: Packet, kind: Kind, context: &mut Context<'_>) {
        let now = context.now();
        let mut tuple = match kind {
            Kind::Ports(tuple) => tuple,
            Kind::Error => return self.hairpin_error(packet, context),
            Kind::Not(reason) => return not_translated(packet, reason, context),
        };
        // What is not for another inside host must not open a mapping.
        let target = self.target_of(&tuple, now);
        let Some(target) = target.filter(|_| tuple.protocol != Protocol::Icmp) else {
            return self.no_mapping(packet, &tuple, context);
        };
        let sender = match self.session_from_inside(&tuple, now) {
            Ok(sender) => sender,
            Err(reason) => return self.refuse(packet, reason, context),
        };
        self.note(&packet, sender, Direction::Outbound, context);
        tuple.source = self.table.session(sender).rewrite(Direction::Outbound).to();
        let session = match self.admit(target, &tuple, now) {
            Ok(session) => session,
            Err(reason) => return context.drop(packet, reason),
        };
        let delivery = Delivery {
            target,
            tuple,
            session,
            sender: Sender::Session(sender),
        };
        self.deliver(packet, delivery, context);
    }

    /// What a packet to an external address is for.
    fn target_of(&mut self, tuple: &Tuple, now: Time) -> Option<Target> {
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
    fn is_external(&self, address: Ipv4Addr) -> bool {
        self.table.mappings.pool.contains(address) || self.one_to_one.inside_of(address).is_some()
    }

    /// A packet to an external endpoint that stands for no inside host. If the address is the box's own, it may be for the box: ports
    /// that are not the translator's, and ICMP queries, whose identifiers the box's own programs choose as they like.
    fn no_mapping(&self, packet: Packet, tuple: &Tuple, context: &mut Context<'_>) {
        let has_port = self.table.mappings.pool.has_port(tuple.destination.port);
        if has_port && tuple.protocol != Protocol::Icmp {
            return context.drop(packet, DropReason::NatNoMapping);
        }
        pass_if_local(packet, DropReason::NatNoMapping, context);
    }

    /// Whether a packet may come in to a mapping (RFC 4787 §5): returns its session if it has one, and `None` if it may come without.
    fn admit(&mut self, target: Target, tuple: &Tuple, now: Time) -> Result<Option<u32>, DropReason> {
        let remote = tuple.source;
        let mapping = match target {
            Target::Mapping(mapping) => mapping,
            Target::Forward(_) if tuple.opens() => return Ok(None),
            Target::Forward(_) => return Err(DropReason::NatNotOpening),
        };
        if let Some(session) = self.table.find(mapping, remote, now) {
            return Ok(Some(session));
        }
        let is_admitted = match self.settings.filtering[tuple.protocol] {
            _ if self.table.mappings.get(mapping).is_forward => true,
            // Nobody answers a query that he was not sent.
            _ if tuple.protocol == Protocol::Icmp => false,
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self.table.knows_peer(mapping, remote.address, now),
            Filtering::AddressAndPortDependent => false,
        };
        match (is_admitted, tuple.opens()) {
            (false, _) => Err(DropReason::NatFiltered),
            (true, false) => Err(DropReason::NatNotOpening),
            (true, true) => Ok(None),
        }
    }

    /// Sends an admitted packet to its inside host, with its destination translated.
    #[inline]
    fn deliver(&mut self, packet: Packet, delivery: Delivery, context: &mut Context<'_>) {
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
        let Some(leaving) = self.leave(packet, session, Direction::Inbound, destination.address, context)
        else {
            return;
        };
        let Leaving {
            mut packet,
            departure,
            crosses,
        } = leaving;
        if !crosses {
            return context.drop(packet, DropReason::NatNotInside);
        }
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
                apply(&outbound, &mut packet, tuple.protocol, Side::Source);
            }
            Sender::OneToOne(address) => one_to_one::replace(&mut packet, Side::Source, address),
        }
        let inbound = match session {
            Some(session) => {
                self.table.touch(session, Direction::Inbound, tuple.flags, now);
                self.table.session(session).rewrite(Direction::Inbound)
            }
            None => Rewrite::new(tuple.protocol, tuple.destination, destination),
        };
        apply(&inbound, &mut packet, tuple.protocol, Side::Destination);
        self.send(packet, &departure, context);
    }

    /// Opens the session of a packet that was admitted without one. UDP goes on without where inbound packets must not keep the mapping
    /// alive, and where there is no room for a session: who may send does not change with the load (RFC 4787 REQ-11).
    fn open_inbound(&mut self, target: Target, tuple: &Tuple, now: Time) -> Result<Option<u32>, DropReason> {
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
            None => Err(DropReason::NatSessionLimit),
        }
    }

    /// Notes a session in the flow table, for the next packet of the flow.
    fn note(&self, packet: &Packet, session: u32, direction: Direction, context: &mut Context<'_>) {
        context.set_note(packet, self.table.cookie(session, direction).to_note());
    }

    /// Finds the way out for a packet: that of its session, or a new one. `None` if it can't leave now and was taken care of.
    #[inline]
    fn leave(
        &mut self,
        packet: Packet,
        session: Option<u32>,
        direction: Direction,
        destination: Ipv4Addr,
        context: &mut Context<'_>,
    ) -> Option<Leaving> {
        let version = context.network_version();
        if let Some(session) = session
            && let Some(departure) = self.table.session(session).way(direction, version)
        {
            let packet = context.check(packet, &departure)?;
            return Some(Leaving {
                packet,
                departure,
                crosses: true,
            });
        }
        let (packet, departure) = context.depart(packet, IpAddr::V4(destination))?;
        let role = context.interfaces().get(departure.interface).role;
        let crosses = role
            == match direction {
                Direction::Outbound => Role::Outside,
                Direction::Inbound => Role::Inside,
            };
        if let Some(session) = session
            && crosses
        {
            self.table
                .session_mut(session)
                .set_way(direction, version, departure);
        }
        Some(Leaving {
            packet,
            departure,
            crosses,
        })
    }
}

/// Rewrites one side of a packet.
#[inline]
fn apply(rewrite: &Rewrite, packet: &mut Packet, protocol: Protocol, side: Side) {
    let place = Place {
        network: usize::from(packet.headers.network),
        transport: usize::from(packet.headers.transport_start),
        end: usize::from(packet.headers.end),
        protocol,
    };
    rewrite.apply(packet.frame.bytes_mut(), place, side);
}

/// A packet to an external address that can't be translated. Of these only whole packets of other protocols can be for the box.
fn not_translated(packet: Packet, reason: DropReason, context: &mut Context<'_>) {
    if reason == DropReason::NatProtocol {
        pass_if_local(packet, reason, context);
    } else {
        context.drop(packet, reason);
    }
}

/// Passes a packet to the kernel if it is addressed to the box, else drops it.
fn pass_if_local(packet: Packet, reason: DropReason, context: &mut Context<'_>) {
    if context.is_local(packet.headers.destination) {
        context.pass(packet);
    } else {
        context.drop(packet, reason);
    }
}

impl Netchannel for Nat {
    fn kind(&self) -> &'static str {
        "nat"
    }

    fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>) {
        if self.table.session_count() > CACHED_SESSIONS {
            for packet in burst.iter() {
                self.table.prefetch(context.note(packet));
            }
        }
        for packet in burst.drain(..) {
            self.handle(packet, context);
        }
    }

    fn tick(&mut self, context: &mut Context<'_>) {
        self.table.expire(context.now(), TIMERS_PER_TICK);
        while let Some(syn) = self.unsolicited.next_due(context.now()) {
            context.answer_later(&syn, IcmpError::PortUnreachable);
        }
        self.give_up_fragments(context);
    }

    fn cleanup(&mut self, context: &mut Context<'_>) {
        for packet in self.datagrams.drain() {
            context.drop(packet, DropReason::NatFragmentTimeout);
        }
    }

    fn held(&self) -> usize {
        self.datagrams.held()
    }

    fn details(&self) -> BTreeMap<String, Value> {
        let mut details = listing::details(&self.settings, &self.table);
        details.insert("unsupported_icmp_types".to_owned(), json!(self.unsupported));
        details
    }

    fn mappings(&self, after: u64, limit: usize, now: Time) -> (Vec<report::Mapping>, Option<u64>) {
        listing::mappings(&self.table, after, limit, now)
    }
}
