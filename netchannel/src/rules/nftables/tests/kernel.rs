//! Rules decide as the kernel does: on random chains and packets, beside what the kernel's code does with them.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{decided, import, is, meta, options, payload, rule, ruleset};
use crate::rules::explain::Flow;
use serde_json::{Value, json};

/// A match: what nft prints, and what it takes.
#[derive(Clone, Copy, Debug)]
enum Part {
    From(u8, u8, bool),
    FromV6(u8, bool),
    ToSet(u8, u8, bool),
    Arrives(char, bool),
    Leaves(bool),
    Protocols(u8, u8, bool),
    Port(&'static str, u8, &'static str),
    AnyFlag(u8, &'static str),
    Flags(u8, u8, bool),
    Icmp(u8, bool),
    Version(bool),
    Dscp(u8, bool),
    Pair(u8, u8),
}

impl Part {
    fn json(self) -> Value {
        let equals = |not: bool| if not { "!=" } else { "==" };
        let flags = |flags: u8| {
            let set = crate::dispatch::TCP_FLAGS
                .iter()
                .filter(|(_, bit)| flags & bit != 0);
            Value::from(set.map(|(name, _)| *name).collect::<Vec<_>>())
        };
        match self {
            Part::From(first, more, not) => {
                let range = json!({ "range": [format!("0.0.0.{first}"), format!("0.0.0.{}", first + more)] });
                is(payload("ip", "saddr"), equals(not), range)
            }
            Part::FromV6(address, not) => is(
                payload("ip6", "saddr"),
                equals(not),
                json!(format!("::{address}")),
            ),
            Part::ToSet(one, two, not) => {
                let set = json!({ "set": [format!("0.0.0.{one}"), format!("0.0.0.{two}")] });
                is(payload("ip", "daddr"), equals(not), set)
            }
            Part::Arrives(name, not) => is(meta("iifname"), equals(not), json!(name.to_string())),
            Part::Leaves(not) => is(meta("oifname"), equals(not), json!("low")),
            Part::Protocols(one, two, not) => is(meta("l4proto"), equals(not), json!({ "set": [one, two] })),
            Part::Port(protocol, port, operator) => is(payload(protocol, "dport"), operator, json!(port)),
            Part::AnyFlag(any, operator) => is(payload("tcp", "flags"), operator, flags(any)),
            Part::Flags(mask, set, not) => is(
                json!({ "&": [payload("tcp", "flags"), flags(mask)] }),
                equals(not),
                flags(set & mask),
            ),
            Part::Icmp(kind, not) => is(payload("icmp", "type"), equals(not), json!(kind)),
            Part::Version(is_v6) => is(meta("nfproto"), "==", json!(if is_v6 { "ipv6" } else { "ipv4" })),
            Part::Dscp(number, not) => is(payload("ip", "dscp"), equals(not), json!(number)),
            Part::Pair(address, port) => {
                let left = json!({ "concat": [payload("ip", "saddr"), payload("udp", "dport")] });
                is(
                    left,
                    "==",
                    json!({ "set": [{ "concat": [format!("0.0.0.{address}"), port] }] }),
                )
            }
        }
    }

