//! What a worker shares among its channels: interfaces, the view of the network, the flow table, queues out, and counters.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::flow_key::FlowKey;
use super::flow_table::FlowTable;
use super::icmp_error::{self, About, IcmpError};
use super::routing::{self, Departure, NextHop, Resolve, Way};
use super::team::Member;
use super::ways::Ways;
use super::{ethernet, fragment};
use crate::drop_reason::{DropCounters, DropReason};
use crate::interface::{Interface, InterfaceId, Interfaces, PortId};
use crate::network::{MacAddress, NetworkReader};
use crate::packet::{Headers, Packet, checksum};
use crate::port::{Frame, FramePool};
use crate::time::Time;

/// The way to the kernel for packets whose channel is `pass`.
pub trait KernelPath {
    /// Hands a frame to the kernel as if it had just come in on `interface`, and leaves the rest of its flow to the kernel if that is
    /// possible.
    ///
    /// # Errors
    /// If the kernel did not take it; it is dropped and counted then.
    fn pass(&mut self, frame: &[u8], interface: &Interface, flow: &FlowKey) -> io::Result<()>;
}

/// Packets that may wait for one next hop's address.
const WAITING_PACKETS: usize = 16;
/// Next hops that packets may wait for at once.
const WAITING_NEXT_HOPS: usize = 256;
/// How long packets wait: the kernel asks three times, a second apart.
const WAITING_TIME: Duration = Duration::from_secs(3);
/// How often the kernel is asked for a missing address.
const RESOLVE_AGAIN: Duration = Duration::from_secs(1);
/// How often the kernel is asked to confirm a stale address that is in use.
const CONFIRM_AGAIN: Duration = Duration::from_secs(5);

/// What became of the packets of a worker. At any time
/// `received + originated + taken_over = transmitted + passed + dropped + consumed + held + handed_on`.
/// Of a [team](super::team) of workers, `handed_on` is what all have `taken_over`, and what is on its way between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets taken from ports.
    pub received: u64,
    /// Packets made here: ICMP errors, further fragments, and what channels make.
    pub originated: u64,
    /// Packets given to ports.
    pub transmitted: u64,
    /// Packets passed to the kernel.
    pub passed: u64,
    /// Packets dropped, by reason.
    pub dropped: DropCounters,
    /// Packets that wait for a next hop's address, or that channels keep.
    pub held: u64,
    /// Packets taken over from other workers.
    pub taken_over: u64,
    /// Packets handed to other workers, which they belong to.
    pub handed_on: u64,
}

impl Totals {
    /// Adds those of another worker.
    pub fn add(&mut self, more: &Self) {
        let Self {
            received,
            originated,
            transmitted,
            passed,
            dropped,
            held,
            taken_over,
            handed_on,
        } = self;
        *received += more.received;
        *originated += more.originated;
        *transmitted += more.transmitted;
        *passed += more.passed;
        dropped.add(&more.dropped);
        *held += more.held;
        *taken_over += more.taken_over;
        *handed_on += more.handed_on;
    }

    /// Packets that a channel consumed: it took them and did not send, pass, drop or keep them.
    pub fn consumed(&self) -> u64 {
        let gone = self.transmitted + self.passed + self.dropped.total() + self.held + self.handed_on;
        (self.received + self.originated + self.taken_over).saturating_sub(gone)
    }
}

struct Waiting {
    packets: Vec<Packet>,
    since: Time,
    asked: Time,
}

/// Packets that waited for a next hop's address.
#[derive(Default)]
pub(crate) struct Settled {
    /// Those that can go on.
    pub(crate) ready: Vec<Packet>,
    /// Those that waited too long.
    pub(crate) late: Vec<Packet>,
}

/// See the module.
pub(crate) struct Core {
    pub(crate) interfaces: Interfaces,
    pub(crate) network: NetworkReader,
    /// Each interface's Ethernet address as of the present view of the network.
    macs: Vec<MacAddress>,
    pub(crate) flows: FlowTable,
    /// The ways out that flows of channels without tables of their own take.
    pub(super) ways: Ways,
    pub(crate) pool: FramePool,
    pub(crate) totals: Totals,
    resolver: Box<dyn Resolve>,
    kernel: Box<dyn KernelPath>,
    outputs: Vec<Vec<Frame>>,
    waiting: HashMap<NextHop, Waiting>,
    confirmed: HashMap<NextHop, Time>,
    icmp_limit: icmp_error::RateLimit,
    /// The ways to other workers, if there are any.
    pub(crate) team: Option<Member>,
}

