//! Rules decide as the kernel does: on random chains and packets, beside what the kernel's code does with them.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{decided, import, leniently, options};
use crate::rules::explain::Flow;

/// A match: its text, and what it takes.
#[derive(Clone, Copy, Debug)]
enum Part {
    From(u8, u8, bool),
    To(u8, bool),
    Arrives(char, bool),
    Leaves(bool),
    Protocol(u8, bool),
    Tcp(u8, u8, bool),
    Ports(u8, bool),
    Flags(u8, u8, bool),
    Icmp(u8, Option<u8>, bool),
    Fragment(bool),
    Dscp(u8, bool),
}

impl Part {
    fn text(self) -> String {
        let not = |not: bool| if not { "! " } else { "" };
        match self {
            Part::From(first, more, negated) => {
                format!(
                    "-m iprange {}--src-range 0.0.0.{first}-0.0.0.{}",
                    not(negated),
                    first + more
                )
            }
            Part::To(address, negated) => format!("{}-d 0.0.0.{address}/32", not(negated)),
            Part::Arrives(name, negated) => format!("{}-i {name}", not(negated)),
            Part::Leaves(negated) => format!("{}-o low", not(negated)),
            Part::Protocol(number, negated) => format!("{}-p {number}", not(negated)),
            Part::Tcp(first, more, negated) => {
                format!("-p tcp -m tcp {}--dport {first}:{}", not(negated), first + more)
            }
            Part::Ports(port, negated) => format!("-p udp -m multiport {}--ports {port},77", not(negated)),
            Part::Flags(mask, set, negated) => {
                let names = |flags: u8| {
                    let all = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
                    let set = all.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1);
                    let names: Vec<&str> = set.map(|(_, name)| *name).collect();
                    if names.is_empty() {
                        "NONE".to_owned()
                    } else {
                        names.join(",")
                    }
                };
                format!(
                    "-p tcp -m tcp {}--tcp-flags {} {}",
                    not(negated),
                    names(mask),
                    names(set & mask)
                )
            }
            Part::Icmp(kind, code, negated) => {
                let code = code.map_or_else(String::new, |code| format!("/{code}"));
                format!("-p icmp -m icmp {}--icmp-type {kind}{code}", not(negated))
            }
            Part::Fragment(negated) => format!("{}-f", not(negated)),
            Part::Dscp(number, negated) => format!("-m dscp {}--dscp 0x{number:02x}", not(negated)),
        }
    }

    /// As the kernel's modules have it: what needs a transport header takes no later fragment, negated or not.
    fn takes(self, flow: &Flow) -> bool {
        use crate::dispatch::dimensions::LATER;
        let last = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => address.octets()[3],
            std::net::IpAddr::V6(_) => unreachable!(),
        };
        let has_header = flow.fragment != LATER;
        match self {
            Part::From(first, more, not) => (first..=first + more).contains(&last(flow.source)) != not,
            Part::To(address, not) => (last(flow.destination) == address) != not,
            Part::Arrives(name, not) => (flow.interface.as_deref() == Some(&name.to_string())) != not,
            Part::Leaves(not) => (last(flow.destination) < 4) != not,
            Part::Protocol(number, not) => (flow.protocol == number) != not,
            Part::Tcp(first, more, not) => {
                let port = flow.destination_port;
                flow.protocol == 6
                    && has_header
                    && (u16::from(first)..=u16::from(first + more)).contains(&port) != not
            }
            Part::Ports(port, not) => {
                let named = [flow.source_port, flow.destination_port].contains(&port.into());
                flow.protocol == 17 && has_header && named != not
            }
            Part::Flags(mask, set, not) => {
                flow.protocol == 6 && has_header && (flow.tcp_flags & mask == set & mask) != not
            }
            Part::Icmp(kind, code, not) => {
                let named = flow.icmp.0 == kind && code.is_none_or(|code| flow.icmp.1 == code);
                flow.protocol == 1 && has_header && named != not
            }
            Part::Fragment(not) => (flow.fragment == LATER) != not,
            Part::Dscp(number, not) => (flow.dscp == number) != not,
        }
    }
}

fn part() -> impl Strategy<Value = Part> {
    let not = || proptest::bool::weighted(0.3);
    prop_oneof![
        (0_u8..8, 0_u8..3, not()).prop_map(|(first, more, not)| Part::From(first, more, not)),
        (0_u8..8, not()).prop_map(|(address, not)| Part::To(address, not)),
        (prop_oneof![Just('a'), Just('b')], not()).prop_map(|(name, not)| Part::Arrives(name, not)),
        not().prop_map(Part::Leaves),
        (prop_oneof![Just(1_u8), Just(6), Just(17), Just(47)], not())
            .prop_map(|(number, not)| Part::Protocol(number, not)),
        (0_u8..6, 0_u8..3, not()).prop_map(|(first, more, not)| Part::Tcp(first, more, not)),
        (0_u8..6, not()).prop_map(|(port, not)| Part::Ports(port, not)),
        (0_u8..64, 0_u8..64, not()).prop_map(|(mask, set, not)| Part::Flags(mask, set, not)),
        (0_u8..4, proptest::option::of(0_u8..3), not())
            .prop_map(|(kind, code, not)| Part::Icmp(kind, code, not)),
        not().prop_map(Part::Fragment),
        (0_u8..4, not()).prop_map(|(number, not)| Part::Dscp(number, not)),
    ]
}

#[derive(Clone, Debug)]
enum Target {
    Accept,
    Drop,
    Return,
    Jump(usize),
    Goto(usize),
    Nat(u8),
}