    /// As the kernel has it: what a packet does not have is never a match, negated or not.
    fn takes(self, flow: &Flow) -> bool {
        use crate::dispatch::dimensions::LATER;
        let last = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => address.octets()[3],
            std::net::IpAddr::V6(address) => address.octets()[15],
        };
        let is_v4 = flow.source.is_ipv4();
        let has_header = flow.fragment != LATER;
        let number = |protocol: &str| if protocol == "tcp" { 6 } else { 17 };
        match self {
            Part::From(first, more, not) => {
                is_v4 && (first..=first + more).contains(&last(flow.source)) != not
            }
            Part::FromV6(address, not) => !is_v4 && (last(flow.source) == address) != not,
            Part::ToSet(one, two, not) => is_v4 && [one, two].contains(&last(flow.destination)) != not,
            Part::Arrives(name, not) => (flow.interface.as_deref() == Some(&name.to_string())) != not,
            Part::Leaves(not) => (last(flow.destination) < 4) != not,
            Part::Protocols(one, two, not) => [one, two].contains(&flow.protocol) != not,
            Part::Port(protocol, port, operator) => {
                let of = flow.destination_port;
                let port = u16::from(port);
                let compared = match operator {
                    "==" => of == port,
                    "!=" => of != port,
                    "<" => of < port,
                    ">" => of > port,
                    "<=" => of <= port,
                    _ => of >= port,
                };
                flow.protocol == number(protocol) && has_header && compared
            }
            Part::AnyFlag(any, operator) => {
                flow.protocol == 6 && has_header && (flow.tcp_flags & any != 0) == (operator == "in")
            }
            Part::Flags(mask, set, not) => {
                flow.protocol == 6 && has_header && (flow.tcp_flags & mask == set & mask) != not
            }
            Part::Icmp(kind, not) => flow.protocol == 1 && has_header && (flow.icmp.0 == kind) != not,
            Part::Version(is_v6) => is_v6 != is_v4,
            Part::Dscp(number, not) => is_v4 && (flow.dscp == number) != not,
            Part::Pair(address, port) => {
                is_v4
                    && flow.protocol == 17
                    && has_header
                    && last(flow.source) == address
                    && flow.destination_port == u16::from(port)
            }
        }
    }
}

