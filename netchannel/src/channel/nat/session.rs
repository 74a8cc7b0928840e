//! Sessions: a mapping in use with one outside endpoint, and all that its packets need.

use std::time::Duration;

use super::events::EndReason;
use super::flow::{Direction, Endpoint, Protocol};
use super::mapping::Mapping;
use super::settings::Timeouts;
use super::tcp;
use super::translate::Rewrite;
use crate::dispatch::ways;
use crate::time::Time;

/// The timeouts in nanoseconds, as each packet needs them.
pub(super) struct Lifetimes {
    udp: u64,
    udp_to_port: Vec<(u16, u64)>,
    icmp: u64,
    tcp_opening: u64,
    tcp_established: u64,
    tcp_closing: u64,
}

impl From<&Timeouts> for Lifetimes {
    fn from(timeouts: &Timeouts) -> Self {
        let nanos = |timeout: Duration| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Self {
            udp: nanos(timeouts.udp),
            udp_to_port: timeouts
                .udp_to_port
                .iter()
                .map(|&(port, timeout)| (port, nanos(timeout)))
                .collect(),
            icmp: nanos(timeouts.icmp),
            tcp_opening: nanos(timeouts.tcp_opening),
            tcp_established: nanos(timeouts.tcp_established),
            tcp_closing: nanos(timeouts.tcp_closing),
        }
    }
}

/// What timeout a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Udp,
    /// To a port with a timeout of its own: which of [`Timeouts::udp_to_port`].
    UdpToPort(u16),
    Icmp,
    Tcp(tcp::State),
}

impl Phase {
    pub(super) fn opened(
        protocol: Protocol,
        direction: Direction,
        remote: Endpoint,
        lifetimes: &Lifetimes,
    ) -> Self {
        match protocol {
            Protocol::Udp if direction == Direction::Outbound => lifetimes
                .udp_to_port
                .iter()
                .position(|&(port, _)| port == remote.port)
                .and_then(|place| u16::try_from(place).ok())
                .map_or(Self::Udp, Self::UdpToPort),
            Protocol::Udp => Self::Udp,
            Protocol::Icmp => Self::Icmp,
            Protocol::Tcp => Self::Tcp(tcp::State::opened(direction)),
        }
    }

    /// The protocol that it is one of.
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Udp | Self::UdpToPort(_) => Protocol::Udp,
            Self::Icmp => Protocol::Icmp,
            Self::Tcp(_) => Protocol::Tcp,
        }
    }

    /// Where a TCP connection stands.
    pub(super) fn state_name(self) -> Option<&'static str> {
        match self {
            Self::Tcp(state) => Some(state.name()),
            Self::Udp | Self::UdpToPort(_) | Self::Icmp => None,
        }
    }

    /// Why a session ends that has reached its timeout.
    pub(super) fn end_reason(self) -> EndReason {
        match self {
            Self::Tcp(tcp::State::Closed | tcp::State::Reset | tcp::State::Refused) => EndReason::Closed,
            _ => EndReason::Expired,
        }
    }

    pub(super) fn timeout(self, lifetimes: &Lifetimes) -> Duration {
        Duration::from_nanos(self.lifetime(lifetimes))
    }

    #[inline]
    fn lifetime(self, lifetimes: &Lifetimes) -> u64 {
        match self {
            Self::Udp => lifetimes.udp,
            Self::UdpToPort(place) => lifetimes.udp_to_port[usize::from(place)].1,
            Self::Icmp => lifetimes.icmp,
            Self::Tcp(state) if state.is_established() => lifetimes.tcp_established,
            Self::Tcp(tcp::State::OutboundSyn | tcp::State::InboundSyn) => lifetimes.tcp_opening,
            Self::Tcp(tcp::State::Refused) => 0,
            Self::Tcp(_) => lifetimes.tcp_closing,
        }
    }
}

/// Which way the first packet of a session went, and which directions the kernel's fast path carries, a bit each: a session has no byte to spare.
#[derive(Clone, Copy, Debug)]
struct Marks(u8);

impl Marks {
    fn opened(opener: Direction) -> Self {
        Self(opener as u8)
    }

    fn opener(self) -> Direction {
        match self.0 & 1 {
            0 => Direction::Outbound,
            _ => Direction::Inbound,
        }
    }

