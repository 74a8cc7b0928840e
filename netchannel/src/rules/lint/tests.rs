//! What is found agrees with asking every packet of a small world.

use proptest::prelude::*;

use super::*;
use crate::rules::explain::{Flow, matching};
use crate::rules::{Name, Rule, RuleList, text};

fn list(text: &str) -> RuleList {
    text::parse(text, "t.rules").unwrap().rules
}

fn found(text: &str) -> Vec<Finding> {
    lint(&list(text), None)
}

#[test]
fn one_rule_or_several_together_leave_nothing() {
    assert_eq!(
        found("priority 1 from 10.0.0.0/8 drop\npriority 2 tcp from 10.1.0.0/16 to any port 80 pass"),
        [Finding::Never {
            rule: 1,
            by: vec![0],
            count: 1
        }]
    );
    assert_eq!(
        found(
            "priority 1 from 10.0.0.0/9 drop\npriority 2 from 10.128.0.0/9 drop\npriority 3 from 10.0.0.0/8 pass"
        ),
        [Finding::Never {
            rule: 2,
            by: vec![0, 1],
            count: 2
        }]
    );
    assert_eq!(
        found(
            "priority 1 from 10.0.0.0/9 drop\npriority 2 from 10.128.0.0/10 drop\npriority 3 from 10.0.0.0/8 pass"
        ),
        []
    );
    // Ports, and everything that has none, are all of TCP; later fragments have port 0.
    assert_eq!(
        found(
            "priority 1 tcp from any port 0-1023 drop\npriority 2 tcp from any port 1024-65535 pass\npriority 3 tcp from 10.0.0.0/8 pass"
        ),
        [Finding::Never {
            rule: 2,
            by: vec![0, 1],
            count: 2
        }]
    );
    // Of both families.
    assert_eq!(found("priority 1 from 0.0.0.0/0 drop\npriority 2 tcp pass"), []);
    assert_eq!(
        found("priority 1 from 0.0.0.0/0 drop\npriority 2 to ::/0 drop\npriority 3 tcp pass"),
        [Finding::Never {
            rule: 2,
            by: vec![0, 1],
            count: 2
        }]
    );
}

#[test]
fn duplicates_orders_and_what_changes_nothing_are_told() {
    assert_eq!(
        found(
            "priority 1 tcp from {10.0.0.0/8, 192.0.2.1} drop\npriority 9 tcp from {192.0.2.1, 10.0.0.0/8} drop"
        ),
        [Finding::Duplicate { rule: 1, of: 0 }]
    );
    assert_eq!(
        found("tcp from 10.0.0.0/8 drop\nfrom 10.0.0.0/16 pass\nudp drop"),
        [
            Finding::Order {
                rule: 1,
                others: vec![0]
            },
            Finding::Order {
                rule: 2,
                others: vec![1]
            },
        ]
    );
    assert_eq!(
        found(
            "priority 1 tcp from 10.0.0.0/8 drop\npriority 2 udp from 10.0.0.0/8 pass\npriority 3 from 10.0.0.0/8 drop"
        ),
        [Finding::Redundant { rule: 0, by: 2 }]
    );
}

#[test]
fn interfaces_are_those_of_the_configuration() {
    let text = "priority 1 on lan drop\npriority 2 on wan drop\npriority 3 tcp pass";
    assert_eq!(found(text), []);
    let config = crate::config::Config::parse(
        "[[interface]]\nname = \"lan\"\nrole = \"inside\"\n[[interface]]\nname = \"wan\"\nrole = \"outside\"\n",
        "t.toml",
    );
    assert_eq!(
        lint(&list(text), Some(&config.unwrap())),
        [Finding::Never {
            rule: 2,
            by: vec![0, 1],
            count: 2
        }]
    );
}

#[test]
fn what_takes_too_long_is_told() {
    // The odd ones of all addresses and the odd ones of all ports leave too many corners.
    let mut text = String::new();
    for number in (0..400).map(|number| number * 2) {
        text += &format!(
            "priority 1 udp from 10.0.{}.{} drop\n",
            number / 256,
            number % 256
        );
        text += &format!("priority 1 udp to 10.0.{}.{} drop\n", number / 256, number % 256);
        text += &format!("priority 1 udp from any port {number} drop\n");
        text += &format!("priority 1 udp to any port {number} drop\n");
    }
    text += "priority 2 udp from 10.0.0.0-10.0.3.30 port 0-798 to 10.0.0.0-10.0.3.30 port 0-798 pass\n";
    let findings = found(&text);
    // The middle is one that is left, found at once; a rule for what is taken is not.
    assert!(
        findings.iter().all(|finding| finding.rule() != 1600),
        "{findings:?}"
    );
}

