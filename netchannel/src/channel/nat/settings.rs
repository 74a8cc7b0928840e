//! What a translator is told: external addresses and ports, filtering, timeouts and limits.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::dispatch::is_possible_source;

/// The most mappings and the most sessions that a translator can be told to hold.
pub const HIGHEST_LIMIT: u32 = 1 << 26;

/// Settings of a translator. [`NatSettings::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatSettings {
    /// External addresses, at least one. New inside hosts get the first one that has a free port, and keep it as long as they
    /// have mappings (paired pooling, RFC 4787 REQ-2).
    pub external: Vec<Ipv4Addr>,
    /// External ports, and identifiers of ICMP queries, 1 to 65535. Ranges may overlap. Default: 1024 to 32767, what Linux leaves free.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Which outside hosts may send through a mapping. Default: any.
    pub filtering: Filtering,
    /// Whether inbound packets keep a mapping for UDP or an ICMP query alive (RFC 4787 REQ-6). TCP always counts both directions.
    /// Default: true.
    pub refresh_inbound: bool,
    /// Whether a SYN from outside that is for nobody is answered, 6 seconds later, with an ICMP error: port unreachable (RFC 5382 REQ-4).
    /// Without it such a SYN is dropped in silence, as REQ-4 (a) has it where policy forbids an answer. Default: true.
    pub answer_unsolicited: bool,
    /// How long something idle lives.
    pub timeouts: Timeouts,
    /// Mappings at one time, all protocols together, 1 to [`HIGHEST_LIMIT`]. Default: 65,536. Each takes some 110 bytes; besides, each
    /// external port takes 12, once it was used.
    pub max_mappings: u32,
    /// Sessions (a mapping in use with one outside endpoint) at one time, 1 to [`HIGHEST_LIMIT`]. Default: 262,144. Outside hosts
    /// open at most three quarters of them. Each takes some 150 bytes, 190 with [`Filtering::AddressDependent`].
    pub max_sessions: u32,
}

impl NatSettings {
    /// Settings with these external addresses and the defaults for all else.
    pub fn new(external: Vec<Ipv4Addr>) -> Self {
        Self {
            external,
            ports: vec![1024..=32767],
            filtering: Filtering::EndpointIndependent,
            refresh_inbound: true,
            answer_unsolicited: true,
            timeouts: Timeouts::default(),
            max_mappings: 65_536,
            max_sessions: 262_144,
        }
    }

    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if self.external.is_empty() {
            return Err(SettingsError::NoExternalAddress);
        }
        for (number, &address) in self.external.iter().enumerate() {
            if !is_possible_source(IpAddr::V4(address)) {
                return Err(SettingsError::NotUnicast(address));
            }
            if self.external[..number].contains(&address) {
                return Err(SettingsError::AddressTwice(address));
            }
        }
        if self.ports.is_empty() {
            return Err(SettingsError::NoPorts);
        }
        for range in &self.ports {
            if *range.start() == 0 || range.is_empty() {
                return Err(SettingsError::PortRange {
                    first: *range.start(),
                    last: *range.end(),
                });
            }
        }
        let Timeouts {
            udp,
            ref udp_to_port,
            tcp_opening,
            tcp_established,
            tcp_closing,
            icmp,
        } = self.timeouts;
        let to_ports = udp_to_port.iter().map(|&(_, timeout)| ("udp_to_port", timeout));
        for (name, timeout) in [
            ("udp", udp),
            ("tcp_opening", tcp_opening),
            ("tcp_established", tcp_established),
            ("tcp_closing", tcp_closing),
            ("icmp", icmp),
        ]
        .into_iter()
        .chain(to_ports)
        {
            if timeout.is_zero() {
                return Err(SettingsError::NoTime(name));
            }
        }
        for (number, &(port, _)) in udp_to_port.iter().enumerate() {
            let earlier = &udp_to_port[..number];
            if port > HIGHEST_WELL_KNOWN_PORT || earlier.iter().any(|&(other, _)| other == port) {
                return Err(SettingsError::TimeoutPort(port));
            }
        }
        for (name, value) in [
            ("max_mappings", self.max_mappings),
            ("max_sessions", self.max_sessions),
        ] {
            if !(1..=HIGHEST_LIMIT).contains(&value) {
                return Err(SettingsError::Limit { name, value });
            }
        }
        Ok(())
    }
}

