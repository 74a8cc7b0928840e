//! Which devices carry the configured interfaces.

use super::SetupError;
use crate::config::{Config, XdpMode, ZeroCopy};
use crate::interface::{Interface, Interfaces, PortId};
use crate::network::{InterfaceIndex, Link, Links, VlanTag};
use crate::packet::{VlanTags, ethertype};

/// A device to be opened: one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: InterfaceIndex,
    /// How the XDP program is attached.
    pub mode: XdpMode,
    /// Whether frames are shared with the driver.
    pub zero_copy: ZeroCopy,
    /// Whether frames may arrive with partial checksums: the device is one end of a veth pair.
    pub partial_checksums: bool,
}

/// Interfaces, and the devices under them; [`Interface::port`] is an index into `devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The configured interfaces.
    pub interfaces: Interfaces,
    /// The devices.
    pub devices: Vec<Device>,
}

impl Layout {
    /// The link of a configured interface: the one that it was found as, whatever its name is now.
    pub fn link<'a>(&self, interface: &str, links: &'a Links) -> Option<&'a Link> {
        let id = self.interfaces.by_name(interface)?;
        links.get(self.interfaces.get(id).index)
    }

    /// Finds what is gone again, if something has its name now. The others stay what they are, also under another name. An interface
    /// that came back as something else than it was is not taken.
    pub fn found_again(&self, links: &Links) -> Self {
        let mut devices = self.devices.clone();
        for device in &mut devices {
            let is_gone = links.get(device.index).is_none();
            if let Some(link) = links
                .by_name(&device.name)
                .filter(|link| is_gone && link.vlan.is_none())
            {
                device.index = link.index;
                device.partial_checksums = is_veth(link);
            }
        }
        let mut interfaces: Vec<Interface> = self.interfaces.iter().map(|(_, it)| it.clone()).collect();
        for interface in &mut interfaces {
            let is_gone = links.get(interface.index).is_none();
            let device = devices[usize::from(interface.port.0)].index;
            if let Some(link) = links.by_name(&interface.name).filter(|_| is_gone)
                && let Some((below, tags)) = links.underlying(link.index)
                && below.index == device
                && vlan_of(&tags) == Some(interface.vlan)
            {
                interface.index = link.index;
            }
        }
        Self {
            interfaces: Interfaces::new(interfaces),
            devices,
        }
    }
}

fn is_veth(link: &Link) -> bool {
    link.kind.as_deref() == Some("veth")
}

/// `None` for too many tags.
fn vlan_of(tags: &[VlanTag]) -> Option<VlanTags> {
    match tags {
        [] => Some(VlanTags::default()),
        [outer] => Some(VlanTags {
            outer: outer.id,
            inner: 0,
        }),
        [outer, inner] => Some(VlanTags {
            outer: outer.id,
            inner: inner.id,
        }),
        _ => None,
    }
}

/// Finds the devices of the configured interfaces. A VLAN interface is served through the device under it.
///
/// # Errors
/// If an interface is not there or can't be served.
pub fn layout(config: &Config, links: &Links) -> Result<Layout, SetupError> {
    let mut devices: Vec<Device> = Vec::new();
    let mut owners: Vec<&str> = Vec::new();
    let mut interfaces = Vec::new();
    for configured in &config.interfaces {
        let name = &configured.name;
        let link = links.by_name(name).ok_or_else(|| SetupError::NoInterface {
            name: name.clone(),
            available: links.iter().map(|link| link.name.clone()).collect(),
        })?;
        let (device, tags) = links
            .underlying(link.index)
            .ok_or_else(|| SetupError::Nesting { name: name.clone() })?;
        let vlan = vlan_of(&tags).ok_or_else(|| SetupError::Nesting { name: name.clone() })?;
        let wanted = Device {
            name: device.name.clone(),
            index: device.index,
            mode: configured.mode,
            zero_copy: configured.zero_copy,
            partial_checksums: is_veth(device),
        };
        let port = match devices.iter().position(|known| known.index == wanted.index) {
            Some(port) if devices[port] == wanted => port,
            Some(port) => {
                return Err(SetupError::Modes {
                    first: owners[port].to_owned(),
                    second: name.clone(),
                });
            }
            None => {
                devices.push(wanted);
                owners.push(name);
                devices.len() - 1
            }
        };
        interfaces.push(Interface {
            name: name.clone(),
            index: link.index,
            role: configured.role,
            port: PortId(port as u16),
            vlan,
            vlan_protocol: tags.first().map_or(ethertype::VLAN, |tag| tag.protocol),
            sends_icmp_errors: configured.icmp_errors,
        });
    }
    Ok(Layout {
        interfaces: Interfaces::new(interfaces),
        devices,
    })
}