impl Core {
    pub(crate) fn new(
        interfaces: Interfaces,
        ports: usize,
        pool: FramePool,
        flows: FlowTable,
        network: NetworkReader,
        resolver: Box<dyn Resolve>,
        kernel: Box<dyn KernelPath>,
    ) -> Self {
        let mut core = Self {
            interfaces,
            network,
            macs: Vec::new(),
            flows,
            ways: Ways::default(),
            pool,
            totals: Totals::default(),
            resolver,
            kernel,
            outputs: std::iter::repeat_with(Vec::new).take(ports).collect(),
            waiting: HashMap::new(),
            confirmed: HashMap::new(),
            icmp_limit: icmp_error::RateLimit::of_one_of(1),
            team: None,
        };
        core.learn_macs();
        core
    }

    /// Works with others from now on, which each send their part of the ICMP errors.
    pub(crate) fn join(&mut self, team: Member) {
        self.icmp_limit = icmp_error::RateLimit::of_one_of(team.workers());
        self.team = Some(team);
    }

    /// Takes a newer view of the network if there is one, and says whether there was.
    pub(crate) fn refresh_network(&mut self) -> bool {
        let changed = self.network.refresh();
        if changed {
            self.learn_macs();
        }
        changed
    }

    /// Goes on with interfaces, frames and a way to the kernel that are new.
    pub(crate) fn reopen(&mut self, interfaces: Interfaces, pool: FramePool, kernel: Box<dyn KernelPath>) {
        self.pool = pool;
        self.kernel = kernel;
        self.set_interfaces(interfaces);
    }

    pub(crate) fn set_interfaces(&mut self, interfaces: Interfaces) {
        self.interfaces = interfaces;
        self.learn_macs();
    }

    fn learn_macs(&mut self) {
        let links = &self.network.network().links;
        let mac = |interface: &Interface| links.get(interface.index).map_or([0; 6], |link| link.mac);
        self.macs = self
            .interfaces
            .iter()
            .map(|(_, interface)| mac(interface))
            .collect();
    }

    /// Whether a frame that came in on an interface is addressed to it.
    #[inline]
    pub(crate) fn is_for_us(&self, frame: &[u8], interface: InterfaceId) -> bool {
        frame.starts_with(&self.macs[usize::from(interface.0)])
    }

    #[inline]
    pub(crate) fn drop(&mut self, frame: Frame, reason: DropReason) {
        self.totals.dropped.count(reason);
        drop(frame);
    }

    pub(crate) fn pass(&mut self, packet: Packet) {
        let key = FlowKey::of(&packet.headers, packet.interface);
        match self
            .kernel
            .pass(packet.frame.bytes(), self.interfaces.get(packet.interface), &key)
        {
            Ok(()) => self.totals.passed += 1,
            Err(error) => {
                log::debug!("the kernel did not take a packet: {error}");
                self.drop(packet.frame, DropReason::PassFailed);
            }
        }
    }

    /// Frames queued for a port; whoever takes them gives them to the port.
    pub(crate) fn output(&mut self, port: PortId) -> &mut Vec<Frame> {
        &mut self.outputs[usize::from(port.0)]
    }

    #[inline]
    pub(crate) fn transmit(&mut self, frame: Frame, interface: InterfaceId) {
        let port = self.interfaces.get(interface).port;
        self.outputs[usize::from(port.0)].push(frame);
    }

    pub(crate) fn originate(&mut self, frame: Frame, interface: InterfaceId) {
        self.totals.originated += 1;
        self.transmit(frame, interface);
    }

    /// Sends an ICMP error about `packet` back to where it came from.
    pub(crate) fn answer(&mut self, packet: &Packet, error: IcmpError, now: Time) {
        if let Some(about) = About::of(packet) {
            self.answer_about(&about, error, now);
        }
    }

