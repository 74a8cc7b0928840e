//! Flows, rules with what was counted for them, and single packets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddrV4};

use serde::{Deserialize, Serialize};

/// Answer to [`Request::Flows`](crate::control::Request::Flows) and [`Request::TopFlows`](crate::control::Request::TopFlows).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// The flows.
    pub flows: Vec<Flow>,
    /// The `after` of the next page; `None` after the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One direction of a flow, as the flow table has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The interface of the configuration that its packets come in by.
    pub interface: String,
    /// The protocol's name, or its number.
    pub protocol: String,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port, or the identifier of an ICMP query; 0 where there is none.
    pub source_port: u16,
    /// Destination port, or the identifier of a reply; 0 where there is none.
    pub destination_port: u16,
    /// Type and code of ICMP messages that are no queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<(u8, u8)>,
    /// `first` or `later`, of fragments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<String>,
    /// The channel that its packets go to.
    pub channel: String,
    /// Number of the rule that decided so; `None` if none of the configured rules did.
    pub rule: Option<u32>,
    /// Packets so far.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds since the last packet.
    pub idle_seconds: u64,
    /// Where its packets are moved.
    #[serde(default)]
    pub runs: Runs,
    /// What a translator makes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translation: Option<FlowTranslation>,
}

/// Where the packets of a flow are moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runs {
    /// By a worker.
    #[default]
    UserSpace,
    /// By the XDP program, as far as they are plain.
    Xdp,
}

/// What a translator makes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTranslation {
    /// The inside host's address and port, or identifier.
    pub inside: SocketAddrV4,
    /// What they are translated to.
    pub external: SocketAddrV4,
    /// The outside host's.
    pub remote: SocketAddrV4,
}

/// Answer to [`Request::Rules`](crate::control::Request::RuleCounters).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedRules {
    /// The rules.
    pub rules: Vec<CountedRule>,
    /// What no rule decided: answers to a translator, the way back of what is forwarded, and what no rule matched. On the first page
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<RuleCounts>,
    /// The `after` of the next page; `None` after the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A rule and what was counted for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedRule {
    /// Its number.
    pub number: u32,
    /// Its priority.
    pub priority: u32,
    /// The rule, as [text](crate::rules::text).
    pub rule: String,
    /// What was counted.
    #[serde(flatten)]
    pub counts: RuleCounts,
}

/// What was counted for a rule since it is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCounts {
    /// Packets of flows that it decided.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Flows that it decided.
    pub flows: u64,
    /// Seconds since the last packet; `None` if there was none.
    pub last_hit_seconds: Option<u64>,
}

/// One packet of [`Watch::Trace`](crate::control::Watch::Trace).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedPacket {
    /// When it came in, in UTC (RFC 3339, nanoseconds).
    pub time: String,
    /// The interface of the configuration that it came in by; `None` if its VLAN belongs to none.
    pub interface: Option<String>,
    /// The packet in short: `tcp 10.0.0.2:40000 > 192.0.2.1:443 syn`.
    pub packet: String,
    /// Its length in bytes.
    pub length: u64,
    /// Each step that it took, in order.
    pub steps: Vec<TraceStep>,
    /// `transmitted`, `passed`, `dropped`, `waits`, `kept` or `consumed`.
    pub verdict: String,
    /// Of one that was dropped, the reason as in `show drops`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The channel, if it got to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Number of the rule that decided, if one of the configured did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// What left because of it, in short, with the interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<TraceSent>,
}

/// A step of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// `received`, `parsed`, `waited`, `flow`, `rule`, `channel`, `nat`, `route`, `neighbour`, `ttl`, `fragments`, `sent`, `told`, `passed`,
    /// `dropped`, `waits`, `kept` or `consumed`.
    pub step: String,
    /// What was found or decided, and why.
    pub text: String,
}

/// A packet that left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSent {
    /// The interface that it left by.
    pub interface: String,
    /// The packet in short.
    pub packet: String,
    /// Its length in bytes.
    pub length: u64,
}

/// One event of [`Watch::Capture`](crate::control::Watch::Capture).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Captured {
    /// The interfaces of the configuration: the first event.
    Interfaces(Vec<String>),
    /// A frame.
    Frame(CapturedFrame),
    /// Packets that were lost so far, by the interface that they came in by.
    Lost(BTreeMap<String, u64>),
}

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedFrame {
    /// The interface that it came in or left by; `None` if its VLAN belongs to none.
    pub interface: Option<String>,
    /// Whether it left.
    pub outbound: bool,
    /// When, in nanoseconds since 1970.
    pub time: u64,
    /// Its length in bytes.
    pub length: u32,
    /// Its bytes, as many as were asked for, in base 64 (RFC 4648 section 4).
    pub data: String,
    /// What became of it, or where it comes from.
    pub comment: String,
}
