//! The answers: what `netchannel show` prints, and what `-j` gives as JSON. Counters count from the start of the
//! process; a packet is a frame on the wire, bytes are with the Ethernet header and without the checksum.

mod memory;
mod network;
mod packets;
mod rules;
mod workers;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use memory::{Frames, Memory, PortFrames, ProcessMemory, Table};
pub use network::{Neighbour, Neighbours, NextHop, Route, Routes};
pub use packets::{
    Captured, CapturedFrame, CountedRule, CountedRules, Flow, FlowTranslation, Flows, RuleCounts, Runs,
    TraceSent, TraceStep, TracedPacket,
};
pub use rules::{Load, RuleEntry, RulesChanged, RulesPage, RulesState};
pub use workers::{WaitMode, Work, Worker, WorkerState, Workers};

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Answer to [`Request::Ports`](super::Request::Ports).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// One for each interface of the configuration, in its order.
    pub ports: Vec<Port>,
    /// What the XDP program decided, summed over interfaces and CPUs.
    pub verdicts: Vec<Verdict>,
}

/// One interface and its sockets, which are summed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The name in the configuration.
    pub interface: String,
    /// The kernel interface that the sockets are bound to: the parent, for a VLAN interface.
    pub device: String,
    /// The VLAN identifier, for a VLAN interface.
    pub vlan: Option<u16>,
    /// Whether packets can pass.
    pub link: LinkState,
    /// The kernel driver, if the kernel tells.
    pub driver: Option<String>,
    /// Where the XDP program runs.
    pub xdp_mode: XdpMode,
    /// Whether the network card reads and writes packet memory itself.
    pub copy_mode: CopyMode,
    /// Queues, each with a socket of its own.
    pub queues: u32,
    /// Entries of the rings of each socket.
    pub rings: Rings,
    /// Taken from the receive rings.
    pub received: Traffic,
    /// Sent.
    pub transmitted: Traffic,
    /// Packets to be sent here that were dropped.
    pub dropped: u64,
    /// What the kernel counts for the sockets.
    pub kernel: KernelStatistics,
}

/// Whether packets can pass an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// They can.
    Up,
    /// The interface is down or without carrier.
    Down,
    /// The interface was removed while the process ran.
    Removed,
}

impl LinkState {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Removed => "removed",
        }
    }
}

/// Where the XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the kernel's generic path.
    Generic,
}

impl XdpMode {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// How packets get into packet memory and out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyMode {
    /// The network card reads and writes packet memory.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

impl CopyMode {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
        }
    }
}

/// Entries of the rings of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rings {
    /// The receive ring.
    pub receive: u32,
    /// The transmit ring.
    pub transmit: u32,
    /// The fill ring.
    pub fill: u32,
    /// The completion ring.
    pub completion: u32,
}

/// What the kernel counts for a port (`getsockopt(XDP_STATISTICS)`), summed over its sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelStatistics {
    /// Packets dropped for other reasons than the ones below: too long for a frame, say.
    pub receive_dropped: u64,
    /// Packets dropped because the receive ring was full.
    pub receive_ring_full: u64,
    /// Packets that found no free frame in the fill ring.
    pub fill_ring_empty: u64,
    /// Times that the kernel found nothing to send.
    pub transmit_ring_empty: u64,
    /// Descriptors that the kernel refused; not zero means a defect.
    pub refused_by_kernel: u64,
    /// Frames that could not be used; not zero means a defect.
    pub invalid: u64,
}

/// One of the XDP program's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The verdict's name.
    pub name: String,
    /// Packets.
    pub packets: u64,
}

/// Answer to [`Request::Channels`](super::Request::Channels).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels {
    /// `drop`, `pass`, then those of the configuration in its order.
    pub channels: Vec<Channel>,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// The name that rules use.
    pub name: String,
    /// `drop`, `pass`, `nat`, `forward`, or whatever a channel of a user's own calls itself.
    pub kind: String,
    /// Packets handed to it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Flows that were opened for it.
    pub flows: u64,
    /// What else there is to say; the keys are up to the kind.
    #[serde(default)]
    pub details: BTreeMap<String, serde_json::Value>,
}

/// Answer to [`Request::Mappings`](super::Request::Mappings): one page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mappings {
    /// The page. A mapping that lives through the whole listing is in exactly one page.
    pub mappings: Vec<Mapping>,
    /// `after` for the next page; `None` on the last page. Never the `after` of this page.
    pub next: Option<String>,
}

/// One mapping of a translator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The channel.
    pub channel: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// The inside host's address and port (or ICMP identifier): `10.0.0.2:1234`.
    pub inside: String,
    /// What it is translated to: `198.51.100.1:2000`.
    pub external: String,
    /// Outside endpoints that the mapping is in use with.
    pub sessions: u64,
    /// Seconds since it was made.
    pub age_seconds: u64,
    /// Seconds since a packet used it.
    pub idle_seconds: u64,
    /// Seconds until it ends if no packet uses it.
    pub expires_in_seconds: u64,
    /// Where a TCP connection stands, such as `established`; `None` for other protocols.
    #[serde(default)]
    pub state: Option<String>,
}

