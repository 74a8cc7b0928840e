//! What a translator is told: external addresses and ports, filtering, timeouts and limits.

mod check;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::blocks::PortBlocks;
use super::deterministic::{Deterministic, PortScheme, TooFewPorts};
use super::flow::{PerProtocol, Protocol};
use super::forwards::Forward;
use super::limits::Limits;
use super::one_to_one::OneToOne;
use super::ports::FreePorts;
use super::share::{Share, Slices};

/// The most external addresses that a translator can have.
pub const MOST_ADDRESSES: u32 = 1 << 16;

/// The most mappings and the most sessions that a translator can be told to hold.
pub const HIGHEST_LIMIT: u32 = 1 << 26;

/// Settings of a translator. [`NatSettings::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatSettings {
    /// External addresses: ranges in any order, none of them overlapping, 1 to [`MOST_ADDRESSES`] addresses in all.
    pub external: Vec<RangeInclusive<Ipv4Addr>>,
    /// Which of them a host gets. Default: paired, not soft.
    pub pooling: Pooling,
    /// External ports, and identifiers of ICMP queries, 1 to 65535. Ranges may overlap. Default: 1024 to 32767, what Linux leaves free.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Those of `ports` that are never given out. Default: none.
    pub reserved_ports: Vec<RangeInclusive<u16>>,
    /// Whether a mapping gets the port of its inside host, if that is free at the external address. Default: true. Else, and
    /// whenever it isn't free, the port is drawn by lot (RFC 6056 §4).
    pub preserve_ports: bool,
    /// Whether even ports get even ones and odd ports odd ones, as long as there are any (RFC 4787 REQ-4; RFC 7857 §8 lets it be
    /// off). Default: false.
    pub preserve_parity: bool,
    /// Whether well-known ports, up to 1023, get well-known ones and others get others, as long as there are any (RFC 4787 REQ-3 (a)). Default:
    /// true.
    pub preserve_class: bool,
    /// How long a port is held back from reuse.
    pub hold: PortHold,
    /// Each inside host has ports of its own, computed from these settings (RFC 7422). Then pooling does not matter, and no port is
    /// held back. Default: all hosts share all ports.
    pub deterministic: Option<Deterministic>,
    /// Inside hosts get their ports in blocks. Then a block is held back, not a port, and pooling is about blocks. With
    /// `deterministic`, only its spare ports. Default: they don't.
    pub blocks: Option<PortBlocks>,
    /// Forwarded ports. Default: none.
    pub forwards: Vec<Forward>,
    /// Inside hosts with external addresses of their own. Default: none.
    pub one_to_one: Vec<OneToOne>,
    /// What a mapping depends on besides the inside endpoint. Default: nothing.
    pub mapping: PerProtocol<MappingBehavior>,
    /// Which outside hosts may send through a mapping; not fewer restrictions than what the mapping depends on. Default: any. Queries
    /// of ICMP are answered only by whom they were sent to, whatever this says.
    pub filtering: PerProtocol<Filtering>,
    /// Filterings that rules ask for in place of `filtering`, for the mappings that inside hosts open by them; see [`Filtering::parameter`].
    /// They are bound as `filtering` is. Default: none.
    pub rule_filtering: Vec<Filtering>,
    /// Whether inbound packets keep a mapping for UDP or an ICMP query alive (RFC 4787 REQ-6). TCP always counts both directions.
    /// Default: true.
    pub refresh_inbound: bool,
    /// Whether a SYN from outside that is for nobody is answered, 6 seconds later, with an ICMP error: port unreachable (RFC 5382 REQ-4).
    /// Without it such a SYN is dropped in silence, as REQ-4 (a) has it where policy forbids an answer. Default: true.
    pub answer_unsolicited: bool,
    /// How long something idle lives.
    pub timeouts: Timeouts,
    /// What the largest segment of TCP connections is lowered to (RFC 9293 §3.7.1). Default: nothing.
    pub segment_size: Option<SegmentSize>,
    /// Fragments that are kept, for 5 seconds at most, because they came before the first one of their datagram (RFC 4787 REQ-14). One
    /// source gets a quarter of this. Each takes a frame. 0 drops them. Default: 256.
    pub max_held_fragments: u16,
    /// Bounds on all together. Mappings and sessions are 1 to [`HIGHEST_LIMIT`], by default 65,536 and 262,144; the others have no bounds by
    /// default. Outside hosts open at most three quarters of the sessions. A mapping takes some 100 bytes, a session some
    /// 140, 160 with [`Filtering::AddressDependent`]; besides, each external port takes 4 that was used.
    pub limits: Limits,
    /// Bounds on each inside host (RFC 6888 REQ-4 and REQ-5). Default: none.
    pub host_limits: Limits,
    /// Sessions of one mapping. Default: no bound.
    pub sessions_per_mapping: u32,
    /// What an inside host is told whose packet could not be given a mapping or session. Default: [`Refusal::Prohibited`].
    pub refusal: Refusal,
    /// The part of the work that is this translator's, if several workers share it; see [`share`](Self::share). Default: all of it.
    pub share: Option<Share>,
}

