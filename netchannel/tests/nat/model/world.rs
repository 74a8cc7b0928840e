//! What the model and the translator are told, and what happens to both: settings, packets, clock steps.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

use netchannel::channel::nat::{
    Deterministic, Filtering, Forward, MappingBehavior, NatSettings, OneToOne, PerProtocol, Pooling,
    Protocol, Refusal,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::harness::{EXTERNAL, OWN};
use crate::packets::*;

/// An address that has forwarded ports only: all of them.
const ALL_FORWARDED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 30);
/// The first one that stands for an inside host, for `ONE_TO_ONE_HOST`; the next one stands for the next host.
const ONE_TO_ONE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 8);
const ONE_TO_ONE_HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 32);
/// A port outside that UDP has a shorter timeout for.
const QUICK_PORT: u16 = 81;

/// A port outside that a rule is about.
pub const RULED_PORT: u16 = 82;

/// How both are set up.
#[derive(Clone, Debug)]
pub struct Setting {
    pub settings: NatSettings,
    /// What a rule says about the filtering of mappings that are opened towards `RULED_PORT`.
    pub rule: Option<Filtering>,
    /// The clock moves by whole seconds, and the translator is told each time: all that is over is cleared away at once, so that even what
    /// it does for want of room is known. Else the clock goes where it likes.
    pub is_exact: bool,
}

impl Setting {
    /// All external addresses.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let one_to_one = self.settings.one_to_one.iter().map(|one| &one.external);
        let ranges = self.settings.external.iter().chain(one_to_one);
        let mut all: Vec<Ipv4Addr> = ranges.flat_map(addresses).collect();
        all.extend(self.settings.forwards.iter().map(|forward| forward.external));
        all
    }
}

pub fn addresses(range: &RangeInclusive<Ipv4Addr>) -> impl Iterator<Item = Ipv4Addr> + use<> {
    (range.start().to_bits()..=range.end().to_bits()).map(Ipv4Addr::from_bits)
}

/// One packet, with a port of 0 where a query has no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub body: Body,
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
}

impl Packet {
    pub fn new(body: Body, mut source: SocketAddrV4, mut destination: SocketAddrV4) -> Self {
        match body {
            Body::Query(0 | 14) => source.set_port(0),
            Body::Query(_) => destination.set_port(0),
            _ => {}
        }
        Self {
            body,
            source,
            destination,
        }
    }
}

/// Where a packet goes, before it is known which addresses there are.
#[derive(Clone, Debug)]
pub enum To {
    Endpoint(SocketAddrV4),
    /// One of the external addresses, and a port.
    External(Index, u16),
}

#[derive(Clone, Debug)]
pub enum Step {
    /// A packet from an inside or an outside host, whole or in fragments that come in this order.
    Packet {
        from_inside: bool,
        body: Body,
        from: SocketAddrV4,
        to: To,
        fragments: Option<[usize; 3]>,
    },
    /// A packet of a session, or to its mapping from the same outside host, or from another.
    Known {
        from_inside: bool,
        session: Index,
        flags: u8,
        stranger: Option<SocketAddrV4>,
        fragments: Option<[usize; 3]>,
    },
    /// A packet to the external endpoint of a session's mapping from this inside host.
    Hairpin {
        session: Index,
        flags: u8,
        from: SocketAddrV4,
        fragments: Option<[usize; 3]>,
    },
    /// An inside host pretends to have an external address, or an outside host does.
    Spoofed { from_inside: bool, external: Index },
    /// A packet that no port can be found in, or an ICMP message that is neither query nor error.
    Untranslatable {
        from_inside: bool,
        from: SocketAddrV4,
        to: To,
        is_icmp: bool,
    },
    /// An error about a packet of a session, from inside about one that came in.
    ErrorAbout {
        from_inside: bool,
        session: Index,
        kind: (u8, u8),
        /// It is sent to whom the packet did not come from.
        is_astray: bool,
    },
    /// An error about a packet that may never have been: between an external port, or an inside host, and an outside host.
    ErrorAboutAny {
        from_inside: bool,
        body: Body,
        external: To,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
    },
    /// Milliseconds, and whether the channel is told.
    Wait(u64, bool),
    /// To the end of a session, or just before it.
    WaitForEnd(Index, bool),
}

fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => Just(SYN), 3 => Just(SYN | ACK), 5 => Just(ACK), 2 => Just(FIN | ACK), 1 => Just(RST), 1 => Just(SYN | RST),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![4 => Just(Body::Udp), 6 => flags().prop_map(Body::Tcp), 2 => Just(Body::Query(8)), 1 => Just(Body::Query(13))]
}

/// What comes from outside: of queries, mostly the answers.
fn body_from_outside() -> impl Strategy<Value = Body> {
    let answered = body().prop_map(|body| match body {
        Body::Query(kind) => Body::Query(if kind == 8 { 0 } else { 14 }),
        other => other,
    });
    prop_oneof![9 => answered, 1 => body()]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![
        Just(1021u16),
        Just(1022),
        Just(1025),
        1999u16..2006,
        1999u16..2006,
        Just(2011)
    ]
}

