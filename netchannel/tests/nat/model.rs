//! The translator against a model of it: lists that are searched from front to back, and the rules written down once more. Random
//! packets and clock steps must have the same outcome in both, up to the choice of ports.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use netchannel::channel::nat::{Filtering, MappingBehavior, PerProtocol};
use netchannel::drop_reason::DropReason;
use netchannel::time::Time;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::harness::*;
use crate::packets::*;

const OUT: usize = 0;
const IN: usize = 1;
const FIRST_PORT: u16 = 2000;
const PORTS: u16 = 12;
/// How long a UDP port is held after its mapping.
const HOLD: Duration = Duration::from_secs(120);

/// What TCP has shown, by direction.
#[derive(Clone, Copy, Default)]
struct Connection {
    syn: [bool; 2],
    fin: [bool; 2],
    reset: bool,
    refused: bool,
}

struct Session {
    remote: SocketAddrV4,
    tcp: Connection,
    active: Time,
}

struct Mapping {
    protocol: u8,
    inside: SocketAddrV4,
    external: SocketAddrV4,
    /// What it depends on of the outside endpoint.
    towards: Option<(Ipv4Addr, Option<u16>)>,
    sessions: Vec<Session>,
}

/// The port of a UDP mapping that ended.
struct Held {
    port: u16,
    /// Nobody may have it before this.
    until: Time,
    /// Once the translator was told of the end: when it frees the port at the latest.
    at_latest: Option<Time>,
}

struct Model {
    mappings: Vec<Mapping>,
    held: Vec<Held>,
    filtering: Filtering,
    behavior: MappingBehavior,
    mappings_per_host: usize,
    refresh_inbound: bool,
    now: Time,
    /// Why the packet was refused for want of room, if it was.
    refused: Option<DropReason>,
    /// SYNs from outside that were dropped and not answered yet: when the first came, external and remote end.
    unsolicited: Vec<(Time, SocketAddrV4, SocketAddrV4)>,
    /// What is over was cleared away. Else it may still hold its port for a moment.
    is_swept: bool,
}

/// What becomes of a packet: where it comes from and goes to when it leaves, or why it does not.
type Outcome = Result<(SocketAddrV4, SocketAddrV4), DropReason>;

fn opens(body: Body) -> bool {
    match body {
        Body::Tcp(flags) => flags & (SYN | ACK | FIN | RST) == SYN,
        _ => true,
    }
}

impl Session {
    fn timeout(&self, protocol: u8) -> u64 {
        let Connection {
            syn,
            fin,
            reset,
            refused,
        } = self.tcp;
        match protocol {
            17 => 300,
            1 => 60,
            _ if refused => 0,
            _ if syn == [true; 2] && fin != [true; 2] && !reset => 7440,
            _ => 240,
        }
    }

    fn see(&mut self, body: Body, direction: usize, refresh_inbound: bool, now: Time) {
        let Body::Tcp(flags) = body else {
            if direction == OUT || refresh_inbound {
                self.active = now;
            }
            return;
        };
        let Connection {
            syn,
            fin,
            reset,
            refused,
        } = &mut self.tcp;
        let is_reset = flags & RST != 0;
        let opened = *syn == [true; 2];
        let closed = *fin == [true; 2];
        if *refused {
            return;
        }
        if opened && (*reset || closed) {
            // Over: a SYN starts again; after a reset anything but another one goes on.
            if opens(body) {
                self.tcp = Connection::default();
                self.tcp.syn[direction] = true;
            } else if *reset && !is_reset {
                *reset = false;
                *fin = [false; 2];
            } else {
                return;
            }
        } else if !opened {
            if is_reset && direction == OUT && !syn[OUT] {
                *refused = true;
            } else if is_reset || flags & SYN == 0 {
                return;
            } else {
                syn[direction] = true;
            }
        } else if is_reset {
            *reset = true;
        } else if flags & FIN != 0 {
            fin[direction] = true;
        }
        self.active = now;
    }
}