impl NatSettings {
    /// Settings with these external addresses and the defaults for all else.
    pub fn new(external: Vec<Ipv4Addr>) -> Self {
        Self {
            external: external.into_iter().map(|address| address..=address).collect(),
            pooling: Pooling::Paired { soft: false },
            ports: vec![1024..=32767],
            reserved_ports: Vec::new(),
            preserve_ports: true,
            preserve_parity: false,
            preserve_class: true,
            hold: PortHold::default(),
            deterministic: None,
            blocks: None,
            forwards: Vec::new(),
            one_to_one: Vec::new(),
            mapping: PerProtocol::all(MappingBehavior::EndpointIndependent),
            filtering: PerProtocol::all(Filtering::EndpointIndependent),
            rule_filtering: Vec::new(),
            refresh_inbound: true,
            answer_unsolicited: true,
            timeouts: Timeouts::default(),
            segment_size: None,
            max_held_fragments: 256,
            limits: Limits {
                mappings: 65_536,
                sessions: 262_144,
                ..Limits::NONE
            },
            host_limits: Limits::NONE,
            sessions_per_mapping: u32::MAX,
            refusal: Refusal::Prohibited,
            share: None,
        }
    }

    /// The external addresses one by one.
    pub(super) fn external_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.external
            .iter()
            .flat_map(|range| (range.start().to_bits()..=range.end().to_bits()).map(Ipv4Addr::from_bits))
    }

    /// Whether external ports are held when their mapping ends: those of UDP that let in whoever sends, and don't see the end.
    pub(super) fn holds_ports(&self) -> bool {
        self.deterministic.is_none() && self.blocks.is_none()
    }

    /// How a mapping filters that is opened by a rule with this parameter. Where the rule is not known any more, as strictly as any rule says.
    pub(super) fn filtering_by(&self, parameter: Option<u8>, protocol: Protocol) -> Filtering {
        let own = self.filtering[protocol];
        match parameter {
            Some(parameter) => Filtering::of_parameter(parameter).unwrap_or(own),
            None => {
                let all = self.rule_filtering.iter().copied().chain([own]);
                all.max_by_key(|filtering| filtering.parameter()).unwrap_or(own)
            }
        }
    }

    /// What mappings may filter by, of any protocol.
    pub(super) fn may_filter_by(&self, filtering: Filtering) -> bool {
        let mut of_protocols = Protocol::ALL.into_iter().map(|protocol| self.filtering[protocol]);
        of_protocols.any(|it| it == filtering) || self.rule_filtering.contains(&filtering)
    }

    /// The ports that may be given out.
    pub(super) fn usable_ports(&self) -> FreePorts {
        let mut ports = self.ports_of_all_workers();
        if let Some(share) = self.share {
            Slices::new(self, share).keep_own(&mut ports, share);
        }
        ports
    }

    /// The ports that may be given out by all workers together.
    pub(super) fn ports_of_all_workers(&self) -> FreePorts {
        match self.blocks {
            Some(blocks) if self.deterministic.is_none() => blocks.usable_ports(self),
            _ => FreePorts::new(&self.ports, &self.reserved_ports),
        }
    }

    /// Who has which ports, if each inside host has its own.
    ///
    /// # Errors
    /// If there are too few.
    pub fn port_scheme(&self) -> Option<Result<PortScheme, TooFewPorts>> {
        let settings = self.deterministic.as_ref()?;
        let mut not_owned = self.reserved_ports.clone();
        not_owned.extend(self.spare_ports());
        Some(PortScheme::new(settings, &self.external, &self.ports, &not_owned))
    }

    /// The spare ports, if inside hosts have ports of their own and there are some: all from the first on.
    pub(super) fn spare_ports(&self) -> Option<RangeInclusive<u16>> {
        let spare = u32::from(self.deterministic.as_ref()?.spare_ports);
        let usable = FreePorts::new(&self.ports, &self.reserved_ports);
        let first = usable.nth(usable.len().saturating_sub(spare))?;
        Some(first..=u16::MAX)
    }

    /// Mappings that there can be.
    pub(super) fn mapping_capacity(&self) -> usize {
        let addresses = self.external_addresses().count() as u64;
        let ports = u64::from(self.usable_ports().len());
        let forwarded: u64 = self
            .forwards
            .iter()
            .map(|forward| forward.ports.len() as u64)
            .sum();
        let endpoints = addresses * ports * Protocol::ALL.len() as u64 + forwarded;
        endpoints.min(self.limits.mappings.into()) as usize
    }
}

