//! What becomes of a frame, and why.

/// What the program decided about a frame. Every frame counts under exactly one of these; all but
/// [`Verdict::Redirected`] and [`Verdict::Held`] go to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Verdict {
    /// To the AF_XDP socket of the arrival queue.
    Redirected = 0,
    /// The device, or the VLAN on it, is not one that user space was given.
    OtherInterface = 1,
    /// Neither IPv4 nor IPv6: ARP, LLDP, a third VLAN tag and the like.
    NotIp = 2,
    /// To a group Ethernet address, or to an IPv4 address from 224.0.0.0 on, or to an IPv6 multicast address.
    Multicast = 3,
    /// From or to fe80::/10.
    LinkLocal = 4,
    /// ICMPv6 types 133 to 137 (RFC 4861).
    NeighbourDiscovery = 5,
    /// A header is cut short or contradicts itself.
    Malformed = 6,
    /// To one of the box's own addresses.
    Local = 7,
    /// To a NAT's external address, but not to one of its ports: the box's own traffic.
    ExternalOther = 8,
    /// Neither source nor destination is one that user space asks for.
    NotAsked = 9,
    /// Of a flow that user space leaves to the kernel.
    PassedFlow = 10,
    /// Longer than a socket can take.
    TooLong = 11,
    /// No socket on the arrival queue.
    NoSocket = 12,
    /// Given back to the kernel by user space, and seen a second time (generic mode only).
    Injected = 13,
    /// Dropped: the process that had the sockets has ended, and the next one is on its way.
    Held = 14,
    /// Carried by the program itself, translated if need be, to the device that it leaves by.
    Offloaded = 15,
}

impl Verdict {
    /// All verdicts, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Redirected,
        Self::OtherInterface,
        Self::NotIp,
        Self::Multicast,
        Self::LinkLocal,
        Self::NeighbourDiscovery,
        Self::Malformed,
        Self::Local,
        Self::ExternalOther,
        Self::NotAsked,
        Self::PassedFlow,
        Self::TooLong,
        Self::NoSocket,
        Self::Injected,
        Self::Held,
        Self::Offloaded,
    ];

    /// Name for people and metrics: lower case, words joined by underscores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
            Self::OtherInterface => "passed_other_interface",
            Self::NotIp => "passed_not_ip",
            Self::Multicast => "passed_multicast",
            Self::LinkLocal => "passed_link_local",
            Self::NeighbourDiscovery => "passed_neighbour_discovery",
            Self::Malformed => "passed_malformed",
            Self::Local => "passed_local",
            Self::ExternalOther => "passed_external_other",
            Self::NotAsked => "passed_not_asked",
            Self::PassedFlow => "passed_flow",
            Self::TooLong => "passed_too_long",
            Self::NoSocket => "passed_no_socket",
            Self::Injected => "passed_injected",
            Self::Held => "dropped_held",
            Self::Offloaded => "offloaded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict;

    #[test]
    fn numbers_are_indices_and_names_differ() {
        for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, index);
            assert!(
                !Verdict::ALL[..index]
                    .iter()
                    .any(|other| other.name() == verdict.name())
            );
        }
    }
}
