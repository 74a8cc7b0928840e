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
            tcp_established,
            tcp_transitory,
            icmp,
        } = self.timeouts;
        for (name, timeout) in [
            ("udp", udp),
            ("tcp_established", tcp_established),
            ("tcp_transitory", tcp_transitory),
            ("icmp", icmp),
        ] {
            if timeout.is_zero() {
                return Err(SettingsError::NoTime(name));
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

/// How long something idle lives; more than zero. At exactly this age it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP; at least 2 minutes, better 5 (RFC 4787 REQ-5), the default.
    pub udp: Duration,
    /// TCP while both sides may send; at least 2 hours 4 minutes (RFC 5382 REQ-5), the default.
    pub tcp_established: Duration,
    /// TCP while it opens or closes, and after a reset; at least 4 minutes (RFC 5382 REQ-5), the default.
    pub tcp_transitory: Duration,
    /// ICMP queries; at least 60 seconds (RFC 5508 REQ-2), the default.
    pub icmp: Duration,
}

impl Timeouts {
    /// The defaults, all of which are what the RFCs ask for.
    pub const DEFAULT: Self = Self {
        udp: Duration::from_secs(300),
        tcp_established: Duration::from_secs(7440),
        tcp_transitory: Duration::from_secs(240),
        icmp: Duration::from_secs(60),
    };
}

// RFC 4787 REQ-5 (c), RFC 5382 REQ-5, RFC 5508 REQ-2.
const _: () = assert!(Timeouts::DEFAULT.udp.as_secs() >= 300);
const _: () = assert!(Timeouts::DEFAULT.tcp_established.as_secs() >= 7440);
const _: () = assert!(Timeouts::DEFAULT.tcp_transitory.as_secs() >= 240);
const _: () = assert!(Timeouts::DEFAULT.icmp.as_secs() >= 60);

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
        let limit = |name, value| Limit { name, value };
        assert_eq!(refused(|s| s.max_mappings = 0), limit("max_mappings", 0));
        assert_eq!(
            refused(|s| s.max_sessions = u32::MAX),
            limit("max_sessions", u32::MAX)
        );
    }
}
