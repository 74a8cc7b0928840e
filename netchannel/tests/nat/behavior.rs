//! What mappings depend on, and who may answer, where the two are chosen.

use std::collections::BTreeSet;

use netchannel::channel::nat::{Filtering, MappingBehavior, PerProtocol};
use netchannel::dispatch::RuleSet;
use netchannel::drop_reason::DropReason;

use crate::harness::*;
use crate::packets::*;

/// 4787-1, 5382-1 and what differs from them by choice only: how many external endpoints three servers see.
#[test]
fn rfc_4787_1_mappings_depend_on_what_was_chosen() {
    for (behavior, expected) in [
        (MappingBehavior::EndpointIndependent, 1),
        (MappingBehavior::AddressDependent, 2),
        (MappingBehavior::AddressAndPortDependent, 3),
    ] {
        for body in [Body::Udp, Body::Tcp(SYN)] {
            let mut nat = NatBox::new(|settings| {
                settings.mapping = PerProtocol::all(behavior);
                settings.filtering = PerProtocol::all(Filtering::AddressAndPortDependent);
            });
            let servers = ["8.8.8.8:53", "8.8.8.8:54", "9.9.9.9:53"].map(at);
            let externals: Vec<_> = servers
                .iter()
                .map(|&server| nat.open(body, at(INSIDE), server))
                .collect();
            assert_eq!(externals.iter().collect::<BTreeSet<_>>().len(), expected);
            // Each server's answers reach the host by the endpoint that it saw, and by no other.
            let answer = if body == Body::Udp {
                body
            } else {
                Body::Tcp(SYN | ACK)
            };
            for (&server, &external) in servers.iter().zip(&externals) {
                assert!(nat.reaches(answer, server, external, at(INSIDE)));
                assert_eq!(nat.open(body, at(INSIDE), server), external);
            }
            if expected > 1 {
                let wrong = nat.reply(answer, servers[2], externals[0]);
                assert_eq!(wrong.dropped(), DropReason::NatFiltered);
            }
        }
    }
}

/// 5382-3a, 5382-3b, 4787-8a: filtering of TCP and of UDP are chosen apart.
#[test]
fn rfc_5382_3b_filtering_of_tcp_is_independent_of_that_of_udp() {
    let mut nat = NatBox::new(|settings| {
        settings.filtering.tcp = Filtering::AddressDependent;
        settings.filtering.udp = Filtering::EndpointIndependent;
    });
    let (stranger, same_host) = (at("9.9.9.9:9"), at("8.8.8.8:9"));
    let external = nat.open(Body::Udp, at(INSIDE), at(SERVER));
    assert!(nat.reaches(Body::Udp, stranger, external, at(INSIDE)));
    let external = nat.open(Body::Tcp(SYN), at(INSIDE), at(SERVER));
    assert!(!nat.reaches(Body::Tcp(SYN), stranger, external, at(INSIDE)));
    assert!(nat.reaches(Body::Tcp(SYN), same_host, external, at(INSIDE)));
}

/// 4787-9 with mappings that depend on the other side: two hosts inside talk by their external endpoints.
#[test]
fn rfc_4787_9_hairpinning_with_dependent_mappings() {
    let mut nat = NatBox::new(|settings| {
        settings.mapping = PerProtocol::all(MappingBehavior::AddressDependent);
        settings.filtering = PerProtocol::all(Filtering::AddressDependent);
    });
    let (first, second) = (at("10.0.0.2:5000"), at("10.0.0.3:6000"));
    // Each sends to the external address once, so that the other one is let in.
    let to_box = |port| std::net::SocketAddrV4::new(EXTERNAL, port);
    nat.open(Body::Udp, first, at(SERVER));
    nat.open(Body::Udp, second, at(SERVER));
    let result = nat.send(Body::Udp, first, to_box(6000));
    assert_eq!(result.dropped(), DropReason::NatFiltered);
    let seen_as = |nat: &NatBox, inside: std::net::SocketAddrV4, number: usize| {
        let mappings = nat.mappings();
        let mut of_host = mappings
            .iter()
            .filter(|mapping| mapping["inside"] == inside.to_string());
        at(of_host.nth(number).unwrap()["external"].as_str().unwrap())
    };
    let first_external = seen_as(&nat, first, 1);
    // The second one answers what it never got: now it is let in.
    let result = nat.send(Body::Udp, second, first_external);
    let (source, destination) = ends(result.at_host());
    assert_eq!((destination, *source.ip()), (first, EXTERNAL));
    let result = nat.send(Body::Udp, first, source);
    assert_eq!(ends(result.at_host()), (first_external, second));
}