    /// As [`answer`](Self::answer), about a packet that may be gone.
    pub(crate) fn answer_about(&mut self, about: &About<'_>, error: IcmpError, now: Time) {
        let interface = self.interfaces.get(about.interface);
        if !interface.sends_icmp_errors || !self.icmp_limit.allow(now) {
            return;
        }
        let link = self.network.network().links.get(interface.index);
        let Some(from) = link.and_then(|link| link.source_address(about.source)) else {
            return;
        };
        let Some(mut frame) = self.pool.take() else { return };
        match icmp_error::write(about, error, from, &mut frame) {
            Ok(()) => self.originate(frame, about.interface),
            Err(error) => log::debug!("an ICMP error could not be made: {error}"),
        }
    }

    #[inline]
    pub(crate) fn way_to(&self, destination: IpAddr, flow_hash: u32) -> Way {
        routing::way_to(self.network.network(), &self.interfaces, destination, flow_hash)
    }

    /// The way to `destination` if packets can leave now, and its next hop.
    pub(crate) fn open_way(&self, destination: IpAddr, flow_hash: u32) -> Option<(Departure, NextHop)> {
        routing::open_way(self.network.network(), &self.interfaces, destination, flow_hash)
    }

    /// The Ethernet address of an interface.
    pub(crate) fn mac_of(&self, interface: InterfaceId) -> MacAddress {
        self.macs[usize::from(interface.0)]
    }

    /// Has the kernel confirm a next hop's address that is in use.
    pub(crate) fn confirm(&mut self, next_hop: NextHop, now: Time) {
        // Forgetting costs one question too many.
        if self.confirmed.len() >= WAITING_NEXT_HOPS {
            self.confirmed.clear();
        }
        let due = self
            .confirmed
            .get(&next_hop)
            .is_none_or(|&asked| now.since(asked) >= CONFIRM_AGAIN);
        if due {
            self.confirmed.insert(next_hop, now);
            self.resolver.resolve(next_hop.index, next_hop.address);
        }
    }

    /// Keeps a packet until the next hop's address is known.
    pub(crate) fn wait(&mut self, packet: Packet, next_hop: NextHop, now: Time) {
        if !self.waiting.contains_key(&next_hop) {
            if self.waiting.len() >= WAITING_NEXT_HOPS {
                return self.drop(packet.frame, DropReason::NeighbourQueueFull);
            }
            self.resolver.resolve(next_hop.index, next_hop.address);
        }
        let waiting = self.waiting.entry(next_hop).or_insert_with(|| Waiting {
            packets: Vec::new(),
            since: now,
            asked: now,
        });
        if waiting.packets.len() >= WAITING_PACKETS {
            return self.drop(packet.frame, DropReason::NeighbourQueueFull);
        }
        waiting.packets.push(packet);
        self.totals.held += 1;
    }

    /// Takes out the packets that need not wait any more, because their next hop's address is known or its link is gone, and those that
    /// waited too long.
    pub(crate) fn settle(&mut self, now: Time) -> Settled {
        let mut settled = Settled::default();
        if self.waiting.is_empty() {
            return settled;
        }
        let (network, resolver) = (self.network.network(), &self.resolver);
        self.waiting.retain(|next_hop, waiting| {
            let known = network.neighbours.lookup(next_hop.index, next_hop.address);
            let link_is_there = network.links.get(next_hop.index).is_some_and(|link| link.up);
            if !link_is_there || known.is_some_and(|neighbour| neighbour.mac.is_some()) {
                settled.ready.append(&mut waiting.packets);
                return false;
            }
            if now.since(waiting.since) >= WAITING_TIME {
                settled.late.append(&mut waiting.packets);
                return false;
            }
            if now.since(waiting.asked) >= RESOLVE_AGAIN {
                waiting.asked = now;
                resolver.resolve(next_hop.index, next_hop.address);
            }
            true
        });
        self.totals.held -= (settled.ready.len() + settled.late.len()) as u64;
        settled
    }

    /// Drops a packet that waited too long, and tells its sender.
    pub(crate) fn give_up(&mut self, packet: Packet, now: Time) {
        self.answer(&packet, IcmpError::HostUnreachable, now);
        self.drop(packet.frame, DropReason::NeighbourUnresolved);
    }

