//! Interfaces as the kernel knows them, with their addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use ipnet::IpNet;

/// The most VLAN links that lie upon each other: the kernel's own limit of nesting (`MAX_NEST_DEV`).
const NESTING_LIMIT: usize = 8;

/// The kernel's number of an interface (ifindex), unique within its network namespace. 0 is no interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceIndex(pub u32);

impl fmt::Display for InterfaceIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An Ethernet address, in the order of the bytes on the wire.
pub type MacAddress = [u8; 6];

/// One VLAN tag: which identifier under which EtherType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// VLAN identifier, 1 to 4094.
    pub id: u16,
    /// EtherType of the tag: 0x8100 (IEEE 802.1Q) or 0x88a8 (IEEE 802.1ad).
    pub protocol: u16,
}

/// What makes a link a VLAN link: it carries the frames of its parent that bear one tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VlanLink {
    /// The link below.
    pub parent: InterfaceIndex,
    /// The tag that its frames bear on the parent.
    pub tag: VlanTag,
}

/// The other end of a veth pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VethPeer {
    /// The peer's index, in the peer's own network namespace.
    pub index: InterfaceIndex,
    /// Whether the peer lives in the same network namespace. Where it does not, `index` says nothing here.
    pub same_namespace: bool,
}

/// One interface of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of the interface.
    pub index: InterfaceIndex,
    /// The interface's name, such as `eth0`.
    pub name: String,
    /// Its Ethernet address; all zeros where the link has none (loopback, tunnels).
    pub mac: MacAddress,
    /// The largest IP packet that it carries, in bytes.
    pub mtu: u32,
    /// Administratively up (`ip link set up`).
    pub up: bool,
    /// Operational: it has a carrier, and so have the links below.
    pub running: bool,
    /// Set for a VLAN link whose parent is in the same network namespace.
    pub vlan: Option<VlanLink>,
    /// Set for one end of a veth pair.
    pub peer: Option<VethPeer>,
    /// The kind of a virtual link (`veth`, `vlan`, `bridge`); none for a physical one.
    pub kind: Option<String>,
    /// Its addresses with the length of their prefix, in the kernel's order: `192.0.2.1/24`.
    pub addresses: Vec<IpNet>,
}

impl Link {
    /// An Ethernet link that is up, with an MTU of 1500 bytes and no addresses.
    pub fn ethernet(index: InterfaceIndex, name: impl Into<String>, mac: MacAddress) -> Self {
        Self {
            index,
            name: name.into(),
            mac,
            mtu: 1500,
            up: true,
            running: true,
            vlan: None,
            peer: None,
            kind: None,
            addresses: Vec::new(),
        }
    }

    /// Whether packets can leave through it: administratively up and operational.
    pub fn is_usable(&self) -> bool {
        self.up && self.running
    }

    /// The box's own address to use as the source of a packet that it sends itself from this link to
    /// `destination`: one of the same subnet, or else the first of the same family and scope.
    /// None where the link has no address of that family. Time is proportional to its addresses.
    pub fn source_address(&self, destination: IpAddr) -> Option<IpAddr> {
        let subnet = self
            .addresses
            .iter()
            .find(|address| address.contains(&destination));
        let wanted = is_link_local(destination);
        let mut others = self
            .addresses
            .iter()
            .filter(|address| address.addr().is_ipv4() == destination.is_ipv4());
        subnet
            .or_else(|| {
                others
                    .clone()
                    .find(|address| is_link_local(address.addr()) == wanted)
            })
            .or_else(|| others.next())
            .map(IpNet::addr)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// All links of the network namespace at one moment.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// Sorted by index.
    links: Vec<Arc<Link>>,
    names: AHashMap<String, InterfaceIndex>,
    local: AHashSet<IpAddr>,
    broadcasts: AHashSet<Ipv4Addr>,
    vlans: AHashMap<VlanLink, InterfaceIndex>,
}

impl Links {
    /// The links of an iterator. Of two with the same index the later one counts.
    pub(super) fn new(links: impl IntoIterator<Item = Arc<Link>>) -> Self {
        let mut links: Vec<Arc<Link>> = links.into_iter().collect();
        links.sort_by_key(|link| link.index);
        links.dedup_by(|later, kept| {
            let same = later.index == kept.index;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        let mut all = Self::default();
        for link in &links {
            all.names.insert(link.name.clone(), link.index);
            if let Some(vlan) = link.vlan {
                all.vlans.insert(vlan, link.index);
            }
            for address in &link.addresses {
                all.local.insert(address.addr());
                if let IpNet::V4(subnet) = address
                    && subnet.prefix_len() < 31
                {
                    all.broadcasts.insert(subnet.broadcast());
                }
            }
        }
        all.links = links;
        all
    }

    /// The link with that index, in time logarithmic in the number of links.
    pub fn get(&self, index: InterfaceIndex) -> Option<&Link> {
        let position = self.links.binary_search_by_key(&index, |link| link.index).ok()?;
        self.links.get(position).map(Arc::as_ref)
    }

    /// The link of that name.
    pub fn by_name(&self, name: &str) -> Option<&Link> {
        self.names.get(name).and_then(|&index| self.get(index))
    }

    /// The links in the order of their indices.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Link> {
        self.links.iter().map(Arc::as_ref)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether a packet to `address` is for the box itself: an address of one of its links, or a loopback
    /// address. Addresses that only a route of the kernel's local table names are not known here. Constant time.
    pub fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.local.contains(&address)
    }

    /// Whether `address` reaches every host of a link: 255.255.255.255 or the broadcast address of one
    /// of the box's IPv4 subnets (RFC 1812 section 4.2.2.11). Constant time.
    pub fn is_broadcast(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.is_broadcast() || self.broadcasts.contains(&address),
            IpAddr::V6(_) => false,
        }
    }

