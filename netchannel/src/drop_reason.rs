//! Why packets are dropped: each reason has a name, an explanation and a counter.

use crate::packet::ParseError;

macro_rules! drop_reasons {
    ($($variant:ident $name:literal $explanation:literal)*) => {
        /// A reason to drop a packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $explanation] $variant,)*
        }

        impl DropReason {
            /// All reasons.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant),*];

            /// Its name as `show drops` prints it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in a sentence.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)* }
            }
        }
    };
}

drop_reasons! {
    ShortEthernet "short-ethernet" "The frame ends inside of its Ethernet header."
    NotIp "not-ip" "The frame is neither IPv4 nor IPv6."
    UnknownVlan "unknown-vlan" "The frame's VLAN belongs to no configured interface."
    OtherHost "other-host" "The frame is addressed to the Ethernet address of another host, or of a group."
    Ipv4Header "ipv4-header" "The IPv4 header is malformed."
    Ipv4Checksum "ipv4-checksum" "The IPv4 header checksum is wrong."
    Ipv6Header "ipv6-header" "The IPv6 header is malformed."
    Truncated "truncated" "The frame is shorter than the IP packet that it holds."
    FragmentOverrun "fragment-overrun" "The fragment reaches beyond the largest datagram."
    TcpHeader "tcp-header" "The TCP header is malformed."
    UdpHeader "udp-header" "The UDP header is malformed."
    IcmpHeader "icmp-header" "The ICMP header is malformed."
    Rule "rule" "A rule's channel is drop."
    Channel "channel" "The packet's channel, one of the program's own, did not want it."
    TtlExpired "ttl-expired" "The time to live or hop limit ran out; the sender was told if the rate limit allowed it."
    NoRoute "no-route" "The kernel's routing table has no route to the destination; the sender was told."
    RouteBlackhole "route-blackhole" "The route to the destination is a blackhole."
    RouteUnreachable "route-unreachable" "The route to the destination says that it can't be reached; the sender was told."
    RouteProhibited "route-prohibited" "The route to the destination is prohibited; the sender was told."
    NotForwarded "not-forwarded" "The destination is one that a router does not forward to: its own address, multicast, or link-local."
    EgressNotServed "egress-not-served" "The route leads to an interface that is not configured here."
    InterfaceDown "interface-down" "The interface that the packet would leave by is down."
    NeighbourUnresolved "neighbour-unresolved" "The next hop did not answer ARP or neighbour discovery in time; the sender was told."
    NeighbourQueueFull "neighbour-queue-full" "Too many packets already wait for the next hop's address."
    TooBig "too-big" "The packet is larger than the MTU of its way out and may not be fragmented; the sender was told."
    NewFlowLimit "new-flow-limit" "The first packet of a flow while more packets came than could be worked off: known flows go first, and the sender had its share of new ones."
    NoFrame "no-frame" "No frame of the pool was free."
    TransmitFull "transmit-full" "The transmit ring had no room."
    HandoffFull "handoff-full" "There was no room on the way to the worker that the packet belongs to."
    PassFailed "pass-failed" "The kernel did not take a packet that was to be passed to it."
    NatNoMapping "nat-no-mapping" "An inbound packet to an external address and port without a mapping."
    NatFiltered "nat-filtered" "An inbound packet that the mapping's filtering does not admit."
    NatPortsExhausted "nat-ports-exhausted" "No external port or identifier was free for a new mapping."
    NatNoExternalAddress "nat-no-external-address" "The interface whose address is the channel's external one has none at the moment; the inside host was told."
    NatHostNotServed "nat-host-not-served" "Each inside host has external ports of its own, and this one has none; it was told."
    NatMappingLimit "nat-mapping-limit" "The channel's limit of mappings was reached; the inside host was told."
    NatSessionLimit "nat-session-limit" "The channel's limit of sessions was reached; an inside host was told."
    NatRateLimit "nat-rate-limit" "More new mappings in a second than the channel may make; the inside host was told."
    NatHostMappingLimit "nat-host-mapping-limit" "The inside host has as many mappings as it may have; it was told."
    NatHostSessionLimit "nat-host-session-limit" "The inside host has as many sessions as it may have; it was told."
    NatHostBlockLimit "nat-host-block-limit" "The inside host has as many blocks of ports as it may have, all in use; it was told."
    NatHostRateLimit "nat-host-rate-limit" "More new mappings in a second than the inside host may open; it was told."
    NatMappingSessionLimit "nat-mapping-session-limit" "The mapping has as many sessions as it may have; the inside host was told."
    NatProtocol "nat-protocol" "A protocol that can't be translated by ports."
    NatFragment "nat-fragment" "A fragment that can't be translated: of an ICMP error, laid over the TCP header, or of a datagram whose first fragment was dropped."
    NatFragmentLimit "nat-fragment-limit" "A fragment that came before the first one of its datagram, when too many such were kept already, in all or from its source."
    NatFragmentTimeout "nat-fragment-timeout" "A fragment that was kept because the first one of its datagram had not come, and did not come in time."
    NatNotIpv4 "nat-not-ipv4" "Not an IPv4 packet."
    NatNotOpening "nat-not-opening" "A TCP packet of no known connection that does not open one."
    NatIcmpKind "nat-icmp-kind" "An ICMP message that is neither a query nor an error that can be translated."
    NatIcmpChecksum "nat-icmp-checksum" "An ICMP error with a wrong checksum, or with a wrong one in its embedded IPv4 header."
    NatIcmpEmbedded "nat-icmp-embedded" "An ICMP error whose embedded packet is cut off or malformed."
    NatIcmpUnrelated "nat-icmp-unrelated" "An ICMP error about a packet of no mapping."
    NatExternalSource "nat-external-source" "A packet from outside that is addressed to no external address."
    NatNotInside "nat-not-inside" "An inbound packet whose inside host is not behind an inside interface."
}

impl From<ParseError> for DropReason {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::ShortEthernet => Self::ShortEthernet,
            ParseError::NotIp(_) => Self::NotIp,
            ParseError::Ipv4Header => Self::Ipv4Header,
            ParseError::Ipv4Checksum => Self::Ipv4Checksum,
            ParseError::Ipv6Header => Self::Ipv6Header,
            ParseError::Truncated => Self::Truncated,
            ParseError::FragmentOverrun => Self::FragmentOverrun,
            ParseError::TcpHeader => Self::TcpHeader,
            ParseError::UdpHeader => Self::UdpHeader,
            ParseError::IcmpHeader => Self::IcmpHeader,
        }
    }
}

/// How many packets were dropped, by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl DropCounters {
    /// Counts one packet.
    #[inline]
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, more: &Self) {
        for (count, more) in self.0.iter_mut().zip(&more.0) {
            *count += more;
        }
    }

    /// Packets dropped for this reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Packets dropped for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|&reason| (reason, self.get(reason)))
            .filter(|(_, count)| *count > 0)
    }
}
