//! Following the kernel's network: interfaces that go and come back, and external addresses that are an interface's.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::packet_thread::Place;
use super::reopen::Reopening;
use super::rules::RulesError;
use super::{Daemon, DaemonError, checks, team};
use crate::channel::nat::is_stand_in;
use crate::dispatch::{Dispatcher, PortFailed};
use crate::network::{InterfaceIndex, Links, NetworkEvent};
use crate::setup::{self, Claim, Layout, Move};
use crate::worker::Unanswered;

/// How long the packet threads may take to open their ports anew: the kernel takes its time to let go of each queue.
const REOPENING: Duration = Duration::from_secs(60);
/// For so long at most, packets are dropped that sockets would get, while these are opened anew.
const PAUSE: Duration = Duration::from_secs(10);
/// Between two attempts to do what failed, at first and at last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What is known of the devices, and what is left to do.
pub(super) struct Following {
    /// For each device, whether it has no sockets.
    lost: Vec<bool>,
    /// When to try again, if something failed or is gone.
    retry: Option<Duration>,
    /// What failed last, which is told once.
    told: Option<String>,
}

impl Following {
    /// All devices are open.
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            lost: vec![false; layout.devices.len()],
            retry: None,
            told: None,
        }
    }

    /// After how long [`Daemon::follow`] is to be called again, if nothing happens before.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }
}

/// Something that could not be done now.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("{0}")]
    Unanswered(#[from] Unanswered),
}

impl Daemon {
    pub(super) fn network_changed(&mut self, event: NetworkEvent) -> Result<(), DaemonError> {
        match event {
            NetworkEvent::MonitorFailed { reason } => return Err(DaemonError::NetworkLost(reason)),
            NetworkEvent::LinkDown { index, name } if self.is_ours(index) => log::warn!("{name} is down"),
            NetworkEvent::LinkUp { index, name } if self.is_ours(index) => log::info!("{name} is up"),
            NetworkEvent::LinkRenamed { index, from, to } if self.is_ours(index) => {
                let known = self.layout.interfaces.by_index(index);
                let known = known.map_or(from.as_str(), |id| &self.layout.interfaces.get(id).name);
                log::info!("{from} is now named {to}; here it goes on as {known}");
                self.follow();
            }
            NetworkEvent::AddressesChanged { .. }
            | NetworkEvent::LinkAdded { .. }
            | NetworkEvent::LinkRemoved { .. }
            | NetworkEvent::LinkRenamed { .. }
            | NetworkEvent::LinkChanged { .. }
            | NetworkEvent::Missed => self.follow(),
            NetworkEvent::LinkDown { .. } | NetworkEvent::LinkUp { .. } => {}
        }
        Ok(())
    }

    /// A port's sockets are bound to nothing any more. Mostly the network's news of its removal is on its way; if not, it is opened anew.
    pub(super) fn port_failed(&mut self, failed: &PortFailed) {
        let number = usize::from(failed.port.0);
        log::debug!("{}", failed.source);
        self.note_loss_of(number);
        self.following.retry.get_or_insert(FIRST_RETRY);
    }

    fn is_ours(&self, index: InterfaceIndex) -> bool {
        self.layout.interfaces.by_index(index).is_some()
            || self.layout.devices.iter().any(|device| device.index == index)
    }

    /// Brings everything to what the network is now. What can't be done is tried again later.
    pub(super) fn follow(&mut self) {
        let links = Arc::clone(&self.network.load().links);
        self.note_lost(&links);
        let devices = self.follow_devices(&links);
        let addresses = self.follow_addresses(&links);
        // The old interest stays if the new one can't be set.
        let interest = self.set_interest().map_err(Failed::from);
        let failed = devices
            .and(addresses)
            .and(interest)
            .err()
            .map(|error| error.to_string());
        match &failed {
            Some(error) if self.following.told != failed => {
                log::error!("the network's changes are not followed in all: {error}; trying again");
            }
            _ => {}
        }
        self.following.retry = if failed.is_some() {
            let last = self.following.retry.unwrap_or(FIRST_RETRY / 2);
            Some((last * 2).min(LAST_RETRY))
        } else if self.following.lost.contains(&true) {
            Some(FIRST_RETRY)
        } else {
            None
        };
        self.following.told = failed;
    }

