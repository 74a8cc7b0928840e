//! What is seen of the machine: small readers, each of one part. Those of files take a [`Root`], so that they can be tried on made-up trees.

mod device;
mod kernel;
mod processors;
mod translation;

pub use device::{Device, Interrupt, LinkState, Program};
pub use kernel::Kernel;
pub use processors::{Core, Processors};
pub use translation::{KernelTranslation, Translations};

use super::root::Root;
use crate::network::Links;
use crate::network::ethtool::Ethtool;

/// All that checks look at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Processors, and what runs on them.
    pub processors: Processors,
    /// The kernel, its settings, its memory.
    pub kernel: Kernel,
    /// The devices of the configuration's interfaces.
    pub devices: Vec<Device>,
    /// The kernel's own translation.
    pub translations: Translations,
}

impl Facts {
    /// Looks at the machine, and at these devices, in the calling thread's network namespace.
    ///
    /// # Errors
    /// If there is no socket to ask the kernel by.
    pub fn read(root: &Root, devices: &[&str], links: &Links) -> Result<Self, crate::network::NetworkError> {
        let ethtool = Ethtool::open()?;
        Ok(Self {
            processors: Processors::read(root),
            kernel: Kernel::read(root),
            devices: devices
                .iter()
                .map(|name| Device::read(root, &ethtool, links, name))
                .collect(),
            translations: Translations::read(root),
        })
    }
}

#[cfg(test)]
mod tests;
