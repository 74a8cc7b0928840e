//! Captures through the dispatcher and the channels: the code that runs on the wire, without a wire, at the capture's own times.
//!
//! What the kernel would tell of links, routes and neighbours is made of the configuration's `[replay]` section. Every frame of an input
//! is taken as addressed to the box, whatever its Ethernet address, and what the XDP program would leave to the kernel (ARP, say) is
//! dropped as `not-ip` or passed.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::channel::ChannelError;
use crate::config::{Config, FRAME_SIZE, ReplayInterface, Role};
use crate::dispatch::{Dispatcher, FlowKey, KernelPath, Parts, PortFailed, Resolve, Totals};
use crate::event_log::Recorders;
use crate::interface::{Interface, Interfaces, PortId};
use crate::network::{
    InterfaceIndex, Link, MacAddress, Network, NetworkBuilder, NextHop, Route, SharedNetwork,
};
use crate::packet::{VlanTags, ethertype};
use crate::port::capture::{CaptureCounters, CaptureError, CapturePort, CaptureReader, CaptureWriter, Epoch};
use crate::port::{FramePool, PacketIo};
use crate::setup::{self, CustomChannels, SetupError};
use crate::time::Time;

/// One capture to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayInput {
    /// The interface that its packets came in on; `None` if the capture names it itself, as pcapng files do.
    pub interface: Option<String>,
    /// The file.
    pub path: PathBuf,
}

/// Why captures could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A capture can't be read or written.
    #[error(transparent)]
    Capture(Arc<CaptureError>),
    /// The capture does not say which interface its packets belong to.
    #[error("{file}: which interface did these packets come in on? Say INTERFACE={file}, with one of {}", .interfaces.join(", "))]
    WhichInterface {
        /// Name of the file.
        file: String,
        /// The configured interfaces.
        interfaces: Vec<String>,
    },
    /// An interface that the configuration does not have.
    #[error("{file}: the configuration has no interface `{interface}`")]
    NoInterface {
        /// Name of the file.
        file: String,
        /// The interface that was named.
        interface: String,
    },
    /// The configuration can't be brought to life.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A port failed for another reason than its capture.
    #[error(transparent)]
    Port(#[from] PortFailed),
}

impl From<CaptureError> for ReplayError {
    fn from(error: CaptureError) -> Self {
        Self::Capture(Arc::new(error))
    }
}

/// What became of the packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaySummary {
    /// What became of them.
    pub totals: Totals,
    /// Packets of captures that were too long for a frame, and were left out.
    pub oversized: u64,
    /// Packets that a capture had cut off.
    pub truncated: u64,
}

impl fmt::Display for ReplaySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        write!(
            f,
            "{} packets read, {} written, {} passed to the kernel, {} dropped",
            totals.received,
            totals.transmitted,
            totals.passed,
            totals.dropped.total()
        )?;
        for (reason, packets) in totals.dropped.iter() {
            write!(f, "\n  {packets:>8}  {}: {}", reason.name(), reason.explanation())?;
        }
        if self.oversized > 0 {
            write!(
                f,
                "\n{} packets were too long for a frame and left out",
                self.oversized
            )?;
        }
        if self.truncated > 0 {
            write!(
                f,
                "\n{} packets had been cut off when they were captured",
                self.truncated
            )?;
        }
        Ok(())
    }
}

/// Frames of a replay: no more than a few bursts are under way at once.
const FRAMES: u32 = 4096;
/// How often time passes for the channels, while packets come.
const TICK: Duration = Duration::from_millis(100);
/// Ticks in a silence: in a long one they are further apart.
const TICKS_PER_SILENCE: u32 = 1000;