impl Model {
    fn expire(&mut self) {
        let now = self.now;
        let before = self.mappings.len();
        for mapping in &mut self.mappings {
            let protocol = mapping.protocol;
            let ends = |session: &Session| session.active + Duration::from_secs(session.timeout(protocol));
            let last = mapping.sessions.iter().map(ends).max();
            mapping.sessions.retain(|session| now < ends(session));
            if mapping.sessions.is_empty()
                && protocol == 17
                && self.filtering == Filtering::EndpointIndependent
            {
                self.held.push(Held {
                    port: mapping.external.port(),
                    until: last.unwrap_or(now) + HOLD,
                    at_latest: None,
                });
            }
        }
        self.mappings.retain(|mapping| !mapping.sessions.is_empty());
        self.is_swept &= self.mappings.len() == before;
    }

    /// The translator has cleared away what is over.
    fn sweep(&mut self) {
        self.expire();
        self.is_swept = true;
        let now = self.now;
        for held in &mut self.held {
            held.at_latest.get_or_insert(now + HOLD);
        }
        self.held.retain(|held| held.at_latest.is_none_or(|at| now < at));
    }

    fn towards(&self, remote: SocketAddrV4) -> Option<(Ipv4Addr, Option<u16>)> {
        match self.behavior {
            MappingBehavior::EndpointIndependent => None,
            MappingBehavior::AddressDependent => Some((*remote.ip(), None)),
            MappingBehavior::AddressAndPortDependent => Some((*remote.ip(), Some(remote.port()))),
        }
    }

    fn of_inside(&self, protocol: u8, inside: SocketAddrV4, remote: SocketAddrV4) -> Option<usize> {
        let towards = self.towards(remote);
        self.find(protocol, |mapping| {
            mapping.inside == inside && mapping.towards == towards
        })
    }

    fn find(&self, protocol: u8, is_it: impl Fn(&Mapping) -> bool) -> Option<usize> {
        self.mappings
            .iter()
            .position(|mapping| mapping.protocol == protocol && is_it(mapping))
    }

    /// The session for a packet from inside, opened if need be. `chosen` is the external endpoint that the translator gave it, if
    /// it did.
    fn go_out(
        &mut self,
        body: Body,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
        chosen: Option<SocketAddrV4>,
    ) -> Result<(usize, usize), DropReason> {
        let protocol = body.number();
        let found = self.of_inside(protocol, inside, remote);
        if let Some(mapping) = found {
            let sessions = &self.mappings[mapping].sessions;
            if let Some(session) = sessions.iter().position(|session| session.remote == remote) {
                return Ok((mapping, session));
            }
        }
        if !opens(body) {
            return Err(DropReason::NatNotOpening);
        }
        let mapping = match found {
            Some(mapping) => mapping,
            None => {
                let taken = |port| {
                    self.find(protocol, |mapping| mapping.external.port() == port)
                        .is_some()
                };
                let range = FIRST_PORT..FIRST_PORT + PORTS;
                let held = |port| protocol == 17 && self.held.iter().any(|held| held.port == port);
                if !self.is_swept
                    && let Some(reason) = self.refused
                {
                    return Err(reason);
                }
                let of_host = |mapping: &&Mapping| mapping.inside.ip() == inside.ip();
                if self.mappings.iter().filter(of_host).count() >= self.mappings_per_host {
                    return Err(DropReason::NatHostMappingLimit);
                }
                if range
                    .clone()
                    .all(|port| taken(port) || chosen.is_none() && held(port))
                {
                    return Err(DropReason::NatPortsExhausted);
                }
                let external = chosen.expect("a port is free, so the packet must leave");
                let port = external.port();
                assert_eq!(*external.ip(), EXTERNAL);
                assert!(range.contains(&port) && !taken(port));
                let too_early = |held: &Held| held.port == port && self.now < held.until;
                assert!(
                    protocol != 17 || !self.held.iter().any(too_early),
                    "{port} is held"
                );
                let wanted = inside.port();
                let could_keep = self.is_swept && range.contains(&wanted) && !taken(wanted) && !held(wanted);
                assert!(port == wanted || !could_keep);
                if protocol == 17 {
                    self.held.retain(|held| held.port != port);
                }
                self.mappings.push(Mapping {
                    protocol,
                    inside,
                    external,
                    towards: self.towards(remote),
                    sessions: Vec::new(),
                });
                self.mappings.len() - 1
            }
        };
        Ok((mapping, self.add_session(mapping, body, remote, OUT)))
    }