    /// Drops everything that waits: the worker stops.
    pub(crate) fn drop_waiting(&mut self) {
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            for packet in waiting.packets {
                self.totals.held -= 1;
                self.drop(packet.frame, DropReason::NeighbourUnresolved);
            }
        }
    }

    /// See [`Context::send`](super::Context::send). `headers` are those of the frame.
    #[inline]
    pub(crate) fn send(&mut self, mut frame: Frame, headers: &Headers, departure: &Departure) {
        let network = usize::from(headers.network);
        decrement_ttl(&mut frame.bytes_mut()[network..], headers.is_ipv4());
        let egress = self.interfaces.get(departure.interface);
        if headers.network_len() > usize::from(departure.mtu) {
            return self.send_too_big(frame, headers, departure);
        }
        match ethernet::encapsulate(&mut frame, network, egress, departure) {
            Ok(_) => self.outputs[usize::from(egress.port.0)].push(frame),
            Err(_) => match self.encapsulate_in_larger(&frame, network, departure) {
                Some((larger, _)) => self.transmit(larger, departure.interface),
                None => self.drop(frame, DropReason::TooBig),
            },
        }
    }

    /// The same in a long frame, for a packet whose own has no room for the VLAN tags that it gets; and where the IP header is then.
    #[cold]
    fn encapsulate_in_larger(
        &self,
        frame: &Frame,
        network: usize,
        departure: &Departure,
    ) -> Option<(Frame, usize)> {
        let mut larger = self.pool.take_long()?;
        larger.append(frame.bytes()).ok()?;
        let egress = self.interfaces.get(departure.interface);
        let network = ethernet::encapsulate(&mut larger, network, egress, departure).ok()?;
        Some((larger, network))
    }

    /// Sends a packet that does not fit in fragments.
    #[cold]
    fn send_too_big(&mut self, mut frame: Frame, headers: &Headers, departure: &Departure) {
        if frame.set_len(usize::from(headers.end)).is_err() {
            return self.drop(frame, DropReason::Truncated);
        }
        let egress = self.interfaces.get(departure.interface);
        let network = usize::from(headers.network);
        match ethernet::encapsulate(&mut frame, network, egress, departure) {
            Ok(network) => self.send_fragments(frame, network, departure),
            Err(_) => match self.encapsulate_in_larger(&frame, network, departure) {
                Some((larger, network)) => self.send_fragments(larger, network, departure),
                None => self.drop(frame, DropReason::TooBig),
            },
        }
    }

    fn send_fragments(&mut self, frame: Frame, network: usize, departure: &Departure) {
        let (link, packet) = frame.bytes().split_at(network);
        let Ok(fragments) = fragment::split(packet, departure.mtu) else {
            return self.drop(frame, DropReason::TooBig);
        };
        let mut frames = Vec::with_capacity(fragments.len());
        for part in &fragments {
            let Some(mut copy) = self.pool.take_for(network + part.len()) else {
                return self.drop(frame, DropReason::NoFrame);
            };
            if copy.set_len(network + part.len()).is_err() {
                return self.drop(frame, DropReason::TooBig);
            }
            copy.bytes_mut()[..network].copy_from_slice(link);
            copy.bytes_mut()[network..].copy_from_slice(part);
            frames.push(copy);
        }
        // One packet came, several leave.
        self.totals.originated += frames.len() as u64 - 1;
        for copy in frames {
            self.transmit(copy, departure.interface);
        }
    }
}

#[inline]
fn decrement_ttl(ip: &mut [u8], is_ipv4: bool) {
    let Some(ip) = ip.first_chunk_mut::<20>() else {
        return;
    };
    if is_ipv4 {
        let old = u16::from_be_bytes([ip[8], ip[9]]);
        ip[8] = ip[8].wrapping_sub(1);
        let new = u16::from_be_bytes([ip[8], ip[9]]);
        let sum = checksum::Delta::NONE
            .word(old, new)
            .apply(u16::from_be_bytes([ip[10], ip[11]]));
        [ip[10], ip[11]] = sum.to_be_bytes();
    } else {
        ip[7] = ip[7].wrapping_sub(1);
    }
}
