//! The daemon: a configuration brought to life on this machine's interfaces, until it is stopped or something that it stands on is gone.

mod capture;
mod channel_user;
mod checks;
mod error;
mod filter;
mod flows;
mod follow;
mod inspect;
mod kernel;
mod memory;
mod metrics;
mod network_events;
mod network_pages;
mod offload;
mod offloads;
mod packet_thread;
mod pages;
mod pools;
mod reload;
mod reopen;
mod rule_counters;
mod rules;
mod saver;
mod state;
mod steering;
mod team;
mod trace;
mod workers;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::config::{Config, LONGEST_TAKEOVER, XdpMode};
use crate::control::{Access, Limits, Server, ServerError};
use crate::dispatch::{PortFailed, RuleNumber};
use crate::event_log::{EventLog, Recorders, Reopener};
use crate::events::{Events, Kind, What};
use crate::network::{Monitor, MonitorHandle, NetworkEvent, SharedNetwork};
use crate::rules::Rule;
use crate::setup::{self, Claim, CustomChannels, Device, Layout, RuleCompiler};
use crate::time::Clock;
use crate::worker::{self, Handle, Mailbox};
use crate::xdp::{AttachedMode, ModeChoice, Pins, XdpProgram};

pub use channel_user::ChannelUser;
pub(crate) use checks::{largest_mtu, mtu_of_one_frame};
pub use error::DaemonError;
use follow::Following;
use inspect::Inspector;
use metrics::Metrics;
use offload::Offloading;
use offloads::Offloads;
pub use packet_thread::OpenPort;
use packet_thread::{PacketThreads, Place};
use reload::Reload;
pub use reload::{ReloadError, Reloaded, Reloader};
use rule_counters::Listings;
use rules::RuleStore;
use saver::Saver;
pub use state::StateDirectoryError;
use state::{LastSave, StateFiles};
use team::Team;

/// What can happen while the daemon runs.
enum Event {
    Stop,
    WorkerEnded,
    PortFailed(PortFailed),
    Network(NetworkEvent),
    RedirectTargets,
    Reload(Reload),
}

/// Stops a daemon from anywhere. Cheap to clone.
#[derive(Clone)]
pub struct Stopper(Sender<Event>);

impl Stopper {
    /// Asks the daemon to stop; [`Daemon::wait`] returns soon after.
    pub fn stop(&self) {
        // A daemon that is gone needs no stopping.
        let _ = self.0.send(Event::Stop);
    }
}

/// Tells whether a daemon works. Cheap to clone.
#[derive(Clone)]
pub struct Pulse(Team);

impl Pulse {
    /// Whether packets are being looked at: the threads of all workers answer within two seconds. Those that open their ports anew may be
    /// late.
    pub fn beats(&self) -> bool {
        self.0.ask_all(|_, _| ()).is_ok()
    }
}

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long those who watch may take to be told of the end.
const STREAMS_END: Duration = Duration::from_millis(200);

/// A running daemon. Dropping it stops it, but [`wait`](Self::wait) says how it ended.
pub struct Daemon {
    config: Config,
    rules: RuleStore,
    layout: Layout,
    /// Bytes of the longest packet that is taken, with Ethernet header and VLAN tags.
    longest_packet: u32,
    claims: Vec<Claim>,
    ports: Vec<OpenPort>,
    network: SharedNetwork,
    /// Told to those who watch.
    told: Events,
    events: Receiver<Event>,
    sender: Sender<Event>,
    // Fields are dropped in their order: first nobody asks any more, then the kernel has its packets back, then the
    // packet threads end and their last events are logged, and last the cards do again what they did before.
    server: Option<Server>,
    metrics: Option<Metrics>,
    saver: Option<Saver>,
    /// The XDP program stays.
    is_held: bool,
    xdp: Arc<Mutex<XdpProgram>>,
    threads: PacketThreads,
    team: Team,
    event_log: EventLog,
    monitor: MonitorHandle,
    offloads: Offloads,
    pins: Pins,
    following: Following,
    offloading: Offloading,
    clock: Clock,
}