/// Replays `inputs` and writes what would have been sent to `output`, a pcapng file with an interface for each of the configuration.
///
/// # Errors
/// If a capture can't be read or the output not be written, or the configuration not be brought to life.
pub fn run(config: &Config, inputs: &[ReplayInput], output: &Path) -> Result<ReplaySummary, ReplayError> {
    let readers = open(config, inputs)?;
    let epoch = Epoch::of_captures(readers.iter().map(|(_, reader)| reader));
    let pool = FramePool::in_memory(FRAMES, FRAME_SIZE as usize);
    let writer = CaptureWriter::create(output, epoch).map_err(ReplayError::Capture)?;

    let mut ports = Vec::new();
    for interface in &config.interfaces {
        let output = writer.interface(&interface.name).map_err(ReplayError::Capture)?;
        ports.push(CapturePort::new(&pool, epoch).with_output(output));
    }
    for (port, reader) in readers {
        let filled = std::mem::replace(&mut ports[port], CapturePort::new(&pool, epoch)).with_input(reader);
        ports[port] = filled;
    }

    let neighbours = Neighbours::default();
    let network = SharedNetwork::new(network(config, &[]));
    let mut dispatcher = dispatcher(config, ports, pool, &network, &neighbours)?;
    let played = play(&mut dispatcher, config, &network, &neighbours);
    let mut summary = ReplaySummary {
        totals: dispatcher.totals(),
        oversized: 0,
        truncated: 0,
    };
    for port in capture_ports(&dispatcher) {
        if let Some(error) = port.error() {
            return Err(ReplayError::Capture(error));
        }
        let CaptureCounters { oversized, truncated } = port.capture_counters();
        summary.oversized += oversized;
        summary.truncated += truncated;
    }
    played?;
    writer.finish().map_err(ReplayError::Capture)?;
    Ok(summary)
}

