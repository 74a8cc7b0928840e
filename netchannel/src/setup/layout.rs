//! Which devices carry the configured interfaces.

use super::SetupError;
use crate::config::{Config, XdpMode, ZeroCopy};
use crate::interface::{Interface, Interfaces, PortId};
use crate::network::{InterfaceIndex, Links};
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
#[derive(Clone, Debug)]
pub struct Layout {
    /// The configured interfaces.
    pub interfaces: Interfaces,
    /// The devices.
    pub devices: Vec<Device>,
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
        let vlan = match tags[..] {
            [] => VlanTags::default(),
            [outer] => VlanTags {
                outer: outer.id,
                inner: 0,
            },
            [outer, inner] => VlanTags {
                outer: outer.id,
                inner: inner.id,
            },
            _ => return Err(SetupError::Nesting { name: name.clone() }),
        };
        let wanted = Device {
            name: device.name.clone(),
            index: device.index,
            mode: configured.mode,
            zero_copy: configured.zero_copy,
            partial_checksums: device.kind.as_deref() == Some("veth"),
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
