//! What user space asks the program for, and what the maps must hold for it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use xdp_prog::{
    Address, HAS_DESTINATIONS_V4, HAS_DESTINATIONS_V6, HAS_EXTERNAL, HAS_PASSED, HAS_SOURCES_V4,
    HAS_SOURCES_V6, Interface, InterfaceKey, Ipv4Prefix, Ipv6Prefix, MAX_LOCAL_ADDRESSES,
    MAX_LOGICAL_INTERFACES, MAX_PORT_SETS, MAX_PREFIXES, WORDS_PER_PORT_SET, port_bit, port_word,
};

use super::XdpError;

/// Which frames user space wants to have. Everything else stays with the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// The interfaces, and VLANs on them, that user space was given.
    pub interfaces: Vec<LogicalInterface>,
    /// External addresses of NATs. They count on every one of the interfaces, for a host behind the NAT may
    /// send to them too.
    pub external: Vec<ExternalPrefix>,
    /// The box's own addresses, of both families and of all interfaces, broadcast addresses among them. What is
    /// sent to them stays with the kernel, except for the NATs' ports on external addresses.
    pub local: Vec<IpAddr>,
}

/// An interface, or a VLAN on one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalInterface {
    /// Name of the network device.
    pub device: String,
    /// VLAN identifier of the outer tag, 1 to 4094; 0 for untagged frames.
    pub outer_vlan: u16,
    /// VLAN identifier of the inner tag, 1 to 4094; 0 for frames with one tag or none.
    pub inner_vlan: u16,
    /// A number of the caller's choice, different for every logical interface.
    pub id: u32,
    /// Frames from these addresses are wanted.
    pub sources: Vec<IpNet>,
    /// Frames to these addresses are wanted.
    pub destinations: Vec<IpNet>,
    /// Whether flows of this interface may be left to the kernel one by one, see
    /// [`Handover::pass_flow`](super::Handover::pass_flow). It costs every frame another lookup.
    pub passes_flows: bool,
}

/// External addresses of a NAT and the ports that it uses on each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalPrefix {
    /// The addresses.
    pub prefix: Ipv4Net,
    /// Ports of TCP and UDP, and identifiers of ICMP queries. What is sent to other ports is the box's own.
    pub ports: Vec<RangeInclusive<u16>>,
}

/// A key of a prefix map: bits of the prefix with the interface in front, and the data.
pub(super) type PrefixKey<K> = (u32, K);

/// One bit for each port, shared by all prefixes that have the same ports.
pub(super) type PortSet = Arc<[u64]>;

/// What the maps must hold.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) interfaces: HashMap<InterfaceKey, Interface>,
    pub(super) external: HashMap<PrefixKey<Ipv4Prefix>, PortSet>,
    pub(super) local: HashSet<Address>,
    pub(super) sources_v4: HashSet<PrefixKey<Ipv4Prefix>>,
    pub(super) sources_v6: HashSet<PrefixKey<Ipv6Prefix>>,
    pub(super) destinations_v4: HashSet<PrefixKey<Ipv4Prefix>>,
    pub(super) destinations_v6: HashSet<PrefixKey<Ipv6Prefix>>,
}

impl Tables {
    /// Works out the tables; `device` tells index and slot of an interface by its name. Time and memory are
    /// linear in the number of prefixes, that of external ones times that of interfaces.
    pub(super) fn new(
        interest: &Interest,
        device: impl Fn(&str) -> Result<(u32, u32), XdpError>,
    ) -> Result<Self, XdpError> {
        let external = external_port_sets(&interest.external);
        let mut tables = Self {
            local: interest.local.iter().map(|&ip| ip.into()).collect(),
            ..Self::default()
        };
        let mut ids = HashSet::new();
        for logical in &interest.interfaces {
            check_vlans(logical)?;
            let (ifindex, slot) = device(&logical.device)?;
            let key = InterfaceKey {
                ifindex,
                outer_vlan: logical.outer_vlan,
                inner_vlan: logical.inner_vlan,
            };
            let value = Interface {
                slot,
                logical: logical.id,
                flags: flags(logical, &external),
            };
            if tables.interfaces.insert(key, value).is_some() || !ids.insert(logical.id) {
                return Err(XdpError::DuplicateInterface {
                    interface: logical.device.clone(),
                    outer: logical.outer_vlan,
                    inner: logical.inner_vlan,
                    id: logical.id,
                });
            }
            for (prefix, ports) in &external {
                tables
                    .external
                    .insert(ipv4_key(logical.id, prefix), Arc::clone(ports));
            }
            for prefix in &logical.sources {
                match prefix {
                    IpNet::V4(prefix) => drop(tables.sources_v4.insert(ipv4_key(logical.id, prefix))),
                    IpNet::V6(prefix) => drop(tables.sources_v6.insert(ipv6_key(logical.id, prefix))),
                }
            }
            for prefix in &logical.destinations {
                match prefix {
                    IpNet::V4(prefix) => drop(tables.destinations_v4.insert(ipv4_key(logical.id, prefix))),
                    IpNet::V6(prefix) => drop(tables.destinations_v6.insert(ipv6_key(logical.id, prefix))),
                }
            }
        }
        tables.check_sizes()?;
        Ok(tables)
    }