    /// Every address of every link, each once, in no order.
    pub fn local_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.local.iter().copied()
    }

    /// The VLAN link that gets the frames which arrive on `parent` with that tag.
    pub fn vlan(&self, parent: InterfaceIndex, tag: VlanTag) -> Option<&Link> {
        self.vlans
            .get(&VlanLink { parent, tag })
            .and_then(|&index| self.get(index))
    }

    /// The link under all VLAN links of `index`, and the tags that a frame sent through `index` bears on it,
    /// outermost first. No tags for a link that is no VLAN link. None where a link of the chain is not known.
    pub fn underlying(&self, index: InterfaceIndex) -> Option<(&Link, Vec<VlanTag>)> {
        let mut link = self.get(index)?;
        let mut tags = Vec::new();
        while let Some(vlan) = link.vlan {
            if tags.len() == NESTING_LIMIT {
                return None;
            }
            tags.push(vlan.tag);
            link = self.get(vlan.parent)?;
        }
        tags.reverse();
        Some((link, tags))
    }

    /// The other end of the veth link `index`, where it lives in the same network namespace.
    pub fn veth_peer(&self, index: InterfaceIndex) -> Option<&Link> {
        let peer = self.get(index)?.peer.filter(|peer| peer.same_namespace)?;
        self.get(peer.index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::NetworkBuilder;
    use super::*;

    fn vlan(index: u32, parent: u32, id: u16, protocol: u16) -> Link {
        let tag = VlanTag { id, protocol };
        let vlan = Some(VlanLink {
            parent: InterfaceIndex(parent),
            tag,
        });
        Link {
            vlan,
            ..Link::ethernet(InterfaceIndex(index), format!("vlan{id}"), [2; 6])
        }
    }

    #[test]
    fn vlan_links_are_followed_down_with_the_outermost_tag_first() {
        let links = NetworkBuilder::new()
            .link(Link::ethernet(InterfaceIndex(1), "eth0", [2; 6]))
            .link(vlan(2, 1, 100, 0x88a8))
            .link(vlan(3, 2, 7, 0x8100))
            .link(vlan(4, 4, 9, 0x8100))
            .build()
            .links;
        let (link, tags) = links.underlying(InterfaceIndex(3)).unwrap();
        let outer = VlanTag {
            id: 100,
            protocol: 0x88a8,
        };
        assert_eq!(link.name, "eth0");
        assert_eq!(
            tags,
            [
                outer,
                VlanTag {
                    id: 7,
                    protocol: 0x8100
                }
            ]
        );
        assert_eq!(
            links.vlan(InterfaceIndex(1), outer).map(|link| link.index),
            Some(InterfaceIndex(2))
        );
        assert_eq!(links.vlan(InterfaceIndex(3), outer), None);
        assert_eq!(
            links.underlying(InterfaceIndex(1)).map(|(_, tags)| tags),
            Some(Vec::new())
        );
        // A link upon itself, and one that is not there.
        assert_eq!(links.underlying(InterfaceIndex(4)), None);
        assert_eq!(links.underlying(InterfaceIndex(5)), None);
    }

    #[test]
    fn local_and_broadcast_addresses_are_known() {
        let links = NetworkBuilder::new()
            .link(Link::ethernet(InterfaceIndex(1), "eth0", [2; 6]))
            .address(InterfaceIndex(1), "192.0.2.1/24".parse().unwrap())
            .address(InterfaceIndex(1), "198.51.100.0/31".parse().unwrap())
            .address(InterfaceIndex(1), "2001:db8::1/64".parse().unwrap())
            .build()
            .links;
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        for local in ["192.0.2.1", "198.51.100.0", "2001:db8::1", "127.9.9.9", "::1"] {
            assert!(links.is_local(ip(local)), "{local}");
        }
        assert!(!links.is_local(ip("192.0.2.2")));
        assert!(links.is_broadcast(ip("192.0.2.255")) && links.is_broadcast(ip("255.255.255.255")));
        assert!(!links.is_broadcast(ip("198.51.100.1")));
    }

    #[test]
    fn the_source_address_fits_the_destination() {
        let mut link = Link::ethernet(InterfaceIndex(1), "eth0", [2; 6]);
        let addresses = [
            "fe80::1/64",
            "2001:db8:1::1/64",
            "2001:db8:2::1/64",
            "192.0.2.1/24",
        ];
        link.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let source = |destination: &str| {
            link.source_address(destination.parse().unwrap())
                .unwrap()
                .to_string()
        };
        assert_eq!(source("2001:db8:2::9"), "2001:db8:2::1");
        assert_eq!(source("2001:db8:9::9"), "2001:db8:1::1");
        assert_eq!(source("fe80::9"), "fe80::1");
        assert_eq!(source("198.51.100.1"), "192.0.2.1");
        link.addresses.truncate(1);
        assert_eq!(link.source_address("198.51.100.1".parse().unwrap()), None);
        assert_eq!(
            link.source_address("2001:db8::1".parse().unwrap()),
            Some("fe80::1".parse().unwrap())
        );
    }
}