impl Daemon {
    /// Starts: when it returns, packets are flowing. It needs root, or the capabilities `CAP_NET_ADMIN`, `CAP_NET_RAW`, `CAP_BPF`,
    /// `CAP_PERFMON` and, unless the memlock limit allows for the packet memory, `CAP_IPC_LOCK`.
    ///
    /// # Errors
    /// If anything that the configuration asks for can't be had. Nothing is left behind then.
    pub fn start(config: Config) -> Result<Self, DaemonError> {
        Self::start_with(config, CustomChannels::new())
    }

    /// As [`start`](Self::start), with channels of the caller's own for those that the configuration has as "custom".
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(config: Config, custom: CustomChannels) -> Result<Self, DaemonError> {
        // Woken when the network changes: the workers, which can be counted only when the devices are known.
        let waking: Arc<OnceLock<Team>> = Arc::default();
        let network = SharedNetwork::default();
        let told = Events::new();
        let wake = {
            let waking = Arc::clone(&waking);
            Box::new(move || {
                if let Some(team) = waking.get() {
                    team.wake();
                }
            })
        };
        let publish = network_events::publisher(network.clone(), told.clone());
        let monitor = Monitor::start(network.clone(), vec![wake, publish])?;
        let links = Arc::clone(&network.load().links);

        let layout = setup::layout(&config, &links)?;
        let workers = team::count(&config, &layout, &links)?;
        let (handles, mailboxes): (Vec<Handle>, Vec<Mailbox>) = (0..workers)
            .map(|_| worker::mailbox())
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let team = Team::new(handles);
        // What changed before is in the first look of each worker.
        let _ = waking.set(team.clone());
        let clock = Clock::start();
        let (event_log, mut recorders) = EventLog::start(&config, workers, clock, &told)?;
        let flows: Vec<_> = recorders.iter_mut().map(Recorders::take_flows).collect();
        let channels = setup::channels_of_workers(&config, &links, custom, recorders)?;
        let claims = channels[0].claims.clone();
        let present: Vec<Claim> = claims.iter().filter(|claim| claim.is_there()).cloned().collect();
        let compiler = RuleCompiler::new(&config, channels[0].ids(), &present);
        let numbered = || (0..).map(RuleNumber).zip(config.rules.iter());
        let compiled: Vec<_> = (0..workers)
            .map(|_| compiler.compile(numbered()))
            .collect::<Result<_, _>>()?;
        let (rule_sets, placed): (Vec<_>, Vec<_>) = compiled.into_iter().unzip();
        checks::warn_of_kernel_ports(&config);
        let state = StateFiles::open(&config)?;
        let pins = Pins::new(&config.state.pins);

        for device in &layout.devices {
            checks::refuse_if_taken(&device.name, &pins)?;
        }
        let longest_packet = checks::longest_packet(&layout, &links)?;
        let offloads = Offloads::turn_off(&layout);
        let mut xdp = XdpProgram::load(longest_packet, offload::sizes(&config.flow_table))?;
        xdp.pin_in(pins.clone());
        let xdp = Arc::new(Mutex::new(xdp));
        let (sender, events) = channel();
        let former = Arc::new(state.as_ref().map(StateFiles::read).unwrap_or_default());
        let last = state.as_ref().map(|files| LastSave::new(files, workers));
        let plans = channels
            .into_iter()
            .zip(rule_sets)
            .zip(flows)
            .zip(mailboxes)
            .zip(team.members());
        let plans = plans
            .enumerate()
            .map(|(worker, ((((channels, rules), flows), mailbox), member))| {
                let plan = packet_thread::Plan {
                    place: Place { worker, workers },
                    config: config.clone(),
                    channels,
                    rules,
                    layout: layout.clone(),
                    longest_packet,
                    network: network.clone(),
                    resolver: monitor.resolver(),
                    xdp: Arc::clone(&xdp),
                    clock,
                    member,
                    flows,
                    former: Arc::clone(&former),
                    last: last.clone(),
                };
                (plan, mailbox)
            });
        let (threads, opened) = PacketThreads::start(plans.collect(), &team, &sender)?;
        let ports = packet_thread::ports_of(&opened);
        former.tell(opened.into_iter().flat_map(|opened| opened.restored));
        drop(former);

        let announce = {
            let config = config.clone();
            let (network, xdp) = (network.clone(), Arc::clone(&xdp));
            move |rules: &[Arc<Rule>], layout: &Layout, claims: &[Claim]| {
                let rules = rules.iter().map(|rule| &**rule);
                let interest = setup::interest(&config, rules, layout, &network.load().links, claims);
                lock(&xdp).set_interest(&interest)
            }
        };
        let handover = lock(&xdp).handover().try_clone()?;
        let rules = RuleStore::new(
            &config,
            rules::Parts {
                team: team.clone(),
                clock,
                compiler,
                placed,
                layout: layout.clone(),
                claims: present,
                handover,
                announce: Box::new(announce),
                observer: Box::new(rules::publisher(told.clone())),
            },
        );

        let mut daemon = Self {
            following: Following::new(&layout),
            offloading: Offloading::default(),
            pins: pins.clone(),
            config,
            rules,
            layout,
            longest_packet,
            claims,
            ports,
            network,
            told,
            events,
            sender,
            server: None,
            metrics: None,
            saver: None,
            is_held: false,
            xdp,
            threads,
            team,
            event_log,
            monitor,
            offloads,
            clock,
        };
        // Asked for before the program is attached: from the first packet on it knows what to do.
        daemon.set_interest()?;
        daemon.attach_all()?;
        daemon.start_offload()?;
        pins.remove_older(LONGEST_TAKEOVER);
        daemon.serve()?;
        daemon.listen_to_network()?;
        // What changed since the start was prepared.
        daemon.follow();
        if let Some(state) = state {
            daemon.saver = Saver::start(state, daemon.team.clone())?;
        }
        Ok(daemon)
    }

