//! The model's external ports: which one a mapping may have been given, and whether there was none.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use netchannel::channel::nat::{NatSettings, Pooling};
use netchannel::drop_reason::DropReason;
use netchannel::time::Time;

use super::state::{Mapping, protocol_of};
use super::world::addresses;

/// The port of a mapping that ended.
struct Held {
    protocol: u8,
    endpoint: SocketAddrV4,
    /// Nobody may have it before this.
    until: Time,
    /// Once the translator was told of the end: when it frees the port at the latest.
    at_latest: Option<Time>,
}

pub struct Ports {
    usable: Vec<u16>,
    hold: Option<Duration>,
    held: Vec<Held>,
    /// The external address of each inside host that has mappings; `None` if it may still be one that it had before.
    pairs: HashMap<Ipv4Addr, Option<Ipv4Addr>>,
    /// Hosts whose mappings have all ended, which the translator may not have noticed.
    leaving: HashSet<Ipv4Addr>,
    /// Of each host, and of all: how much of a second's mappings is used up, and since when that wears off.
    paces: HashMap<Option<Ipv4Addr>, (Duration, Time)>,
    /// By host: its address and ports, if each has its own (RFC 7422).
    own: Option<HashMap<Ipv4Addr, (Ipv4Addr, Vec<u16>)>>,
}

impl Ports {
    pub fn new(settings: &NatSettings) -> Self {
        let mut usable: Vec<u16> = settings.ports.iter().cloned().flatten().collect();
        usable.retain(|port| !settings.reserved_ports.iter().any(|range| range.contains(port)));
        Self {
            hold: settings.deterministic.is_none().then_some(settings.hold.time),
            held: Vec::new(),
            pairs: HashMap::new(),
            leaving: HashSet::new(),
            paces: HashMap::new(),
            own: shares(settings, &usable),
            usable,
        }
    }

    /// Whether it is one of the ports that are given out.
    pub fn is_usable(&self, port: u16) -> bool {
        self.usable.contains(&port)
    }

    /// A mapping has ended.
    pub fn give_back(&mut self, protocol: u8, endpoint: SocketAddrV4, end: Time) {
        if let (17, Some(hold)) = (protocol, self.hold) {
            self.held.push(Held {
                protocol,
                endpoint,
                until: end + hold,
                at_latest: None,
            });
        }
    }

    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Hosts without mappings have no address any more.
    pub fn unpair(&mut self, is_gone: impl Fn(Ipv4Addr) -> bool) {
        self.leaving
            .extend(self.pairs.keys().copied().filter(|&host| is_gone(host)));
        self.pairs.retain(|&host, _| !is_gone(host));
    }

    /// The translator has cleared away what is over.
    pub fn sweep(&mut self, now: Time) {
        self.leaving.clear();
        let hold = self.hold.unwrap_or_default();
        for held in &mut self.held {
            held.at_latest.get_or_insert(now + hold);
        }
        self.held
            .retain(|held| held.at_latest.is_none_or(|latest| now < latest));
    }

    /// What is used up of a second's mappings; it wears off with time.
    fn used(&self, host: Option<Ipv4Addr>, now: Time) -> Duration {
        let (used, since) = self.paces.get(&host).copied().unwrap_or_default();
        used.saturating_sub(now.since(since))
    }

    pub fn has_pace(&self, host: Option<Ipv4Addr>, per_second: u32, now: Time) -> bool {
        per_second == u32::MAX
            || self.used(host, now) + Duration::from_secs(1) / per_second <= Duration::from_secs(1)
    }

    pub fn count(&mut self, host: Option<Ipv4Addr>, per_second: u32, now: Time) {
        if per_second != u32::MAX {
            let used = self.used(host, now) + Duration::from_secs(1) / per_second;
            self.paces.insert(host, (used, now));
        }
    }

