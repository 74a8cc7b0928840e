//! Which external address and port a mapping gets, and when another one may have them.

use std::collections::BTreeSet;

use netchannel::channel::nat::{Deterministic, Filtering, PerProtocol, Pooling};
use netchannel::drop_reason::DropReason;

use crate::harness::*;
use crate::packets::*;

fn inside(host: u32, port: u16) -> std::net::SocketAddrV4 {
    format!("10.0.0.{}:{port}", 2 + host).parse().unwrap()
}

/// 6888-8: the port of a UDP mapping that ended is nobody's for 120 seconds.
#[test]
fn rfc_6888_8_a_udp_port_is_held_for_two_minutes() {
    let mut nat = NatBox::new(|settings| settings.ports = vec![2000..=2000]);
    nat.open(Body::Udp, inside(0, 2000), at(SERVER));
    nat.wait(300);
    assert_eq!(nat.detail("/ports_held"), 1);
    for wait in [0, 60, 59] {
        nat.wait(wait);
        let result = nat.send(Body::Udp, inside(1, 2000), at(SERVER));
        assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
    }
    nat.wait(1);
    nat.open(Body::Udp, inside(1, 2000), at(SERVER));
}

/// 6888-8 a and c: what is tracked, and what only known hosts may send to, can be used again at once; so can all by choice.
#[test]
fn rfc_6888_8_exceptions_are_free_at_once() {
    let reuses = |body: Body, filtering: Filtering, held: u32| {
        let mut nat = NatBox::new(|settings| {
            settings.ports = vec![2000..=2000];
            settings.filtering = PerProtocol::all(filtering);
            settings.hold.count = held;
        });
        let server = if body == Body::Query(8) {
            at("8.8.8.8:0")
        } else {
            at(SERVER)
        };
        nat.open(body, inside(0, 2000), server);
        nat.wait(300);
        nat.send(body, inside(1, 2000), server).dropped.is_empty()
    };
    use Filtering::*;
    assert!(!reuses(Body::Udp, EndpointIndependent, 1));
    assert!(reuses(Body::Udp, EndpointIndependent, 0));
    assert!(reuses(Body::Udp, AddressDependent, 1));
    assert!(reuses(Body::Udp, AddressAndPortDependent, 1));
    assert!(reuses(Body::Tcp(SYN), EndpointIndependent, 1));
    assert!(reuses(Body::Query(8), EndpointIndependent, 1));
}

/// 6888-3, 6888-13: a pool in pieces is used to the last port, none twice (4787-3).
#[test]
fn rfc_6888_3_all_of_a_pool_in_pieces_is_used() {
    let pieces = [("203.0.113.1", "203.0.113.1"), ("203.0.113.8", "203.0.113.15")];
    let mut nat = NatBox::new(|settings| {
        settings.external = pieces.map(|(first, last)| host(first)..=host(last)).to_vec();
        settings.ports = vec![2000..=2019];
    });
    let externals: BTreeSet<_> = (0..180)
        .map(|number| nat.open(Body::Udp, inside(number, 2000), at(SERVER)))
        .collect();
    let addresses: BTreeSet<_> = externals.iter().map(|external| *external.ip()).collect();
    assert_eq!((externals.len(), addresses.len()), (180, 9));
    let result = nat.send(Body::Udp, inside(190, 2000), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
    assert_eq!(
        nat.detail("/external"),
        serde_json::json!(["203.0.113.1", "203.0.113.8-203.0.113.15"])
    );
}

/// 7857-4 for TCP too.
#[test]
fn rfc_7857_4_soft_pairing_is_a_choice() {
    for soft in [false, true] {
        let mut nat = NatBox::new(|settings| {
            settings.external = vec![host("203.0.113.8")..=host("203.0.113.15")];
            settings.ports = vec![2000..=2009];
            settings.pooling = Pooling::Paired { soft };
        });
        let addresses: BTreeSet<_> = (0..10)
            .map(|port| *nat.open(Body::Tcp(SYN), inside(0, 2000 + port), at(SERVER)).ip())
            .collect();
        assert_eq!(addresses.len(), 1);
        let result = nat.send(Body::Tcp(SYN), inside(0, 2010), at(SERVER));
        if soft {
            assert!(!addresses.contains(ends(result.out()).0.ip()));
        } else {
            assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
        }
    }
}

/// 4787-4 and 6056-3.2: parity by choice, reserved ports never.
#[test]
fn rfc_4787_4_parity_is_a_choice_and_reserved_ports_are_not_used() {
    let mut nat = NatBox::new(|settings| {
        settings.preserve_parity = true;
        settings.ports = vec![2000..=2199];
        settings.reserved_ports = vec![2010..=2149];
    });
    for number in 0..30 {
        let port = 3000 + number as u16 % 2;
        let external = nat.open(Body::Udp, inside(number, port), at(SERVER)).port();
        assert_eq!(external % 2, port % 2);
        assert!((2000..2010).contains(&external) || (2150..2200).contains(&external));
    }
    assert_eq!(
        nat.detail("/ports"),
        serde_json::json!(["2000-2009", "2150-2199"])
    );
}

/// 7422-2a, 7422-2c, 6888-8b: each host has ports of its own, none beyond them, and gets them again at once.
#[test]
fn rfc_7422_2a_each_host_has_ports_of_its_own() {
    let deterministic = Deterministic {
        inside: vec![host("10.0.0.2")..=host("10.0.0.9")],
        ports_per_host: None,
        spare_ports: 0,
    };
    let mut nat = NatBox::new(|settings| {
        settings.external = vec![host("203.0.113.8")..=host("203.0.113.9")];
        settings.ports = vec![2000..=2039];
        settings.deterministic = Some(deterministic);
    });
    for _ in 0..2 {
        for (number, first) in [(0, 2000), (3, 2030), (4, 2000), (5, 2010)] {
            let externals: BTreeSet<_> = (0..10)
                .map(|port| nat.open(Body::Udp, inside(number, 3000 + port), at(SERVER)))
                .collect();
            let address = if number < 4 { "203.0.113.8" } else { "203.0.113.9" };
            let expected: BTreeSet<_> = (first..first + 10)
                .map(|port| format!("{address}:{port}").parse().unwrap())
                .collect();
            assert_eq!(externals, expected);
            let result = nat.send(Body::Udp, inside(number, 4000), at(SERVER));
            assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
        }
        nat.wait(300);
    }
    let result = nat.send(Body::Udp, inside(8, 4000), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatHostNotServed]);
}
