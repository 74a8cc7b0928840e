//! Work that network cards do for the kernel and that packets on AF_XDP miss.

use crate::network::ethtool::{Ethtool, Offload, OffloadChange};
use crate::setup::Layout;

/// Turns off what would make frames arrive other than they were sent: the stripping of VLAN tags and the merging of
/// segments. Each change is logged.
pub(super) fn prepare(layout: &Layout) {
    let ethtool = match Ethtool::open() {
        Ok(ethtool) => ethtool,
        Err(error) => return log::warn!("offloads can't be looked at: {error}"),
    };
    for device in &layout.devices {
        for offload in [Offload::ReceiveVlan, Offload::ReceiveMerging] {
            turn_off(&ethtool, &device.name, offload);
        }
    }
}

fn turn_off(ethtool: &Ethtool, interface: &str, offload: Offload) {
    match ethtool.turn_off(interface, offload) {
        Ok(OffloadChange::Changed) => log::info!("{interface}: turned {} off", offload.name()),
        Ok(OffloadChange::AlreadyOff) => {}
        Err(error) => log::warn!("{interface}: {} could not be turned off: {error}", offload.name()),
    }
}