const NAMES: [&str; 4] = ["FORWARD", "one", "two", "three"];

fn target(chain: usize, in_nat: bool) -> impl Strategy<Value = Target> {
    let next = if in_nat { 9 } else { chain + 1 };
    (0_u8..10, next..next.max(3) + 1, 0_u8..2).prop_map(move |(kind, target, number)| match kind {
        0..=2 if in_nat => Target::Nat(number),
        0..=2 => Target::Accept,
        3 if in_nat => Target::Accept,
        3..=4 if !in_nat => Target::Drop,
        5..=6 if !in_nat && target < NAMES.len() => Target::Jump(target),
        7 if !in_nat && target < NAMES.len() => Target::Goto(target),
        8..=9 => Target::Return,
        _ => Target::Accept,
    })
}

type Lines = Vec<(Vec<Part>, Target)>;

/// Two matches of one rule must not name the protocol twice.
fn lines(chain: usize, in_nat: bool) -> impl Strategy<Value = Lines> {
    let parts = proptest::collection::vec(part(), 0..3).prop_map(|parts| {
        let mut kept: Vec<Part> = Vec::new();
        for part in parts {
            let text = part.text();
            let option = |text: &str| -> Vec<String> {
                text.split(' ')
                    .filter(|word| word.starts_with('-') && *word != "-m")
                    .map(str::to_owned)
                    .collect()
            };
            let mine = option(&text);
            if kept
                .iter()
                .all(|other| option(&other.text()).iter().all(|word| !mine.contains(word)))
            {
                kept.push(part);
            }
        }
        kept
    });
    proptest::collection::vec((parts, target(chain, in_nat)), 0..5)
}

/// What the kernel does with a packet in a chain of a table: the target that ends it, if one does.
fn ask(chains: &[&Lines], chain: usize, flow: &Flow) -> Option<Target> {
    let mut stack = vec![(chain, 0)];
    while let Some((chain, rule)) = stack.pop() {
        let Some((parts, target)) = chains[chain].get(rule) else {
            continue;
        };
        if !parts.iter().all(|part| part.takes(flow)) {
            stack.push((chain, rule + 1));
            continue;
        }
        match target {
            Target::Return => {}
            Target::Jump(target) => stack.extend([(chain, rule + 1), (*target, 0)]),
            Target::Goto(target) => stack.push((*target, 0)),
            end => return Some(end.clone()),
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn rules_decide_as_the_kernel_does(
        filter in (lines(0, false), lines(1, false), lines(2, false), lines(3, false)),
        nat in lines(0, true),
        accepts in any::<bool>(),
        flows in proptest::collection::vec(Flow::small(), 80),
    ) {
        let (a, b, c, d) = &filter;
        let filter = [a, b, c, d];
        let mut text = format!("*filter\n:FORWARD {} [0:0]\n", if accepts { "ACCEPT" } else { "DROP" });
        for name in &NAMES[1..] {
            text += &format!(":{name} - [0:0]\n");
        }
        let line = |name: &str, parts: &[Part], target: &Target| {
            let parts: Vec<String> = parts.iter().map(|part| part.text()).collect();
            let target = match target {
                Target::Accept => "-j ACCEPT".to_owned(),
                Target::Drop => "-j DROP".to_owned(),
                Target::Return => "-j RETURN".to_owned(),
                Target::Jump(target) => format!("-j {}", NAMES[*target]),
                Target::Goto(target) => format!("-g {}", NAMES[*target]),
                Target::Nat(number) => format!("-j SNAT --to-source 192.0.2.{number}"),
            };
            format!("-A {name} {} {target}\n", parts.join(" "))
        };
        for (name, lines) in NAMES.iter().zip(filter) {
            for (parts, target) in lines {
                text += &line(name, parts, target);
            }
        }
        text += "COMMIT\n*nat\n:POSTROUTING ACCEPT [0:0]\n";
        for (parts, target) in &nat {
            text += &line("POSTROUTING", parts, target);
        }
        text += "COMMIT\n";
        let options = options(&["default=high", "0.0.0.0/30=low"]);
        let import = import(&text, &options).unwrap();
        // The names of channels by the addresses that they translate to.
        let mut names = HashMap::new();
        let mut name = String::new();
        for line in import.channels.lines() {
            if let Some(found) = line.strip_prefix("name = ") {
                name = found.trim_matches('"').to_owned();
            } else if let Some(external) = line.strip_prefix("external = \"192.0.2.") {
                names.insert(external.trim_matches('"').parse::<u8>().unwrap(), name.clone());
            }
        }
        for flow in flows.iter().filter(|flow| flow.source.is_ipv4()) {
            let filtered = match ask(&filter, 0, flow) {
                Some(Target::Accept) => true,
                Some(_) => false,
                None => accepts,
            };
            let expected = match (filtered, ask(&[&nat], 0, flow)) {
                (false, _) => "drop".to_owned(),
                (true, Some(Target::Nat(number))) => names.get(&number).cloned().unwrap_or_default(),
                (true, _) => "pass".to_owned(),
            };
            prop_assert_eq!(decided(&import.rules, &flow.to_string()), expected, "{}\n{}", flow, text);
        }
    }

    #[test]
    fn any_text_is_rules_or_an_error(text in "(\\*filter\n)?(:FORWARD DROP\n)?([-!A-Z a-z0-9:./\"]{0,40}\n){0,6}") {
        let _ = leniently(&text, &options(&[]));
    }
}
