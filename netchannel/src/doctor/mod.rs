//! Whether this machine suits a configuration: what a dataplane engineer would look at, what matters of it, and the commands that mend it.
//!
//! [`facts`] reads, each reader one part, and changes nothing; checks are functions from facts to [`Finding`]s; [`examine`] does both.
//! [`measure`] watches processors for a while, which takes them whole, so it is to be asked for.

mod checks;
mod cpu_set;
pub mod facts;
mod finding;
mod jitter;
mod root;
mod wanted;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use cpu_set::CpuSet;
use facts::Facts;
pub use finding::{Finding, Level};
pub use jitter::{Jitter, measure};
pub use root::Root;
use wanted::Wanted;

use crate::config::Config;
use crate::network::{Links, Monitor, NetworkError, SharedNetwork};

/// What was found on this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What checks found, in the order in which one would look.
    pub findings: Vec<Finding>,
    /// The processors that were watched, and how long something else had them.
    pub jitter: Vec<Jitter>,
}

impl Report {
    /// The worst that was found.
    pub fn level(&self) -> Level {
        let levels = self.findings.iter().map(|finding| finding.level);
        levels.max().unwrap_or(Level::Ok)
    }

    /// Adds what was seen of processors.
    pub fn add_jitter(&mut self, jitter: Vec<Jitter>) {
        self.findings.extend(jitter.iter().map(jitter::finding));
        self.jitter = jitter;
    }
}

/// What was looked at, and what to look at closer.
#[derive(Clone, Debug)]
pub struct Examination {
    /// What was found.
    pub report: Report,
    /// The processors that workers will run on, or may.
    pub processors: Vec<u32>,
    /// Whether a netchannel runs on the configuration's interfaces now.
    pub is_running: bool,
}

/// Looks at this machine, in the calling thread's network namespace, and says what of it does not suit `config`; without one, what matters
/// to any. Changes nothing.
///
/// # Errors
/// If the kernel does not tell of its links.
pub fn examine(root: &Root, config: Option<&Config>) -> Result<Examination, NetworkError> {
    let network = SharedNetwork::default();
    let monitor = Monitor::start(network.clone(), Vec::new())?;
    let links = Arc::clone(&network.load().links);
    drop(monitor);

    let under: Vec<String> = config.map_or(Vec::new(), |config| {
        let names = config.interfaces.iter().map(|interface| interface.name.as_str());
        names.map(|name| device_under(name, &links)).collect()
    });
    let mut devices: Vec<&str> = Vec::new();
    for name in &under {
        if !devices.contains(&name.as_str()) {
            devices.push(name);
        }
    }
    let facts = Facts::read(root, &devices, &links)?;
    let wanted = config.map(|config| Wanted::of(config, &under, &facts.devices, &facts.processors));
    let findings = checks::all(&facts, wanted.as_ref());
    let cores = wanted
        .map(|wanted| wanted.cores)
        .filter(|cores| !cores.is_empty());
    Ok(Examination {
        report: Report {
            findings,
            jitter: Vec::new(),
        },
        processors: cores.unwrap_or_else(|| facts.processors.allowed.iter().collect()),
        is_running: facts
            .devices
            .iter()
            .any(|device| device.program.as_ref().is_some_and(|program| program.own)),
    })
}

/// A VLAN interface is served through the device under it.
fn device_under(interface: &str, links: &Links) -> String {
    let link = links.by_name(interface);
    let below = link.and_then(|link| links.underlying(link.index));
    below.map_or(interface, |(device, _)| &device.name).to_owned()
}
