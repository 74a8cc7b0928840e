//! What is said besides rules of the kernel's packet filters.

use clap::Args;
use netchannel::rules::{ImportOptions, WayOut};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Rules of iptables and nftables")]
pub(crate) struct ImportArguments {
    /// The channel of what they accept.
    #[arg(long, value_name = "CHANNEL", default_value = "pass")]
    accept: String,

    /// The name of the first channel that translates; further ones are CHANNEL-2 and so on.
    #[arg(long, value_name = "CHANNEL", default_value = "internet")]
    nat: String,

    /// What is behind an interface, for rules that ask by which one packets leave: default=wan0, 10.0.0.0/24=lan0. A longer
    /// prefix takes its part from shorter ones.
    #[arg(long = "route", value_name = "PREFIX=INTERFACE")]
    routes: Vec<WayOut>,
}

impl ImportArguments {
    pub(crate) fn options(&self) -> ImportOptions {
        ImportOptions {
            accept: self.accept.as_str().into(),
            nat: self.nat.as_str().into(),
            ways_out: self.routes.clone(),
        }
    }
}
