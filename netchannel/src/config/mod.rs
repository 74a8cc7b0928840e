//! The configuration: a TOML file, or several, with interfaces and their roles, channels, and rules.
//!
//! `docs/netchannel.toml` documents every key in place. A file is taken whole or refused whole: [`ConfigError`]
//! lists everything that is wrong with it, each [`Problem`] with file, line, column, what was found and what was
//! expected. What can be used but is probably not meant is in [`Config::warnings`].
//!
//! ```
//! use netchannel::config::Config;
//!
//! let config = Config::parse(
//!     r#"
//!     [[interface]]
//!     name = "lan0"
//!     role = "inside"
//!
//!     [[interface]]
//!     name = "wan0"
//!     role = "outside"
//!
//!     [[channel]]
//!     name = "internet"
//!     type = "nat"
//!     external = "wan0"
//!
//!     [[rule]]
//!     from = "10.0.0.0/24"
//!     channel = "internet"
//!     "#,
//!     "example.toml",
//! )?;
//! assert_eq!(config.channels[0].name, "internet");
//! # Ok::<(), netchannel::config::ConfigError>(())
//! ```

mod channel;
mod error;
mod field;
mod files;
mod interface;
mod json_schema;
mod load;
mod metrics;
mod nat;
mod ports;
#[cfg(test)]
mod properties;
mod replay;
mod rule;
mod schema;
mod section;
mod set;
mod settings;
#[cfg(test)]
mod tests;
mod value;
mod workers;

use std::path::PathBuf;

use crate::rules::RuleList;

pub use channel::{Channel, ChannelKind, MAX_CHANNEL_NAME, RESERVED_CHANNELS};
pub use error::{ConfigError, MAX_PROBLEMS, Position, Problem};
pub use files::MAX_FILES;
pub use interface::{Interface, MAX_INTERFACE_NAME, MAX_INTERFACES, Role, XdpMode, ZeroCopy};
pub use json_schema::json_schema;
pub use load::MAX_FILE_SIZE;
pub(crate) use load::reason;
pub use metrics::Metrics;
pub(crate) use nat::FILTERINGS;
pub use nat::{External, Ipfix, LogFile, Nat, NatLog, PortForward, Timeouts};
pub use replay::ReplayInterface;
pub use settings::{
    Control, FRAME_SIZE, FlowOffload, FlowTable, HugePages, LONGEST_TAKEOVER, Memory, Rings, Service, State,
};
pub use value::parse_duration;
pub use workers::{HIGHEST_CPU, MAX_WORKERS, Wait, Workers};

/// A configuration that was found consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file or directory, as it was named to [`Config::load`] or [`Config::parse`].
    pub file: PathBuf,
    /// The files that it was read from, in their order.
    pub files: Vec<PathBuf>,
    /// The control socket.
    pub control: Control,
    /// Metrics for Prometheus.
    pub metrics: Metrics,
    /// How the daemon runs.
    pub service: Service,
    /// What outlives the daemon.
    pub state: State,
    /// The threads that look at packets.
    pub workers: Workers,
    /// The memory that packets live in.
    pub memory: Memory,
    /// The rings of every AF_XDP socket.
    pub rings: Rings,
    /// The flow table of a worker.
    pub flow_table: FlowTable,
    /// The interfaces, in the order of the file; at least one, names unique.
    pub interfaces: Vec<Interface>,
    /// The channels, in the order of the file, names unique; `drop` and `pass` exist besides them.
    pub channels: Vec<Channel>,
    /// The rules, the first to be tried first: by priority number, then in the order of the file.
    pub rules: RuleList,
    /// What the kernel would tell of each interface, for replaying captures; in the order of `interfaces`.
    pub replay: Vec<ReplayInterface>,
    /// What can be used but is probably not meant.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// The names of the interfaces, in the order of the file.
    pub fn interface_names(&self) -> Vec<&str> {
        self.interfaces
            .iter()
            .map(|interface| interface.name.as_str())
            .collect()
    }

    /// The interface of this name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// The channel of this name; `None` for `drop` and `pass`, which are not in the file.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// What the kernel would tell of the interface of this name, for replaying captures.
    pub fn replay_interface(&self, name: &str) -> Option<&ReplayInterface> {
        self.replay.iter().find(|interface| interface.name == name)
    }
}