fn inside() -> impl Strategy<Value = SocketAddrV4> {
    let address = prop_oneof![5 => 2u8..6, 1 => 32u8..34];
    (address, port()).prop_map(|(last, port)| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port))
}

fn outside() -> impl Strategy<Value = SocketAddrV4> {
    (8u8..11, 80u16..83).prop_map(|(last, port)| SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, last), port))
}

fn external() -> impl Strategy<Value = To> {
    (any::<Index>(), port()).prop_map(|(index, port)| To::External(index, port))
}

pub fn step() -> impl Strategy<Value = Step> {
    let fragments = prop_oneof![
        5 => Just(None),
        1 => Just(vec![0, 1, 2]).prop_shuffle().prop_map(|order| Some([order[0], order[1], order[2]])),
    ];
    let to_from_inside = prop_oneof![
        6 => outside().prop_map(To::Endpoint), 3 => external(), 1 => inside().prop_map(To::Endpoint),
    ];
    let to_from_outside = prop_oneof![19 => external(), 1 => inside().prop_map(To::Endpoint)];
    let from_inside =
        (body(), inside(), to_from_inside, fragments.clone()).prop_map(|(body, from, to, fragments)| {
            Step::Packet {
                from_inside: true,
                // A host with an address of its own answers queries.
                body: match body {
                    Body::Query(13) => Body::Query(0),
                    other => other,
                },
                from,
                to,
                fragments,
            }
        });
    let from_outside = (body_from_outside(), outside(), to_from_outside, fragments.clone()).prop_map(
        |(body, from, to, fragments)| Step::Packet {
            from_inside: false,
            body,
            from,
            to,
            fragments,
        },
    );
    let known = (
        any::<bool>(),
        any::<Index>(),
        flags(),
        proptest::option::weighted(0.4, outside()),
        fragments.clone(),
    )
        .prop_map(|(from_inside, session, flags, stranger, fragments)| Step::Known {
            from_inside,
            session,
            flags,
            stranger,
            fragments,
        });
    let hairpin =
        (any::<Index>(), flags(), inside(), fragments).prop_map(|(session, flags, from, fragments)| {
            Step::Hairpin {
                session,
                flags,
                from,
                fragments,
            }
        });
    let untranslatable = (any::<bool>(), any::<bool>(), inside(), outside(), external()).prop_map(
        |(from_inside, is_icmp, inside, outside, external)| Step::Untranslatable {
            from_inside,
            from: if from_inside { inside } else { outside },
            to: if from_inside && is_icmp {
                To::Endpoint(outside)
            } else {
                external
            },
            is_icmp,
        },
    );
    let kinds: &[(u8, u8)] = &[(3, 0), (3, 1), (3, 3), (3, 4), (11, 0), (12, 0)];
    let error = (
        any::<bool>(),
        any::<Index>(),
        proptest::sample::select(kinds),
        0u8..6,
    );
    let error_about = error.prop_map(|(from_inside, session, kind, astray)| Step::ErrorAbout {
        from_inside,
        session,
        kind,
        is_astray: astray == 0,
    });
    let error_about_any = (any::<bool>(), body(), external(), inside(), outside()).prop_map(
        |(from_inside, body, external, inside, remote)| Step::ErrorAboutAny {
            from_inside,
            body,
            external,
            inside,
            remote,
        },
    );
    let steps: &[u64] = &[0, 1, 900, 30_000, 59_000, 60_000, 119_500, 240_000, 301_000];
    let wait = (proptest::sample::select(steps), any::<bool>());
    prop_oneof![
        14 => from_inside,
        6 => from_outside,
        14 => known,
        4 => hairpin,
        1 => (any::<bool>(), any::<Index>()).prop_map(|(from_inside, external)| Step::Spoofed { from_inside, external }),
        1 => untranslatable,
        4 => error_about,
        2 => error_about_any,
        3 => wait.prop_map(|(milliseconds, tick)| Step::Wait(milliseconds, tick)),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(session, before)| Step::WaitForEnd(session, before)),
    ]
}

/// Mapping and filtering of one protocol: filtering is never more open than the mapping.
fn behavior() -> impl Strategy<Value = (MappingBehavior, Filtering)> {
    use Filtering as F;
    use MappingBehavior as M;
    prop_oneof![
        2 => Just((M::EndpointIndependent, F::EndpointIndependent)),
        1 => Just((M::EndpointIndependent, F::AddressDependent)),
        1 => Just((M::EndpointIndependent, F::AddressAndPortDependent)),
        1 => Just((M::AddressDependent, F::AddressDependent)),
        1 => Just((M::AddressDependent, F::AddressAndPortDependent)),
        1 => Just((M::AddressAndPortDependent, F::AddressAndPortDependent)),
    ]
}

fn forward(protocol: Protocol, external: Ipv4Addr, ports: RangeInclusive<u16>, inside: &str) -> Forward {
    let inside = at(inside);
    Forward {
        protocol,
        external,
        ports,
        inside: *inside.ip(),
        inside_port: inside.port(),
    }
}

