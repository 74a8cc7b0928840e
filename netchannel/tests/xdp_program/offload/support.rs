//! A loaded program that carries flows between two devices.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};

use netchannel::packet::checksum::Delta;
use netchannel::time::Time;
use netchannel::xdp::{
    OffloadFlow, OffloadKey, OffloadSide, OffloadSizes, OffloadTranslation, OffloadWay, TestRun, Verdict,
    WayId, XdpProgram,
};
use nix::time::{ClockId, clock_gettime};

use crate::bench::MAX_FRAME_LENGTH;
use crate::namespace::{af_xdp_socket, index, ip};

pub(crate) const REDIRECT: u32 = 4;
pub(crate) const HOUR: u64 = 3600 * 1_000_000_000;

/// The Ethernet address that packets are sent to.
pub(crate) const ARRIVAL: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

/// Devices `inside` and `outside`, with sockets, so that they have slots. Nothing is asked for: what is not carried goes to the kernel.
pub(crate) struct Carrier {
    pub(crate) program: XdpProgram,
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    _sockets: [OwnedFd; 2],
}

impl Carrier {
    /// Call it inside a namespace.
    pub(crate) fn new(sizes: OffloadSizes) -> Self {
        let mut program = XdpProgram::load(MAX_FRAME_LENGTH, sizes).expect("loading");
        let sockets = ["inside", "outside"].map(|name| {
            ip(&format!("link add {name} type veth peer name {name}-peer"));
            let socket = af_xdp_socket();
            program
                .register_socket(name, 0, socket.as_fd())
                .expect("registering");
            socket
        });
        Self {
            program,
            inside: index("inside"),
            outside: index("outside"),
            _sockets: sockets,
        }
    }

    pub(crate) fn slot(&self, device: &str) -> u32 {
        self.program.slot_of(device).expect("a device with a socket")
    }

    /// What becomes of a frame; whether it was carried, which must be what was counted.
    pub(crate) fn run(&self, frame: &[u8], ifindex: u32) -> (TestRun, bool) {
        let before = self.carried();
        let outcome = self.program.test_run(frame, ifindex, 0, 1).expect("a test run");
        let is_carried = self.carried() == before + 1;
        assert_eq!(is_carried, outcome.action == REDIRECT);
        (outcome, is_carried)
    }

    /// Frames that were carried so far.
    pub(crate) fn carried(&self) -> u64 {
        let verdicts = self.program.verdicts().expect("counters");
        let (_, count) = verdicts
            .iter()
            .find(|(verdict, _)| *verdict == Verdict::Offloaded)
            .expect("each has a counter");
        *count
    }

    /// A way from `inside` to `outside` with Ethernet addresses that end with this number.
    pub(crate) fn way(&self, number: u8) -> OffloadWay {
        OffloadWay {
            arrival_mac: ARRIVAL,
            slot: self.slot("outside"),
            source_mac: [0x02, 0, 0, 1, 0, number],
            destination_mac: [0x02, 0, 0, 2, 0, number],
            mtu: 1500,
            several_buffers: false,
        }
    }

    pub(crate) fn set_way(&self, way: &OffloadWay) -> WayId {
        self.program.offload().set_way(way).expect("room")
    }
}

/// Nanoseconds of the clock that leases are by.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    Time::from_secs(now.tv_sec() as u64).as_nanos() + now.tv_nsec() as u64
}

pub(crate) fn flow(key: OffloadKey, way: WayId) -> OffloadFlow {
    OffloadFlow {
        key,
        way,
        translation: None,
        needs_dont_fragment: false,
        partial_checksums: false,
        lease: now() + HOUR,
    }
}

/// The translation of one end of a flow's packets.
pub(crate) fn translation(
    key: &OffloadKey,
    side: OffloadSide,
    address: Ipv4Addr,
    port: u16,
) -> OffloadTranslation {
    let (old, old_port) = match side {
        OffloadSide::Source => (key.source, key.source_port),
        OffloadSide::Destination => (key.destination, key.destination_port),
    };
    let IpAddr::V4(old) = old else {
        panic!("IPv6 is not translated");
    };
    let sum_of = |delta: Delta| !delta.apply(0xffff);
    OffloadTranslation {
        side,
        address,
        port,
        network: sum_of(Delta::NONE.address(old, address)),
        transport: sum_of(Delta::NONE.address(old, address).word(old_port, port)),
    }
}
