//! Two to four workers against one: the same packets come in, to any of the workers, and the same go out, byte by byte. Inside hosts use
//! ports of which their worker has those of the same number outside, so that no choice of a port tells the two apart.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use netchannel::channel::nat::{
    Filtering, Forward, NatSettings, OneToOne, PerProtocol, PortHold, Protocol, worker_of,
};
use netchannel::drop_reason::DropReason;
use proptest::prelude::*;

use super::gateway::Gateway;
use crate::fragments::cut;
use crate::harness::*;
use crate::packets::*;

const HOSTS: u8 = 6;
/// Ports of each host.
const PORTS: u16 = 3;
const ONE_TO_ONE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 8);
const ONE_TO_ONE_HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 32);
const DATA: &[u8] = b"sixty bytes or so, of which the first fragment has less than a half";

fn settings(settings: &mut NatSettings, filtering: Filtering) {
    settings.filtering = PerProtocol::all(filtering);
    settings.hold = PortHold {
        time: Duration::from_secs(1),
        count: 0,
    };
    let forward = |protocol, port, host, inside_port| Forward {
        protocol,
        external: EXTERNAL,
        ports: port..=port + 1,
        inside: inside_host(host),
        inside_port,
    };
    settings.forwards = vec![
        forward(Protocol::Udp, 80, 0, 8080),
        forward(Protocol::Tcp, 80, 1, 8080),
        forward(Protocol::Udp, 6000, 2, 9000),
        forward(Protocol::Tcp, 6000, 3, 9000),
    ];
    settings.one_to_one = vec![OneToOne {
        external: ONE_TO_ONE..=Ipv4Addr::new(203, 0, 113, 9),
        inside: ONE_TO_ONE_HOST,
    }];
}

fn inside_host(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 2 + host % HOSTS)
}

/// A port of a host that its worker has outside.
fn own_port(host: u8, number: u16, workers: usize) -> u16 {
    let (host, number) = (host % HOSTS, number % PORTS);
    let owner = worker_of(inside_host(host), workers);
    let first = 2000 + u16::from(host) * 100;
    let slice = |port: u16| usize::from(port / 2 - 512) % workers;
    let mut own = (first..first + 100).filter(|&port| slice(port) == owner);
    own.nth(usize::from(number)).unwrap()
}

/// Something that a packet is from or to.
#[derive(Clone, Copy, Debug)]
enum End {
    Host(u8, u16),
    OneToOne(u8),
    Forwarded(u8),
}

impl End {
    fn inside(self, protocol: u8, workers: usize) -> SocketAddrV4 {
        match self {
            Self::Host(host, number) => SocketAddrV4::new(inside_host(host), own_port(host, number, workers)),
            Self::OneToOne(number) => SocketAddrV4::new(
                Ipv4Addr::from_bits(ONE_TO_ONE_HOST.to_bits() + u32::from(number % 2)),
                700,
            ),
            Self::Forwarded(number) => {
                let first = if number.is_multiple_of(2) {
                    (0, 8080)
                } else {
                    (2, 9000)
                };
                SocketAddrV4::new(inside_host(first.0 + u8::from(protocol == 6)), first.1)
            }
        }
    }

    fn external(self, workers: usize) -> SocketAddrV4 {
        match self {
            Self::Host(host, number) => SocketAddrV4::new(EXTERNAL, own_port(host, number, workers)),
            Self::OneToOne(number) => SocketAddrV4::new(
                Ipv4Addr::from_bits(ONE_TO_ONE.to_bits() + u32::from(number % 2)),
                700,
            ),
            Self::Forwarded(number) => {
                SocketAddrV4::new(EXTERNAL, if number.is_multiple_of(2) { 80 } else { 6000 })
            }
        }
    }
}

/// What an ICMP error is about, or a packet does.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// To a server, or from it.
    Send {
        end: End,
        server: u8,
        is_inbound: bool,
    },
    /// From one inside host to another one's external endpoint.
    Hairpin {
        from: End,
        to: End,
    },
    Wait(u16),
}

