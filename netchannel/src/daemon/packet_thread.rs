//! A worker's thread, which owns its sockets and the dispatcher on them.

use std::fmt;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::kernel::KernelHandover;
use super::state::{FormerState, LastSave};
use super::team::{self, Team};
use super::{DaemonError, Event};
use crate::channel::nat::state::Restored;
use crate::config::{Config, FRAME_SIZE, HugePages, Wait};
use crate::dispatch::team::Member;
use crate::dispatch::{Dispatcher, FlowRecorder, Parts, RuleSet};
use crate::network::ethtool::Ethtool;
use crate::network::{Links, Resolver, SharedNetwork};
use crate::port::PacketIo;
use crate::port::afxdp::{self, AfXdpPort, BusyPoll, PortOptions, Umem, UmemOptions, ZeroCopy};
use crate::setup::{self, ChannelPlan, Device, Layout};
use crate::time::Clock;
use crate::worker::{self, Handle, Mailbox, Waiting};
use crate::xdp::{AttachedMode, XdpError, XdpProgram};
use xdp_prog::QUEUES_PER_INTERFACE;

/// A device that is open, and how.
#[derive(Clone, Debug)]
pub struct OpenPort {
    /// Its name.
    pub device: String,
    /// The kernel's driver, if it tells.
    pub driver: Option<String>,
    /// Queues, each with a socket: those of all workers together.
    pub queues: u32,
    /// Whether the driver reads and writes frames itself.
    pub zero_copy: bool,
    /// Mode of the XDP program, once it is attached.
    pub mode: Option<AttachedMode>,
    /// The sizes of each socket's receive and transmit ring.
    pub options: PortOptions,
    /// The sizes of each socket's fill and completion ring.
    pub umem: UmemOptions,
}

impl fmt::Display for OpenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = self.driver.as_deref().unwrap_or("unknown");
        let mode = match &self.mode {
            Some(AttachedMode::Native) => "native XDP",
            Some(AttachedMode::Generic { .. }) => "generic XDP",
            None => "no XDP",
        };
        let copies = if self.zero_copy { "zero-copy" } else { "copy mode" };
        let queues = if self.queues == 1 { "queue" } else { "queues" };
        write!(
            f,
            "{}: driver {driver}, {mode}, {copies}, {} {queues}",
            self.device, self.queues
        )
    }
}

impl OpenPort {
    /// Adds the queues that another worker has of the device.
    pub(super) fn add(&mut self, more: &Self) {
        self.queues += more.queues;
        self.zero_copy &= more.zero_copy;
    }
}

/// The ports of all workers together.
pub(super) fn ports_of(opened: &[Opened]) -> Vec<OpenPort> {
    let mut all = opened.iter().map(|opened| &opened.ports);
    let mut ports = all.next().cloned().unwrap_or_default();
    for more in all {
        for (port, more) in ports.iter_mut().zip(more) {
            port.add(more);
        }
    }
    ports
}

/// Which of the workers a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its number, from 0.
    pub(super) worker: usize,
    /// How many there are.
    pub(super) workers: usize,
}

impl Place {
    /// Its own among so many queues.
    fn queues(self, all: u32) -> Vec<u32> {
        (self.worker as u32..all).step_by(self.workers).collect()
    }
}

/// What the thread is to run.
pub(super) struct Plan {
    pub(super) place: Place,
    pub(super) config: Config,
    pub(super) channels: ChannelPlan,
    pub(super) rules: RuleSet,
    pub(super) layout: Layout,
    /// Bytes of the longest packet.
    pub(super) longest_packet: u32,
    pub(super) network: SharedNetwork,
    pub(super) resolver: Resolver,
    pub(super) xdp: Arc<Mutex<XdpProgram>>,
    /// What tells the thread the time.
    pub(super) clock: Clock,
    /// The ways to the other workers, if there are any.
    pub(super) member: Option<Member>,
    /// Who is told of flows.
    pub(super) flows: Option<FlowRecorder>,
    /// What is to be taken up.
    pub(super) former: Arc<FormerState>,
    /// Where the translators' state goes in the end.
    pub(super) last: Option<LastSave>,
}

/// What a thread tells when its sockets are open.
pub(super) struct Opened {
    /// A port for each device.
    pub(super) ports: Vec<OpenPort>,
    /// What was taken up, by translator.
    pub(super) restored: Vec<(String, Restored)>,
}

/// The threads of all workers. Dropping it stops them and waits for their end.
pub(super) struct PacketThreads {
    team: Team,
    threads: Vec<JoinHandle<()>>,
}

