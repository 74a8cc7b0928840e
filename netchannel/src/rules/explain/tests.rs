//! What is explained is what the rule set of the packet path decides.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::channel::ChannelId;
use crate::config::{ChannelKind, Config, External, Role as Side};
use crate::dispatch::dimensions::{Arrival, FIRST, LATER};
use crate::dispatch::{RuleNumber, RuleSet};
use crate::interface::{InterfaceId, Role};
use crate::packet::{Fragment, Headers, Transport, VlanTags};
use crate::rules::{Name, PortRange, Rule, RuleList};
use crate::setup::RuleCompiler;

const CONFIG: &str = r#"
[[interface]]
name = "a"
role = "inside"
prefixes = ["0.0.0.0/30", "::/126"]
[[interface]]
name = "b"
role = "outside"
[[interface]]
name = "c"
role = "outside"
[[channel]]
name = "first"
type = "nat"
external = "203.0.113.5"
ports = "1-3"
[[channel.forward]]
protocol = "tcp"
ports = 6
to = "10.0.0.1"
[[channel]]
name = "second"
type = "nat"
external = "203.0.113.6-203.0.113.7"
ports = "2-5"
[[channel]]
name = "routed"
type = "forward"
"#;

/// The configuration, with external addresses among those of small packets, which no configuration can have.
fn config() -> Config {
    let mut config = Config::parse(CONFIG, "test.toml").unwrap();
    for channel in &mut config.channels {
        if let ChannelKind::Nat(nat) = &mut channel.kind {
            for external in &mut nat.external {
                if let External::Addresses(first, last) = external {
                    let small = |address: Ipv4Addr| Ipv4Addr::from_bits(address.to_bits() & 0xff);
                    *external = External::Addresses(small(*first), small(*last));
                }
            }
        }
    }
    config
}

const CHANNELS: [&str; 5] = ["drop", "pass", "first", "second", "routed"];

/// The rule set of the packet path.
fn rule_set(config: &Config, world: &World<'_>, list: &RuleList) -> RuleSet {
    let ids = CHANNELS.iter().copied().zip((0..).map(ChannelId));
    let compiler = RuleCompiler::new(config, ids, world.claims());
    let rules = (0..).map(RuleNumber).zip(list.iter());
    compiler.compile(rules).unwrap().0
}

/// A packet as the parser finds it.
fn arrival(flow: &Flow) -> (Vec<u8>, Headers) {
    let mut frame = vec![0; 60];
    let is_ipv4 = flow.source.is_ipv4();
    let first = match is_ipv4 {
        true => 0x4500 | u16::from(flow.dscp) << 2,
        false => 0x6000 | u16::from(flow.dscp) << 6,
    };
    frame[14..16].copy_from_slice(&first.to_be_bytes());
    let transport = match flow.protocol {
        _ if flow.fragment == LATER => Transport::None,
        6 => Transport::Tcp {
            source: flow.source_port,
            destination: flow.destination_port,
            flags: flow.tcp_flags,
        },
        17 => Transport::Udp {
            source: flow.source_port,
            destination: flow.destination_port,
        },
        1 | 58 => Transport::Icmp {
            kind: flow.icmp.0,
            code: flow.icmp.1,
        },
        _ => Transport::None,
    };
    let headers = Headers {
        vlan: VlanTags {
            outer: flow.vlan,
            ..VlanTags::default()
        },
        network: 14,
        transport_start: 54,
        end: 60,
        source: flow.source,
        destination: flow.destination,
        protocol: flow.protocol,
        ttl: 64,
        fragment: match flow.fragment {
            FIRST => Fragment::First,
            LATER => Fragment::Later,
            _ => Fragment::Whole,
        },
        dont_fragment: false,
        transport,
    };
    (frame, headers)
}

