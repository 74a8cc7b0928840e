//! The channel `nat`: many inside hosts share few external IPv4 addresses, each connection by a port of its own (NAPT, RFC 3022 §2.2).
//!
//! Mappings are endpoint-independent (RFC 4787, RFC 5382, RFC 5508) unless the settings say otherwise, filtering is as configured.
//! Ports may be forwarded, and inside hosts may have external addresses of their own. Packets between inside interfaces are
//! forwarded as they are, those to an external address are translated twice (hairpinning), and packets for the box itself go
//! to the kernel. TCP, UDP and ICMP queries are translated, fragmented ones too, and ICMP errors about them with the packet that they
//! quote; other protocols for hosts with an address of their own alone.
//!
//! The first packet of a session costs a lookup by hash or index, a choice of a port if a mapping is made, and a search for the way out.
//! For the others the flow table has a note that leads to the session, which has everything ready: the addresses, what they
//! do to the checksums, and the way out as long as the network does not change.

mod address_set;
mod block_owners;
mod blocks;
mod chain;
mod datagrams;
mod deterministic;
mod entries;
mod errors;
mod events;
mod flow;
mod forwards;
mod fragments;
mod hosts;
mod icmp;
mod identification;
mod inbound;
mod index;
mod known;
mod limits;
mod listing;
mod mapping;
mod moving;
mod offload;
mod one_to_one;
mod outbound;
mod owner;
mod peers;
mod pool;
mod ports;
mod refusals;
mod segment_size;
mod session;
mod settings;
mod settings_error;
mod share;
mod slab;
pub mod state;
mod table;
mod tcp;
mod timers;
mod translate;
mod unsolicited;

pub use blocks::{MOST_BLOCKS, PortBlocks, SMALLEST_BLOCK};
pub use datagrams::SharedFragments;
pub use deterministic::{Deterministic, HostPorts, PortScheme, TooFewPorts};
pub use events::{
    EndReason, Event, LimitReached, PortBlock, Record, Recorder, Recording, Selection, Translation, recording,
};
pub use flow::{PerProtocol, Protocol, UnknownProtocol};
pub use forwards::Forward;
pub use limits::Limits;
pub use one_to_one::OneToOne;
pub use settings::{
    Filtering, HIGHEST_LIMIT, HIGHEST_WELL_KNOWN_PORT, MOST_ADDRESSES, MappingBehavior, NatSettings, Pooling,
    PortHold, Refusal, SegmentSize, Timeouts, is_stand_in, stand_in,
};
pub use settings_error::SettingsError;
pub use share::{MOST_WORKERS, Share, ShareError, worker_of};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{
    AddressEntry, ChannelError, ChannelId, MappingEntry, Netchannel, SessionEntry, Setup, Slice, Sliced,
    TableMemory,
};
use crate::control::report;
use crate::dispatch::dimensions::Arrival;
use crate::dispatch::{Context, Departure, FlowKey, IcmpError, Offloadable, is_possible_source};
use crate::drop_reason::DropReason;
use crate::interface::Role;
use crate::packet::{Fragment, Packet};
use crate::time::Time;
use events::Events;
use flow::{Direction, Endpoint, Kind, Tuple};
use identification::Identifications;
use one_to_one::OneToOnes;
use owner::{Handed, Owners};
use table::Table;
use translate::{Place, Rewrite, Side};
use unsolicited::Unsolicited;

/// Timers that are looked at in one tick, some ten times a second: a tick takes less than a millisecond, at some 400 nanoseconds for the end
/// of a session and its mapping. Those that are opened faster than this clears them away are cleared away by the opening of others.
const TIMERS_PER_TICK: usize = 2048;

/// Sessions of which the processor's caches most likely hold what is in use: of more, those of a burst are loaded ahead.
const CACHED_SESSIONS: usize = 4096;

/// How many packets ahead: by then memory has answered, and not more is asked of it than the processor can wait for at once.
const AHEAD: usize = 16;

/// The translator. Its state belongs to one worker.
pub struct Nat {
    settings: NatSettings,
    table: Table,
    one_to_one: OneToOnes,
    unsolicited: Unsolicited,
    fragments: SharedFragments,
    /// Another translator counts the fragments that are held.
    is_beside: bool,
    /// Whether the first fragment that is being translated was sent.
    first_was_sent: bool,
    /// ICMP messages that are not translated, by type.
    unsupported: BTreeMap<u8, u64>,
    /// The number that it is registered under.
    channel: ChannelId,
    /// Which worker has what, if several share the work.
    owners: Option<Owners>,
    /// What the packet was handed on for that is being looked at.
    handed: Handed,
    /// The worker that a packet was handed to last.
    handed_to: usize,
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
            identifications: Identifications::new(settings.share, &mut random),
            table: Table::new(&settings, random),
            settings,
        })
    }

    /// Has it record what happens.
    pub fn record(&mut self, recorder: Recorder) {
        self.table.mappings.events = Events::to(recorder);
    }

    /// The channel, which stays on the thread that its packets are on.
    pub fn into_channel(self) -> Nat {
        let (settings, table) = (self.settings, self.table);
        into_nat(settings, table, SharedFragments::new(self.identifications), false)
    }

    /// The same beside another translator of the worker, with which it has `fragments` in common.
    pub fn into_channel_beside(self, fragments: &SharedFragments) -> Nat {
        into_nat(self.settings, self.table, fragments.clone(), true)
    }
}