    fn add_session(&mut self, mapping: usize, body: Body, remote: SocketAddrV4, direction: usize) -> usize {
        let mut tcp = Connection::default();
        if matches!(body, Body::Tcp(_)) {
            tcp.syn[direction] = true;
        }
        let active = self.now;
        let sessions = &mut self.mappings[mapping].sessions;
        sessions.push(Session { remote, tcp, active });
        sessions.len() - 1
    }

    /// What lets a packet in: a session, or the filtering.
    fn come_in(&self, body: Body, remote: SocketAddrV4, mapping: usize) -> Result<Option<usize>, DropReason> {
        let sessions = &self.mappings[mapping].sessions;
        if let Some(session) = sessions.iter().position(|session| session.remote == remote) {
            return Ok(Some(session));
        }
        let admitted = match self.filtering {
            _ if matches!(body, Body::Query(_)) => false,
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => sessions.iter().any(|session| session.remote.ip() == remote.ip()),
            Filtering::AddressAndPortDependent => false,
        };
        if !admitted {
            Err(DropReason::NatFiltered)
        } else if !opens(body) {
            Err(DropReason::NatNotOpening)
        } else {
            Ok(None)
        }
    }

    fn deliver(&mut self, body: Body, remote: SocketAddrV4, mapping: usize) -> Outcome {
        let session = match self.come_in(body, remote, mapping)? {
            Some(session) => Some(session),
            None if body == Body::Udp && !self.refresh_inbound => None,
            None => Some(self.add_session(mapping, body, remote, IN)),
        };
        let (now, refresh) = (self.now, self.refresh_inbound);
        let mapping = &mut self.mappings[mapping];
        if let Some(session) = session {
            mapping.sessions[session].see(body, IN, refresh, now);
        }
        Ok((remote, mapping.inside))
    }

    fn send(
        &mut self,
        body: Body,
        inside: SocketAddrV4,
        to: SocketAddrV4,
        chosen: Option<SocketAddrV4>,
    ) -> Outcome {
        self.expire();
        let refresh = self.refresh_inbound;
        if *to.ip() != EXTERNAL {
            let (mapping, session) = self.go_out(body, inside, to, chosen)?;
            let now = self.now;
            let mapping = &mut self.mappings[mapping];
            mapping.sessions[session].see(body, OUT, refresh, now);
            let external = mapping.external;
            self.connects(body, external, to);
            return Ok((external, to));
        }
        // To another inside host.
        let target = self.find(body.number(), |mapping| mapping.external == to);
        let target = target.ok_or(DropReason::NatNoMapping)?;
        let (sender, session) = self.go_out(body, inside, to, chosen)?;
        let seen_as = self.mappings[sender].external;
        self.come_in(body, seen_as, target)?;
        let now = self.now;
        self.mappings[sender].sessions[session].see(body, OUT, refresh, now);
        self.deliver(body, seen_as, target)
    }

    fn receive(&mut self, body: Body, remote: SocketAddrV4, to: SocketAddrV4) -> Outcome {
        self.expire();
        let mapping = self.find(body.number(), |mapping| mapping.external == to);
        let outcome = match mapping {
            Some(mapping) => self.deliver(body, remote, mapping),
            None => Err(DropReason::NatNoMapping),
        };
        let is_syn = matches!(body, Body::Tcp(_)) && opens(body);
        if outcome.is_ok() {
            self.connects(body, to, remote);
        } else if is_syn
            && !self
                .unsolicited
                .iter()
                .any(|&(_, external, from)| (external, from) == (to, remote))
        {
            self.unsolicited.push((self.now, to, remote));
        }
        outcome
    }

    /// A SYN passed: one that came before for the same connection is forgotten.
    fn connects(&mut self, body: Body, external: SocketAddrV4, remote: SocketAddrV4) {
        if matches!(body, Body::Tcp(_)) && opens(body) {
            self.unsolicited
                .retain(|&(_, to, from)| (to, from) != (external, remote));
        }
    }

