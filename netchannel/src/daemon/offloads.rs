//! Work that network cards do for the kernel and that packets on AF_XDP miss.

use super::steering::Steering;
use crate::network::ethtool::{Ethtool, Offload, OffloadChange};
use crate::setup::Layout;

/// Offloads that were turned off, and what else was changed at the cards. Dropped, it sets them back.
#[derive(Default)]
pub(super) struct Offloads {
    changed: Vec<(String, Offload)>,
    steering: Steering,
}

impl Offloads {
    /// Turns off what would make frames arrive other than they were sent: the stripping of VLAN tags and the merging of
    /// segments. Packets are spread over the queues that are served. Each change is logged.
    pub(super) fn turn_off(layout: &Layout) -> Self {
        let mut offloads = Self::default();
        for device in &layout.devices {
            offloads.turn_off_at(&device.name);
        }
        offloads
    }

    /// The same at one device, which is new.
    pub(super) fn turn_off_at(&mut self, device: &str) {
        let ethtool = match Ethtool::open() {
            Ok(ethtool) => ethtool,
            Err(error) => return log::warn!("{device}: offloads can't be looked at: {error}"),
        };
        self.changed.retain(|(known, _)| known != device);
        for offload in [Offload::ReceiveVlan, Offload::ReceiveMerging] {
            if turn_off(&ethtool, device, offload) {
                self.changed.push((device.to_owned(), offload));
            }
        }
        self.steering.spread_at(device);
    }
}

impl Drop for Offloads {
    fn drop(&mut self) {
        let Ok(ethtool) = Ethtool::open() else { return };
        for (interface, offload) in &self.changed {
            // An interface that is gone took its settings with it.
            if let Err(error) = ethtool.turn_on(interface, *offload) {
                log::debug!("{interface}: {} stays off: {error}", offload.name());
            }
        }
    }
}

/// Turns an offload off and says whether it was on.
fn turn_off(ethtool: &Ethtool, interface: &str, offload: Offload) -> bool {
    match ethtool.turn_off(interface, offload) {
        Ok(OffloadChange::Changed) => {
            log::info!(
                "{interface}: turned {} off for as long as this runs",
                offload.name()
            );
            true
        }
        Ok(OffloadChange::AlreadyOff) => false,
        Err(error) => {
            log::warn!("{interface}: {} could not be turned off: {error}", offload.name());
            false
        }
    }
}
