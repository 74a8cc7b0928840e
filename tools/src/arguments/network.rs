//! Arguments about what the packet path knows of the network.

use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;
use netchannel::control::NetworkPage;

pub(super) const ROUTES_EXAMPLES: &str = "\
The kernel's main routing table, as packets are forwarded by it. For one prefix, the route with the lowest METRIC counts; a route \
with several next hops has a line for each, and flows are spread over them by WEIGHT.

Examples:
  sudo netchannel show routes
  sudo netchannel show routes --prefix 10.0.0.0/8 --interface wan0
  sudo netchannel show routes -j | jq '.routes | length'";

pub(super) const NEIGHBOURS_EXAMPLES: &str = "\
STATE fresh: its address is known. stale: known, the kernel is asked to confirm it when it is used. incomplete: the kernel has \
asked and waits. failed: nobody answered; packets for it are dropped.

Examples:
  sudo netchannel show neighbours
  sudo netchannel show neighbours --interface lan0
  sudo netchannel show neighbours --prefix 192.0.2.0/24 -j | jq '.neighbours[] | select(.state == \"failed\")'";

#[derive(Clone, Debug, Args)]
pub(crate) struct NetworkFilter {
    /// Only what lies in this prefix: 10.0.0.0/8, 2001:db8::/32, or one address.
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    prefix: Option<IpNet>,

    /// Only of this interface of the kernel.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
}

impl NetworkFilter {
    pub(crate) fn page(&self) -> NetworkPage {
        NetworkPage {
            prefix: self.prefix,
            interface: self.interface.clone(),
            ..NetworkPage::first()
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowRoutes {
    #[command(flatten)]
    pub(crate) filter: NetworkFilter,

    /// Stop after so many.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowNeighbours {
    #[command(flatten)]
    pub(crate) filter: NetworkFilter,

    /// Stop after so many.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let prefix = text.parse().or_else(|_| address());
    prefix.map_err(|_| "expected a prefix such as 10.0.0.0/8, or an address".to_owned())
}