impl PacketThreads {
    /// Starts a thread for each plan, and returns when the sockets of all are open and known to the XDP program.
    pub(super) fn start(
        plans: Vec<(Plan, Mailbox)>,
        team: &Team,
        events: &Sender<Event>,
    ) -> Result<(Self, Vec<Opened>), DaemonError> {
        let mut threads = Self {
            team: team.clone(),
            threads: Vec::new(),
        };
        let mut opening = Vec::new();
        for (plan, mailbox) in plans {
            let (opened, is_open) = sync_channel(1);
            let events = events.clone();
            let name = team::name_of(plan.place.worker, plan.place.workers);
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn(move || run(plan, &mailbox, &opened, &events))?;
            threads.threads.push(thread);
            opening.push(is_open);
        }
        let opened = opening.into_iter().map(|is_open| {
            let opened = is_open.recv();
            opened.unwrap_or(Err(DaemonError::WorkerLost))
        });
        let opened = opened.collect::<Result<_, _>>()?;
        Ok((threads, opened))
    }

    /// Stops all threads and waits for their end.
    pub(super) fn stop(&mut self) {
        let threads = std::mem::take(&mut self.threads);
        while threads.iter().any(|thread| !thread.is_finished()) {
            self.team.handles().iter().for_each(Handle::stop);
            std::thread::yield_now();
        }
        for thread in threads {
            // It reported its end as an event.
            let _ = thread.join();
        }
    }
}

impl Drop for PacketThreads {
    fn drop(&mut self) {
        self.stop();
    }
}

type Answer = SyncSender<Result<Opened, DaemonError>>;

/// Tells the daemon that the thread has ended, also when it panicked: nobody else would.
struct Farewell<'a>(&'a Sender<Event>);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        // A daemon that is gone need not be told.
        let _ = self.0.send(Event::WorkerEnded);
    }
}

fn run(plan: Plan, mailbox: &Mailbox, opened: &Answer, events: &Sender<Event>) {
    let clock = plan.clock;
    let waiting = waiting(plan.config.workers.wait);
    let (former, last) = (Arc::clone(&plan.former), plan.last.clone());
    let pinned = pin(plan.place, &plan.config.workers.cpus);
    let mut dispatcher = match pinned.and_then(|()| open(plan)) {
        Ok((mut dispatcher, ports)) => {
            let restored = former.restore(&mut dispatcher, clock.now());
            // Nobody listens if the start was given up: then the mailbox has the stop.
            let _ = opened.send(Ok(Opened { ports, restored }));
            dispatcher
        }
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    // It is in many threads' memory otherwise.
    drop(former);
    let _farewell = Farewell(events);
    worker::run(&mut dispatcher, mailbox, &clock, waiting, |failed| {
        let _ = events.send(Event::PortFailed(failed));
    });
    if let Some(last) = last {
        last.save(&dispatcher, clock.now());
    }
    dispatcher.cleanup(clock.now());
}

fn waiting(wait: Wait) -> Waiting {
    match wait {
        Wait::Interrupt => Waiting::Sleep,
        Wait::Adaptive { spin } => Waiting::Spin(spin),
        Wait::BusyPoll { .. } => Waiting::Never,
    }
}

fn busy_poll(wait: Wait) -> Option<BusyPoll> {
    match wait {
        Wait::Interrupt | Wait::Adaptive { .. } => None,
        Wait::BusyPoll { budget, time } => Some(BusyPoll { budget, time }),
    }
}

/// Pins the calling thread to a worker's processor: of those that are given in turn; if none are, several workers are pinned to those
/// that the process may use.
fn pin(place: Place, cpus: &[u32]) -> Result<(), DaemonError> {
    let allowed = match cpus {
        [] if place.workers > 1 => team::allowed_processors().unwrap_or_default(),
        _ => Vec::new(),
    };
    let cpus = if cpus.is_empty() { &allowed } else { cpus };
    let Some(&cpu) = cpus.get(place.worker % cpus.len().max(1)) else {
        return Ok(());
    };
    let mut only = CpuSet::new();
    let pinned = only
        .set(cpu as usize)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &only));
    pinned.map_err(|source| DaemonError::Pin {
        worker: place.worker,
        cpu,
        source: source.into(),
    })
}

fn open(plan: Plan) -> Result<(Dispatcher, Vec<OpenPort>), DaemonError> {
    let Plan {
        place,
        config,
        channels,
        rules,
        layout,
        longest_packet,
        network,
        resolver,
        xdp,
        clock: _,
        member,
        flows,
        former: _,
        last: _,
    } = plan;
    let links = Arc::clone(&network.load().links);
    let left_out = vec![false; layout.devices.len()];
    let (umem, ports) = open_ports(place, &config, longest_packet, &layout, &links, &left_out)?;
    let ports: Vec<AfXdpPort> = ports.into_iter().flatten().collect();
    if let Some(gone) = layout.devices.get(ports.len()) {
        return Err(XdpError::NoSuchInterface {
            interface: gone.name.clone(),
        }
        .into());
    }
    let described = ports.iter().zip(&layout.devices);
    let open_ports = described
        .map(|(port, device)| describe(device, port, &umem))
        .collect();
    let handover = {
        let mut xdp = xdp.lock().unwrap_or_else(PoisonError::into_inner);
        for (port, device) in ports.iter().zip(&layout.devices) {
            for (queue, socket) in port.sockets() {
                xdp.register_socket(&device.name, queue, socket)?;
            }
        }
        xdp.handover().try_clone()?
    };
    let channels = channels.register().map_err(setup::SetupError::from)?;
    let mut dispatcher = Dispatcher::new(Parts {
        partial_checksums: layout
            .devices
            .iter()
            .map(|device| device.partial_checksums)
            .collect(),
        any_destination: false,
        interfaces: layout.interfaces,
        ports: ports
            .into_iter()
            .map(|port| Box::new(port) as Box<dyn PacketIo>)
            .collect(),
        pool: umem.pool(),
        channels,
        rules,
        flow_capacity: config.flow_table.capacity as usize,
        network: network.reader(),
        resolver: Box::new(resolver),
        team: member,
        kernel: Box::new(KernelHandover {
            handover,
            devices: layout.devices,
        }),
    })
    .map_err(setup::SetupError::from)?;
    if config.flow_table.limit_new_flows {
        dispatcher.limit_new_flows();
    }
    if let Some(flows) = flows {
        dispatcher.record_flows(flows);
    }
    Ok((dispatcher, open_ports))
}

