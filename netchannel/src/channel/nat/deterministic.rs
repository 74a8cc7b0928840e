//! Deterministic mapping (RFC 7422): each inside host has ports of its own at an external address, all computed from the settings. So who
//! had an address and port at any time can be told without a log, as long as the settings of that time are kept.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::ports::FreePorts;

/// Which inside hosts share the external addresses and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deterministic {
    /// The inside hosts: ranges without overlaps, in the order in which they get their ports. Others are not translated.
    pub inside: Vec<RangeInclusive<Ipv4Addr>>,
    /// Ports, or identifiers, of each host and protocol. `None`: as many as there are for each.
    pub ports_per_host: Option<u16>,
    /// The highest so many external ports are nobody's own: hosts that have used up theirs get blocks of them, which the settings have to
    /// ask for then.
    pub spare_ports: u16,
}

/// There are too few external ports for the inside hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{hosts} inside hosts on {addresses} external addresses are {hosts_per_address} on each, and of its {ports} ports that \
     leaves {available} for each host, fewer than {wanted}; give more addresses or ports, or serve fewer hosts"
)]
pub struct TooFewPorts {
    /// Inside hosts.
    pub hosts: u64,
    /// External addresses.
    pub addresses: u64,
    /// Hosts that share an address: the compression ratio.
    pub hosts_per_address: u64,
    /// Ports of an address.
    pub ports: u32,
    /// Ports that there are for a host.
    pub available: u64,
    /// Ports that a host needs.
    pub wanted: u64,
}

/// The ports of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPorts {
    /// The external address.
    pub address: Ipv4Addr,
    /// First and last port. Reserved ports between them are nobody's.
    pub ports: RangeInclusive<u16>,
}

/// Who has which ports: hosts in their order, one after the other on the ports of the first address, then of the next (the sequential
/// algorithm of RFC 7422 §2.2). A pure function of what it is made from. Everything is O(log ranges).
#[derive(Clone, Debug)]
pub struct PortScheme {
    inside: Numbering,
    external: Numbering,
    ports: Numbering,
    hosts_per_address: u64,
    ports_per_host: u64,
}

impl PortScheme {
    /// The scheme for these external addresses, and for these ports without the reserved ones.
    ///
    /// # Errors
    /// If that leaves too few ports for each host.
    pub fn new(
        settings: &Deterministic,
        external: &[RangeInclusive<Ipv4Addr>],
        ports: &[RangeInclusive<u16>],
        reserved: &[RangeInclusive<u16>],
    ) -> Result<Self, TooFewPorts> {
        let inside = Numbering::of_addresses(&settings.inside);
        let external = Numbering::of_addresses(external);
        let usable = FreePorts::new(ports, reserved).ranges();
        let ports = Numbering::new(usable.iter().map(|ports| {
            let (first, last) = (*ports.start(), *ports.end());
            (first.into(), last.into())
        }));
        let hosts_per_address = inside.len.div_ceil(external.len.max(1)).max(1);
        let available = ports.len / hosts_per_address;
        let wanted = settings.ports_per_host.map_or(1, u64::from).max(1);
        if available < wanted || external.len == 0 {
            return Err(TooFewPorts {
                hosts: inside.len,
                addresses: external.len,
                hosts_per_address,
                ports: ports.len as u32,
                available,
                wanted,
            });
        }
        Ok(Self {
            inside,
            external,
            ports,
            hosts_per_address,
            ports_per_host: settings.ports_per_host.map_or(available, u64::from),
        })
    }

    /// The ports of an inside host. `None` if it isn't one of those that have any.
    pub fn ports_of(&self, inside: Ipv4Addr) -> Option<HostPorts> {
        let host = self.inside.number(inside.to_bits())?;
        let address = self.external.value(host / self.hosts_per_address)?;
        let first = host % self.hosts_per_address * self.ports_per_host;
        let port = |number| self.ports.value(number).map(|port| port as u16);
        Some(HostPorts {
            address: Ipv4Addr::from_bits(address),
            ports: port(first)?..=port(first + self.ports_per_host - 1)?,
        })
    }

    /// Ports, or identifiers, of each host and protocol: at most 65,535.
    pub(super) fn ports_per_host(&self) -> u32 {
        self.ports_per_host as u32
    }

    /// The place of an external address among all, from 0 on.
    pub(super) fn number_of(&self, external: Ipv4Addr) -> Option<usize> {
        let number = self.external.number(external.to_bits())?;
        Some(number as usize)
    }

    /// All inside hosts, each with the place of its external address among all.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (Ipv4Addr, usize)> {
        let ranges = self.inside.by_number.iter();
        let hosts = ranges.flat_map(|&(_, first, last)| (first..=last).map(Ipv4Addr::from_bits));
        let numbered = (0..).zip(hosts);
        numbered.map(|(number, host): (u64, _)| (host, (number / self.hosts_per_address) as usize))
    }

    /// The inside host that has an external port. `None` if nobody has it.
    pub fn host_of(&self, external: Ipv4Addr, port: u16) -> Option<Ipv4Addr> {
        let address = self.external.number(external.to_bits())?;
        let place = self.ports.number(port.into())? / self.ports_per_host;
        if place >= self.hosts_per_address {
            return None;
        }
        let host = self.inside.value(address * self.hosts_per_address + place)?;
        Some(Ipv4Addr::from_bits(host))
    }
}