    fn note_lost(&mut self, links: &Links) {
        for number in 0..self.layout.devices.len() {
            if links.get(self.layout.devices[number].index).is_some() {
                continue;
            }
            self.note_loss_of(number);
            // It took the program with it; here its place is to be free.
            let device = &self.layout.devices[number].name;
            let _ = self
                .xdp
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .detach(device);
        }
    }

    fn note_loss_of(&mut self, device: usize) {
        if !std::mem::replace(&mut self.following.lost[device], true) {
            log::warn!(
                "{} is gone: what would leave by it is dropped until it is back",
                self.layout.devices[device].name
            );
        }
    }

    fn follow_devices(&mut self, links: &Arc<Links>) -> Result<(), Failed> {
        let found = self.layout.found_again(links);
        let devices = found.devices.iter().zip(&self.following.lost);
        let is_back: Vec<bool> = devices
            .map(|(device, lost)| *lost && links.get(device.index).is_some())
            .collect();
        if is_back.contains(&true) {
            return self.reopen(found, links, &is_back);
        }
        if found != self.layout {
            // A VLAN's link, on a device that was there all the time.
            self.layout = found;
            let interfaces = self.layout.interfaces.clone();
            self.team
                .ask_all(move |dispatcher, _| dispatcher.set_interfaces(interfaces.clone()))?;
            self.offload()?;
            self.inspect_anew();
        }
        Ok(())
    }

    /// Opens all ports anew, those among them that are back.
    fn reopen(&mut self, found: Layout, links: &Arc<Links>, is_back: &[bool]) -> Result<(), Failed> {
        let back = || found.devices.iter().zip(is_back).filter(|(_, is_back)| **is_back);
        // What can go wrong with those that are back is no reason to disturb the others.
        for (device, _) in back() {
            checks::refuse_if_taken(&device.name, &self.pins)?;
            checks::refuse_if_too_large(device, links, self.longest_packet)?;
            team::check_queues(&device.name, self.team.len())?;
            self.offloads.turn_off_at(&device.name);
        }
        let mut modes = Vec::new();
        for (device, _) in back() {
            modes.push(self.attach(device)?);
        }
        let with_all: Vec<bool> = vec![false; is_back.len()];
        let failed = match self.open_ports(&found, links, with_all) {
            Ok(()) => {
                let mut modes = modes.into_iter();
                let ports = self.ports.iter_mut().zip(&mut self.following.lost).zip(is_back);
                for ((port, lost), _) in ports.filter(|(_, is_back)| **is_back) {
                    port.mode = modes.next();
                    *lost = false;
                    log::info!("{port}: it is back");
                }
                self.layout = found;
                self.offload()?;
                self.inspect_anew();
                return Ok(());
            }
            Err(failed) => failed,
        };
        // At least what worked before.
        let lost = self.following.lost.clone();
        let layout = self.layout.clone();
        self.open_ports(&layout, links, lost)?;
        Err(failed)
    }