    /// What is answered now: the ends of SYNs, sorted.
    fn answers(&mut self) -> Vec<(SocketAddrV4, SocketAddrV4)> {
        let now = self.now;
        let is_due = |since: Time| now.since(since) >= Duration::from_secs(6);
        let mut due: Vec<_> = self
            .unsolicited
            .extract_if(.., |(since, _, _)| is_due(*since))
            .map(|(_, external, remote)| (remote, external))
            .collect();
        due.sort();
        due
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Host inside, port, host outside, port.
    Out(Body, u8, u16, u8, u16),
    /// Host outside, port, external port.
    In(Body, u8, u16, u16),
    /// Host inside, port, external port.
    Hairpin(Body, u8, u16, u16),
    /// An error from outside about a packet from this external port, to a host outside.
    ErrorIn(Body, u16, u8),
    /// An error from inside about a packet to this host and port, from a host outside.
    ErrorOut(Body, u8, u16, u8),
    /// Milliseconds, and whether the channel is told.
    Wait(u64, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![
        4 => Just(SYN), 3 => Just(SYN | ACK), 5 => Just(ACK), 2 => Just(FIN | ACK), 1 => Just(RST), 1 => Just(SYN | RST),
    ];
    let body = prop_oneof![4 => Just(Body::Udp), 6 => flags.prop_map(Body::Tcp), 2 => Just(Body::Query(8))];
    let (host, port, external) = (0u8..4, 1998u16..2006, FIRST_PORT - 1..FIRST_PORT + PORTS + 1);
    let (remote, remote_port) = (0u8..3, 80u16..83);
    let steps: [u64; 8] = [0, 1, 900, 59_000, 60_000, 119_500, 240_000, 301_000];
    let wait =
        (any::<Index>(), any::<bool>()).prop_map(move |(index, tick)| Step::Wait(*index.get(&steps), tick));
    prop_oneof![
        6 => (body.clone(), host.clone(), port.clone(), remote.clone(), remote_port.clone())
            .prop_map(|(b, h, p, r, q)| Step::Out(b, h, p, r, q)),
        6 => (body.clone(), remote.clone(), remote_port, external.clone())
            .prop_map(|(b, r, q, e)| Step::In(b, r, q, e)),
        3 => (body.clone(), host.clone(), port.clone(), external.clone())
            .prop_map(|(b, h, p, e)| Step::Hairpin(b, h, p, e)),
        1 => (body.clone(), external, remote.clone()).prop_map(|(b, e, r)| Step::ErrorIn(b, e, r)),
        1 => (body, host, port, remote).prop_map(|(b, h, p, r)| Step::ErrorOut(b, h, p, r)),
        2 => wait,
    ]
}

fn inside(host: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2 + host), port)
}

fn outside(body: Body, host: u8, port: u16) -> SocketAddrV4 {
    // A query has an identifier on the side that asks, and nothing on the other.
    let port = if matches!(body, Body::Query(_)) { 0 } else { port };
    SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8 + host), port)
}

fn reply(body: Body) -> Body {
    match body {
        Body::Query(_) => Body::Query(0),
        other => other,
    }
}

/// For want of room.
const REFUSALS: [DropReason; 2] = [DropReason::NatPortsExhausted, DropReason::NatHostMappingLimit];

/// What became of the one packet that was sent.
fn outcome(result: &Seen) -> Outcome {
    if let Some(&reason) = result.dropped.first() {
        assert_eq!(result.dropped.len(), 1);
        assert!(result.wan.is_empty());
        assert_eq!(
            result.lan.is_empty(),
            !REFUSALS.contains(&reason),
            "only refusals are answered"
        );
        return Err(reason);
    }
    assert_eq!(result.lan.len() + result.wan.len(), 1);
    // No inside address leaves.
    for frame in &result.wan {
        assert_eq!(*ends(frame).0.ip(), EXTERNAL);
    }
    Ok(ends(result.wan.first().or(result.lan.first()).unwrap()))
}

/// How the translator is set up.
#[derive(Clone, Debug)]
struct Setting {
    filtering: Filtering,
    behavior: MappingBehavior,
    mappings_per_host: u32,
    refresh_inbound: bool,
}