/// Answer to [`Request::Sessions`](super::Request::Sessions): one page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The page. A session that lives through the whole listing is in exactly one page.
    pub sessions: Vec<Session>,
    /// `after` for the next page; `None` on the last page. Never the `after` of this page.
    pub next: Option<String>,
}

/// One session of a translator: a mapping in use with one outside endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The channel.
    pub channel: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// The inside host's address and port (or ICMP identifier).
    pub inside: String,
    /// What it is translated to.
    pub external: String,
    /// The outside host's address and port (0 for ICMP).
    pub remote: String,
    /// Who sent the first packet.
    pub opened_by: Opener,
    /// Seconds since its mapping was made.
    pub mapping_age_seconds: u64,
    /// Seconds since a packet kept it alive.
    pub idle_seconds: u64,
    /// Seconds until it ends if no packet keeps it alive.
    pub expires_in_seconds: u64,
    /// Where a TCP connection stands, such as `established`; `None` for other protocols.
    #[serde(default)]
    pub state: Option<String>,
}

/// Who sent the first packet of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Opener {
    /// The inside host.
    Inside,
    /// The outside host.
    Outside,
}

/// Answer to [`Request::Pools`](super::Request::Pools): one page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// The translators whose addresses begin in this page.
    pub pools: Vec<Pool>,
    /// The page. Addresses that have forwarded ports only are not among them.
    pub addresses: Vec<PoolAddress>,
    /// `after` for the next page; `None` on the last page. Never the `after` of this page.
    pub next: Option<String>,
}

/// What a translator has of everything, and what it may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The channel.
    pub channel: String,
    /// External addresses.
    pub addresses: u64,
    /// Inside hosts that have one of them.
    pub hosts: u64,
    /// Ports, or identifiers, of all addresses, for each protocol.
    pub ports_per_protocol: u64,
    /// Ports of all protocols that are held back from reuse.
    pub ports_held: u64,
    /// Mappings, by protocol.
    pub mappings: ByProtocol<u64>,
    /// Sessions.
    pub sessions: u64,
    /// Bounds on all hosts together.
    pub limits: Limits,
    /// Bounds on each host.
    pub host_limits: Limits,
    /// Sessions that one mapping may have; `None` for no bound.
    pub sessions_per_mapping: Option<u32>,
}

/// Bounds of a translator; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Mappings of all protocols together.
    pub mappings: Option<u32>,
    /// Mappings of each protocol.
    pub mappings_of: ByProtocol<Option<u32>>,
    /// Sessions.
    pub sessions: Option<u32>,
    /// New mappings in a second.
    pub new_mappings_per_second: Option<u32>,
}

/// A value for each protocol that has mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByProtocol<T> {
    /// That of TCP.
    pub tcp: T,
    /// That of UDP.
    pub udp: T,
    /// That of ICMP queries.
    pub icmp: T,
}

/// One external address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolAddress {
    /// The channel.
    pub channel: String,
    /// The address.
    pub address: String,
    /// Inside hosts that have it: those that are paired with it, or, without pairing, whose first mapping is there.
    pub hosts: u64,
    /// Its ports, or identifiers, by protocol.
    pub ports: ByProtocol<PoolPorts>,
    /// Its blocks of ports; `None` if ports are not given in blocks.
    #[serde(default)]
    pub blocks: Option<PoolBlocks>,
}

/// The blocks of ports of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolBlocks {
    /// All.
    pub all: u64,
    /// Those that inside hosts have, or that forwarded ports are in.
    pub given: u64,
}

/// The ports of one protocol at one address; `used + free + held` are all that mappings may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPorts {
    /// Those of mappings.
    pub used: u64,
    /// Those that a mapping could get.
    pub free: u64,
    /// Those held back from reuse.
    pub held: u64,
}

/// Answer to [`Request::DeleteMappings`](super::Request::DeleteMappings): what one page of the deletion did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Mappings that were deleted.
    pub deleted: u64,
    /// `after` for the next page; `None` when all that was asked for is deleted.
    pub next: Option<String>,
}

/// Answer to [`Request::Drops`](super::Request::Drops). Nothing is lost without a name: at any time
/// `received + originated = transmitted + passed + consumed + held + dropped`, where `dropped` is the sum of `reasons`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Packets received on all interfaces.
    pub received: u64,
    /// Packets made here, such as ICMP errors.
    #[serde(default)]
    pub originated: u64,
    /// Packets sent on all interfaces.
    pub transmitted: u64,
    /// Packets handed to the kernel.
    pub passed: u64,
    /// Packets that ended in a channel as they should, such as one that a user reads.
    pub consumed: u64,
    /// Packets inside now: waiting for a neighbour, or for room in a ring.
    pub held: u64,
    /// Packets dropped, by reason; reasons that never occurred may be left out.
    pub reasons: Vec<DropReason>,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropReason {
    /// The reason's name, the same for ever.
    pub reason: String,
    /// Packets.
    pub packets: u64,
    /// What it means, in a sentence.
    pub explanation: String,
}

impl Drops {
    /// Packets dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.reasons
            .iter()
            .fold(0, |sum: u64, drop| sum.saturating_add(drop.packets))
    }
}