    fn open_ports(&mut self, layout: &Layout, links: &Arc<Links>, left_out: Vec<bool>) -> Result<(), Failed> {
        let workers = self.team.len();
        let reopening = |worker| Reopening {
            place: Place { worker, workers },
            config: self.config.clone(),
            longest_packet: self.longest_packet,
            layout: layout.clone(),
            links: Arc::clone(links),
            xdp: Arc::clone(&self.xdp),
            left_out: left_out.clone(),
        };
        let pause = |time| {
            let mut xdp = self.xdp.lock().unwrap_or_else(PoisonError::into_inner);
            xdp.pause(time).map_err(DaemonError::from)
        };
        pause(PAUSE)?;
        let opened = self.team.ask_each(REOPENING, |worker| {
            let reopening = reopening(worker);
            move |dispatcher: &mut Dispatcher, _| reopening.run(dispatcher)
        });
        pause(Duration::ZERO)?;
        let opened = opened?.into_iter().collect::<Result<Vec<_>, _>>()?;
        for (worker, opened) in opened.into_iter().enumerate() {
            for (port, opened) in self.ports.iter_mut().zip(opened) {
                let Some(opened) = opened else { continue };
                if worker > 0 {
                    port.add(&opened);
                    continue;
                }
                let mode = port.mode.take();
                *port = opened;
                port.mode = mode;
            }
        }
        Ok(())
    }

    /// Has translators that translate to an interface's address follow it.
    fn follow_addresses(&mut self, links: &Links) -> Result<(), Failed> {
        let moves = setup::moves(&self.config, &self.layout, links, &self.claims);
        if moves.is_empty() {
            return Ok(());
        }
        let mut gone = Vec::new();
        for moved in moves {
            let stand_in = setup::stand_in_of(&self.config, &moved.interface);
            let Move {
                channel,
                interface,
                from,
                to,
            } = moved.clone();
            if !is_stand_in(from) {
                self.withdraw(&moved, stand_in)?;
                let now = match is_stand_in(to) {
                    true => "what it would translate is dropped until there is one".to_owned(),
                    false => format!("it translates to {to} now"),
                };
                log::warn!("channel {channel}: {interface} lost {from}, and the mappings of it ended: {now}");
            } else {
                log::info!("channel {channel}: {interface} has an address: it translates to {to} now");
            }
            let away = Move {
                from,
                to: stand_in,
                ..moved.clone()
            };
            self.claims.iter_mut().for_each(|claim| claim.follow(&away));
            gone.push(Move {
                from: stand_in,
                ..moved
            });
        }
        // Answers are to find their way before the first packet leaves with a new address.
        let mut claims = self.claims.clone();
        for moved in &gone {
            claims.iter_mut().for_each(|claim| claim.follow(moved));
        }
        let former = std::mem::replace(&mut self.claims, claims);
        let assigned = self.rebuild_rules().and_then(|()| {
            self.set_interest()?;
            gone.iter()
                .filter(|moved| moved.to != moved.from)
                .try_for_each(|moved| self.assign(moved))
        });
        if assigned.is_err() {
            self.claims = former;
        }
        assigned
    }

    fn withdraw(&self, moved: &Move, stand_in: std::net::Ipv4Addr) -> Result<(), Failed> {
        for worker in 0..self.team.len() {
            let mut after = Some(0);
            while let Some(start) = after {
                let Move { channel, from, .. } = moved.clone();
                after = self.team.ask_one(worker, move |dispatcher, now| {
                    let mut channels = dispatcher.channels_mut();
                    let (_, channel) = channels.find(|(name, _)| *name == channel)?;
                    channel.withdraw_address(from, stand_in, start, now)
                })?;
            }
        }
        Ok(())
    }

    fn assign(&self, moved: &Move) -> Result<(), Failed> {
        let Move {
            channel, from, to, ..
        } = moved.clone();
        self.team.ask_all(move |dispatcher, now| {
            let mut channels = dispatcher.channels_mut();
            if let Some((_, channel)) = channels.find(|(name, _)| **name == channel) {
                channel.assign_address(from, to, now);
            }
        })?;
        Ok(())
    }

    /// Has the rules hold for what translators claim now.
    fn rebuild_rules(&self) -> Result<(), Failed> {
        Ok(self.rules.set_claims(self.present_claims())?)
    }

    /// The claims on addresses that are there.
    pub(super) fn present_claims(&self) -> Vec<Claim> {
        self.claims
            .iter()
            .filter(|claim| claim.is_there())
            .cloned()
            .collect()
    }
}