/// Rules that a small world has all packets for: values below 4, and one that stands for all others.
fn rule() -> impl Strategy<Value = Rule> {
    let range = || proptest::option::weighted(0.6, (0_u32..4, 0_u32..3, any::<bool>()));
    let address = |range: Option<(u32, u32, bool)>| {
        let range = range.map(|(first, more, open)| {
            let last = if open { u32::MAX } else { (first + more).min(3) };
            crate::rules::AddressRange::V4(first.into(), last.into())
        });
        range.into_iter().collect::<Vec<_>>()
    };
    let ports = |range: Option<(u32, u32, bool)>| {
        let range = range.map(|(first, more, open)| crate::rules::PortRange {
            first: first as u16,
            last: if open {
                u16::MAX
            } else {
                (first + more).min(3) as u16
            },
        });
        range.into_iter().collect::<Vec<_>>()
    };
    let protocols = prop_oneof![Just(vec![]), Just(vec![6]), Just(vec![17]), Just(vec![6, 17])];
    let interface = proptest::option::weighted(0.3, prop_oneof![Just("a"), Just("b")]);
    let rest = (0_u32..3, prop_oneof![Just("drop"), Just("pass")], interface);
    (range(), range(), range(), protocols, rest).prop_map(move |(from, to, port, protocols, rest)| {
        let (priority, channel, interface) = rest;
        let mut rule = Rule::any(channel);
        rule.priority = priority;
        rule.from = match address(from) {
            // All rules are of one family.
            none if none.is_empty() => vec![crate::rules::AddressRange::V4(0.into(), u32::MAX.into())],
            some => some,
        }
        .into();
        rule.to = address(to).into();
        if !protocols.is_empty() {
            rule.destination_ports = ports(port).into();
        }
        rule.protocols = protocols;
        rule.interfaces = interface.into_iter().map(Name::from).collect();
        rule
    })
}

/// One packet for each that these rules can tell apart.
fn world() -> Vec<Flow> {
    let mut flows = Vec::new();
    for number in 0..5 * 5 * 5 * 3 * 3_u32 {
        let digit = |divisor: u32, base: u32| number / divisor % base;
        let protocol = [6, 17, 47][digit(125, 3) as usize];
        let interface = [Some("a"), Some("b"), None][digit(375, 3) as usize];
        flows.push(Flow {
            source: std::net::Ipv4Addr::from_bits(digit(1, 5)).into(),
            destination: std::net::Ipv4Addr::from_bits(digit(5, 5)).into(),
            protocol,
            source_port: 0,
            destination_port: if protocol == 47 { 0 } else { digit(25, 5) as u16 },
            tcp_flags: 0,
            icmp: (0, 0),
            interface: interface.map(Name::from),
            vlan: 0,
            dscp: 0,
            fragment: 0,
        });
    }
    flows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn findings_agree_with_all_packets(rules in proptest::collection::vec(rule(), 1..9)) {
        let list = RuleList::from(rules);
        let world = world();
        let matches: Vec<Vec<usize>> = world.iter().map(|flow| matching(&list.rules, flow)).collect();
        let winners: Vec<Option<usize>> = matches.iter().map(|matching| matching.first().copied()).collect();
        let findings = lint(&list, None);
        let channel = |rule: usize| list.rules[rule].channel.clone();
        for rule in 0..list.rules.len() {
            let wins = winners.contains(&Some(rule));
            let about: Vec<&Finding> = findings.iter().filter(|finding| finding.rule() == rule).collect();
            let says_never = about.iter().any(|finding| matches!(finding, Finding::Never { .. } | Finding::Duplicate { .. }));
            prop_assert_eq!(says_never, !wins, "rule {} of {:?}: {:?}", rule, list.rules, about);
            for finding in about {
                match finding {
                    Finding::Never { by, count, .. } => {
                        prop_assert!(by.len() <= *count);
                        // Each packet is another's, of those that are told.
                        for matching in matches.iter().filter(|matching| matching.contains(&rule)) {
                            prop_assert!(by.len() < *count || matching.iter().any(|other| by.contains(other)));
                        }
                    }
                    Finding::Duplicate { of, .. } => {
                        prop_assert!(matches.iter().all(|matching| matching.contains(of) == matching.contains(&rule)));
                        prop_assert_eq!(channel(*of), channel(rule));
                    }
                    Finding::Order { others, .. } => {
                        for other in others {
                            prop_assert_eq!(list.rules[*other].priority, list.rules[rule].priority);
                            prop_assert!(other < &rule && channel(*other) != channel(rule));
                            prop_assert!(matches.iter().any(|matching| matching.contains(other) && matching.contains(&rule)));
                        }
                    }
                    Finding::Redundant { .. } => {
                        for (matching, winner) in matches.iter().zip(&winners) {
                            let without = matching.iter().find(|other| **other != rule);
                            prop_assert_eq!(without.map(|rule| channel(*rule)), winner.map(channel));
                        }
                    }
                    Finding::Undecided { .. } => prop_assert!(false, "{:?}", list.rules),
                }
            }
            // An order that decides is always told, unless the rule never wins.
            let earlier = |other: &usize| {
                *other < rule && list.rules[*other].priority == list.rules[rule].priority && channel(*other) != channel(rule)
            };
            let ordered = matches.iter().any(|matching| matching.contains(&rule) && matching.iter().any(earlier));
            let told = findings.iter().any(|finding| matches!(finding, Finding::Order { rule: of, .. } if *of == rule));
            prop_assert_eq!(told, wins && ordered);
        }
    }
}