    /// A way to stop it.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// A way to have it take up a configuration that has changed.
    pub fn reloader(&self) -> Reloader {
        Reloader(self.sender.clone())
    }

    /// A way to learn whether it works.
    pub fn pulse(&self) -> Pulse {
        Pulse(self.team.clone())
    }

    /// The user's side of a channel, to read from and write to: of the first worker's, if there are several.
    pub fn user_of(&self, channel: &str) -> ChannelUser {
        ChannelUser::new(channel, &self.team.handles()[0])
    }

    /// The user's sides of a channel, one for each worker, which has a channel of its own by that name.
    pub fn users_of(&self, channel: &str) -> Vec<ChannelUser> {
        let handles = self.team.handles().iter();
        handles.map(|worker| ChannelUser::new(channel, worker)).collect()
    }

    /// A way to have the log files of translators opened anew, after they were moved away; `None` if there are none.
    pub fn log_reopener(&self) -> Option<Reopener> {
        self.event_log.reopener()
    }

    /// The devices that it runs on, and how.
    pub fn ports(&self) -> &[OpenPort] {
        &self.ports
    }

    /// Waits until the daemon is stopped, and cleans up.
    ///
    /// # Errors
    /// If it ended by itself.
    pub fn wait(mut self) -> Result<(), DaemonError> {
        loop {
            let event = match self.following.retry() {
                None => self.events.recv().map_err(RecvTimeoutError::from),
                Some(after) => self.events.recv_timeout(after),
            };
            match event {
                Ok(Event::Stop) => {
                    self.hand_on();
                    return Ok(());
                }
                Ok(Event::WorkerEnded) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(DaemonError::WorkerLost);
                }
                Ok(Event::PortFailed(failed)) => self.port_failed(&failed),
                Ok(Event::Reload(reload)) => self.reload(reload),
                Ok(Event::Network(event)) => self.network_changed(event)?,
                Ok(Event::RedirectTargets) => self.offload()?,
                Err(RecvTimeoutError::Timeout) => self.follow(),
            }
        }
    }

    /// Keeps the translators' packets from the kernel until the next daemon has taken up their state.
    fn hand_on(&mut self) {
        let takeover = self.config.state.takeover;
        if self.config.state.directory.is_none() || takeover.is_zero() {
            return;
        }
        let hold = |xdp: &Mutex<XdpProgram>| lock(xdp).hold(takeover);
        if let Err(error) = hold(&self.xdp) {
            log::warn!("the kernel gets the translators' packets until the next start: {error}");
            return;
        }
        self.is_held = true;
        self.end_streams();
        self.server = None;
        self.metrics = None;
        self.saver = None;
        self.leave_offloaded(takeover);
        self.threads.stop();
        // Saving took its time. If this fails, there is a little less of it.
        let _ = hold(&self.xdp);
        log::info!(
            "the translators' packets are dropped for {} s, or until the next start",
            takeover.as_secs()
        );
    }

    /// Those who watch learn that nothing more will come.
    fn end_streams(&self) {
        self.told.publish(Kind::Daemon, || What::Stopping);
        self.told.end(STREAMS_END);
    }

    fn attach_all(&mut self) -> Result<(), DaemonError> {
        for number in 0..self.ports.len() {
            let mode = self.attach(&self.layout.devices[number])?;
            self.ports[number].mode = Some(mode);
        }
        Ok(())
    }

    /// Attaches the XDP program to a device.
    fn attach(&self, device: &Device) -> Result<AttachedMode, DaemonError> {
        let choice = match device.mode {
            XdpMode::Auto => ModeChoice::Auto,
            XdpMode::Native => ModeChoice::Native,
            XdpMode::Generic => ModeChoice::Generic,
        };
        let mode = lock(&self.xdp).attach(&device.name, choice)?;
        if let (AttachedMode::Generic { why_not_native }, XdpMode::Auto) = (&mode, device.mode) {
            log::warn!(
                "{}: XDP runs in generic mode, which is slower: {why_not_native}",
                device.name
            );
        }
        Ok(mode)
    }

    /// Tells the XDP program what the rules in force need, as links and addresses are now.
    fn set_interest(&self) -> Result<(), DaemonError> {
        Ok(self.rules.announce(&self.layout, self.present_claims())?)
    }

    fn serve(&mut self) -> Result<(), DaemonError> {
        let control = &self.config.control;
        let access = Access::of(control.group.as_deref()).map_err(ServerError::from)?;
        let inspector = Arc::new(self.inspector());
        self.server = Some(Server::start_for(
            &control.socket,
            access,
            inspector,
            Limits::default(),
        )?);
        if let Some(address) = self.config.metrics.listen {
            self.metrics = Some(Metrics::start(address, self.inspector())?);
        }
        Ok(())
    }

    fn inspector(&self) -> Inspector {
        Inspector {
            team: self.team.clone(),
            xdp: Arc::clone(&self.xdp),
            layout: self.layout.clone(),
            ports: self.ports.clone(),
            network: self.network.clone(),
            events: self.told.clone(),
            rules: self.rules.clone(),
            buffers: self.event_log.buffers().to_vec(),
            listings: Listings::default(),
        }
    }

    /// Has questions answered by what interfaces and ports are now.
    fn inspect_anew(&self) {
        if let Some(server) = &self.server {
            server.answer_by(Arc::new(self.inspector()));
        }
        if let Some(metrics) = &self.metrics {
            metrics.answer_by(self.inspector());
        }
    }

    /// Has the network's events come in with all others.
    fn listen_to_network(&self) -> Result<(), DaemonError> {
        let (network, sender) = (self.monitor.subscribe(), self.sender.clone());
        std::thread::Builder::new()
            .name("network-events".into())
            .spawn(move || {
                // Ends with the monitor, or with the daemon.
                while let Ok(event) = network.recv() {
                    if sender.send(Event::Network(event)).is_err() {
                        break;
                    }
                }
            })?;
        Ok(())
    }
}

fn lock(xdp: &Mutex<XdpProgram>) -> MutexGuard<'_, XdpProgram> {
    xdp.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end_streams();
        self.server = None;
        self.metrics = None;
        self.saver = None;
        if self.is_held {
            return;
        }
        let mut xdp = lock(&self.xdp);
        for device in &self.layout.devices {
            // A device that is gone took the program with it.
            let _ = xdp.detach(&device.name);
        }
    }
}
