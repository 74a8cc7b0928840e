//! What the model knows: lists that are searched from front to back, and what settings say about addresses and limits.

use std::net::{Ipv4Addr, SocketAddrV4};

use netchannel::channel::nat::{Filtering, MappingBehavior, NatSettings, Protocol};
use netchannel::drop_reason::DropReason;
use netchannel::time::Time;

use super::connection::Session;
use super::ports::Ports;
use super::world::{RULED_PORT, Setting, addresses};

pub struct Mapping {
    pub protocol: u8,
    pub inside: SocketAddrV4,
    pub external: SocketAddrV4,
    /// `None`: it is forwarded, whoever sends.
    pub filtering: Option<Filtering>,
    /// What it depends on of the outside endpoint.
    towards: Option<(Ipv4Addr, Option<u16>)>,
    pub sessions: Vec<Session>,
}

/// What the translator was seen to do where it may choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    /// The external endpoint of the mapping that it made, if it did.
    pub external: Option<SocketAddrV4>,
    /// Why it refused the packet, if it did.
    pub refused: Option<DropReason>,
    /// The external endpoint that the packet left with.
    pub seen_as: Option<SocketAddrV4>,
}

pub struct Model {
    pub settings: NatSettings,
    is_exact: bool,
    rule: Option<Filtering>,
    pub mappings: Vec<Mapping>,
    pub ports: Ports,
    pub now: Time,
    pub choice: Choice,
    /// Something is over that the translator may not have cleared away yet: it may take up room for a moment.
    pub is_stale: bool,
    /// SYNs from outside that were dropped and not answered yet: when the first came, external and remote end.
    pub unsolicited: Vec<(Time, SocketAddrV4, SocketAddrV4)>,
}

pub fn protocol_of(number: u8) -> Protocol {
    match number {
        1 => Protocol::Icmp,
        6 => Protocol::Tcp,
        _ => Protocol::Udp,
    }
}

impl Model {
    pub fn new(setting: &Setting, now: Time) -> Self {
        Self {
            settings: setting.settings.clone(),
            is_exact: setting.is_exact,
            rule: setting.rule,
            mappings: Vec::new(),
            ports: Ports::new(&setting.settings),
            now,
            choice: Choice::default(),
            is_stale: false,
            unsolicited: Vec::new(),
        }
    }

    /// Ends what is over.
    pub fn expire(&mut self) {
        let now = self.now;
        let timeouts = self.settings.timeouts.clone();
        for mapping in &mut self.mappings {
            let before = mapping.sessions.len();
            let last = mapping
                .sessions
                .iter()
                .map(|session| session.ends(&timeouts))
                .max();
            mapping.sessions.retain(|session| now < session.ends(&timeouts));
            self.is_stale |= mapping.sessions.len() < before;
            let lets_anyone_in = mapping.filtering == Some(Filtering::EndpointIndependent);
            if let (true, true, Some(end)) = (mapping.sessions.is_empty(), lets_anyone_in, last) {
                self.ports.give_back(mapping.protocol, mapping.external, end);
            }
        }
        self.mappings.retain(|mapping| !mapping.sessions.is_empty());
        let mappings = &self.mappings;
        self.ports
            .unpair(|host| !mappings.iter().any(|mapping| *mapping.inside.ip() == host));
    }

    /// The translator has cleared away what is over.
    pub fn sweep(&mut self) {
        self.expire();
        self.is_stale = false;
        self.ports.sweep(self.now);
    }

    /// Whether something is known only up to what the translator has not cleared away yet.
    pub fn is_vague(&self) -> bool {
        !self.is_exact && (self.is_stale || self.ports.holds_any())
    }

    pub fn is_external(&self, address: Ipv4Addr) -> bool {
        self.in_pool(address) || self.one_inside(address).is_some()
    }

    /// An address with ports of its own, for mappings or forwarded ones.
    pub fn in_pool(&self, address: Ipv4Addr) -> bool {
        let mut forwards = self.settings.forwards.iter();
        self.settings
            .external
            .iter()
            .any(|range| range.contains(&address))
            || forwards.any(|forward| forward.external == address)
    }

    /// The inside host that an external address stands for.
    pub fn one_inside(&self, external: Ipv4Addr) -> Option<Ipv4Addr> {
        self.settings.one_to_one.iter().find_map(|one| {
            let place = addresses(&one.external).position(|address| address == external)?;
            Some(Ipv4Addr::from_bits(one.inside.to_bits() + place as u32))
        })
    }

    /// The external address of an inside host's own.
    pub fn one_external(&self, inside: Ipv4Addr) -> Option<Ipv4Addr> {
        let mut all = self
            .settings
            .one_to_one
            .iter()
            .flat_map(|one| addresses(&one.external));
        all.find(|&external| self.one_inside(external) == Some(inside))
    }

    /// The inside endpoint that an external one is forwarded to.
    pub fn forwarded(&self, protocol: u8, external: SocketAddrV4) -> Option<SocketAddrV4> {
        self.settings.forwards.iter().find_map(|forward| {
            let is_it = forward.protocol == protocol_of(protocol)
                && forward.external == *external.ip()
                && forward.ports.contains(&external.port());
            let port = forward.inside_port + external.port().checked_sub(*forward.ports.start())?;
            is_it.then(|| SocketAddrV4::new(forward.inside, port))
        })
    }

    /// The external endpoints that are forwarded to an inside one.
    pub fn forwards_to(&self, protocol: u8, inside: SocketAddrV4) -> Vec<SocketAddrV4> {
        let forwards = self.settings.forwards.iter();
        let endpoints = forwards.filter_map(|forward| {
            let place = inside.port().checked_sub(forward.inside_port)?;
            let port = forward.ports.start().checked_add(place)?;
            Some(SocketAddrV4::new(forward.external, port))
        });
        endpoints
            .filter(|&external| self.forwarded(protocol, external) == Some(inside))
            .collect()
    }