    const fn carried(direction: Direction) -> u8 {
        2 << direction as u8
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) mapping: u32,
    /// The outside endpoint.
    pub(super) remote: Endpoint,
    pub(super) phase: Phase,
    /// The outside endpoint is an external one of this translator: it is another inside host.
    pub(super) is_hairpin: bool,
    marks: Marks,
    /// When the timeout started.
    pub(super) active: Time,
    /// By direction: what packets get in place of their source (outbound) or destination (inbound).
    rewrites: [Rewrite; 2],
    /// By direction: the number of the way out, if it was found for the present `network_version`.
    ways: [u16; 2],
    network_version: u64,
}

impl Session {
    pub(super) fn new(
        index: u32,
        mapping: &Mapping,
        remote: Endpoint,
        opener: Direction,
        is_hairpin: bool,
        lifetimes: &Lifetimes,
        now: Time,
    ) -> Self {
        Self {
            mapping: index,
            remote,
            phase: Phase::opened(mapping.protocol, opener, remote, lifetimes),
            is_hairpin,
            marks: Marks::opened(opener),
            active: now,
            rewrites: [
                Rewrite::new(mapping.protocol, mapping.inside, mapping.external),
                Rewrite::new(mapping.protocol, mapping.external, mapping.inside),
            ],
            ways: [ways::UNKNOWN; 2],
            network_version: 0,
        }
    }

    /// Which way its first packet went.
    pub(super) fn opener(&self) -> Direction {
        self.marks.opener()
    }

    /// The kernel's fast path carries it in this direction from now on.
    pub(super) fn set_carried(&mut self, direction: Direction) {
        self.marks.0 |= Marks::carried(direction);
    }

    /// The directions that the kernel's fast path carried until now.
    pub(super) fn take_carried(&mut self) -> impl Iterator<Item = Direction> + use<> {
        let marks = self.marks;
        self.marks = Marks::opened(marks.opener());
        let directions = [Direction::Outbound, Direction::Inbound].into_iter();
        directions.filter(move |&direction| marks.0 & Marks::carried(direction) != 0)
    }

    /// When it ends if no packet comes.
    #[inline]
    pub(super) fn deadline(&self, lifetimes: &Lifetimes) -> Time {
        let lifetime = self.phase.lifetime(lifetimes);
        Time::from_nanos(self.active.as_nanos().saturating_add(lifetime))
    }

    #[inline]
    pub(super) fn rewrite(&self, direction: Direction) -> &Rewrite {
        &self.rewrites[direction as usize]
    }

    /// The number of the way out that was found last, if the network is still the same.
    #[inline]
    pub(super) fn way(&self, direction: Direction, network_version: u64) -> Option<u16> {
        (self.network_version == network_version).then_some(self.ways[direction as usize])
    }

    pub(super) fn set_way(&mut self, direction: Direction, network_version: u64, way: u16) {
        if self.network_version != network_version {
            self.network_version = network_version;
            self.ways = [ways::UNKNOWN; 2];
        }
        self.ways[direction as usize] = way;
    }
}

/// What is noted in the flow table: where the session is, which of those that were ever there, and the direction of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    pub(super) index: u32,
    /// Never 0, so that no cookie is the note 0 of a new flow.
    pub(super) stamp: u32,
    pub(super) direction: Direction,
}

impl Cookie {
    #[inline]
    pub(super) fn to_note(self) -> u64 {
        u64::from(self.stamp) << 32 | u64::from(self.index) << 1 | self.direction as u64
    }

    #[inline]
    pub(super) fn from_note(note: u64) -> Self {
        let direction = if note & 1 == 0 {
            Direction::Outbound
        } else {
            Direction::Inbound
        };
        Self {
            index: note as u32 >> 1,
            stamp: (note >> 32) as u32,
            direction,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::HIGHEST_LIMIT;
    use super::*;

    #[test]
    fn a_cookie_survives_the_flow_table() {
        for direction in [Direction::Outbound, Direction::Inbound] {
            for (index, stamp) in [(0, 1), (HIGHEST_LIMIT, u32::MAX), (12345, 678)] {
                let cookie = Cookie {
                    index,
                    stamp,
                    direction,
                };
                assert_eq!(Cookie::from_note(cookie.to_note()), cookie);
                assert_ne!(cookie.to_note(), 0);
            }
        }
    }

    #[test]
    fn a_session_is_as_large_as_the_documentation_says() {
        assert!(size_of::<Session>() <= 56, "{}", size_of::<Session>());
    }
}
