//! Arguments about translators: what to list, what to delete, whose port it was.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use netchannel::channel::nat::Protocol;
use netchannel::config::parse_duration;
use netchannel::control::{DEFAULT_SOCKET, Endpoints, Filter};

pub(super) const MAPPINGS_EXAMPLES: &str = "\
Each line is an inside endpoint and the external one that it is known by outside. SESSIONS counts the outside endpoints that it \
is in use with; STATE is that of the TCP connection that has longest to live.

Examples:
  sudo netchannel show mappings
  sudo netchannel show mappings --inside 10.0.0.2 --protocol udp
  sudo netchannel show mappings --external 198.51.100.1:2000
  sudo netchannel show mappings --inside 10.0.0.0/24 --min-age 1h --limit 20
  sudo netchannel show mappings -j | jq '.mappings | length'";

pub(super) const SESSIONS_EXAMPLES: &str = "\
Each line is a mapping in use with one outside endpoint. OPENED BY is who sent the first packet. --min-age and --max-age are \
about the mapping.

Examples:
  sudo netchannel show sessions --inside 10.0.0.2
  sudo netchannel show sessions --remote 192.0.2.0/24:443 --protocol tcp
  sudo netchannel show sessions -j | jq '.sessions[] | select(.state == \"established\")'";

pub(super) const POOLS_EXAMPLES: &str = "\
First what each translator has and may have, then the ports of each external address. HELD ports are kept from reuse for a \
while; IN USE is the share of an address's ports that is used or held, of the protocol that has most.

Examples:
  sudo netchannel show pools
  sudo netchannel show pools --channel internet --external 198.51.100.0/28
  sudo netchannel show pools -j | jq '.addresses[] | select(.ports.udp.free < 1000)'";

pub(super) const DELETE_EXAMPLES: &str = "\
Deletes the mappings that all options together describe, with their sessions, and prints how many that were. Their ports are \
free as those of any mapping that ends. The next packet of such a flow is looked at anew: UDP from inside gets a new mapping, \
a TCP connection is over. --dry-run lists them instead.

Examples:
  sudo netchannel nat delete --inside 10.0.0.2 --dry-run
  sudo netchannel nat delete --inside 10.0.0.2
  sudo netchannel nat delete --external 198.51.100.1:2000 --protocol udp
  sudo netchannel nat delete --channel internet --min-age 1d
  sudo netchannel nat delete --all";

pub(super) const REVERSE_EXAMPLES: &str = "\
Prints each external address and port, the inside host that has it, and the channel. This is computed from the \
configuration alone, which must be the one that was in force at the time in question: keep old ones, with their dates. \
It needs a nat channel with [channel.deterministic]. Exits with 1 if nobody has one of them.

Examples:
  netchannel nat reverse --config /etc/netchannel.toml 198.18.0.3:4711
  netchannel nat reverse -j --config netchannel-2026-05.toml 198.18.0.3:4711 198.18.0.4:80";

/// Which mappings.
#[derive(Clone, Debug, Args)]
pub(crate) struct MappingFilter {
    /// Only of this channel.
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,

    /// Only of this protocol: tcp, udp or icmp.
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<Protocol>,

    /// Only of these inside hosts or ports: 10.0.0.2, 10.0.0.0/24, 10.0.0.2:5000 or :5000.
    #[arg(long, value_name = "ENDPOINTS")]
    inside: Option<Endpoints>,

    /// Only at these external addresses or ports.
    #[arg(long, value_name = "ENDPOINTS")]
    external: Option<Endpoints>,

    /// Only if made at least so long ago: 90s, 5m, 2h4m, 1d.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    min_age: Option<Duration>,

    /// Only if made at most so long ago.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_age: Option<Duration>,
}

impl MappingFilter {
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            channel: self.channel.clone(),
            protocol: self.protocol,
            inside: self.inside,
            external: self.external,
            remote: None,
            min_age_seconds: self.min_age.map(|age| age.as_secs()),
            max_age_seconds: self.max_age.map(|age| age.as_secs()),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowMappings {
    #[command(flatten)]
    pub(crate) filter: MappingFilter,

    /// Stop after so many.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowSessions {
    #[command(flatten)]
    mapping: MappingFilter,

    /// Only with these outside hosts or ports.
    #[arg(long, value_name = "ENDPOINTS")]
    remote: Option<Endpoints>,

    /// Stop after so many.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

impl ShowSessions {
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            remote: self.remote,
            ..self.mapping.filter()
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowPools {
    /// Only of this channel.
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,

    /// Only these external addresses: 198.51.100.1 or 198.51.100.0/28.
    #[arg(long, value_name = "ADDRESSES")]
    external: Option<Endpoints>,
}

impl ShowPools {
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            channel: self.channel.clone(),
            external: self.external,
            ..Filter::default()
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Nat {
    #[command(subcommand)]
    pub(crate) command: NatCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NatCommand {
    /// Delete mappings of a running netchannel.
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(Delete),
    /// Tell which inside hosts have external addresses and ports, where each host has its own (RFC 7422).
    #[command(after_help = REVERSE_EXAMPLES)]
    Reverse(Reverse),
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) filter: MappingFilter,

    /// All mappings; needed if no other option says which.
    #[arg(long, conflicts_with_all = ["channel", "protocol", "inside", "external", "min_age", "max_age"])]
    pub(crate) all: bool,

    /// List what would be deleted, and delete nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// JSON, for programs.
    #[arg(long, short = 'j')]
    pub(crate) json: bool,

    /// The control socket of the netchannel to ask.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Reverse {
    /// The configuration that was in force then.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// JSON, a line for each.
    #[arg(long, short = 'j')]
    pub(crate) json: bool,

    /// External addresses with ports, or with identifiers of ICMP queries.
    #[arg(value_name = "ADDRESS:PORT", required = true)]
    pub(crate) external: Vec<SocketAddrV4>,
}
