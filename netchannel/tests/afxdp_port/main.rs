//! AF_XDP ports on real sockets: frames in and out, shared memory, accounting, links and errors.

mod long;
mod namespace;
mod opening;
mod program;
mod scarcity;
mod traffic;
mod wire;

use std::io;

use netchannel::port::afxdp::{self, AfXdpPort, PortOptions, Umem, UmemOptions};
use netchannel::port::{Frame, PacketIo};
use netchannel::time::Time;

/// Small rings and few frames, so that they wrap around and run out early.
fn small() -> UmemOptions {
    UmemOptions {
        frames: 1024,
        reserve: 64,
        fill_ring: 256,
        completion_ring: 256,
        ..UmemOptions::default()
    }
}

fn port_on(interface: &str, queues: u32) -> PortOptions {
    PortOptions {
        receive_ring: 256,
        transmit_ring: 256,
        ..PortOptions::new(interface, 0..queues)
    }
}

/// One port on queue 0 of each interface, on one UMEM.
fn open<const N: usize>(interfaces: [&str; N]) -> (Umem, [AfXdpPort; N]) {
    let options = interfaces.map(|interface| port_on(interface, 1));
    let (umem, ports) = afxdp::open(&small(), &options).expect("the ports open");
    (umem, ports.try_into().expect("a port for each"))
}

/// Receives all that is there.
fn receive(port: &mut AfXdpPort) -> Vec<Frame> {
    let mut frames = Vec::new();
    port.receive(Time::ZERO, &mut frames, usize::MAX);
    frames
}

/// Queues these frames and sends them.
fn transmit(port: &mut AfXdpPort, mut frames: Vec<Frame>) -> io::Result<usize> {
    let queued = port.transmit(Time::ZERO, &mut frames);
    port.flush()?;
    Ok(queued)
}

/// Every frame of the pool is free, held by one of these ports, or one of `owned`.
#[track_caller]
fn assert_accounted(umem: &Umem, ports: &[&AfXdpPort], owned: usize) {
    let held: usize = ports.iter().map(|port| port.held()).sum();
    assert_eq!(umem.pool().in_use(), held + owned);
}
