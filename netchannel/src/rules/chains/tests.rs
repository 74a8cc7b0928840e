//! Rules made of chains decide as the chains do, followed rule by rule: on random chains and packets.

use proptest::prelude::*;

use super::flatten::flatten;
use super::*;
use crate::rules::RuleList;
use crate::rules::explain::{Flow, matching};

/// What the kernel does: rules one after the other, a stack of where to come back to.
pub(crate) fn interpret(chains: &Chains, packet: &Flow) -> Outcome {
    let mut outcome = Outcome::Accept;
    for hook in &chains.forward {
        if hook
            .family
            .is_some_and(|family| (family == Family::Ipv4) != packet.source.is_ipv4())
        {
            continue;
        }
        let end = if hook.accepts {
            Outcome::Accept
        } else {
            Outcome::Drop
        };
        outcome = ask(chains, hook.chain, packet).unwrap_or(end);
        if outcome != Outcome::Accept {
            return outcome;
        }
    }
    outcome
}

fn ask(chains: &Chains, chain: usize, packet: &Flow) -> Option<Outcome> {
    let mut stack = vec![(chain, 0)];
    while let Some((chain, rule)) = stack.pop() {
        let Some(found) = chains.chains[chain].rules.get(rule) else {
            continue;
        };
        let body = found.body.as_ref().unwrap();
        let excepted = packet
            .interface
            .as_ref()
            .is_some_and(|name| body.unless_interfaces.contains(name))
            || body.unless_protocols.contains(packet.protocol.into());
        let taken = (!excepted)
            .then(|| body.branches.iter().find(|branch| branch.region.takes(packet)))
            .flatten();
        match taken.map(|branch| &branch.verdict) {
            None => stack.push((chain, rule + 1)),
            Some(Verdict::Accept) => return Some(Outcome::Accept),
            Some(Verdict::Drop) => return Some(Outcome::Drop),
            Some(Verdict::Source(source)) => return Some(Outcome::Source(source.clone())),
            Some(Verdict::Destination(to)) => return Some(Outcome::Destination(to.clone())),
            Some(Verdict::Return) => {}
            Some(Verdict::Jump(target)) => stack.extend([(chain, rule + 1), (*target, 0)]),
            Some(Verdict::Goto(target)) => stack.push((*target, 0)),
        }
    }
    None
}

fn source(number: u8) -> Source {
    Source {
        external: External::Interface(format!("wan{number}").into()),
        ports: None,
    }
}

fn region() -> impl Strategy<Value = Region> {
    let from = proptest::option::of((0_u128..6, 0_u128..3).prop_map(|(first, more)| {
        Region::with_addresses(Dimension::From, Family::Ipv4, Spans::range(first, first + more))
    }));
    let to = proptest::option::weighted(
        0.3,
        (0_u128..6, 0_u128..3).prop_map(|(first, more)| {
            Region::with_addresses(Dimension::To, Family::Ipv4, Spans::range(first, first + more))
        }),
    );
    let protocol = proptest::option::weighted(
        0.4,
        prop_oneof![Just(6), Just(17), Just(1), Just(58)]
            .prop_map(|number| Region::with(Dimension::Protocol, Spans::one(number))),
    );
    let interface = proptest::option::weighted(
        0.3,
        prop_oneof![Just("a"), Just("b")].prop_map(|name| Region::with_interfaces([name.into()])),
    );
    let ports = proptest::option::weighted(
        0.3,
        (0_u128..5, 0_u128..3).prop_map(|(first, more)| {
            let tcp = Region::with(Dimension::Protocol, Spans::one(6));
            tcp.and(&Region::with_ports(
                Dimension::DestinationPorts,
                Spans::range(first, first + more),
            ))
            .unwrap()
        }),
    );
    (from, to, protocol, interface, ports).prop_map(|parts| {
        let (from, to, protocol, interface, ports) = parts;
        let protocol = if ports.is_some() { None } else { protocol };
        let parts = [from, to, protocol, interface, ports];
        parts.iter().flatten().fold(Region::default(), |region, part| {
            region.and(part).unwrap_or(region)
        })
    })
}

/// A rule of a chain that may jump to those after it.
fn rule(chain: usize, chains: usize) -> impl Strategy<Value = ChainRule> {
    let to = (chain + 1).min(chains - 1);
    let can_jump = chain + 1 < chains;
    let verdict =
        (0_u8..12, to..chains.max(to + 1), 0_u8..2).prop_map(move |(kind, target, number)| match kind {
            0..=2 => Verdict::Accept,
            3..=4 => Verdict::Drop,
            5..=6 => Verdict::Return,
            7..=9 if can_jump => Verdict::Jump(target),
            10 if can_jump => Verdict::Goto(target),
            _ => Verdict::Source(source(number)),
        });
    let unless_interfaces = proptest::option::weighted(0.15, Just("a"));
    let unless_protocols = proptest::option::weighted(0.15, Just(6));
    let regions = proptest::collection::vec(region(), 1..3);
    (regions, verdict, unless_interfaces, unless_protocols).prop_map(
        |(regions, verdict, interfaces, protocols)| ChainRule {
            place: Place::default(),
            context: None,
            source: None,
            comment: None,
            notes: Vec::new(),
            body: Ok(Body {
                unless_interfaces: interfaces.into_iter().map(Name::from).collect(),
                unless_protocols: Spans::new(protocols.map(|number| (number, number))),
                branches: regions
                    .into_iter()
                    .map(|region| Branch {
                        region,
                        verdict: verdict.clone(),
                    })
                    .collect(),
            }),
        },
    )
}