fn setting() -> impl Strategy<Value = Setting> {
    let behavior = prop_oneof![
        2 => Just(MappingBehavior::EndpointIndependent),
        1 => Just(MappingBehavior::AddressDependent),
        1 => Just(MappingBehavior::AddressAndPortDependent),
    ];
    let filtering = prop_oneof![
        Just(Filtering::EndpointIndependent),
        Just(Filtering::AddressDependent),
        Just(Filtering::AddressAndPortDependent),
    ];
    let mappings_per_host = prop_oneof![2 => Just(u32::MAX), 1 => 1u32..6];
    (behavior, filtering, mappings_per_host, any::<bool>()).prop_map(
        |(behavior, filtering, mappings_per_host, refresh_inbound)| Setting {
            // Filtering is never more open than the mapping.
            filtering: match behavior {
                MappingBehavior::EndpointIndependent => filtering,
                MappingBehavior::AddressDependent => Filtering::AddressDependent,
                MappingBehavior::AddressAndPortDependent => Filtering::AddressAndPortDependent,
            },
            behavior,
            mappings_per_host,
            refresh_inbound,
        },
    )
}

fn run(steps: Vec<Step>, setting: Setting) {
    let Setting {
        filtering,
        behavior,
        mappings_per_host,
        refresh_inbound,
    } = setting;
    let mut nat = NatBox::new(|settings| {
        settings.ports = vec![FIRST_PORT..=FIRST_PORT + PORTS - 1];
        settings.filtering = PerProtocol::all(filtering);
        settings.mapping = PerProtocol::all(behavior);
        settings.host_limits.mappings = mappings_per_host;
        settings.refresh_inbound = refresh_inbound;
    });
    let mut model = Model {
        mappings: Vec::new(),
        held: Vec::new(),
        filtering,
        behavior,
        mappings_per_host: mappings_per_host as usize,
        refresh_inbound,
        refused: None,
        now: nat.test.now,
        unsolicited: Vec::new(),
        is_swept: true,
    };
    for step in steps {
        // An error could not be sent for the rate limit otherwise, and refusals are expected to be answered.
        nat.leap(Duration::from_millis(100));
        model.now = nat.test.now;
        let context = format!("{step:?}");
        match step {
            Step::Out(body, host, port, remote, remote_port) => {
                let (from, to) = (inside(host, port), outside(body, remote, remote_port));
                let outcome = outcome(&nat.send(body, from, to));
                model.refused = outcome.err().filter(|reason| REFUSALS.contains(reason));
                let chosen = outcome.ok().map(|(source, _)| source);
                assert_eq!(outcome, model.send(body, from, to, chosen), "{context}");
            }
            Step::In(body, remote, remote_port, external) => {
                let (body, from) = (reply(body), outside(body, remote, remote_port));
                let to = SocketAddrV4::new(EXTERNAL, external);
                let mut expected = model.receive(body, from, to);
                if !(FIRST_PORT..FIRST_PORT + PORTS).contains(&external) {
                    expected = Err(DropReason::NatNoMapping);
                }
                assert_eq!(outcome(&nat.reply(body, from, to)), expected, "{context}");
            }
            Step::Hairpin(body, host, port, external) => {
                let from = inside(host, port);
                let to = SocketAddrV4::new(EXTERNAL, external);
                if matches!(body, Body::Query(_)) {
                    let result = nat.send(body, from, SocketAddrV4::new(EXTERNAL, 0));
                    assert_eq!(outcome(&result), Err(DropReason::NatNoMapping));
                    continue;
                }
                let outcome = outcome(&nat.send(body, from, to));
                model.refused = outcome.err().filter(|reason| REFUSALS.contains(reason));
                // A mapping that was made for a packet that was then filtered is seen in the listing only.
                let chosen = outcome
                    .ok()
                    .map(|(source, _)| source)
                    .or_else(|| listed(&nat, &model, body, from));
                assert_eq!(outcome, model.send(body, from, to, chosen), "{context}");
            }
            Step::ErrorIn(body, external, remote) => {
                model.expire();
                let (sender, to) = (SocketAddrV4::new(EXTERNAL, external), outside(body, remote, 80));
                let about = ip_packet(body, sender, to, b"what was sent");
                let result = nat.outside(&error(3, 1, "151.101.1.1", EXTERNAL, &about));
                match model.find(body.number(), |mapping| mapping.external == sender) {
                    Some(mapping) => {
                        let receiver = model.mappings[mapping].inside;
                        let packet = result.at_host();
                        assert_eq!(ends(packet).1.ip(), receiver.ip());
                        assert_eq!(ends(&quoted(packet)), (receiver, to), "{context}");
                    }
                    None => assert_eq!(result.dropped(), DropReason::NatIcmpUnrelated, "{context}"),
                }
            }
            Step::ErrorOut(body, host, port, remote) => {
                model.expire();
                let (from, receiver) = (outside(body, remote, 80), inside(host, port));
                let about = ip_packet(reply(body), from, receiver, b"what came");
                let result = nat.inside(&error(3, 3, "10.0.0.77", *from.ip(), &about));
                match model.of_inside(body.number(), receiver, from) {
                    Some(mapping) => {
                        let external = model.mappings[mapping].external;
                        let packet = result.out();
                        assert_eq!(*ends(packet).0.ip(), EXTERNAL);
                        assert_eq!(ends(&quoted(packet)), (from, external), "{context}");
                    }
                    None => assert_eq!(result.dropped(), DropReason::NatIcmpUnrelated, "{context}"),
                }
            }
            Step::Wait(milliseconds, tick) => {
                nat.leap(Duration::from_millis(milliseconds));
                if tick {
                    // At a whole second: timers are no finer.
                    let beyond = nat.test.now.as_nanos() % 1_000_000_000;
                    nat.leap(Duration::from_nanos(1_000_000_000 - beyond));
                    nat.test.dispatcher.tick(nat.test.now);
                    model.now = nat.test.now;
                    model.sweep();
                    let answers = nat.test.wan.sent_all();
                    let mut answered: Vec<_> = answers.iter().map(|answer| ends(&quoted(answer))).collect();
                    answered.sort();
                    let due = model.answers();
                    // More at once than the rate limit lets out.
                    assert!(
                        answered == due || due.len() > 50,
                        "{answered:?} {due:?} {context}"
                    );
                }
            }
        }
        model.now = nat.test.now;
        model.expire();
        compare_listings(&nat, &model, &context);
    }
}

