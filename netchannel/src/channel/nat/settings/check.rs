//! Whether a translator can be what it is told.

use std::net::{IpAddr, Ipv4Addr};

use super::{HIGHEST_LIMIT, HIGHEST_WELL_KNOWN_PORT, MOST_ADDRESSES, NatSettings, Timeouts, is_stand_in};
use crate::channel::nat::blocks::{MOST_BLOCKS, SMALLEST_BLOCK};
use crate::channel::nat::flow::Protocol;
use crate::channel::nat::ports::FreePorts;
use crate::channel::nat::settings_error::SettingsError;
use crate::dispatch::is_possible_source;

impl NatSettings {
    fn check_external(&self) -> Result<(), SettingsError> {
        let mut sorted: Vec<(Ipv4Addr, Ipv4Addr)> = self
            .external
            .iter()
            .map(|range| (*range.start(), *range.end()))
            .collect();
        sorted.sort_unstable();
        let mut count = 0;
        for &(first, last) in &sorted {
            if first > last {
                return Err(SettingsError::AddressRange { first, last });
            }
            count += u64::from(last.to_bits() - first.to_bits()) + 1;
        }
        if count == 0 {
            return Err(SettingsError::NoExternalAddress);
        }
        if count > u64::from(MOST_ADDRESSES) {
            return Err(SettingsError::TooManyAddresses { count });
        }
        if let Some(pair) = sorted.windows(2).find(|pair| pair[1].0 <= pair[0].1) {
            return Err(SettingsError::AddressTwice(pair[1].0));
        }
        match self
            .external_addresses()
            .find(|&address| !is_stand_in(address) && !is_possible_source(IpAddr::V4(address)))
        {
            Some(address) => Err(SettingsError::NotUnicast(address)),
            None => Ok(()),
        }
    }

