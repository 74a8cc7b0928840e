//! Interfaces that packets come in on and leave by: a kernel interface, or a VLAN on one.

pub use crate::config::Role;
use crate::network::InterfaceIndex;
use crate::packet::VlanTags;

/// Number of an interface among those that are configured, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u16);

/// Number of a port among those of a worker, from 0. VLANs on one device share its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name in the kernel, or in the capture.
    pub name: String,
    /// Its index in the kernel (or in the static network that stands in for it).
    pub index: InterfaceIndex,
    /// Which side it faces.
    pub role: Role,
    /// The port that carries its frames.
    pub port: PortId,
    /// The VLAN tags that mark its frames on that port.
    pub vlan: VlanTags,
    /// Ethernet type of the outermost tag that frames leave with: 802.1Q or 802.1ad.
    pub vlan_protocol: u16,
    /// Whether senders of packets that arrive here are told by ICMP when their packets can't be forwarded (RFC 5508 REQ-9).
    pub sends_icmp_errors: bool,
}

/// All configured interfaces, found by number, by index, or by port and VLAN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    all: Vec<Interface>,
}

impl Interfaces {
    /// The interfaces in their configured order.
    pub fn new(all: Vec<Interface>) -> Self {
        Self { all }
    }

    /// The interface with this number. O(1).
    ///
    /// # Panics
    /// If there is none: numbers come from this very list.
    #[inline]
    pub fn get(&self, id: InterfaceId) -> &Interface {
        &self.all[usize::from(id.0)]
    }

    /// All with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (InterfaceId, &Interface)> {
        self.all
            .iter()
            .enumerate()
            .map(|(number, interface)| (InterfaceId(number as u16), interface))
    }

    /// The interface with this kernel index. O(interfaces).
    #[inline]
    pub fn by_index(&self, index: InterfaceIndex) -> Option<InterfaceId> {
        self.iter()
            .find(|(_, interface)| interface.index == index)
            .map(|(id, _)| id)
    }

    /// The interface with this name. O(interfaces).
    pub fn by_name(&self, name: &str) -> Option<InterfaceId> {
        self.iter()
            .find(|(_, interface)| interface.name == name)
            .map(|(id, _)| id)
    }

    /// The interface whose frames arrive on this port with these tags. O(interfaces).
    #[inline]
    pub fn by_arrival(&self, port: PortId, vlan: VlanTags) -> Option<InterfaceId> {
        self.iter()
            .find(|(_, interface)| interface.port == port && interface.vlan == vlan)
            .map(|(id, _)| id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
