//! A loaded program with an interest, and what it says about a frame.

use std::os::fd::{AsFd, OwnedFd};

use netchannel::xdp::{ExternalPrefix, Interest, LogicalInterface, OffloadSizes, Verdict, XdpProgram};

use crate::namespace::{af_xdp_socket, index, ip};

pub(crate) const MAX_FRAME_LENGTH: u32 = 1514;

/// One interface, `inside`, with four queues and a socket on the first one.
pub(crate) struct Bench {
    pub(crate) program: XdpProgram,
    pub(crate) ifindex: u32,
    _socket: OwnedFd,
}

impl Bench {
    /// Call it inside a namespace.
    pub(crate) fn new() -> Self {
        ip("link add inside numtxqueues 4 numrxqueues 4 type veth peer name inside-peer");
        let mut program = XdpProgram::load(MAX_FRAME_LENGTH, OffloadSizes::OFF).expect("loading");
        let socket = af_xdp_socket();
        program
            .register_socket("inside", 0, socket.as_fd())
            .expect("registering");
        program.set_interest(&interest()).expect("setting the interest");
        Self {
            program,
            ifindex: index("inside"),
            _socket: socket,
        }
    }

    /// The verdict on a frame that arrives on the first queue.
    pub(crate) fn verdict(&self, frame: &[u8]) -> Verdict {
        self.verdict_on(self.ifindex, 0, frame)
    }

    pub(crate) fn verdict_on(&self, ifindex: u32, queue: u32, frame: &[u8]) -> Verdict {
        let before = self.program.verdicts().expect("counters");
        let redirected = self.program.redirects(frame, ifindex, queue).expect("a test run");
        let after = self.program.verdicts().expect("counters");
        let mut counted = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after);
        let (before, after) = counted.next().expect("every frame counts");
        assert_eq!(before.1 + 1, after.1, "once");
        assert_eq!(counted.next(), None, "under one name");
        assert_eq!(redirected, after.0 == Verdict::Redirected);
        after.0
    }
}

pub(crate) fn logical(id: u32, outer_vlan: u16, inner_vlan: u16) -> LogicalInterface {
    LogicalInterface {
        device: "inside".to_owned(),
        outer_vlan,
        inner_vlan,
        id,
        sources: vec![
            "10.0.0.0/8".parse().expect("a prefix"),
            "2001:db8:1::/48".parse().expect("a prefix"),
        ],
        destinations: Vec::new(),
        passes_flows: false,
    }
}

/// Untagged, VLAN 5 and VLAN 7 in VLAN 5. The untagged one also has destinations, the doubly tagged one nothing
/// but 172.16.0.0/12; VLAN 5 passes flows.
pub(crate) fn interest() -> Interest {
    let mut untagged = logical(1, 0, 0);
    untagged.destinations = vec![
        "203.0.113.0/24".parse().expect("a prefix"),
        "2001:db8:2::/48".parse().expect("a prefix"),
    ];
    let mut tagged = logical(2, 5, 0);
    tagged.passes_flows = true;
    let mut double = logical(3, 5, 7);
    double.sources = vec!["172.16.0.0/12".parse().expect("a prefix")];
    let external = |prefix: &str, ports| ExternalPrefix {
        prefix: prefix.parse().expect("a prefix"),
        ports,
    };
    let address = |address: &str| address.parse().expect("an address");
    Interest {
        interfaces: vec![untagged, tagged, double],
        external: vec![
            external("192.0.2.1/32", vec![2000..=2999]),
            external("192.0.2.8/30", vec![0..=0, 65_535..=65_535]),
        ],
        local: ["10.0.0.1", "10.255.255.255", "192.0.2.1", "2001:db8:1::1"]
            .map(address)
            .to_vec(),
    }
}