    /// Forwards and one-to-one addresses: possible in themselves, no external endpoint used twice, and no address both inside and external.
    fn check_static(&self) -> Result<(), SettingsError> {
        for (number, forward) in self.forwards.iter().enumerate() {
            let impossible = SettingsError::Forward {
                external: forward.external,
                ports: forward.ports.clone(),
            };
            let is_possible = forward.protocol != Protocol::Icmp
                && *forward.ports.start() > 0
                && forward.inside_port > 0
                && !forward.ports.is_empty()
                && forward.last_inside_port().is_some();
            let is_external =
                is_stand_in(forward.external) || is_possible_source(IpAddr::V4(forward.external));
            if !is_possible || !is_external || !is_possible_source(IpAddr::V4(forward.inside)) {
                return Err(impossible);
            }
            if self.forwards[..number]
                .iter()
                .any(|other| other.overlaps(forward))
            {
                return Err(impossible);
            }
        }
        let mut external: Vec<(Ipv4Addr, Ipv4Addr)> = Vec::new();
        let mut inside = Vec::new();
        for one in &self.one_to_one {
            let (first, last) = (*one.external.start(), *one.external.end());
            let hosts = one.inside_hosts().filter(|_| first <= last);
            let hosts = hosts.ok_or(SettingsError::OneToOne(first))?;
            let ends = [first, last, hosts.0, hosts.1];
            let is_free = |ranges: &[(Ipv4Addr, Ipv4Addr)], (first, last): (Ipv4Addr, Ipv4Addr)| {
                !ranges.iter().any(|other| first <= other.1 && other.0 <= last)
            };
            let pool: Vec<_> = self.external.iter().map(|it| (*it.start(), *it.end())).collect();
            let forwarded = self.forwards.iter().any(|it| one.external.contains(&it.external));
            if !ends.iter().all(|&it| is_possible_source(IpAddr::V4(it)))
                || !is_free(&external, (first, last))
                || !is_free(&inside, hosts)
                || !is_free(&pool, (first, last))
                || forwarded
            {
                return Err(SettingsError::OneToOne(first));
            }
            external.push((first, last));
            inside.push(hosts);
        }
        let is_external = |address: Ipv4Addr| {
            let pool = self.external.iter().any(|range| range.contains(&address));
            pool || external
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&address))
        };
        let forwarded = self.forwards.iter().map(|forward| forward.inside);
        let clash = forwarded.into_iter().find(|&address| is_external(address));
        let overlapping = inside.iter().find(|(first, last)| {
            let pool = self.external.iter().map(|range| (*range.start(), *range.end()));
            pool.chain(external.iter().copied())
                .any(|other| *first <= other.1 && other.0 <= *last)
        });
        match clash.or(overlapping.map(|(first, _)| *first)) {
            Some(address) => Err(SettingsError::InsideIsExternal(address)),
            None => Ok(()),
        }
    }

    fn check_blocks(&self) -> Result<(), SettingsError> {
        let spare = self.deterministic.as_ref().map(|settings| settings.spare_ports);
        let Some(blocks) = self.blocks else {
            return match spare {
                Some(1..) => Err(SettingsError::SparePorts),
                _ => Ok(()),
            };
        };
        if spare == Some(0) {
            return Err(SettingsError::SparePorts);
        }
        if blocks.size < SMALLEST_BLOCK || blocks.usable_ports(self).len() == 0 {
            return Err(SettingsError::BlockSize(blocks.size));
        }
        if !(1..=MOST_BLOCKS).contains(&blocks.most) {
            return Err(SettingsError::BlocksOfHost(blocks.most));
        }
        Ok(())
    }

    pub(in crate::channel::nat) fn check(&self) -> Result<(), SettingsError> {
        self.check_external()?;
        self.check_static()?;
        if let Some(scheme) = self.port_scheme() {
            scheme?;
        }
        for range in &self.ports {
            if *range.start() == 0 || range.is_empty() {
                return Err(SettingsError::PortRange {
                    first: *range.start(),
                    last: *range.end(),
                });
            }
        }
        let usable = FreePorts::new(&self.ports, &self.reserved_ports);
        if usable.len() == 0 {
            return Err(SettingsError::NoPorts);
        }
        self.check_blocks()?;
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
            ("limits.mappings", self.limits.mappings),
            ("limits.sessions", self.limits.sessions),
        ] {
            if !(1..=HIGHEST_LIMIT).contains(&value) {
                return Err(SettingsError::Limit { name, value });
            }
        }
        let too_open = |protocol: &Protocol| {
            let filterings = self.rule_filtering.iter().chain([&self.filtering[*protocol]]);
            let most_open = filterings.map(|&filtering| filtering as u8).min();
            *protocol != Protocol::Icmp && most_open < Some(self.mapping[*protocol] as u8)
        };
        if let Some(protocol) = Protocol::ALL.into_iter().find(too_open) {
            return Err(SettingsError::FilteringBelowMapping(protocol.name()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MappingBehavior, PortBlocks};
    use super::*;
    use crate::channel::nat::deterministic::Deterministic;
    use crate::channel::nat::flow::PerProtocol;
    use std::ops::RangeInclusive;
    use std::time::Duration;

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
        let address = |last| Ipv4Addr::new(192, 0, 2, last);
        let group = Ipv4Addr::new(224, 0, 0, 1);
        assert_eq!(refused(|s| s.external.push(group..=group)), NotUnicast(group));
        let again = refused(|s| s.external.insert(0, address(1)..=address(9)));
        assert_eq!(again, AddressTwice(address(1)));
        let (first, last) = (address(9), address(8));
        assert_eq!(
            refused(|s| s.external.push(first..=last)),
            AddressRange { first, last }
        );
        let many = Ipv4Addr::new(20, 0, 0, 0)..=Ipv4Addr::new(20, 0, 255, 255);
        assert_eq!(
            refused(|s| s.external.push(many)),
            TooManyAddresses { count: 65_537 }
        );
        assert_eq!(refused(|s| s.ports.clear()), NoPorts);
        assert_eq!(refused(|s| s.reserved_ports.push(0..=32767)), NoPorts);
        let blocks = |size, most| {
            move |s: &mut NatSettings| {
                let hold = PortBlocks::default();
                s.blocks = Some(PortBlocks { size, most, ..hold });
            }
        };
        assert_eq!(refused(blocks(15, 1)), BlockSize(15));
        assert_eq!(refused(blocks(31_745, 1)), BlockSize(31_745));
        assert_eq!(refused(blocks(16, 0)), BlocksOfHost(0));
        assert_eq!(refused(blocks(16, 257)), BlocksOfHost(257));
        let both = |s: &mut NatSettings| {
            blocks(16, 1)(s);
            s.deterministic = Some(Deterministic {
                inside: vec![Ipv4Addr::new(10, 0, 0, 2)..=Ipv4Addr::new(10, 0, 0, 9)],
                ports_per_host: None,
                spare_ports: 0,
            });
        };
        assert_eq!(refused(both), SparePorts);
        let spare = |spare_ports| {
            move |s: &mut NatSettings| {
                both(s);
                s.deterministic = s
                    .deterministic
                    .take()
                    .map(|it| Deterministic { spare_ports, ..it });
            }
        };
        assert_eq!(refused(spare(15)), BlockSize(16));
        let none_for_blocks = |s: &mut NatSettings| {
            spare(100)(s);
            s.blocks = None;
        };
        assert_eq!(refused(none_for_blocks), SparePorts);
        assert!(matches!(refused(spare(31_744)), TooFewPorts(_)));
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
        let forward =
            |ports: RangeInclusive<u16>, inside: [u8; 4], inside_port| crate::channel::nat::Forward {
                protocol: Protocol::Tcp,
                external: address(1),
                ports,
                inside: inside.into(),
                inside_port,
            };
        let web = forward(80..=89, [10, 0, 0, 2], 80);
        for wrong in [
            vec![web.clone(), forward(89..=99, [10, 0, 0, 3], 80)],
            vec![forward(0..=9, [10, 0, 0, 2], 80)],
            vec![forward(80..=89, [10, 0, 0, 2], 65_530)],
            vec![forward(80..=89, [224, 0, 0, 2], 80)],
        ] {
            assert!(matches!(refused(|s| s.forwards = wrong), Forward { .. }));
        }
        let clash = refused(|s| s.forwards = vec![forward(80..=89, [192, 0, 2, 1], 80)]);
        assert_eq!(clash, InsideIsExternal(address(1)));
        let one = |external, inside: [u8; 4]| crate::channel::nat::OneToOne {
            external: address(external)..=address(external + 3),
            inside: inside.into(),
        };
        for wrong in [
            vec![one(4, [10, 0, 0, 2]), one(7, [10, 0, 1, 2])],
            vec![one(4, [10, 0, 0, 2]), one(8, [10, 0, 0, 5])],
            vec![one(1, [10, 0, 0, 2])],
            vec![one(4, [255, 255, 255, 254])],
        ] {
            assert!(matches!(refused(|s| s.one_to_one = wrong), OneToOne(_)));
        }
        let clash = refused(|s| s.one_to_one = vec![one(4, [192, 0, 2, 0])]);
        assert_eq!(clash, InsideIsExternal(address(0)));
        let symmetric = PerProtocol::all(MappingBehavior::AddressAndPortDependent);
        assert_eq!(refused(|s| s.mapping = symmetric), FilteringBelowMapping("tcp"));
        let limit = |name, value| Limit { name, value };
        assert_eq!(refused(|s| s.limits.mappings = 0), limit("limits.mappings", 0));
        assert_eq!(
            refused(|s| s.limits.sessions = u32::MAX),
            limit("limits.sessions", u32::MAX)
        );
    }
}
