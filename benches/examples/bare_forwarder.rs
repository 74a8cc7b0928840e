//! The least that an AF_XDP forwarder can do: it moves frames between two interfaces and replaces their MAC
//! addresses. The traffic benchmark compares the NAT with it.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use netchannel::port::afxdp::{
    AfXdpPort, LONGEST_ETHERNET_HEADER, PortOptions, UmemOptions, open, queues_of,
};
use netchannel::port::{Frame, PacketIo};
use netchannel::time::{Clock, Time};
use netchannel::xdp::{Interest, LogicalInterface, ModeChoice, OffloadSizes, XdpProgram};
use netchannel_benches::stop;
use netchannel_benches::topology::INSIDE_NETWORK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Frames read at a time.
const BURST: usize = 64;
/// Empty rounds before it waits for frames instead of asking again.
const PATIENCE: u32 = 1000;

/// Moves frames between `lan` and `wan`.
#[derive(Debug, Parser)]
struct Arguments {
    /// MAC addresses of the inside host and of `lan`
    #[arg(long, num_args = 2, value_parser = mac)]
    inside: Vec<[u8; 6]>,
    /// MAC addresses of the server and of `wan`
    #[arg(long, num_args = 2, value_parser = mac)]
    outside: Vec<[u8; 6]>,
    /// MTU of both
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(68..=65_535))]
    mtu: u32,
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "expected 02:00:00:00:00:01".to_owned())
}

fn main() -> ExitCode {
    match forward(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare_forwarder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One direction: what is to be sent to a neighbour.
struct Direction {
    /// Destination and source address of what leaves.
    addresses: [u8; 12],
    /// Frames that wait for room.
    waiting: Vec<Frame>,
}

impl Direction {
    fn new(addresses: &[[u8; 6]]) -> Result<Self> {
        let addresses = addresses
            .concat()
            .try_into()
            .ok()
            .context("two MAC addresses are needed")?;
        Ok(Self {
            addresses,
            waiting: Vec::with_capacity(BURST),
        })
    }

    /// Moves a burst and says how many frames it had. Reads only what there is room for.
    fn carry(&mut self, now: Time, from: &mut AfXdpPort, to: &mut AfXdpPort) -> usize {
        let room = to.transmit_room().min(BURST).saturating_sub(self.waiting.len());
        let count = from.receive(now, &mut self.waiting, room);
        for frame in self.waiting.iter_mut().rev().take(count) {
            if let Some(addresses) = frame.bytes_mut().get_mut(..self.addresses.len()) {
                addresses.copy_from_slice(&self.addresses);
            }
        }
        to.transmit(now, &mut self.waiting);
        count
    }
}

fn forward(arguments: &Arguments) -> Result<()> {
    stop::on_signals()?;
    let port = |name: &str| Ok(PortOptions::new(name, 0..queues_of(name)?));
    let options: Vec<PortOptions> = ["lan", "wan"].into_iter().map(port).collect::<Result<_>>()?;
    let sockets = options.iter().map(|port| port.queues.len() as u32).sum();
    let memory = UmemOptions {
        longest_packet: arguments.mtu + LONGEST_ETHERNET_HEADER,
        ..UmemOptions::for_sockets(sockets)
    };
    let (umem, ports) = open(&memory, &options)?;
    let mut program = XdpProgram::load(umem.pool().longest() as u32, OffloadSizes::OFF)?;
    for port in &ports {
        for (queue, socket) in port.sockets() {
            program.register_socket(port.interface(), queue, socket)?;
        }
        program.attach(port.interface(), ModeChoice::Native)?;
    }
    program.set_interest(&interest()?)?;
    let [lan, wan] = <[AfXdpPort; 2]>::try_from(ports).ok().context("two ports")?;
    let outwards = Direction::new(&arguments.outside)?;
    let inwards = Direction::new(&arguments.inside)?;
    println!("ready");
    carry_all(lan, wan, outwards, inwards)
}

/// Everything from and to the inside network.
fn interest() -> Result<Interest> {
    let network = vec![INSIDE_NETWORK.parse()?];
    let interface = |device: &str, id, sources, destinations| LogicalInterface {
        device: device.to_owned(),
        outer_vlan: 0,
        inner_vlan: 0,
        id,
        sources,
        destinations,
        passes_flows: false,
    };
    let interfaces = vec![
        interface("lan", 1, network.clone(), Vec::new()),
        interface("wan", 2, Vec::new(), network),
    ];
    Ok(Interest {
        interfaces,
        ..Interest::default()
    })
}

fn carry_all(mut lan: AfXdpPort, mut wan: AfXdpPort, mut out: Direction, mut back: Direction) -> Result<()> {
    let clock = Clock::start();
    let mut idle = 0;
    while !stop::requested() {
        let now = clock.now();
        let count = out.carry(now, &mut lan, &mut wan) + back.carry(now, &mut wan, &mut lan);
        lan.flush()?;
        wan.flush()?;
        idle = if count > 0 { 0 } else { idle + 1 };
        if idle >= PATIENCE {
            let mut ready: Vec<_> = lan
                .descriptors()
                .into_iter()
                .chain(wan.descriptors())
                .map(|socket| PollFd::new(socket, PollFlags::POLLIN))
                .collect();
            let _ = poll(&mut ready, PollTimeout::from(100_u8));
        }
    }
    Ok(())
}