/// An external endpoint of an inside one that is in the listing and not in the model.
fn listed(nat: &NatBox, model: &Model, body: Body, from: SocketAddrV4) -> Option<SocketAddrV4> {
    let protocol = protocol_name(body.number());
    nat.mappings()
        .iter()
        .filter(|mapping| mapping["inside"] == from.to_string() && mapping["protocol"] == protocol)
        .map(|mapping| at(mapping["external"].as_str().unwrap()))
        .find(|&external| {
            model
                .find(body.number(), |mapping| mapping.external == external)
                .is_none()
        })
}

fn protocol_name(number: u8) -> &'static str {
    match number {
        1 => "icmp",
        6 => "tcp",
        _ => "udp",
    }
}

/// Both have the same mappings with as many sessions that end at the same time.
fn compare_listings(nat: &NatBox, model: &Model, context: &str) {
    let mut listed: Vec<String> = nat
        .mappings()
        .iter()
        .map(|mapping| {
            let text = |key: &str| mapping[key].as_str().unwrap().to_owned();
            let (sessions, left) = (&mapping["sessions"], &mapping["expires_in_seconds"]);
            [
                text("protocol"),
                text("inside"),
                text("external"),
                sessions.to_string(),
                left.to_string(),
            ]
            .join(" ")
        })
        .collect();
    let mut expected: Vec<String> = model
        .mappings
        .iter()
        .map(|mapping| {
            let left = mapping.sessions.iter().map(|session| {
                let idle = model.now.since(session.active);
                (Duration::from_secs(session.timeout(mapping.protocol)) - idle).as_secs()
            });
            format!(
                "{} {} {} {} {}",
                protocol_name(mapping.protocol),
                mapping.inside,
                mapping.external,
                mapping.sessions.len(),
                left.max().unwrap()
            )
        })
        .collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected, "after {context}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// X-2, 6888-4, 4787-1, 4787-3, 4787-5, 4787-8, 4787-9, 4787-11, 4787-12, 6888-8, 3022-5.
    #[test]
    fn agrees_with_the_model(
        steps in proptest::collection::vec(step(), 1..150),
        setting in setting(),
    ) {
        run(steps, setting);
    }
}