/// Values of ranges, numbered from 0 in the order of the ranges.
#[derive(Clone, Debug)]
struct Numbering {
    /// By number: number of the first value, the first value, the last one.
    by_number: Vec<(u64, u32, u32)>,
    /// The same by value: first value, last one, number of the first.
    by_value: Vec<(u32, u32, u64)>,
    len: u64,
}

impl Numbering {
    fn new(ranges: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut len = 0;
        let by_number: Vec<_> = ranges
            .map(|(first, last)| {
                let start = len;
                len += u64::from(last.saturating_sub(first)) + 1;
                (start, first, last)
            })
            .collect();
        let mut by_value: Vec<_> = by_number
            .iter()
            .map(|&(start, first, last)| (first, last, start))
            .collect();
        by_value.sort_unstable();
        Self {
            by_number,
            by_value,
            len,
        }
    }

    fn of_addresses(ranges: &[RangeInclusive<Ipv4Addr>]) -> Self {
        Self::new(
            ranges
                .iter()
                .map(|range| (range.start().to_bits(), range.end().to_bits())),
        )
    }

    fn number(&self, value: u32) -> Option<u64> {
        let after = self.by_value.partition_point(|&(first, _, _)| first <= value);
        let &(first, last, start) = self.by_value[..after].last()?;
        (value <= last).then(|| start + u64::from(value - first))
    }

    fn value(&self, number: u64) -> Option<u32> {
        let after = self.by_number.partition_point(|&(start, _, _)| start <= number);
        let &(start, first, last) = self.by_number[..after].last()?;
        let value = u64::from(first) + (number - start);
        (value <= u64::from(last)).then_some(value as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn address(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    /// 7422-2a, with the numbers of the example of RFC 7422 §2.3: 256 hosts on 4 addresses with 64 hosts and 1008 ports each.
    #[test]
    fn rfc_7422_2a_ports_are_computed() {
        let settings = Deterministic {
            inside: vec![address("198.51.100.0")..=address("198.51.100.255")],
            ports_per_host: None,
            spare_ports: 0,
        };
        let external = [address("192.0.2.1")..=address("192.0.2.4")];
        let scheme = PortScheme::new(&settings, &external, &[1024..=65535], &[]).unwrap();
        let ports = |host: &str| scheme.ports_of(address(host)).unwrap();
        assert_eq!(ports("198.51.100.0").ports, 1024..=2031);
        assert_eq!(ports("198.51.100.0").address, address("192.0.2.1"));
        assert_eq!(ports("198.51.100.63").ports, 64_528..=65_535);
        assert_eq!(ports("198.51.100.64").address, address("192.0.2.2"));
        assert_eq!(scheme.ports_of(address("198.51.101.0")), None);
        assert_eq!(
            scheme.host_of(address("192.0.2.2"), 2032),
            Some(address("198.51.100.65"))
        );
    }

    /// 7422-5: too many hosts are refused with the ratio.
    #[test]
    fn rfc_7422_5_more_hosts_than_there_are_ports_for_are_refused() {
        let settings = Deterministic {
            inside: vec![address("10.0.0.0")..=address("10.0.255.255")],
            ports_per_host: Some(500),
            spare_ports: 0,
        };
        let external = [address("192.0.2.0")..=address("192.0.2.255")];
        let error = PortScheme::new(&settings, &external, &[1024..=65535], &[]).unwrap_err();
        assert_eq!(
            (error.hosts_per_address, error.available, error.wanted),
            (256, 252, 500)
        );
    }

    proptest! {
        /// 7422-2b, 7422-2c: back and forth for every host and every port, no port has two hosts, and a reserved one has none.
        #[test]
        fn rfc_7422_2b_the_reverse_is_the_inverse(
            hosts in proptest::collection::vec(1u32..40, 1..4),
            addresses in proptest::collection::vec(1u32..4, 1..4),
            ports_per_host in proptest::option::of(1u16..5),
            reserved in 1100u16..1200,
        ) {
            let ranges = |sizes: &[u32], base: u32| -> Vec<_> {
                // Not in ascending order.
                sizes.iter().enumerate().map(|(place, size)| {
                    let first = base - 1000 * place as u32;
                    Ipv4Addr::from_bits(first)..=Ipv4Addr::from_bits(first + size - 1)
                }).collect()
            };
            let settings = Deterministic { inside: ranges(&hosts, 0x0a01_0000), ports_per_host, spare_ports: 0 };
            let external = ranges(&addresses, 0xcb00_7100);
            let (ports, reserved) = ([1..=1, 1024..=1400], [reserved..=reserved + 5, 1..=1]);
            let Ok(scheme) = PortScheme::new(&settings, &external, &ports, &reserved) else {
                return Ok(());
            };
            let mut owners = HashMap::new();
            for host in settings.inside.iter().flat_map(|range| range.start().to_bits()..=range.end().to_bits()) {
                let host = Ipv4Addr::from_bits(host);
                let own = scheme.ports_of(host).unwrap();
                let mut count = 0;
                for port in own.ports.clone().filter(|port| !reserved[0].contains(port)) {
                    prop_assert!(owners.insert((own.address, port), host).is_none());
                    count += 1;
                }
                prop_assert_eq!(count, scheme.ports_per_host);
            }
            for external in external.iter().flat_map(|range| range.start().to_bits()..=range.end().to_bits()) {
                for port in 0..1500 {
                    let external = Ipv4Addr::from_bits(external);
                    let expected = owners.get(&(external, port)).copied();
                    prop_assert_eq!(scheme.host_of(external, port), expected);
                }
            }
        }
    }
}