/// Which outside hosts may send through a mapping (RFC 4787 §5, RFC 5382 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filtering {
    /// Any.
    EndpointIndependent,
    /// Those whose address the inside host has sent to.
    AddressDependent,
    /// Those whose address and port the inside host has sent to.
    AddressAndPortDependent,
}

/// The highest port for which UDP may have a timeout of its own (RFC 4787 REQ-5 (a)).
pub const HIGHEST_WELL_KNOWN_PORT: u16 = 1023;

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

/// Why a translator can't work with its settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The list of external addresses is empty.
    #[error("a translator needs an external address; give at least one")]
    NoExternalAddress,
    /// An external address is not that of a single host.
    #[error("{0} can't be an external address; give the address of a single host")]
    NotUnicast(Ipv4Addr),
    /// An external address is there twice.
    #[error("the external address {0} is there twice; give each address once")]
    AddressTwice(Ipv4Addr),
    /// The list of ports is empty.
    #[error("a translator needs external ports; give at least one range")]
    NoPorts,
    /// A range of ports is empty or holds port 0, which is reserved.
    #[error("{first}-{last} is no range of ports; give one from 1 to 65535, the lower port first")]
    PortRange {
        /// Its first port.
        first: u16,
        /// Its last port.
        last: u16,
    },
    /// A timeout is zero.
    #[error("the timeout {0} is zero; give a second at least")]
    NoTime(&'static str),
    /// A UDP timeout is for a port that can't have one, or that has one already.
    #[error(
        "UDP to port {0} can't have a timeout of its own; give ports from 0 to {max}, each once",
        max = HIGHEST_WELL_KNOWN_PORT
    )]
    TimeoutPort(u16),
    /// A limit is zero or too high.
    #[error("{name} is {value}; give 1 to {}", HIGHEST_LIMIT)]
    Limit {
        /// Which limit.
        name: &'static str,
        /// What it is.
        value: u32,
    },
    /// The kernel gave no random numbers, without which ports can be guessed.
    #[error("the kernel gave no random numbers: {0}")]
    NoRandomness(getrandom::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut NatSettings)) -> SettingsError {
        let mut settings = NatSettings::new(vec![Ipv4Addr::new(192, 0, 2, 1)]);
        assert_eq!(settings.check(), Ok(()));
        change(&mut settings);
        settings.check().unwrap_err()
    }

    #[test]
    fn impossible_settings_are_refused_with_what_is_wrong() {
        use SettingsError::*;
        assert_eq!(refused(|s| s.external.clear()), NoExternalAddress);
        let group = Ipv4Addr::new(224, 0, 0, 1);
        assert_eq!(refused(|s| s.external.push(group)), NotUnicast(group));
        let again = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(refused(|s| s.external.push(again)), AddressTwice(again));
        assert_eq!(refused(|s| s.ports.clear()), NoPorts);
        let range = |first, last| PortRange { first, last };
        assert_eq!(refused(|s| s.ports.push(0..=5)), range(0, 5));
        #[expect(clippy::reversed_empty_ranges)]
        let reversed = 5..=4;
        assert_eq!(refused(|s| s.ports.push(reversed)), range(5, 4));
        assert_eq!(refused(|s| s.timeouts.icmp = Duration::ZERO), NoTime("icmp"));
        let short = Duration::from_secs(10);
        let to_port =
            |port| move |s: &mut NatSettings| s.timeouts.udp_to_port = vec![(53, short), (port, short)];
        assert_eq!(refused(to_port(1024)), TimeoutPort(1024));
        assert_eq!(refused(to_port(53)), TimeoutPort(53));
        assert_eq!(
            refused(|s| s.timeouts.udp_to_port = vec![(53, Duration::ZERO)]),
            NoTime("udp_to_port")
        );
        let limit = |name, value| Limit { name, value };
        assert_eq!(refused(|s| s.max_mappings = 0), limit("max_mappings", 0));
        assert_eq!(
            refused(|s| s.max_sessions = u32::MAX),
            limit("max_sessions", u32::MAX)
        );
    }
}
