//! Flows that the XDP program carries: which devices can take part.

use std::sync::Arc;
use std::time::Duration;

use super::{Daemon, DaemonError, Event, lock};
use crate::config::{FlowOffload, FlowTable};
use crate::dispatch::{Offload, OffloadPort};
use crate::network::xdp_features::{RedirectMonitor, RedirectTargets};
use crate::xdp::{AttachedMode, OffloadSizes};

/// What the workers were told, and what it stands on.
#[derive(Default)]
pub(super) struct Offloading {
    /// To which devices frames may be redirected; `None` if no flow is to be offloaded.
    targets: Option<RedirectMonitor>,
    told: Vec<OffloadPort>,
}

/// How many flows the XDP program is to have room for.
pub(super) fn sizes(flow_table: &FlowTable) -> OffloadSizes {
    match flow_table.offload {
        FlowOffload::Off => OffloadSizes::OFF,
        FlowOffload::Auto => OffloadSizes {
            ipv4: flow_table.offloaded_flows as usize,
            ipv6: flow_table.offloaded_flows as usize / 4,
        },
    }
}

impl Daemon {
    /// Has flows offloaded, if they are to be, and follows what devices can do.
    pub(super) fn start_offload(&mut self) -> Result<(), DaemonError> {
        if self.config.flow_table.offload == FlowOffload::Off {
            return Ok(());
        }
        let events = self.sender.clone();
        // A daemon that is gone need not be told.
        let tell = Box::new(move || drop(events.send(Event::RedirectTargets)));
        self.offloading.targets = Some(RedirectMonitor::start(vec![tell])?);
        self.offload()
    }

    /// Has flows offloaded by what devices can do now. Called whenever that may have changed.
    pub(super) fn offload(&mut self) -> Result<(), DaemonError> {
        let Some(targets) = &self.offloading.targets else {
            return Ok(());
        };
        let targets = targets.targets().load();
        let ports = self.offload_ports(&targets);
        if ports == self.offloading.told {
            return Ok(());
        }
        let (table, clock) = (lock(&self.xdp).offload(), self.clock.kernel_time()?);
        let for_workers = ports.clone();
        let told = self.team.ask_all(move |dispatcher, _| {
            dispatcher.offload(Offload {
                table: Arc::clone(&table),
                ports: for_workers.clone(),
                clock,
            });
        });
        if let Err(unanswered) = told {
            log::warn!("what devices can carry has changed, and a worker did not hear of it: {unanswered}");
            return Ok(());
        }
        for (device, port) in self.layout.devices.iter().zip(&ports) {
            let name = &device.name;
            match (port.receives, port.transmits) {
                (true, true) => log::info!("{name}: flows are offloaded to XDP"),
                (_, false) => log::info!(
                    "{name}: flows that leave by it stay in user space, for frames can't be redirected to it (a veth needs GRO or an XDP \
                     program at its other end)"
                ),
                (false, true) => log::info!(
                    "{name}: flows that arrive by it stay in user space, for XDP is in generic mode"
                ),
            }
        }
        self.offloading.told = ports;
        Ok(())
    }

    fn offload_ports(&self, targets: &RedirectTargets) -> Vec<OffloadPort> {
        let xdp = lock(&self.xdp);
        let devices = self.layout.devices.iter().zip(&self.ports);
        let port = devices.map(|(device, open)| {
            let slot = xdp.slot_of(&device.name);
            OffloadPort {
                ifindex: device.index.0,
                slot: slot.unwrap_or_default(),
                receives: matches!(open.mode, Some(AttachedMode::Native)),
                has_partial_checksums: device.partial_checksums,
                transmits: slot.is_some() && targets.allow(device.index.0) == Some(true),
                several_buffers: targets.allow_several_buffers(device.index.0) == Some(true),
            }
        });
        port.collect()
    }

    /// Has the XDP program carry what it has for `time`, without user space.
    pub(super) fn leave_offloaded(&self, time: Duration) {
        let left = self
            .team
            .ask_all(move |dispatcher, now| dispatcher.leave_offloaded(now + time, now));
        if let Err(unanswered) = left {
            log::warn!("flows that the XDP program carries end with their leases: {unanswered}");
        }
    }
}
