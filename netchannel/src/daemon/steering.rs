//! Which queues a card sends packets to.

use crate::network::ethtool::{Ethtool, spread_over};
use xdp_prog::QUEUES_PER_INTERFACE;

/// Tables that were changed, so that packets come to all queues that are served and to no others (RSS). Dropped, it puts the former ones back.
#[derive(Default)]
pub(super) struct Steering {
    former: Vec<(String, Vec<u32>)>,
}

impl Steering {
    /// Spreads a device's packets over the queues that are served. The change is logged, and so is that it can't be made.
    pub(super) fn spread_at(&mut self, device: &str) {
        self.former.retain(|(known, _)| known != device);
        let Ok(ethtool) = Ethtool::open() else { return };
        let Ok(queues) = ethtool.queues(device) else {
            return;
        };
        let served = queues.receive.min(QUEUES_PER_INTERFACE);
        let Some(table) = ethtool.indirection(device) else {
            if served > 1 {
                log::info!(
                    "{device}: the driver itself chooses the queue of each packet: it has no table for it that could be set"
                );
            }
            return;
        };
        let Some(spread) = spread_over(&table, served) else {
            return;
        };
        match ethtool.set_indirection(device, &spread) {
            Ok(()) => {
                log::info!(
                    "{device}: packets are spread over {served} queues for as long as this runs (ethtool -x {device})"
                );
                self.former.push((device.to_owned(), table));
            }
            Err(error) => log::warn!(
                "{device}: packets do not come to all of its {served} queues, so some workers may stay idle: {error}; try \
                 `ethtool -X {device} equal {served}`"
            ),
        }
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        let Ok(ethtool) = Ethtool::open() else { return };
        for (device, table) in &self.former {
            // A device that is gone took its settings with it.
            if let Err(error) = ethtool.set_indirection(device, table) {
                log::debug!("{device}: packets stay spread as they are: {error}");
            }
        }
    }
}