/// Opens the inputs, each with the number of its port.
fn open(config: &Config, inputs: &[ReplayInput]) -> Result<Vec<(usize, CaptureReader)>, ReplayError> {
    let mut readers = Vec::new();
    for input in inputs {
        let file = || input.path.display().to_string();
        if let Some(name) = &input.interface {
            let port = config
                .interfaces
                .iter()
                .position(|interface| interface.name == *name);
            let port = port.ok_or_else(|| ReplayError::NoInterface {
                file: file(),
                interface: name.clone(),
            })?;
            readers.push((port, CaptureReader::open(&input.path, None)?));
            continue;
        }
        let before = readers.len();
        for (port, interface) in config.interfaces.iter().enumerate() {
            match CaptureReader::open(&input.path, Some(&interface.name)) {
                Ok(reader) => readers.push((port, reader)),
                Err(CaptureError::NoSuchInterface { .. } | CaptureError::NoInterfaceNames { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if readers.len() == before {
            let interfaces = config
                .interfaces
                .iter()
                .map(|interface| interface.name.clone())
                .collect();
            return Err(ReplayError::WhichInterface {
                file: file(),
                interfaces,
            });
        }
    }
    Ok(readers)
}

fn dispatcher(
    config: &Config,
    ports: Vec<CapturePort>,
    pool: FramePool,
    network: &SharedNetwork,
    neighbours: &Neighbours,
) -> Result<Dispatcher, ReplayError> {
    let channels = setup::channels(
        config,
        &network.load().links,
        CustomChannels::new(),
        Recorders::none(),
    )?;
    let claims = channels.claims.clone();
    let channels = channels.register().map_err(SetupError::from)?;
    let rules = setup::rule_set(config, &config.rules, &channels, &claims)?;
    let interfaces = config
        .interfaces
        .iter()
        .enumerate()
        .map(|(number, interface)| Interface {
            name: interface.name.clone(),
            index: index(number),
            role: interface.role,
            port: PortId(number as u16),
            vlan: VlanTags::default(),
            vlan_protocol: ethertype::VLAN,
            sends_icmp_errors: interface.icmp_errors,
        });
    let dispatcher = Dispatcher::new(Parts {
        interfaces: Interfaces::new(interfaces.collect()),
        ports: ports
            .into_iter()
            .map(|port| Box::new(port) as Box<dyn PacketIo>)
            .collect(),
        partial_checksums: Vec::new(),
        any_destination: true,
        pool,
        channels,
        rules,
        flow_capacity: config.flow_table.capacity as usize,
        network: network.reader(),
        resolver: Box::new(neighbours.clone()),
        team: None,
        kernel: Box::new(Nowhere),
    });
    Ok(dispatcher.map_err(|error: ChannelError| SetupError::from(error))?)
}

/// Lets packets come at their times, and time pass between them.
fn play(
    dispatcher: &mut Dispatcher,
    config: &Config,
    network: &SharedNetwork,
    neighbours: &Neighbours,
) -> Result<(), PortFailed> {
    let mut now = Time::ZERO;
    let mut next_tick = now;
    while let Some(next) = capture_ports(dispatcher).filter_map(CapturePort::next_time).min() {
        let step = TICK.max(next.since(now) / TICKS_PER_SILENCE);
        while next_tick <= next {
            dispatcher.tick(next_tick);
            next_tick = next_tick + step;
        }
        now = next;
        while dispatcher.poll(now)? > 0 || neighbours.answer(config, network) {}
    }
    dispatcher.cleanup(now);
    Ok(())
}

fn capture_ports(dispatcher: &Dispatcher) -> impl Iterator<Item = &CapturePort> {
    dispatcher.ports().iter().filter_map(|port| {
        let any: &dyn Any = port.as_ref();
        any.downcast_ref()
    })
}

/// The index that the interface of this number has in the network made here.
fn index(number: usize) -> InterfaceIndex {
    InterfaceIndex(number as u32 + 1)
}

/// The network that the configuration describes, with these neighbours.
fn network(config: &Config, neighbours: &[(InterfaceIndex, IpAddr, MacAddress)]) -> Network {
    let mut network = NetworkBuilder::new();
    for (number, interface) in config.replay.iter().enumerate() {
        let mut link = Link::ethernet(index(number), &interface.name, interface.mac);
        link.mtu = interface.mtu;
        network = network.link(link);
        for &address in &interface.addresses {
            network = network.address(index(number), address);
        }
        for &prefix in &interface.prefixes {
            network = network.route(Route::unicast(
                prefix,
                next_hop(number, interface, prefix.addr().is_ipv4()),
            ));
        }
    }
    // All else goes to the first outside interface, or the first at all.
    let outside = config
        .interfaces
        .iter()
        .position(|interface| interface.role == Role::Outside)
        .unwrap_or(0);
    if let Some(interface) = config.replay.get(outside) {
        for all in [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())] {
            network = network.route(Route::unicast(
                all,
                next_hop(outside, interface, all.addr().is_ipv4()),
            ));
        }
    }
    for &(interface, address, mac) in neighbours {
        network = network.neighbour(interface, address, mac);
    }
    network.build()
}

fn next_hop(number: usize, interface: &ReplayInterface, ipv4: bool) -> NextHop {
    match interface.gateway.filter(|gateway| gateway.is_ipv4() == ipv4) {
        Some(gateway) => NextHop::via(index(number), gateway),
        None => NextHop::connected(index(number)),
    }
}

/// Neighbours that were asked for. Every address answers, with the Ethernet address that the configuration gives its interface's neighbours.
#[derive(Clone, Default)]
struct Neighbours(Rc<RefCell<Known>>);

#[derive(Default)]
struct Known {
    asked: Vec<(InterfaceIndex, IpAddr)>,
    answered: Vec<(InterfaceIndex, IpAddr, MacAddress)>,
}

impl Resolve for Neighbours {
    fn resolve(&self, index: InterfaceIndex, address: IpAddr) {
        self.0.borrow_mut().asked.push((index, address));
    }
}

impl Neighbours {
    /// Answers what was asked, and says whether anything was.
    fn answer(&self, config: &Config, network: &SharedNetwork) -> bool {
        let mut known = self.0.borrow_mut();
        let asked = std::mem::take(&mut known.asked);
        let news = !asked.is_empty();
        for (index, address) in asked {
            if let Some(interface) = config.replay.get(index.0 as usize - 1) {
                known.answered.push((index, address, interface.neighbour_mac));
            }
        }
        if news {
            network.publish(self::network(config, &known.answered));
        }
        news
    }
}

/// There is no kernel in a replay: what is passed to it is counted.
struct Nowhere;

impl KernelPath for Nowhere {
    fn pass(&mut self, _frame: &[u8], _interface: &Interface, _flow: &FlowKey) -> io::Result<()> {
        Ok(())
    }
}
