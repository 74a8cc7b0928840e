//! What a configuration asks of the machine.

use super::facts::{Device, Processors};
use crate::config::{ChannelKind, Config, FRAME_SIZE, FlowOffload, HugePages, Role, Wait, XdpMode, ZeroCopy};

/// What is to run, as far as the machine matters to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Worker threads.
    pub(super) workers: u32,
    /// The processor of each of them; empty if they go where they like.
    pub(super) cores: Vec<u32>,
    pub(super) wait: Wait,
    /// Frames of each worker's packet memory, from the configuration; queues may need more.
    pub(super) frames: u32,
    /// Frames that each queue needs.
    pub(super) frames_of_queue: u32,
    pub(super) huge_pages: HugePages,
    /// Whether flows may be carried by the XDP program.
    pub(super) offload: bool,
    /// Whether any channel translates.
    pub(super) translates: bool,
    /// Whether any rule leaves packets to the kernel.
    pub(super) passes: bool,
    pub(super) devices: Vec<WantedDevice>,
}

/// How a device is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedDevice {
    pub(super) name: String,
    pub(super) mode: XdpMode,
    pub(super) zero_copy: ZeroCopy,
    pub(super) role: Role,
}

impl Wanted {
    /// `devices` are the names of those under the configured interfaces, in the same order.
    pub(super) fn of(config: &Config, devices: &[String], seen: &[Device], processors: &Processors) -> Self {
        let mut wanted: Vec<WantedDevice> = Vec::new();
        for (interface, device) in config.interfaces.iter().zip(devices) {
            if wanted.iter().all(|known| known.name != *device) {
                wanted.push(WantedDevice {
                    name: device.clone(),
                    mode: interface.mode,
                    zero_copy: interface.zero_copy,
                    role: interface.role,
                });
            }
        }
        let queues = seen
            .iter()
            .filter_map(|device| device.queues)
            .map(|queues| queues.receive);
        let allowed = u32::try_from(processors.allowed.len()).unwrap_or(u32::MAX).max(1);
        let auto = queues.min().unwrap_or(1).min(allowed).max(1);
        let workers = config.workers.count.unwrap_or(auto);
        let all: Vec<u32> = match config.workers.cpus.is_empty() {
            false => config.workers.cpus.clone(),
            true if workers > 1 => processors.allowed.iter().collect(),
            true => Vec::new(),
        };
        let cores = match all.is_empty() {
            true => all,
            false => all.into_iter().cycle().take(workers as usize).collect(),
        };
        Self {
            workers,
            cores,
            wait: config.workers.wait,
            frames: config.memory.frames,
            frames_of_queue: config.rings.fill + config.rings.transmit,
            huge_pages: config.memory.huge_pages,
            offload: config.flow_table.offload != FlowOffload::Off,
            translates: config
                .channels
                .iter()
                .any(|it| matches!(it.kind, ChannelKind::Nat(_))),
            passes: config.rules.iter().any(|rule| rule.channel.as_ref() == "pass"),
            devices: wanted,
        }
    }

    /// Bytes of packet memory of all workers, on devices with so many queues in all.
    pub(super) fn memory(&self, queues: u32) -> u64 {
        let of_worker = queues.div_ceil(self.workers).saturating_mul(self.frames_of_queue);
        u64::from(self.frames.max(of_worker)) * u64::from(FRAME_SIZE) * u64::from(self.workers)
    }
}
