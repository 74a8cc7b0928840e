//! From a configuration to the parts of a dispatcher: which devices to open, which channels and rules there are, and what the
//! XDP program is asked for.

mod channels;
mod filter;
mod interest;
mod layout;
mod moves;
mod rules;

pub(crate) use channels::numbered_claims;
pub use channels::{
    ChannelPlan, Claim, CustomChannels, Factory, channels, channels_of_workers, port_schemes,
};
pub use filter::packet_filter;
pub use interest::interest;
pub use layout::{Device, Layout, layout};
pub(crate) use moves::stand_in_of;
pub use moves::{Move, moves};
pub(crate) use rules::families;
pub use rules::{RuleCompiler, rule_set};

use classifier::InsertError;

use crate::channel::ChannelError;
use crate::channel::nat::{SettingsError, ShareError};
use crate::dispatch::NameTaken;

/// The configuration is sound in itself but does not fit this machine.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no such interface.
    #[error("there is no interface `{name}` here, only {}; mend the configuration or bring the interface up first", list(.available))]
    NoInterface {
        /// The configured name.
        name: String,
        /// What there is.
        available: Vec<String>,
    },
    /// A VLAN interface whose parents are not all known, or that is nested more than twice.
    #[error(
        "`{name}` is a VLAN whose device can't be served: at most two tags, and the device in the same network namespace"
    )]
    Nesting {
        /// The configured name.
        name: String,
    },
    /// Interfaces on one device want different modes.
    #[error(
        "`{first}` and `{second}` are on one device but have different `mode` or `zero_copy`; give them the same"
    )]
    Modes {
        /// An interface.
        first: String,
        /// Another one on the same device.
        second: String,
    },
    /// There are more rules than the classifier takes.
    #[error("the rules can't be used: {0}")]
    Rules(#[from] InsertError),
    /// A rule names a channel that does not exist.
    #[error("there is no channel `{0}`")]
    NoChannel(String),
    /// A name is taken.
    #[error(transparent)]
    NameTaken(#[from] NameTaken),
    /// A channel of type "custom" that the program does not bring.
    #[error(
        "channel `{channel}` is of type \"custom\", and this program brings no channel of that name; `netchannel run` brings none"
    )]
    NoCustomChannel {
        /// The channel.
        channel: String,
    },
    /// A channel of type "custom" that the program can bring once only.
    #[error(
        "this program brings channel `{channel}` for one worker, and there are {workers}; set `count = 1` in [workers], or bring it by \
         `CustomChannels::add_for_each`"
    )]
    OneCustomChannel {
        /// The channel.
        channel: String,
        /// How many workers there are.
        workers: usize,
    },
    /// A translator's work can't be shared by so many workers.
    #[error("channel `{channel}`: {source}")]
    Share {
        /// The channel.
        channel: String,
        /// Why.
        source: ShareError,
    },
    /// A translator refuses its settings.
    #[error("channel `{channel}`: {source}")]
    Nat {
        /// The channel.
        channel: String,
        /// Why.
        source: SettingsError,
    },
    /// A channel can't start.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

fn list(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