/// One port, a range, a whole address, and two external ports for one inside.
fn forwards(first: Ipv4Addr) -> Vec<Forward> {
    vec![
        forward(Protocol::Tcp, first, 2004..=2004, "10.0.0.5:2001"),
        forward(Protocol::Tcp, first, 2001..=2002, "10.0.0.5:2000"),
        forward(Protocol::Udp, first, 2003..=2003, "10.0.0.3:2003"),
        forward(Protocol::Udp, ALL_FORWARDED, 1..=65535, "10.0.0.4:1"),
    ]
}

/// External addresses, ports, and how they are given out.
fn pool() -> impl Strategy<Value = NatSettings> {
    let pair = Ipv4Addr::new(203, 0, 113, 20)..=Ipv4Addr::new(203, 0, 113, 21);
    let external = proptest::sample::select(vec![
        vec![EXTERNAL..=EXTERNAL],
        vec![EXTERNAL..=EXTERNAL, pair.clone()],
        vec![pair, OWN..=OWN],
    ]);
    let ports = proptest::sample::select(vec![
        (vec![2000..=2004], vec![]),
        (vec![1021..=1026], vec![1024..=1024]),
        (vec![2000..=2003, 2010..=2012], vec![2002..=2003]),
    ]);
    let pooling = prop_oneof![
        2 => Just(Pooling::Paired { soft: false }), 1 => Just(Pooling::Paired { soft: true }), 1 => Just(Pooling::Arbitrary),
    ];
    let statics = (any::<bool>(), any::<bool>(), 0u8..4);
    (external, ports, pooling, any::<[bool; 3]>(), statics).prop_map(
        |(external, (ports, reserved), pooling, [preserve, parity, class], (forwarding, one_to_one, own))| {
            let mut settings = NatSettings::new(Vec::new());
            if forwarding {
                settings.forwards = forwards(*external[0].start());
            }
            settings.external = external;
            settings.ports = ports;
            settings.reserved_ports = reserved;
            settings.pooling = pooling;
            settings.preserve_ports = preserve;
            settings.preserve_parity = parity;
            settings.preserve_class = class;
            if one_to_one {
                let last = Ipv4Addr::from_bits(ONE_TO_ONE.to_bits() + 1);
                settings.one_to_one = vec![OneToOne {
                    external: ONE_TO_ONE..=last,
                    inside: ONE_TO_ONE_HOST,
                }];
            }
            if own == 0 {
                settings.deterministic = Some(Deterministic {
                    inside: vec![
                        host("10.0.0.4")..=host("10.0.0.4"),
                        host("10.0.0.2")..=host("10.0.0.3"),
                    ],
                    ports_per_host: None,
                    spare_ports: 0,
                });
            }
            settings
        },
    )
}

/// Most often none.
fn limit(range: std::ops::Range<u32>) -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(u32::MAX), 1 => range]
}

pub fn setting() -> impl Strategy<Value = Setting> {
    let limits = (
        limit(1..6),
        limit(1..4),
        limit(1..8),
        limit(1..4),
        limit(1..10),
        limit(1..4),
        limit(1..12),
        limit(1..12),
    );
    let refusal = proptest::sample::select(vec![
        Refusal::Prohibited,
        Refusal::HostUnreachable,
        Refusal::Silent,
    ]);
    (
        pool(),
        (behavior(), behavior(), behavior()),
        limits,
        refusal,
        any::<[bool; 3]>(),
        proptest::option::of(proptest::sample::select(vec![
            Filtering::EndpointIndependent,
            Filtering::AddressDependent,
            Filtering::AddressAndPortDependent,
        ])),
    )
        .prop_map(
            |(mut settings, (tcp, udp, icmp), limits, refusal, [refresh, answer, is_exact], rule)| {
                settings.mapping = PerProtocol {
                    tcp: tcp.0,
                    udp: udp.0,
                    icmp: icmp.0,
                };
                settings.filtering = PerProtocol {
                    tcp: tcp.1,
                    udp: udp.1,
                    icmp: icmp.1,
                };
                settings.refresh_inbound = refresh;
                settings.answer_unsolicited = answer;
                settings.refusal = refusal;
                settings.timeouts.udp_to_port = vec![(QUICK_PORT, Duration::from_secs(30))];
                if is_exact || settings.forwards.is_empty() {
                    settings.host_limits.mappings = limits.0;
                    settings.host_limits.mappings_of.udp = limits.1;
                }
                if is_exact {
                    settings.host_limits.sessions = limits.2;
                    settings.host_limits.new_mappings_per_second = limits.3;
                    settings.limits.new_mappings_per_second = limits.4;
                    settings.sessions_per_mapping = limits.5;
                    settings.limits.sessions = limits.6.min(settings.limits.sessions);
                    settings.limits.mappings = limits.7.min(settings.limits.mappings);
                }
                // No more open than the mapping.
                let behaviors = [tcp.0 as u8, udp.0 as u8];
                let rule = rule.filter(|&filtering| behaviors.iter().all(|&it| it <= filtering as u8));
                settings.rule_filtering = rule.into_iter().collect();
                Setting {
                    settings,
                    rule,
                    is_exact,
                }
            },
        )
}
