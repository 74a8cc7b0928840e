//! What mappings depend on, and who may answer, where the two are chosen.

use std::collections::BTreeSet;

use netchannel::channel::nat::{Filtering, MappingBehavior, PerProtocol};
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