    fn check_sizes(&self) -> Result<(), XdpError> {
        let port_sets = self.external.values().collect::<HashSet<_>>().len();
        for (what, given, limit) in [
            (
                "logical interfaces",
                self.interfaces.len(),
                MAX_LOGICAL_INTERFACES,
            ),
            ("local addresses", self.local.len(), MAX_LOCAL_ADDRESSES),
            ("sets of external ports", port_sets, MAX_PORT_SETS),
            ("external prefixes", self.external.len(), MAX_PREFIXES),
            ("IPv4 source prefixes", self.sources_v4.len(), MAX_PREFIXES),
            ("IPv6 source prefixes", self.sources_v6.len(), MAX_PREFIXES),
            (
                "IPv4 destination prefixes",
                self.destinations_v4.len(),
                MAX_PREFIXES,
            ),
            (
                "IPv6 destination prefixes",
                self.destinations_v6.len(),
                MAX_PREFIXES,
            ),
        ] {
            if given > limit as usize {
                return Err(XdpError::TooMany {
                    what,
                    given,
                    limit: limit as usize,
                });
            }
        }
        Ok(())
    }
}

fn check_vlans(logical: &LogicalInterface) -> Result<(), XdpError> {
    let (outer, inner) = (logical.outer_vlan, logical.inner_vlan);
    if outer > 4094 || inner > 4094 || (inner != 0 && outer == 0) {
        return Err(XdpError::InvalidVlan {
            interface: logical.device.clone(),
            outer,
            inner,
        });
    }
    Ok(())
}

fn flags(logical: &LogicalInterface, external: &HashMap<Ipv4Net, PortSet>) -> u32 {
    let v4 = |prefixes: &[IpNet]| prefixes.iter().any(|prefix| matches!(prefix, IpNet::V4(_)));
    let v6 = |prefixes: &[IpNet]| prefixes.iter().any(|prefix| matches!(prefix, IpNet::V6(_)));
    [
        (!external.is_empty(), HAS_EXTERNAL),
        (v4(&logical.sources), HAS_SOURCES_V4),
        (v6(&logical.sources), HAS_SOURCES_V6),
        (v4(&logical.destinations), HAS_DESTINATIONS_V4),
        (v6(&logical.destinations), HAS_DESTINATIONS_V6),
        (logical.passes_flows, HAS_PASSED),
    ]
    .into_iter()
    .filter_map(|(set, flag)| set.then_some(flag))
    .fold(0, |flags, flag| flags | flag)
}

/// The ports of each prefix; those of a prefix that is given several times are joined.
fn external_port_sets(external: &[ExternalPrefix]) -> HashMap<Ipv4Net, PortSet> {
    let mut sets: HashMap<_, Vec<u64>> = HashMap::new();
    for entry in external {
        let set = sets
            .entry(entry.prefix.trunc())
            .or_insert_with(|| vec![0; WORDS_PER_PORT_SET as usize]);
        for port in entry.ports.iter().cloned().flatten() {
            set[port_word(0, port) as usize] |= port_bit(port);
        }
    }
    sets.into_iter()
        .map(|(prefix, set)| (prefix, set.into()))
        .collect()
}

fn ipv4_key(logical: u32, prefix: &Ipv4Net) -> PrefixKey<Ipv4Prefix> {
    let address: Ipv4Addr = prefix.network();
    (
        32 + u32::from(prefix.prefix_len()),
        Ipv4Prefix::new(logical, address),
    )
}