    /// Checks the external endpoint that a new mapping was given, or that there was none. What is vague may still be taken.
    pub fn check(
        &mut self,
        settings: &NatSettings,
        mappings: &[Mapping],
        (protocol, inside): (u8, SocketAddrV4),
        chosen: Option<SocketAddrV4>,
        (now, is_vague): (Time, bool),
    ) -> Result<SocketAddrV4, DropReason> {
        let kind = protocol_of(protocol);
        let is_free = |endpoint: SocketAddrV4| {
            let is_taken = |mapping: &Mapping| (mapping.protocol, mapping.external) == (protocol, endpoint);
            let is_forwarded = settings.forwards.iter().any(|forward| {
                forward.protocol == kind
                    && forward.external == *endpoint.ip()
                    && forward.ports.contains(&endpoint.port())
            });
            !is_forwarded && !mappings.iter().any(is_taken)
        };
        // In vain, if the translator has not noticed yet that its time is over.
        let is_held = |endpoint: SocketAddrV4| {
            let mut held = self.held.iter();
            held.any(|held| {
                (held.protocol, held.endpoint) == (protocol, endpoint) && (!is_vague || now < held.until)
            })
        };
        let free_at = |address: Ipv4Addr, ports: &[u16]| -> Vec<u16> {
            let endpoint = |&port: &u16| SocketAddrV4::new(address, port);
            let ports = ports
                .iter()
                .filter(|port| is_free(endpoint(port)) && !is_held(endpoint(port)));
            ports.copied().collect()
        };
        let everywhere: Vec<Ipv4Addr> = settings.external.iter().flat_map(addresses).collect();
        let (candidates, ports) = match &self.own {
            Some(own) => {
                let (address, ports) = own.get(inside.ip()).ok_or(DropReason::NatHostNotServed)?;
                (vec![*address], ports)
            }
            None => {
                let pair = self.pairs.get(inside.ip()).copied().flatten();
                let pair = pair.filter(|_| !is_vague);
                let candidates = match (settings.pooling, pair) {
                    (Pooling::Paired { soft }, Some(pair))
                        if !soft || !free_at(pair, &self.usable).is_empty() =>
                    {
                        vec![pair]
                    }
                    _ => everywhere,
                };
                (candidates, &self.usable)
            }
        };
        if candidates
            .iter()
            .all(|&address| free_at(address, ports).is_empty())
        {
            return Err(DropReason::NatPortsExhausted);
        }
        let chosen = chosen.expect("a port is free, so there must be a mapping");
        let free = free_at(*chosen.ip(), ports);
        assert!(
            candidates.contains(chosen.ip()) && free.contains(&chosen.port()),
            "{chosen} was given to {inside}, expected one of {free:?} at {candidates:?}"
        );
        if !is_vague {
            assert!(
                preferred(settings, &free, inside.port()).contains(&chosen.port()),
                "{chosen} was given to {inside}, and {free:?} were free"
            );
        }
        self.held
            .retain(|held| (held.protocol, held.endpoint) != (protocol, chosen));
        // A host that never was without mappings has its former address, and may get ports of another one while that has none.
        let may_have_another =
            settings.pooling == Pooling::Paired { soft: true } && self.leaving.contains(inside.ip());
        self.pairs
            .entry(*inside.ip())
            .or_insert((!may_have_another).then_some(*chosen.ip()));
        Ok(chosen)
    }
}

/// Those of the free ports that the one that is wanted may be given (RFC 4787 REQ-3 (a) and REQ-4, RFC 6056 §4).
fn preferred(settings: &NatSettings, free: &[u16], wanted: u16) -> Vec<u16> {
    if settings.preserve_ports && free.contains(&wanted) {
        return vec![wanted];
    }
    let of_class = |port: u16| !settings.preserve_class || (port < 1024) == (wanted < 1024);
    let of_parity = |port: u16| !settings.preserve_parity || port % 2 == wanted % 2;
    let some = |is_one: &dyn Fn(u16) -> bool| -> Option<Vec<u16>> {
        let ports: Vec<u16> = free.iter().copied().filter(|&port| is_one(port)).collect();
        (!ports.is_empty()).then_some(ports)
    };
    some(&|port| of_class(port) && of_parity(port))
        .or_else(|| some(&of_class).filter(|_| settings.preserve_class))
        .or_else(|| some(&of_parity))
        .unwrap_or_else(|| free.to_vec())
}

/// Each inside host's address and ports: one host after the other, as many on each address (RFC 7422 §2.2).
fn shares(settings: &NatSettings, usable: &[u16]) -> Option<HashMap<Ipv4Addr, (Ipv4Addr, Vec<u16>)>> {
    let deterministic = settings.deterministic.as_ref()?;
    let hosts: Vec<Ipv4Addr> = deterministic.inside.iter().flat_map(addresses).collect();
    let external: Vec<Ipv4Addr> = settings.external.iter().flat_map(addresses).collect();
    let on_each = hosts.len().div_ceil(external.len());
    let share = deterministic
        .ports_per_host
        .map_or(usable.len() / on_each, usize::from);
    let share_of = |number: usize| {
        let ports = usable.iter().copied().skip(number % on_each * share).take(share);
        (external[number / on_each], ports.collect())
    };
    let shares = hosts
        .iter()
        .enumerate()
        .map(|(number, &host)| (host, share_of(number)));
    Some(shares.collect())
}