fn rule() -> impl Strategy<Value = Rule> {
    let range = || proptest::option::weighted(0.5, (0_u32..8, 0_u32..4));
    let ports = || proptest::option::weighted(0.3, (0_u16..6, 0_u16..4));
    let protocols = prop_oneof![Just(vec![]), Just(vec![6]), Just(vec![6, 17]), Just(vec![1])];
    let priority = prop_oneof![Just(1), Just(2), Just(u32::MAX - 1), Just(u32::MAX)];
    let interface = proptest::option::weighted(0.3, prop_oneof![Just("a"), Just("b")]);
    let flags = proptest::bool::weighted(0.2);
    (
        range(),
        range(),
        ports(),
        protocols,
        (priority, 0_usize..5, interface, flags),
    )
        .prop_map(
            |(from, to, ports, protocols, (priority, channel, interface, flags))| {
                let addresses = |range: Option<(u32, u32)>| {
                    let ranges = range.map(|(first, more)| {
                        crate::rules::AddressRange::V4(first.into(), (first + more).into())
                    });
                    ranges.into_iter().collect::<Vec<_>>().into()
                };
                let mut rule = Rule::any(CHANNELS[channel]);
                rule.priority = priority;
                rule.from = addresses(from);
                rule.to = addresses(to);
                if let (Some((first, more)), [6, ..]) = (ports, &protocols[..]) {
                    let range = PortRange {
                        first,
                        last: first + more,
                    };
                    rule.destination_ports = vec![range].into();
                }
                if flags && protocols == [6] {
                    rule.tcp_flags = vec!["syn/syn,ack".parse().unwrap()];
                }
                rule.protocols = protocols;
                rule.interfaces = interface.into_iter().map(Name::from).collect();
                rule
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_is_explained_is_what_is_decided(
        rules in proptest::collection::vec(rule(), 0..8),
        flows in proptest::collection::vec(Flow::small(), 60),
    ) {
        let config = config();
        let world = World::new(Some(&config));
        let list = RuleList::from(rules);
        let set = rule_set(&config, &world, &list);
        let interfaces = config.interface_names();
        for mut flow in flows {
            world.complete(&mut flow);
            let interface = config.interface(flow.interface.as_deref().unwrap()).unwrap();
            let role = if interface.role == Side::Inside { Role::Inside } else { Role::Outside };
            let number = interfaces.iter().position(|name| *name == interface.name).unwrap();
            let (frame, headers) = arrival(&flow);
            let arrival = Arrival {
                frame: &frame,
                headers: &headers,
                interface: InterfaceId(number as u16),
            };
            let expected = set.decide(&arrival, role);
            let decision = world.decide(&list, &flow);
            prop_assert_eq!(CHANNELS[usize::from(expected.channel.0)], &decision.channel, "{} by {:?}: {:?}", flow, list.rules, decision);
            let rule = match decision.by {
                Decider::Rule(rule) => RuleNumber(rule as u32),
                _ => RuleNumber::NONE,
            };
            prop_assert_eq!(expected.rule, rule, "{} by {:?}", flow, list.rules);
            // The rules that all dimensions leave are those that match.
            let steps = narrow(&list, &flow, &interfaces);
            let left = matching(&list.rules, &flow).len();
            prop_assert_eq!(steps.last().map(|step| step.rules), Some(left), "{} by {:?}: {:?}", flow, list.rules, steps);
            prop_assert!(steps.windows(2).all(|pair| pair[0].boxes >= pair[1].boxes));
        }
    }
}

#[test]
fn translators_say_what_they_would_do() {
    let config = Config::parse(
        r#"
        [[interface]]
        name = "lan"
        role = "inside"
        prefixes = "10.0.0.0/16"
        [[interface]]
        name = "wan"
        role = "outside"
        [[channel]]
        name = "shared"
        type = "nat"
        external = "203.0.113.1"
        [[channel.forward]]
        protocol = "tcp"
        ports = "8080-8089"
        to = "10.0.0.5"
        to_port = 80
        [[channel.one_to_one]]
        external = "203.0.113.32/29"
        inside = "10.0.0.32/29"
        [[channel]]
        name = "own"
        type = "nat"
        external = "198.18.0.0/30"
        [channel.deterministic]
        inside = "10.0.1.0/26"
        ports_per_host = 1000
        "#,
        "test.toml",
    )
    .unwrap();
    for (channel, flow, expected) in [
        (
            "shared",
            "tcp 10.0.0.9:5000 > 192.0.2.1:443",
            "203.0.113.1; the port 5000 if it is free, else one of 1024-32767",
        ),
        (
            "shared",
            "icmp 10.0.0.9 > 192.0.2.1",
            "the identifier one of 1024-32767",
        ),
        (
            "shared",
            "tcp 10.0.0.33:5000 > 192.0.2.1:443",
            "203.0.113.33, which stands for 10.0.0.33",
        ),
        ("shared", "tcp 10.0.0.5:82 > 192.0.2.1:443", "port 8082 (forward)"),
        (
            "shared",
            "tcp 192.0.2.1:443 > 203.0.113.1:8083",
            "10.0.0.5:83 (forward)",
        ),
        (
            "shared",
            "tcp 192.0.2.1:443 > 203.0.113.34:1",
            "10.0.0.34, for which",
        ),
        (
            "shared",
            "tcp 192.0.2.1:443 > 203.0.113.1:9000",
            "only if an inside host has a mapping",
        ),
        ("shared", "gre 10.0.0.9 > 192.0.2.1", "dropped"),
        (
            "own",
            "udp 10.0.1.1:5 > 192.0.2.1:443",
            "198.18.0.0, a port of 2024-3023",
        ),
        ("own", "udp 10.0.2.1:5 > 192.0.2.1:443", "none of the hosts"),
    ] {
        let found = translation(&config, channel, &flow.parse().unwrap()).join("; ");
        assert!(found.contains(expected), "{flow}: {found}");
    }
    assert!(
        translation(
            &config,
            "drop",
            &"tcp 10.0.0.9:5000 > 192.0.2.1:443".parse().unwrap()
        )
        .is_empty()
    );
}