    pub fn towards(&self, protocol: u8, remote: SocketAddrV4) -> Option<(Ipv4Addr, Option<u16>)> {
        match self.settings.mapping[protocol_of(protocol)] {
            MappingBehavior::EndpointIndependent => None,
            MappingBehavior::AddressDependent => Some((*remote.ip(), None)),
            MappingBehavior::AddressAndPortDependent => Some((*remote.ip(), Some(remote.port()))),
        }
    }

    pub fn of_external(&self, protocol: u8, external: SocketAddrV4) -> Option<usize> {
        self.find(protocol, |mapping| mapping.external == external)
    }

    /// How a mapping filters that is opened towards an outside endpoint.
    pub fn filtering_towards(&self, protocol: u8, remote: SocketAddrV4) -> Filtering {
        let by_rule = self.rule.filter(|_| remote.port() == RULED_PORT);
        by_rule.unwrap_or(self.settings.filtering[protocol_of(protocol)])
    }

    fn find(&self, protocol: u8, is_it: impl Fn(&Mapping) -> bool) -> Option<usize> {
        self.mappings
            .iter()
            .position(|mapping| mapping.protocol == protocol && is_it(mapping))
    }

    /// The mapping that a new session of an inside endpoint uses: of several forwarded ports the first.
    pub fn of_inside(&self, protocol: u8, inside: SocketAddrV4, remote: SocketAddrV4) -> Option<usize> {
        if let Some(&external) = self.forwards_to(protocol, inside).first() {
            return self.of_external(protocol, external);
        }
        let towards = self.towards(protocol, remote);
        self.find(protocol, |mapping| {
            mapping.inside == inside && mapping.towards == towards && mapping.filtering.is_some()
        })
    }

    /// The session of an inside endpoint with an outside one. If several external endpoints are forwarded to the inside one, each may have a
    /// session with it; nothing tells these apart on their way out, and the translator may choose.
    pub fn session_of(
        &self,
        protocol: u8,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<(usize, usize)> {
        let all = self.mappings.iter().enumerate();
        let sessions: Vec<_> = all
            .filter(|(_, mapping)| mapping.protocol == protocol && mapping.inside == inside)
            .filter_map(|(number, mapping)| {
                let mut sessions = mapping.sessions.iter();
                let session = sessions.position(|session| session.remote == remote)?;
                Some((number, session))
            })
            .collect();
        let chosen = sessions
            .iter()
            .find(|(number, _)| Some(self.mappings[*number].external) == self.choice.seen_as);
        chosen.or(sessions.first()).copied()
    }

    /// The mapping through which a packet from `remote` to an inside endpoint came.
    pub fn came_through(&self, protocol: u8, inside: SocketAddrV4, remote: SocketAddrV4) -> Option<usize> {
        let session = self.session_of(protocol, inside, remote);
        session
            .map(|(mapping, _)| mapping)
            .or_else(|| self.of_inside(protocol, inside, remote))
    }

    pub fn sessions(&self) -> usize {
        self.mappings.iter().map(|mapping| mapping.sessions.len()).sum()
    }

    pub fn host_sessions(&self, host: Ipv4Addr) -> usize {
        let of_host = self
            .mappings
            .iter()
            .filter(|mapping| *mapping.inside.ip() == host);
        of_host.map(|mapping| mapping.sessions.len()).sum()
    }

    /// Whether another mapping may be made (RFC 6888 REQ-4).
    pub fn check_mapping_limits(&mut self, protocol: u8, host: Ipv4Addr) -> Result<(), DropReason> {
        let count = |protocol: Option<u8>, host: Option<Ipv4Addr>| {
            let mappings = self.mappings.iter();
            let counted = mappings.filter(|mapping| {
                protocol.is_none_or(|it| it == mapping.protocol)
                    && host.is_none_or(|it| it == *mapping.inside.ip())
            });
            counted.count() as u32
        };
        let (of_host, all) = (self.settings.host_limits, self.settings.limits);
        let kind = protocol_of(protocol);
        if count(None, Some(host)) >= of_host.mappings
            || count(Some(protocol), Some(host)) >= of_host.mappings_of[kind]
        {
            return Err(DropReason::NatHostMappingLimit);
        }
        let per_second = of_host.new_mappings_per_second;
        if !self.ports.has_pace(Some(host), per_second, self.now) {
            return Err(DropReason::NatHostRateLimit);
        }
        if count(None, None) >= all.mappings || count(Some(protocol), None) >= all.mappings_of[kind] {
            return Err(DropReason::NatMappingLimit);
        }
        if !self.ports.has_pace(None, all.new_mappings_per_second, self.now) {
            return Err(DropReason::NatRateLimit);
        }
        Ok(())
    }

    pub fn add_mapping(
        &mut self,
        protocol: u8,
        inside: SocketAddrV4,
        external: SocketAddrV4,
        towards: Option<(Ipv4Addr, Option<u16>)>,
        filtering: Option<Filtering>,
    ) -> usize {
        let host = *inside.ip();
        let (of_host, all) = (self.settings.host_limits, self.settings.limits);
        self.ports
            .count(Some(host), of_host.new_mappings_per_second, self.now);
        self.ports.count(None, all.new_mappings_per_second, self.now);
        assert!(
            self.of_external(protocol, external).is_none(),
            "{external} has two inside endpoints"
        );
        self.mappings.push(Mapping {
            protocol,
            inside,
            external,
            filtering,
            towards,
            sessions: Vec::new(),
        });
        self.mappings.len() - 1
    }
}