/// What stands among the external addresses for that of an interface that has none at the moment. Different interfaces, by their numbers,
/// have different ones. They are of 0.0.0.0/8, which no host has (RFC 1122 §3.2.1.3).
pub const fn stand_in(interface: u8) -> Ipv4Addr {
    Ipv4Addr::new(0, 0, 0, interface)
}

/// Whether this is no address, but stands for one that is not there at the moment.
pub const fn is_stand_in(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0
}

/// Which external address a mapping gets (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// All mappings of an inside host get the same address as long as it has any (RFC 4787 REQ-2, RFC 6888 REQ-2).
    Paired {
        /// When that has no free port, another one is taken; else the mapping is refused (RFC 7857 §4).
        soft: bool,
    },
    /// Each mapping gets any.
    Arbitrary,
}

/// How long the external port of a UDP mapping that ended is nobody's, where any outside host may send to mappings: what is still
/// on its way to the old mapping would come to the new one (RFC 6888 REQ-8). Ports of TCP, whose connections are tracked, and of mappings that
/// only known hosts may send to, are free at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortHold {
    /// How long; zero for not at all. Default: 120 seconds.
    pub time: Duration,
    /// Ports held at one time; if there are more, the one that was held longest is free at once. Default: 16,384. Each takes 16 bytes.
    pub count: u32,
}

impl Default for PortHold {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(120),
            count: 16_384,
        }
    }
}

/// What a mapping depends on besides the inside endpoint (RFC 4787 §4.1). Anything but the first breaks what connects hosts behind two
/// translators directly: games, calls (RFC 4787 REQ-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum MappingBehavior {
    /// Nothing.
    EndpointIndependent,
    /// The outside address.
    AddressDependent,
    /// The outside address and port.
    AddressAndPortDependent,
}

/// What an inside host is told whose packet could not be given a mapping or session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// ICMP destination unreachable, communication administratively prohibited (RFC 5508 REQ-8).
    Prohibited,
    /// ICMP destination unreachable, host unreachable (RFC 6888 REQ-11).
    HostUnreachable,
    /// Nothing (RFC 5508 REQ-9).
    Silent,
}

/// Which outside hosts may send through a mapping (RFC 4787 §5, RFC 5382 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Filtering {
    /// Any.
    EndpointIndependent,
    /// Those whose address the inside host has sent to.
    AddressDependent,
    /// Those whose address and port the inside host has sent to.
    AddressAndPortDependent,
}

impl Filtering {
    const ALL: [Self; 3] = [
        Self::EndpointIndependent,
        Self::AddressDependent,
        Self::AddressAndPortDependent,
    ];