/// Opens a worker's ports: its queues of the devices that are there and not `left_out`; `None` for the others.
pub(super) fn open_ports(
    place: Place,
    config: &Config,
    longest_packet: u32,
    layout: &Layout,
    links: &Links,
    left_out: &[bool],
) -> Result<(Umem, Vec<Option<AfXdpPort>>), DaemonError> {
    let mut options = Vec::new();
    let mut is_there = Vec::new();
    for (device, left_out) in layout.devices.iter().zip(left_out) {
        let link = links.get(device.index).filter(|_| !left_out);
        is_there.push(link.is_some());
        let Some(link) = link else { continue };
        let queues = afxdp::queues_of(&link.name)?;
        if queues > QUEUES_PER_INTERFACE && place.worker == 0 {
            log::warn!(
                "{} has {queues} queues, of which {QUEUES_PER_INTERFACE} are served; packets of the others go to the kernel: \
                 give it fewer (ethtool -L {} combined N)",
                device.name,
                link.name
            );
        }
        options.push(PortOptions {
            interface: link.name.clone(),
            queues: place.queues(queues.min(QUEUES_PER_INTERFACE)),
            receive_ring: config.rings.receive,
            transmit_ring: config.rings.transmit,
            busy_poll: busy_poll(config.workers.wait),
        });
    }
    // The kernel has one mode for all sockets of a UMEM: a device that may not share frames decides for all.
    let wants = |wanted| layout.devices.iter().any(|device| device.zero_copy == wanted);
    let zero_copy = if wants(crate::config::ZeroCopy::Off) {
        ZeroCopy::Off
    } else if wants(crate::config::ZeroCopy::On) {
        ZeroCopy::On
    } else {
        ZeroCopy::Auto
    };
    let sockets: u32 = options.iter().map(|port| port.queues.len() as u32).sum();
    let needed = sockets * (config.rings.fill + config.rings.transmit);
    let frames = config.memory.frames.max(needed);
    if frames > config.memory.frames && place.worker == 0 {
        log::info!(
            "packet memory of a worker has {frames} frames instead of {}: {sockets} queues need them",
            config.memory.frames
        );
    }
    let umem = UmemOptions {
        frames,
        chunk_size: FRAME_SIZE,
        longest_packet,
        fill_ring: config.rings.fill,
        completion_ring: config.rings.completion,
        huge_pages: config.memory.huge_pages != HugePages::Off,
        zero_copy,
        ..UmemOptions::default()
    };
    let (umem, ports) = afxdp::open(&umem, &options)?;
    if config.memory.huge_pages == HugePages::Wanted && !umem.uses_huge_pages() {
        log::warn!("there are not enough huge pages: the packet memory is in ordinary ones");
    }
    let mut ports = ports.into_iter();
    let ports = is_there
        .into_iter()
        .map(|is_there| if is_there { ports.next() } else { None });
    Ok((umem, ports.collect()))
}

pub(super) fn describe(device: &Device, port: &AfXdpPort, umem: &Umem) -> OpenPort {
    let driver = Ethtool::open().and_then(|ethtool| ethtool.driver(port.interface()));
    OpenPort {
        device: device.name.clone(),
        driver: driver.ok(),
        queues: port.sockets().count() as u32,
        zero_copy: port.is_zero_copy(),
        mode: None,
        options: port.options().clone(),
        umem: umem.options().clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_panic_of_the_thread_is_told() {
        let (events, told) = channel();
        let thread = std::thread::spawn({
            let events = events.clone();
            move || {
                let _farewell = Farewell(&events);
                panic!("a channel of somebody's own failed");
            }
        });
        assert!(thread.join().is_err());
        // The daemon keeps a sender itself: without the farewell there would be nothing to receive.
        assert!(matches!(told.try_recv(), Ok(Event::WorkerEnded)));
        drop(events);
    }
}