fn ipv6_key(logical: u32, prefix: &Ipv6Net) -> PrefixKey<Ipv6Prefix> {
    let address: Ipv6Addr = prefix.network();
    (
        32 + u32::from(prefix.prefix_len()),
        Ipv6Prefix::new(logical, address),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logical(device: &str, outer_vlan: u16, inner_vlan: u16, id: u32) -> LogicalInterface {
        LogicalInterface {
            device: device.to_owned(),
            outer_vlan,
            inner_vlan,
            id,
            sources: Vec::new(),
            destinations: Vec::new(),
            passes_flows: false,
        }
    }

    fn tables(interest: &Interest) -> Result<Tables, XdpError> {
        Tables::new(interest, |name| match name {
            "inside" => Ok((7, 0)),
            "outside" => Ok((8, 1)),
            _ => Err(XdpError::NotAttached {
                interface: name.to_owned(),
            }),
        })
    }

    #[test]
    fn external_prefixes_count_on_every_interface_and_join_their_ports() {
        let prefix: Ipv4Net = "192.0.2.9/32".parse().expect("a prefix");
        let interest = Interest {
            interfaces: vec![logical("inside", 0, 0, 1), logical("outside", 5, 0, 2)],
            external: vec![
                ExternalPrefix {
                    prefix,
                    ports: vec![1024..=1030],
                },
                ExternalPrefix {
                    prefix,
                    ports: vec![65_535..=65_535, 1029..=1031],
                },
            ],
            local: Vec::new(),
        };
        let tables = tables(&interest).expect("valid");
        assert_eq!(tables.external.len(), 2);
        for id in [1, 2] {
            let ports = &tables.external[&ipv4_key(id, &prefix)];
            assert_eq!(ports.iter().map(|word| word.count_ones()).sum::<u32>(), 9);
        }
        assert!(
            tables
                .interfaces
                .values()
                .all(|interface| interface.flags == HAS_EXTERNAL)
        );
    }

    #[test]
    fn flags_tell_which_maps_to_ask() {
        let mut inside = logical("inside", 0, 0, 1);
        inside.sources = vec!["10.0.0.0/8".parse().expect("a prefix")];
        inside.destinations = vec!["2001:db8::/32".parse().expect("a prefix")];
        inside.passes_flows = true;
        let tables = tables(&Interest {
            interfaces: vec![inside],
            ..Interest::default()
        })
        .expect("valid");
        let interface = tables.interfaces[&InterfaceKey {
            ifindex: 7,
            outer_vlan: 0,
            inner_vlan: 0,
        }];
        assert_eq!(interface.flags, HAS_SOURCES_V4 | HAS_DESTINATIONS_V6 | HAS_PASSED);
        assert_eq!((tables.sources_v4.len(), tables.sources_v6.len()), (1, 0));
        assert_eq!(
            (tables.destinations_v4.len(), tables.destinations_v6.len()),
            (0, 1)
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |interfaces| {
            tables(&Interest {
                interfaces,
                ..Interest::default()
            })
            .expect_err("refused")
        };
        assert!(matches!(
            refused(vec![logical("inside", 4095, 0, 1)]),
            XdpError::InvalidVlan { outer: 4095, .. }
        ));
        assert!(matches!(
            refused(vec![logical("inside", 0, 3, 1)]),
            XdpError::InvalidVlan { inner: 3, .. }
        ));
        assert!(matches!(
            refused(vec![logical("elsewhere", 0, 0, 1)]),
            XdpError::NotAttached { .. }
        ));
        let same_vlan = vec![logical("inside", 3, 0, 1), logical("inside", 3, 0, 2)];
        assert!(matches!(
            refused(same_vlan),
            XdpError::DuplicateInterface { id: 2, .. }
        ));
        let same_id = vec![logical("inside", 0, 0, 1), logical("outside", 0, 0, 1)];
        assert!(matches!(
            refused(same_id),
            XdpError::DuplicateInterface { id: 1, .. }
        ));
    }

    #[test]
    fn too_many_port_sets_are_refused() {
        let external = (0..=MAX_PORT_SETS)
            .map(|n| ExternalPrefix {
                prefix: Ipv4Net::from(Ipv4Addr::from(0x0a00_0000 + n)),
                ports: vec![0..=n as u16],
            })
            .collect();
        let interest = Interest {
            interfaces: vec![logical("inside", 0, 0, 1)],
            external,
            local: Vec::new(),
        };
        let error = tables(&interest).expect_err("refused");
        assert!(
            matches!(
                error,
                XdpError::TooMany {
                    given: 65,
                    limit: 64,
                    ..
                }
            ),
            "{error}"
        );
    }
}