fn chains() -> impl Strategy<Value = Chains> {
    const CHAINS: usize = 5;
    let rules = |chain| proptest::collection::vec(rule(chain, CHAINS), 0..6);
    let hook = |chain| {
        let family =
            prop_oneof![3 => Just(None), 1 => Just(Some(Family::Ipv4)), 1 => Just(Some(Family::Ipv6))];
        (any::<bool>(), family).prop_map(move |(accepts, family)| Hook {
            chain,
            accepts,
            family,
            place: Place::default(),
        })
    };
    let all = (rules(0), rules(1), rules(2), rules(3), rules(4));
    (all, hook(0), hook(1)).prop_map(|((a, b, c, d, e), first, second)| Chains {
        chains: [a, b, c, d, e]
            .into_iter()
            .map(|rules| Chain {
                name: String::new(),
                rules,
            })
            .collect(),
        forward: vec![first, second],
        destinations: Vec::new(),
    })
}

/// The rules of decisions, each with a channel that tells what is decided.
fn rules_of(decisions: &[Decision]) -> RuleList {
    let channel = |outcome: &Outcome| -> Name {
        match outcome {
            Outcome::Accept => "pass".into(),
            Outcome::Drop => "drop".into(),
            Outcome::Source(Source {
                external: External::Interface(name),
                ..
            }) => name.clone(),
            other => panic!("{other:?}"),
        }
    };
    let rules = decisions
        .iter()
        .flat_map(|decision| decision.region.rules(&channel(&decision.outcome)));
    rules.collect::<Vec<_>>().into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn rules_decide_as_chains_do(chains in chains(), packets in proptest::collection::vec(Flow::small(), 60)) {
        let flat = flatten(&chains, &chains.forward, Region::default()).unwrap();
        let list = rules_of(&flat.decisions);
        for rule in &list.rules {
            prop_assert_eq!(crate::rules::check(rule), [], "{:?}", rule);
        }
        for packet in packets {
            let expected = match interpret(&chains, &packet) {
                Outcome::Accept => "pass".to_owned(),
                Outcome::Drop => "drop".to_owned(),
                Outcome::Source(Source { external: External::Interface(name), .. }) => name.to_string(),
                other => panic!("{other:?}"),
            };
            let decision = flat.decisions.iter().find(|decision| decision.region.takes(&packet));
            prop_assert!(decision.is_some(), "{:?} is not decided", packet);
            let found = matching(&list.rules, &packet).first().map(|&rule| list.rules[rule].channel.to_string());
            prop_assert_eq!(found, Some(expected), "{:?}", packet);
        }
    }
}

fn rule_to(verdict: Verdict) -> ChainRule {
    ChainRule {
        place: Place::default(),
        context: None,
        source: None,
        comment: None,
        notes: Vec::new(),
        body: Ok(Body {
            branches: vec![Branch {
                region: Region::default(),
                verdict,
            }],
            ..Body::default()
        }),
    }
}

fn chained(targets: Vec<Vec<Verdict>>) -> Chains {
    let chains = targets.into_iter().map(|verdicts| Chain {
        name: String::new(),
        rules: verdicts.into_iter().map(rule_to).collect(),
    });
    Chains {
        chains: chains.collect(),
        forward: vec![Hook {
            chain: 0,
            accepts: true,
            family: None,
            place: Place::default(),
        }],
        destinations: Vec::new(),
    }
}

#[test]
fn loops_and_depths_without_end_are_refused() {
    use flatten::FlattenError::{Deep, Long};
    let follow = |chains: &Chains| flatten(chains, &chains.forward, Region::default());
    let looping = chained(vec![
        vec![Verdict::Jump(1)],
        vec![Verdict::Goto(2)],
        vec![Verdict::Jump(0)],
    ]);
    assert_eq!(follow(&looping), Err(Deep { chain: 0 }));
    let deep = chained(
        (1..=1_000)
            .map(|next| vec![Verdict::Jump(next)])
            .chain([vec![]])
            .collect(),
    );
    assert!(matches!(follow(&deep), Err(Deep { .. })));
    // Each chain is jumped to twice: nothing is decided until its end, so each way is followed.
    let wide = chained(
        (1..=60)
            .map(|next| vec![Verdict::Jump(next); 2])
            .chain([vec![Verdict::Drop; 0]])
            .collect(),
    );
    assert_eq!(follow(&wide), Err(Long));
}