/// A box whose translator lets anybody in, but through mappings that are opened towards port 22, as a rule says.
fn with_rule(filtering: Filtering) -> NatBox {
    NatBox::with_rules(
        |settings| settings.rule_filtering = vec![filtering],
        |rules, _| rules.insert_ipv4(towards(22, filtering)).unwrap(),
    )
}

/// 4787-8a: a rule may filter its own way, and mappings that are there keep theirs.
#[test]
fn rfc_4787_8a_a_rule_may_filter_its_own_way() {
    use Filtering::{AddressAndPortDependent, AddressDependent};
    let (ruled, other) = (at("8.8.8.8:22"), at("8.8.8.8:23"));
    let strangers = [at("8.8.8.8:9"), at("9.9.9.9:9")];
    for (filtering, admitted) in [
        (AddressDependent, [true, false]),
        (AddressAndPortDependent, [false, false]),
    ] {
        for body in [Body::Udp, Body::Tcp(SYN)] {
            let mut nat = with_rule(filtering);
            let open = nat.open(body, at("10.0.0.2:5000"), other);
            let filtered = nat.open(body, at("10.0.0.3:6000"), ruled);
            for (stranger, admitted) in strangers.into_iter().zip(admitted) {
                assert!(nat.reaches(body, stranger, open, at("10.0.0.2:5000")));
                assert_eq!(
                    nat.reaches(body, stranger, filtered, at("10.0.0.3:6000")),
                    admitted
                );
            }
            // Each keeps its filtering, whatever else it is used for (4787-11).
            nat.open(body, at("10.0.0.2:5000"), ruled);
            nat.open(body, at("10.0.0.3:6000"), other);
            assert!(nat.reaches(body, at("9.9.9.8:9"), open, at("10.0.0.2:5000")));
            assert!(!nat.reaches(body, at("9.9.9.8:9"), filtered, at("10.0.0.3:6000")));
        }
    }
}

/// 4787-8a: rules that change hold for mappings that are opened then.
#[test]
fn rfc_4787_8a_changed_rules_are_for_new_mappings() {
    let mut nat = with_rule(Filtering::AddressAndPortDependent);
    let (ruled, stranger) = (at("8.8.8.8:22"), at("9.9.9.9:9"));
    let old = nat.open(Body::Udp, at("10.0.0.2:5000"), ruled);
    nat.test.dispatcher.set_rules(RuleSet::new(NAT));
    nat.open(Body::Udp, at("10.0.0.2:5000"), ruled);
    assert!(!nat.reaches(Body::Udp, stranger, old, at("10.0.0.2:5000")));
    let new = nat.open(Body::Udp, at("10.0.0.3:6000"), ruled);
    assert!(nat.reaches(Body::Udp, stranger, new, at("10.0.0.3:6000")));
}

/// 6888-8 (c): the port of a mapping that a rule has filtered is free at once.
#[test]
fn rfc_6888_8_a_port_filtered_by_rule_is_not_held() {
    let mut nat = with_rule(Filtering::AddressDependent);
    nat.open(Body::Udp, at("10.0.0.2:5000"), at("8.8.8.8:22"));
    nat.open(Body::Udp, at("10.0.0.2:5001"), at("8.8.8.8:23"));
    nat.wait(300);
    assert_eq!(nat.detail("/ports_held"), 1);
    assert_eq!(nat.open(Body::Udp, at("10.0.0.3:5000"), at(SERVER)).port(), 5000);
    assert_ne!(nat.open(Body::Udp, at("10.0.0.3:5001"), at(SERVER)).port(), 5001);
}
