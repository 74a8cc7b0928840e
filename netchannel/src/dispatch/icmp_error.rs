//! The ICMP errors that a router owes to the sender of a packet that it can't forward.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpNumber, Ipv4Header, Ipv6FlowLabel,
    Ipv6Header, icmpv4, icmpv6,
};

use crate::interface::InterfaceId;
use crate::packet::{Fragment, Packet, Transport, protocol};
use crate::port::Frame;
use crate::time::Time;

/// What the sender of a packet is told when it could not be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// The time to live or hop limit ran out.
    TimeExceeded,
    /// The packet is larger than this MTU and may not be fragmented.
    TooBig(u16),
    /// There is no route to the destination.
    NetUnreachable,
    /// The next hop does not answer.
    HostUnreachable,
    /// Nobody is there at the destination port.
    PortUnreachable,
    /// Communication is forbidden by the administrator.
    Prohibited,
}

/// IPv4 errors are at most this long (RFC 1812 §4.3.2.3).
const LONGEST_V4: usize = 576;
/// IPv6 errors are at most this long (RFC 4443 §2.4 (c)).
const LONGEST_V6: usize = 1280;
/// How errors are marked, so that routers don't drop them first (RFC 1812 §4.3.2.5, RFC 2474 §4.2.2.2): precedence 6.
const INTERNETWORK_CONTROL: IpDscp = match IpDscp::try_new(48) {
    Ok(dscp) => dscp,
    Err(_) => IpDscp::ZERO,
};
/// Hop limit of packets made here.
const TTL: u8 = 64;

/// Whether an error may be sent about this packet (RFC 1812 §4.3.2.7, RFC 4443 §2.4 (e)): never about an ICMP error, a later
/// fragment, or a packet that was not from and to a single host.
fn may_answer(packet: &Packet) -> bool {
    let headers = &packet.headers;
    let to_group = packet.frame.bytes().first().is_some_and(|first| first & 1 == 1);
    let is_error = match headers.transport {
        Transport::Icmp { kind, .. } if headers.protocol == protocol::ICMP => {
            matches!(kind, 3 | 4 | 5 | 11 | 12)
        }
        Transport::Icmp { kind, .. } => kind < 128 || kind == 137,
        _ => false,
    };
    !to_group
        && !is_error
        && headers.fragment != Fragment::Later
        && super::routing::is_possible_source(headers.source)
}

/// What an error says of the packet that it is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// Its Ethernet header, with tags.
    link: &'a [u8],
    /// The IP packet, or its start.
    original: &'a [u8],
    /// Its sender, who gets the error.
    pub(crate) source: IpAddr,
    /// The interface that it came in on.
    pub(crate) interface: InterfaceId,
}

impl<'a> About<'a> {
    /// `None` if no error may be sent about this packet.
    pub(crate) fn of(packet: &'a Packet) -> Option<Self> {
        if !may_answer(packet) {
            return None;
        }
        let (link, rest) = packet
            .frame
            .bytes()
            .split_at_checked(packet.headers.network.into())?;
        Some(Self {
            link,
            original: rest.get(..packet.headers.network_len())?,
            source: packet.headers.source,
            interface: packet.interface,
        })
    }
}

/// What is kept of a packet that was dropped, to tell its sender of it later.
#[derive(Clone, Debug)]
pub struct Undelivered {
    bytes: Box<[u8]>,
    /// Where the IP packet starts.
    network: usize,
    source: IpAddr,
    interface: InterfaceId,
}

impl Undelivered {
    /// The longest start of an IP packet that is kept, in bytes: the longest headers of IPv4 and TCP.
    const LONGEST: usize = 120;

    /// `None` if no ICMP error may be sent about this packet (RFC 1812 §4.3.2.7).
    pub fn of(packet: &Packet) -> Option<Self> {
        let about = About::of(packet)?;
        let original = &about.original[..about.original.len().min(Self::LONGEST)];
        Some(Self {
            bytes: [about.link, original].concat().into(),
            network: about.link.len(),
            source: about.source,
            interface: about.interface,
        })
    }

    pub(crate) fn about(&self) -> About<'_> {
        let (link, original) = self.bytes.split_at(self.network);
        About {
            link,
            original,
            source: self.source,
            interface: self.interface,
        }
    }
}

