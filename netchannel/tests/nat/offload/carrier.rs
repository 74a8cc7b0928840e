//! A box in front of which the XDP program stands, as it does on real interfaces.

use std::process::Command;
use std::time::Duration;

use netchannel::dispatch::{Offload, OffloadPort};
use netchannel::interface::PortId;
use netchannel::time::{KernelTime, Time};
use netchannel::xdp::{OffloadSizes, Verdict, XdpProgram};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::time::{ClockId, clock_gettime};

use crate::common::{LAN_MAC, WAN_MAC};
use crate::harness::{NatBox, Seen, to_wan};
use crate::packets::frame;

/// Runs a test in a thread with a network namespace of its own, which goes away with it.
pub(crate) fn in_new_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace (these tests need root)");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.expect("ip, of iproute2").success(), "ip {arguments}");
}

/// What the kernel's clock shows.
pub(crate) fn kernel_now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the time");
    Duration::from(now).as_nanos() as u64
}

/// Where a packet comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Inside,
    Outside,
}

pub(crate) struct OffloadingBox {
    pub(crate) inner: NatBox,
    program: XdpProgram,
    indices: [u32; 2],
    ports: Vec<OffloadPort>,
    pub(crate) clock: KernelTime,
    /// Packets that the program carried.
    pub(crate) carried: u64,
}

impl OffloadingBox {
    /// Call it in a namespace of its own. The box's present time is the kernel's.
    pub(crate) fn new(inner: NatBox) -> Self {
        Self::ahead(inner, Duration::ZERO)
    }

    /// As [`new`](Self::new), but the kernel's clock is ahead of the box's.
    pub(crate) fn ahead(inner: NatBox, ahead: Duration) -> Self {
        Self::with_room(inner, ahead, 1024)
    }

    /// As [`ahead`](Self::ahead), with room for so many IPv4 flows.
    pub(crate) fn with_room(inner: NatBox, ahead: Duration, ipv4: usize) -> Self {
        for name in ["lan", "wan"] {
            ip(&format!("link add {name} type veth peer name {name}-peer"));
            ip(&format!("link set {name} up"));
            ip(&format!("link set {name}-peer up"));
        }
        let sizes = OffloadSizes { ipv4, ipv6: 256 };
        let mut program = XdpProgram::load(1514, sizes).expect("loading");
        let indices = ["lan", "wan"].map(|name| if_nametoindex(name).expect("an interface"));
        let clock = KernelTime::new(inner.test.now + ahead, kernel_now());
        let ports = ["lan", "wan"].into_iter().zip(indices).map(|(name, ifindex)| {
            program
                .attach(name, netchannel::xdp::ModeChoice::Native)
                .expect("attaching");
            OffloadPort {
                ifindex,
                slot: program.slot_of(name).expect("a slot"),
                receives: true,
                has_partial_checksums: true,
                transmits: true,
                several_buffers: true,
            }
        });
        let ports = ports.collect();
        let mut carrier = Self {
            inner,
            program,
            indices,
            ports,
            clock,
            carried: 0,
        };
        let offload = carrier.offload();
        carrier.inner.test.dispatcher.offload(offload);
        carrier
    }

    /// What a dispatcher needs to have its flows carried by this program.
    pub(crate) fn offload(&self) -> Offload {
        Offload {
            table: self.program.offload(),
            ports: self.ports.clone(),
            clock: self.clock,
        }
    }

    /// The time that the kernel's clock shows, in the box's time.
    pub(crate) fn kernel_time(&self) -> Time {
        self.clock.time(kernel_now())
    }

    /// What becomes of a frame that the XDP program sees first.
    pub(crate) fn frame(&mut self, from: From, frame: &[u8]) -> Seen {
        match self.run(from, frame) {
            Some(out) => {
                self.carried += 1;
                let mut seen = Seen::default();
                match &out[6..12] {
                    source if source == WAN_MAC => seen.wan.push(out),
                    source if source == LAN_MAC => seen.lan.push(out),
                    _ => panic!("it left by no interface of the box: {out:x?}"),
                }
                seen
            }
            None => receive(&mut self.inner, from, frame),
        }
    }

    /// What the program makes of a frame that it carries.
    fn run(&self, from: From, frame: &[u8]) -> Option<Vec<u8>> {
        let frame = arriving(from, frame);
        // Shorter ones do not come from any wire.
        if frame.len() < 14 {
            return None;
        }
        let offloaded = || {
            let verdicts = self.program.verdicts().expect("counters");
            let count = verdicts
                .iter()
                .find(|(verdict, _)| *verdict == Verdict::Offloaded);
            count.map_or(0, |(_, count)| *count)
        };
        let before = offloaded();
        let ran = self
            .program
            .test_run(&frame, self.indices[from as usize], 0, 1)
            .expect("a test run");
        (offloaded() > before).then_some(ran.frame)
    }

    pub(crate) fn is_carried(&mut self, from: From, packet: &[u8]) -> bool {
        let carried = self.run(from, &frame(packet)).is_some();
        self.carried += u64::from(carried);
        carried
    }
}

/// The frame as it arrives there.
fn arriving(from: From, frame: &[u8]) -> Vec<u8> {
    match from {
        From::Inside => frame.to_vec(),
        From::Outside => to_wan(frame),
    }
}

/// Has a box receive a frame.
pub(crate) fn receive(inner: &mut NatBox, from: From, frame: &[u8]) -> Seen {
    inner.any_frame(from == From::Inside, frame)
}

/// All that a user sees counted: totals, ports, channels, flows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    received: u64,
    transmitted: u64,
    ports: Vec<netchannel::port::PortCounters>,
    channels: Vec<(u64, u64)>,
    flows: Vec<(String, u64, u64)>,
}

pub(crate) fn counted(inner: &mut NatBox) -> Counted {
    let dispatcher = &mut inner.test.dispatcher;
    dispatcher.count_offloaded(inner.test.now);
    let totals = dispatcher.totals();
    let channels = dispatcher.channels().iter();
    let mut flows: Vec<_> = dispatcher
        .flows()
        .iter()
        .map(|(key, flow)| (format!("{key:?}"), flow.packets, flow.bytes))
        .collect();
    flows.sort_unstable();
    Counted {
        received: totals.received,
        transmitted: totals.transmitted,
        ports: [PortId(0), PortId(1)]
            .map(|port| dispatcher.port_counters(port))
            .to_vec(),
        channels: channels
            .map(|(_, _, counters)| (counters.packets, counters.bytes))
            .collect(),
        flows,
    }
}
