//! What an event says. The form in JSON is part of the control protocol.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Kind;
use crate::channel::nat;
use crate::control::report::{Neighbour, Route};

/// Something that happened: an object with `time`, `event` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in UTC (RFC 3339, milliseconds).
    #[serde(with = "rfc3339")]
    pub time: SystemTime,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. In JSON, `event` is the name of the variant, such as `mapping-created`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The first packet of a flow came.
    FlowOpened(Flow),
    /// The flow table forgot a flow.
    FlowClosed(ClosedFlow),
    /// An inside endpoint got an external one.
    MappingCreated(Translation),
    /// It has it no more.
    MappingDeleted(Translation),
    /// An inside host got a block of ports.
    BlockAllocated(Block),
    /// It has it no more.
    BlockReleased(Block),
    /// Mappings or sessions were refused at a limit.
    LimitReached(Limit),
    /// Other rules apply.
    RulesLoaded(Rules),
    /// There is a new interface.
    LinkAdded(Link),
    /// An interface is gone.
    LinkRemoved(Link),
    /// An interface has another name.
    LinkRenamed(Link),
    /// The Ethernet address, the MTU or the VLAN of an interface changed.
    LinkChanged(Link),
    /// Packets can pass an interface.
    LinkUp(Link),
    /// An interface is set down, or without a carrier.
    LinkDown(Link),
    /// An interface has one more address.
    AddressAdded(Address),
    /// An interface lost an address.
    AddressRemoved(Address),
    /// There is a new route, or an old one says something else now.
    RouteAdded(Route),
    /// A route is gone, or says something else now.
    RouteRemoved(Route),
    /// Something is known of a neighbour that was not before.
    NeighbourChanged(Neighbour),
    /// The kernel forgot a neighbour.
    NeighbourRemoved(Neighbour),
    /// The daemon stops: nothing comes after this.
    Stopping,
}

impl What {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::FlowOpened(_) | Self::FlowClosed(_) => Kind::Flows,
            Self::MappingCreated(_)
            | Self::MappingDeleted(_)
            | Self::BlockAllocated(_)
            | Self::BlockReleased(_) => Kind::Mappings,
            Self::LimitReached(_) => Kind::Limits,
            Self::RulesLoaded(_) => Kind::Rules,
            Self::LinkAdded(_)
            | Self::LinkRemoved(_)
            | Self::LinkRenamed(_)
            | Self::LinkChanged(_)
            | Self::LinkUp(_)
            | Self::LinkDown(_)
            | Self::AddressAdded(_)
            | Self::AddressRemoved(_) => Kind::Links,
            Self::RouteAdded(_) | Self::RouteRemoved(_) => Kind::Routes,
            Self::NeighbourChanged(_) | Self::NeighbourRemoved(_) => Kind::Neighbours,
            Self::Stopping => Kind::Daemon,
        }
    }
}

/// One direction of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The interface of the configuration that its packets come in by.
    pub interface: String,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Source port, or the identifier of an ICMP query; 0 where there is none.
    pub source_port: u16,
    /// Destination port, or the identifier of a reply; 0 where there is none.
    pub destination_port: u16,
    /// The channel that its packets go to.
    pub channel: String,
    /// Number of the rule that decided so, if one of the configured did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
}

/// A flow that was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedFlow {
    /// Which one.
    #[serde(flatten)]
    pub flow: Flow,
    /// Its packets.
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// Why: `replaced` by another flow, or `rules` that are no more.
    pub reason: String,
}

/// Which inside endpoint is known outside by which external one. For ICMP queries, ports are identifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translation {
    /// The translator.
    pub channel: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// The inside host's address and port.
    pub inside: SocketAddrV4,
    /// What they are translated to.
    pub external: SocketAddrV4,
    /// The outside endpoint, as far as the mapping depends on it and destinations are logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddrV4>,
    /// Of one that is deleted, why: `expired`, `closed` (TCP) or `deleted` (by the operator).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Ports of an external address that are one inside host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The translator.
    pub channel: String,
    /// The inside host.
    pub host: Ipv4Addr,
    /// The external address.
    pub external: Ipv4Addr,
    /// The first and the last port: `2048-2559`.
    pub ports: String,
}

/// A limit at which something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The translator.
    pub channel: String,
    /// Which limit, as in `netchannel show drops`.
    pub limit: String,
    /// The protocol of the packet that was refused last.
    pub protocol: String,
    /// The inside host that was refused last.
    pub host: Ipv4Addr,
    /// The external address that is out of ports, if it is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<Ipv4Addr>,
    /// What is allowed: entries, or new ones in a second.
    pub bound: u32,
    /// Refusals since the limit was last told of.
    pub refused: u32,
}

/// Rules that apply from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How many there are.
    pub rules: u64,
    /// What brought them, in a few words: `rules load`, `SIGHUP`, `not confirmed in time`.
    pub cause: String,
}

/// An interface of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub interface: String,
    /// Of one that was renamed, the name before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The interface.
    pub interface: String,
    /// The address with the length of its prefix.
    pub address: IpNet,
}

impl What {
    /// What a translator recorded; `None` for what nobody is told here.
    pub(crate) fn of_translator(channel: &str, event: &nat::Event) -> Option<Self> {
        let translation = |of: &nat::Translation, reason: Option<nat::EndReason>| Translation {
            channel: channel.to_owned(),
            protocol: of.protocol.name().to_owned(),
            inside: of.inside,
            external: of.external,
            remote: of.remote,
            reason: reason.map(|reason| reason.name().to_owned()),
        };
        let block = |of: &nat::PortBlock| Block {
            channel: channel.to_owned(),
            host: of.host,
            external: of.external,
            ports: format!("{}-{}", of.first, of.last),
        };
        Some(match event {
            nat::Event::MappingCreated(of) => Self::MappingCreated(translation(of, None)),
            nat::Event::MappingDeleted(of, reason) => Self::MappingDeleted(translation(of, Some(*reason))),
            nat::Event::BlockAllocated(of) => Self::BlockAllocated(block(of)),
            nat::Event::BlockReleased(of) => Self::BlockReleased(block(of)),
            nat::Event::LimitReached(of) => Self::LimitReached(Limit {
                channel: channel.to_owned(),
                limit: of.limit.name().to_owned(),
                protocol: of.protocol.name().to_owned(),
                host: of.host,
                external: of.external,
                bound: of.bound,
                refused: of.refused,
            }),
            nat::Event::SessionCreated(_) | nat::Event::SessionDeleted(..) => return None,
        })
    }
}

/// Times as text.
mod rfc3339 {
    use std::time::SystemTime;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}