/// Writes an error into `frame`, to go back to where the packet came from. `from` is the box's own address on that side, of the
/// packet's family.
///
/// # Errors
/// If the frame is too small or the addresses' families differ; the frame is of no use then.
pub(crate) fn write(about: &About<'_>, error: IcmpError, from: IpAddr, frame: &mut Frame) -> io::Result<()> {
    let About {
        link,
        original,
        source,
        ..
    } = *about;
    let network = link.len();
    let mut message = Vec::with_capacity(LONGEST_V6);
    match (from, source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => write_v4(&mut message, original, error, from, to)?,
        (IpAddr::V6(from), IpAddr::V6(to)) => write_v6(&mut message, original, error, from, to)?,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    frame.set_len(network + message.len()).map_err(io::Error::other)?;
    let bytes = frame.bytes_mut();
    // Back to the sender by the link that the packet came in on, with the same VLAN tags.
    bytes[..network].copy_from_slice(link);
    bytes[0..6].copy_from_slice(&link[6..12]);
    bytes[6..12].copy_from_slice(&link[0..6]);
    bytes[network..].copy_from_slice(&message);
    Ok(())
}

fn write_v4(
    message: &mut Vec<u8>,
    original: &[u8],
    error: IcmpError,
    from: Ipv4Addr,
    to: Ipv4Addr,
) -> io::Result<()> {
    use icmpv4::DestUnreachableHeader as Unreachable;
    let kind = match error {
        IcmpError::TimeExceeded => Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit),
        IcmpError::TooBig(mtu) => {
            Icmpv4Type::DestinationUnreachable(Unreachable::FragmentationNeeded { next_hop_mtu: mtu })
        }
        IcmpError::NetUnreachable => Icmpv4Type::DestinationUnreachable(Unreachable::Network),
        IcmpError::HostUnreachable => Icmpv4Type::DestinationUnreachable(Unreachable::Host),
        IcmpError::PortUnreachable => Icmpv4Type::DestinationUnreachable(Unreachable::Port),
        IcmpError::Prohibited => Icmpv4Type::DestinationUnreachable(Unreachable::FilterProhibited),
    };
    let quoted = &original[..original
        .len()
        .min(LONGEST_V4 - Ipv4Header::MIN_LEN - Icmpv4Header::MIN_LEN)];
    let icmp = Icmpv4Header::with_checksum(kind, quoted);
    let payload = (icmp.header_len() + quoted.len()) as u16;
    let mut ip = Ipv4Header::new(payload, TTL, IpNumber::ICMP, from.octets(), to.octets())
        .map_err(io::Error::other)?;
    ip.dscp = INTERNETWORK_CONTROL;
    ip.header_checksum = ip.calc_header_checksum();
    ip.write(message)?;
    icmp.write(message)?;
    message.extend_from_slice(quoted);
    Ok(())
}

fn write_v6(
    message: &mut Vec<u8>,
    original: &[u8],
    error: IcmpError,
    from: Ipv6Addr,
    to: Ipv6Addr,
) -> io::Result<()> {
    use icmpv6::DestUnreachableCode as Unreachable;
    let kind = match error {
        IcmpError::TimeExceeded => Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded),
        IcmpError::TooBig(mtu) => Icmpv6Type::PacketTooBig { mtu: u32::from(mtu) },
        IcmpError::NetUnreachable => Icmpv6Type::DestinationUnreachable(Unreachable::NoRoute),
        IcmpError::HostUnreachable => Icmpv6Type::DestinationUnreachable(Unreachable::Address),
        IcmpError::PortUnreachable => Icmpv6Type::DestinationUnreachable(Unreachable::Port),
        IcmpError::Prohibited => Icmpv6Type::DestinationUnreachable(Unreachable::Prohibited),
    };
    let quoted = &original[..original
        .len()
        .min(LONGEST_V6 - Ipv6Header::LEN - Icmpv6Header::MIN_LEN)];
    let icmp =
        Icmpv6Header::with_checksum(kind, from.octets(), to.octets(), quoted).map_err(io::Error::other)?;
    Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: (icmp.header_len() + quoted.len()) as u16,
        next_header: IpNumber::IPV6_ICMP,
        hop_limit: TTL,
        source: from.octets(),
        destination: to.octets(),
    }
    .write(message)?;
    icmp.write(message)?;
    message.extend_from_slice(quoted);
    Ok(())
}

/// How often errors are sent: a token bucket (RFC 1812 §4.3.2.8, RFC 4443 §2.4 (f)).
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    tokens: u64,
    filled: Time,
    per_second: u64,
    burst: u64,
}

impl RateLimit {
    /// Errors a second in the long run, of all workers together.
    const PER_SECOND: u64 = 1000;
    /// Errors that may leave at once.
    const BURST: u64 = 50;

    /// The part of one of so many workers.
    pub(crate) fn of_one_of(workers: usize) -> Self {
        let workers = workers.max(1) as u64;
        let burst = (Self::BURST / workers).max(1);
        Self {
            tokens: burst,
            filled: Time::ZERO,
            per_second: Self::PER_SECOND / workers,
            burst,
        }
    }

    /// Takes a token if there is one.
    pub(crate) fn allow(&mut self, now: Time) -> bool {
        let elapsed = now.since(self.filled).as_nanos().min(1_000_000_000) as u64;
        let earned = elapsed * self.per_second / 1_000_000_000;
        if earned > 0 {
            self.tokens = (self.tokens + earned).min(self.burst);
            self.filled = now;
        }
        let allowed = self.tokens > 0;
        self.tokens -= u64::from(allowed);
        allowed
    }
}