    /// Whether it lets in hosts that such mappings are not for.
    pub const fn is_too_open(self, mapping: MappingBehavior) -> bool {
        (self as u8) < mapping as u8
    }

    /// What a rule says to a translator so that the mappings that are opened by it filter so (see
    /// [`Action::parameter`](crate::dispatch::Action::parameter)). 0 is for what the translator's settings say.
    pub const fn parameter(self) -> u8 {
        self as u8 + 1
    }

    /// What a rule says; `None` if it is nothing about filtering.
    fn of_parameter(parameter: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|filtering| filtering.parameter() == parameter)
    }
}

/// The highest port for which UDP may have a timeout of its own (RFC 4787 REQ-5 (a)).
pub const HIGHEST_WELL_KNOWN_PORT: u16 = 1023;

/// What the largest segment that the ends of a TCP connection offer each other is lowered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentSize {
    /// What fits in a packet, by the smaller of the way out's MTU and that of the interface that the SYN came in by.
    Fitting,
    /// This many bytes of payload.
    AtMost(u16),
}

/// How long something idle lives; more than zero. At exactly this age it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP; at least 2 minutes, better 5 (RFC 4787 REQ-5), the default.
    pub udp: Duration,
    /// UDP that an inside host sends to one of these ports, each at most [`HIGHEST_WELL_KNOWN_PORT`] and there once; for protocols that are
    /// known to be done sooner (RFC 4787 REQ-5 (a)). Default: none.
    pub udp_to_port: Vec<(u16, Duration)>,
    /// TCP until both sides have sent a SYN; 4 minutes by default, less is allowed (RFC 7857 §2.2).
    pub tcp_opening: Duration,
    /// TCP while both sides may send; at least 2 hours 4 minutes (RFC 5382 REQ-5), the default.
    pub tcp_established: Duration,
    /// TCP after both sides have sent a FIN, or after a reset; at least 4 minutes (RFC 5382 REQ-5), the default.
    pub tcp_closing: Duration,
    /// ICMP queries; at least 60 seconds (RFC 5508 REQ-2), the default.
    pub icmp: Duration,
}

impl Timeouts {
    /// The defaults, all of which are what the RFCs ask for.
    pub const DEFAULT: Self = Self {
        udp: Duration::from_secs(300),
        udp_to_port: Vec::new(),
        tcp_opening: Duration::from_secs(240),
        tcp_established: Duration::from_secs(7440),
        tcp_closing: Duration::from_secs(240),
        icmp: Duration::from_secs(60),
    };
}

const DEFAULT: &Timeouts = &Timeouts::DEFAULT;
// RFC 4787 REQ-5 (c), RFC 5382 REQ-5, RFC 5508 REQ-2.
const _: () = assert!(DEFAULT.udp.as_secs() >= 300);
const _: () = assert!(DEFAULT.tcp_established.as_secs() >= 7440);
const _: () = assert!(DEFAULT.tcp_opening.as_secs() >= 240);
const _: () = assert!(DEFAULT.tcp_closing.as_secs() >= 240);
const _: () = assert!(DEFAULT.icmp.as_secs() >= 60);

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_filters_in_place_of_the_settings() {
        use super::Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        let mut settings = NatSettings::new(vec![Ipv4Addr::new(192, 0, 2, 1)]);
        let by = |settings: &NatSettings, parameter| settings.filtering_by(parameter, Protocol::Udp);
        assert_eq!(by(&settings, Some(0)), EndpointIndependent);
        assert_eq!(
            by(&settings, Some(AddressDependent.parameter())),
            AddressDependent
        );
        assert_eq!(by(&settings, None), EndpointIndependent);
        settings.rule_filtering = vec![AddressAndPortDependent, AddressDependent];
        assert_eq!(by(&settings, None), AddressAndPortDependent);
        settings.mapping = PerProtocol::all(MappingBehavior::AddressDependent);
        settings.filtering = PerProtocol::all(AddressDependent);
        assert_eq!(settings.check(), Ok(()));
        settings.rule_filtering.push(EndpointIndependent);
        assert_eq!(
            settings.check(),
            Err(crate::channel::nat::SettingsError::FilteringBelowMapping("tcp"))
        );
    }
}