#[derive(Clone, Debug)]
struct Step {
    action: Action,
    body: Body,
    ttl: u8,
    /// It goes in fragments, in this order.
    fragments: Option<[usize; 3]>,
    /// It is not sent, but answered with an error by whoever would have got it.
    is_answered_with_error: bool,
    /// Where the packets arrive.
    workers: [usize; 3],
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        6 => (0..HOSTS, 0..PORTS).prop_map(|(host, port)| End::Host(host, port)),
        1 => any::<u8>().prop_map(End::OneToOne),
        2 => any::<u8>().prop_map(End::Forwarded),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        4 => Just(Body::Udp),
        3 => Just(Body::Tcp(SYN)),
        1 => Just(Body::Tcp(SYN | ACK)),
        2 => Just(Body::Tcp(ACK)),
        1 => Just(Body::Tcp(FIN | ACK)),
        1 => Just(Body::Tcp(RST)),
        2 => Just(Body::Query(8)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let send = (end(), 0..3u8, any::<bool>()).prop_map(|(end, server, is_inbound)| Action::Send {
        end,
        server,
        is_inbound,
    });
    let action = prop_oneof![
        10 => send,
        5 => (end(), end()).prop_map(|(from, to)| Action::Hairpin { from, to }),
        1 => (1..20u16).prop_map(Action::Wait),
    ];
    let fragments = prop_oneof![
        5 => Just(None),
        1 => Just([0, 1, 2]).prop_shuffle().prop_map(Some),
    ];
    (
        action,
        body(),
        fragments,
        prop::bool::weighted(0.2),
        any::<[u8; 3]>(),
        prop::bool::weighted(0.03),
    )
        .prop_map(
            |(action, body, fragments, is_answered_with_error, workers, is_last_hop)| Step {
                action,
                body,
                ttl: if is_last_hop { 1 } else { 64 },
                fragments,
                is_answered_with_error,
                workers: workers.map(usize::from),
            },
        )
}

/// The query's answer if it goes the other way.
fn towards(body: Body, is_inbound: bool) -> Body {
    match body {
        Body::Query(_) if is_inbound => Body::Query(0),
        body => body,
    }
}

fn with_ttl(mut packet: Vec<u8>, ttl: u8) -> Vec<u8> {
    packet[8] = ttl;
    packet[10..12].fill(0);
    let sum = netchannel::packet::checksum::of(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// What leaves, without what is drawn by lot: the identification of what may be fragmented, and the sum over it.
fn same_for_all(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut frames = frames.to_vec();
    for frame in &mut frames {
        if frame[20] & 0x40 == 0 {
            frame[18..20].fill(0);
            frame[24..26].fill(0);
        }
    }
    frames.sort();
    frames
}

/// Packets of a step: whether they come from inside, and their bytes.
fn packets(step: &Step, workers: usize, identification: u16) -> Option<(bool, Vec<Vec<u8>>)> {
    let protocol = step.body.number();
    let is_forwarded = |end| matches!(end, End::Forwarded(_));
    let (first, second) = match step.action {
        Action::Send { end, .. } => (end, end),
        Action::Hairpin { from, to } => (from, to),
        Action::Wait(_) => return None,
    };
    // No identifiers are forwarded.
    if protocol == 1 && (is_forwarded(first) || is_forwarded(second)) {
        return None;
    }
    let (from_inside, packet, error) = match step.action {
        Action::Wait(_) => return None,
        Action::Send {
            end,
            server,
            is_inbound,
        } => {
            let port = if protocol == 1 { 0 } else { 53 };
            let server = SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8 + server), port);
            let body = towards(step.body, is_inbound);
            let (inside, external) = (end.inside(protocol, workers), end.external(workers));
            // An error is about the packet as it left.
            if is_inbound {
                let packet = ip_packet(body, server, external, DATA);
                (
                    false,
                    packet,
                    (true, inside, ip_packet(body, server, inside, DATA), *server.ip()),
                )
            } else {
                let packet = ip_packet(body, inside, server, DATA);
                (
                    true,
                    packet,
                    (
                        false,
                        server,
                        ip_packet(body, external, server, DATA),
                        *external.ip(),
                    ),
                )
            }
        }
        Action::Hairpin { from, to } => {
            let (source, destination) = (from.inside(protocol, workers), to.external(workers));
            let seen = ip_packet(
                step.body,
                from.external(workers),
                to.inside(protocol, workers),
                DATA,
            );
            let packet = ip_packet(step.body, source, destination, DATA);
            (
                true,
                packet,
                (
                    true,
                    to.inside(protocol, workers),
                    seen,
                    *from.external(workers).ip(),
                ),
            )
        }
    };
    if step.is_answered_with_error {
        let (from_inside, router, quoted, to) = error;
        let packet = self::error(3, 1, &router.ip().to_string(), to, &quoted);
        return Some((from_inside, vec![packet]));
    }
    let packet = with_ttl(packet, step.ttl);
    Some(match step.fragments {
        Some(order) => {
            let parts = cut(&packet, identification);
            (from_inside, order.map(|part| parts[part].clone()).to_vec())
        }
        None => (from_inside, vec![packet]),
    })
}

/// Whether somebody has what an inside host sends to: what is for nobody opens a mapping if another worker would know that.
fn is_for_somebody(oracle: &Gateway, step: &Step, workers: usize) -> bool {
    let Action::Hairpin {
        to: End::Host(..), ..
    } = step.action
    else {
        return true;
    };
    let Action::Hairpin { to, .. } = step.action else {
        return true;
    };
    let external = to.external(workers);
    let protocol = step.body.number();
    oracle.mappings().iter().any(|(_, mapping)| {
        mapping.external == external
            && mapping.protocol as u8 == [6, 17, 1].iter().position(|&it| it == protocol).unwrap() as u8
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn several_workers_do_what_one_does(
        workers in 2..=4usize,
        filtering in prop_oneof![
            Just(Filtering::EndpointIndependent),
            Just(Filtering::AddressDependent),
            Just(Filtering::AddressAndPortDependent),
        ],
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut oracle = Gateway::new(1, |it| settings(it, filtering));
        let mut team = Gateway::new(workers, |it| settings(it, filtering));
        for (number, step) in steps.iter().enumerate() {
            if let Action::Wait(seconds) = step.action {
                oracle.wait(Duration::from_secs(seconds.into()));
                team.wait(Duration::from_secs(seconds.into()));
                continue;
            }
            if !is_for_somebody(&oracle, step, workers) {
                continue;
            }
            let Some((from_inside, packets)) = packets(step, workers, number as u16) else { continue };
            let mut expected = Seen::default();
            let mut seen = Seen::default();
            for (packet, worker) in packets.iter().zip(step.workers) {
                if from_inside {
                    expected.add(oracle.inside(0, packet));
                    seen.add(team.inside(worker, packet));
                } else {
                    expected.add(oracle.outside(0, packet));
                    seen.add(team.outside(worker, packet));
                }
            }
            prop_assert_eq!(same_for_all(&seen.lan), same_for_all(&expected.lan), "{} {:?}", number, step);
            prop_assert_eq!(same_for_all(&seen.wan), same_for_all(&expected.wan), "{} {:?}", number, step);
            prop_assert_eq!(same_for_all(&seen.passed), same_for_all(&expected.passed), "{} {:?}", number, step);
            let sorted = |dropped: &[DropReason]| {
                let mut names: Vec<&str> = dropped.iter().map(|reason| reason.name()).collect();
                names.sort_unstable();
                names
            };
            prop_assert_eq!(sorted(&seen.dropped), sorted(&expected.dropped), "{} {:?}", number, step);
        }
        for (worker, mapping) in team.mappings() {
            prop_assert_eq!(worker, team.owner(*mapping.inside.ip()));
        }
        prop_assert_eq!(team.mappings().len(), oracle.mappings().len());
    }
}