fn into_nat(settings: NatSettings, table: Table, fragments: SharedFragments, is_beside: bool) -> Nat {
    Nat {
        fragments,
        is_beside,
        one_to_one: OneToOnes::new(&settings.one_to_one),
        owners: Owners::of(&settings),
        settings,
        table,
        unsolicited: Unsolicited::new(),
        first_was_sent: false,
        unsupported: BTreeMap::new(),
        channel: ChannelId(0),
        handed: Handed::No,
        handed_to: 0,
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
    /// An inside host of another worker, with this external endpoint.
    Elsewhere(Endpoint),
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

    /// What it knows of fragments, to be shared with other translators of the worker.
    pub fn fragments(&self) -> SharedFragments {
        self.fragments.clone()
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
        let direction = Direction::from(context.interfaces().get(packet.interface).role);
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
            && let Some(&departure) = self.table.way_of(self.table.session(session), direction, version)
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
            self.table.set_way(session, direction, version, departure);
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

    fn init(&mut self, setup: &Setup<'_>) -> Result<(), ChannelError> {
        self.channel = setup.channel;
        Ok(())
    }

    fn owner(&self, arrival: &Arrival<'_>, role: Role) -> Option<usize> {
        self.owner_of_flow(arrival.headers, role)
    }

    fn take_over(&mut self, packet: Packet, word: u64, context: &mut Context<'_>) {
        self.take_over_packet(packet, word, context);
    }

    fn offload(&mut self, flow: &FlowKey, note: u64, context: &mut Context<'_>) -> Option<Offloadable> {
        let role = context.interfaces().get(flow.interface).role;
        self.offloadable_one_to_one(flow, role)
            .or_else(|| self.offloadable(flow, note, role, context.network_version(), context.now()))
    }

    fn carried_until(&mut self, note: u64, seen: Option<Time>) -> Option<Time> {
        self.table.carried_until(note, seen)
    }

    fn recalled(&mut self, notes: &mut Vec<u64>) {
        notes.append(&mut self.table.recalled);
    }

    fn process(&mut self, burst: &mut Vec<Packet>, context: &mut Context<'_>) {
        self.table.start_burst();
        let loads_ahead = self.table.session_count() > CACHED_SESSIONS;
        if loads_ahead {
            for packet in burst.iter().take(AHEAD) {
                self.table.prefetch(context.note(packet));
            }
        }
        let mut packets = burst.drain(..);
        while let Some(mut packet) = packets.next() {
            if loads_ahead && let Some(later) = packets.as_slice().get(AHEAD - 1) {
                self.table.prefetch(context.note(later));
            }
            match self.translate_known(&mut packet, context) {
                Some(departure) if packet.headers.dont_fragment => context.send(packet, departure),
                Some(&departure) => {
                    self.before_sending(&mut packet, &departure, context);
                    context.send(packet, &departure);
                }
                None => self.handle(packet, context),
            }
        }
    }

    fn expects(&self, arrival: &Arrival<'_>, role: Role) -> bool {
        match Kind::of(arrival.headers) {
            Kind::Ports(tuple) => self.table.knows(&tuple, role.into()),
            Kind::Error | Kind::Not(_) => false,
        }
    }

    fn tick(&mut self, context: &mut Context<'_>) {
        self.table.expire(context.now(), TIMERS_PER_TICK);
        while let Some(syn) = self.unsolicited.next_due(context.now()) {
            context.answer_later(&syn, IcmpError::PortUnreachable);
        }
        self.give_up_fragments(context);
        self.table.mappings.events.tick(context.now());
    }

    fn cleanup(&mut self, context: &mut Context<'_>) {
        for packet in self.fragments.with(|known| known.datagrams.drain()) {
            context.drop(packet, DropReason::NatFragmentTimeout);
        }
    }

    fn held(&self) -> usize {
        if self.is_beside {
            return 0;
        }
        self.fragments.with(|known| known.datagrams.held())
    }

    fn details(&self) -> BTreeMap<String, Value> {
        let mut details = listing::details(&self.settings, &self.table);
        details.insert("unsupported_icmp_types".to_owned(), json!(self.unsupported));
        details
    }

    fn mappings(&self, slice: Slice<'_>, now: Time) -> Sliced<MappingEntry> {
        entries::mappings(&self.table, slice, now)
    }

    fn sessions(&self, slice: Slice<'_>, now: Time) -> Sliced<SessionEntry> {
        entries::sessions(&self.table, slice, now)
    }

    fn noted_session(&self, note: u64, now: Time) -> Option<SessionEntry> {
        entries::noted_session(&self.table, note, now)
    }

    fn pool(&self) -> Option<report::Pool> {
        Some(entries::pool(&self.settings, &self.table))
    }

    fn addresses(&self, slice: Slice<'_>) -> Sliced<AddressEntry> {
        entries::addresses(&self.table, slice)
    }

    fn memory(&self) -> Vec<TableMemory> {
        self.table.memory()
    }

    fn delete_mappings(&mut self, slice: Slice<'_>, now: Time) -> (u64, Option<u64>) {
        entries::delete(&mut self.table, slice, now)
    }

    fn withdraw_address(
        &mut self,
        address: Ipv4Addr,
        stand_in: Ipv4Addr,
        after: u64,
        now: Time,
    ) -> Option<u64> {
        self.take_address_away(address, stand_in, after, now)
    }

    fn assign_address(&mut self, stand_in: Ipv4Addr, address: Ipv4Addr, now: Time) {
        self.take_address_up(stand_in, address, now);
    }

    fn state(&self, after: u64, limit: usize, now: Time) -> Option<state::Part> {
        Some(state::part(&self.settings, &self.table, after, limit, now))
    }

    fn restore(&mut self, saved: &state::Saved<'_>, stopped: Duration, now: Time) -> Option<state::Restored> {
        Some(state::restore(self, saved, stopped, now))
    }
}