fn part() -> impl Strategy<Value = Part> {
    let not = || proptest::bool::weighted(0.3);
    let protocol = || prop_oneof![Just(1_u8), Just(6), Just(17), Just(47), Just(58)];
    let operator = prop_oneof![
        Just("=="),
        Just("!="),
        Just("<"),
        Just(">"),
        Just("<="),
        Just(">=")
    ];
    prop_oneof![
        (0_u8..8, 0_u8..3, not()).prop_map(|(first, more, not)| Part::From(first, more, not)),
        (0_u8..8, not()).prop_map(|(address, not)| Part::FromV6(address, not)),
        (0_u8..4, 4_u8..8, not()).prop_map(|(one, two, not)| Part::ToSet(one, two, not)),
        (prop_oneof![Just('a'), Just('b')], not()).prop_map(|(name, not)| Part::Arrives(name, not)),
        not().prop_map(Part::Leaves),
        (protocol(), protocol(), not()).prop_map(|(one, two, not)| Part::Protocols(one, two, not)),
        (prop_oneof![Just("tcp"), Just("udp")], 0_u8..6, operator)
            .prop_map(|(protocol, port, operator)| Part::Port(protocol, port, operator)),
        (1_u8..=255, prop_oneof![Just("in"), Just("!")])
            .prop_map(|(any, operator)| Part::AnyFlag(any, operator)),
        (1_u8..=255, any::<u8>(), not()).prop_map(|(mask, set, not)| Part::Flags(mask, set, not)),
        (0_u8..4, not()).prop_map(|(kind, not)| Part::Icmp(kind, not)),
        any::<bool>().prop_map(Part::Version),
        (0_u8..4, not()).prop_map(|(number, not)| Part::Dscp(number, not)),
        (0_u8..8, 0_u8..6).prop_map(|(address, port)| Part::Pair(address, port)),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum End {
    Accept,
    Drop,
    Return,
    Jump,
    Goto,
    Nat(u8),
    /// By the destination port of UDP: 1 accept, 2 drop, 3 jump.
    Map,
}

type Lines = Vec<(Vec<Part>, End)>;

fn lines(ends: impl Strategy<Value = End>) -> impl Strategy<Value = Lines> {
    proptest::collection::vec((proptest::collection::vec(part(), 0..3), ends), 0..6)
}

/// The end of a way through `forward` and `sub`, or through a chain without jumps.
fn ask(forward: &Lines, sub: &Lines, flow: &Flow) -> Option<End> {
    for (parts, end) in forward {
        if !parts.iter().all(|part| part.takes(flow)) {
            continue;
        }
        let port = (flow.protocol == 17 && flow.fragment != crate::dispatch::dimensions::LATER)
            .then_some(flow.destination_port);
        let end = match (end, port) {
            (End::Map, Some(1)) => End::Accept,
            (End::Map, Some(2)) => End::Drop,
            (End::Map, Some(3)) => End::Jump,
            (End::Map, _) => continue,
            (end, _) => end.clone(),
        };
        match end {
            End::Return => return None,
            End::Jump => {
                if let Some(end) = ask(sub, &Vec::new(), flow) {
                    return Some(end);
                }
            }
            End::Goto => return ask(sub, &Vec::new(), flow),
            end => return Some(end),
        }
    }
    None
}

fn json_rule(chain: &str, parts: &[Part], end: &End) -> Value {
    let mut statements: Vec<Value> = parts.iter().map(|part| part.json()).collect();
    statements.push(json!({ "counter": { "packets": 0, "bytes": 0 } }));
    statements.push(match end {
        End::Accept => json!({ "accept": null }),
        End::Drop => json!({ "drop": null }),
        End::Return => json!({ "return": null }),
        End::Jump => json!({ "jump": { "target": "sub" } }),
        End::Goto => json!({ "goto": { "target": "sub" } }),
        End::Nat(number) => json!({ "snat": { "addr": format!("192.0.2.{number}") } }),
        End::Map => json!({ "vmap": { "key": payload("udp", "dport"), "data": { "set": [
            [1, { "accept": null }], [2, { "drop": null }], [3, { "jump": { "target": "sub" } }], [4, { "continue": null }],
        ] } } }),
    });
    rule(chain, Value::from(statements))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn rules_decide_as_the_kernel_does(
        forward in lines(prop_oneof![Just(End::Accept), Just(End::Drop), Just(End::Return), Just(End::Jump), Just(End::Goto), Just(End::Map)]),
        sub in lines(prop_oneof![Just(End::Accept), Just(End::Drop), Just(End::Return)]),
        post in lines(prop_oneof![Just(End::Accept), Just(End::Return), Just(End::Nat(0)), Just(End::Nat(1))]),
        flows in proptest::collection::vec(Flow::small(), 80),
    ) {
        let mut objects = Vec::new();
        for (name, lines) in [("forward", &forward), ("sub", &sub), ("post", &post)] {
            objects.extend(lines.iter().map(|(parts, end)| json_rule(name, parts, end)));
        }
        let text = ruleset(&objects);
        let options = options(&["default=high", "0.0.0.0/30=low", "::/126=low"]);
        let import = import(&text, &options).unwrap();
        let mut names = HashMap::new();
        let mut name = String::new();
        for line in import.channels.lines() {
            if let Some(found) = line.strip_prefix("name = ") {
                name = found.trim_matches('"').to_owned();
            } else if let Some(external) = line.strip_prefix("external = \"192.0.2.") {
                names.insert(external.trim_matches('"').parse::<u8>().unwrap(), name.clone());
            }
        }
        for flow in &flows {
            let accepted = ask(&forward, &sub, flow) == Some(End::Accept);
            let translated = flow.source.is_ipv4().then(|| ask(&post, &Vec::new(), flow)).flatten();
            let expected = match (accepted, translated) {
                (false, _) => "drop".to_owned(),
                (true, Some(End::Nat(number))) => names.get(&number).cloned().unwrap_or_default(),
                (true, _) => "pass".to_owned(),
            };
            prop_assert_eq!(decided(&import.rules, &flow.to_string()), expected, "{}\n{}", flow, text);
        }
    }

    #[test]
    fn any_text_is_rules_or_an_error(text in ".{0,200}") {
        let _ = import(&text, &options(&[]));
    }
}
