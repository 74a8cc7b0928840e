//! Limits, listings, and how mappings come and go in numbers.

use std::time::Duration;

use netchannel::drop_reason::DropReason;
use serde_json::json;

use crate::harness::*;
use crate::packets::*;

#[test]
fn rfc_6888_11a_and_11d_at_the_limit_a_new_mapping_is_refused_and_old_ones_live_on() {
    let mut nat = NatBox::new(|settings| settings.max_mappings = 3);
    for port in 1..=3 {
        nat.open(
            Body::Udp,
            format!("10.0.0.2:{}", 2000 + port).parse().unwrap(),
            at(SERVER),
        );
    }
    let result = nat.send(Body::Tcp(SYN), at("10.0.0.2:9000"), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatMappingLimit]);
    assert_eq!(result.lan[0][34..36], [3, 13]);
    assert!(nat.reaches(Body::Udp, at(SERVER), at("192.0.2.7:2001"), at("10.0.0.2:2001")));
    nat.wait(299);
    // Two of them are over a second later.
    nat.wait(1);
    nat.open(Body::Tcp(SYN), at("10.0.0.2:9000"), at(SERVER));
}

/// Mappings that are opened faster than ticks clear them away are cleared away by the opening of others.
#[test]
fn a_full_table_empties_itself_without_ticks() {
    let mut nat = NatBox::new(|settings| {
        settings.max_mappings = 50;
        settings.max_sessions = 50;
    });
    for round in 0..20u64 {
        for number in 0..50 {
            let inside = format!("10.0.0.2:{}", 2000 + 50 * round + number)
                .parse()
                .unwrap();
            nat.open(Body::Udp, inside, at(SERVER));
        }
        assert_eq!(nat.detail("/sessions"), 50);
        nat.leap(Duration::from_secs(301));
    }
}

#[test]
fn a_tick_clears_away_what_is_over() {
    let mut nat = NatBox::plain();
    for port in 0..2000 {
        nat.open(
            Body::Udp,
            format!("10.0.0.2:{}", 2000 + port).parse().unwrap(),
            at(SERVER),
        );
    }
    assert_eq!(nat.detail("/sessions"), 2000);
    nat.leap(Duration::from_secs(301));
    nat.test.dispatcher.tick(nat.test.now);
    assert_eq!(nat.detail("/sessions"), 0);
    assert_eq!(nat.detail("/mappings/udp"), 0);
}

#[test]
fn a_listing_has_every_mapping_once() {
    let mut nat = NatBox::plain();
    for port in 0..25 {
        nat.open(
            Body::Udp,
            format!("10.0.0.2:{}", 2000 + port).parse().unwrap(),
            at(SERVER),
        );
    }
    let mut seen = Vec::new();
    let mut after = Some(0);
    let mut pages = 0;
    while let Some(from) = after {
        let (page, next) = nat.nat().mappings(from, 10, nat.test.now);
        assert!(page.len() <= 10);
        seen.extend(page.into_iter().map(|mapping| mapping.inside));
        after = next;
        pages += 1;
    }
    assert_eq!((pages, seen.len()), (3, 25));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 25);
    assert_eq!(nat.nat().mappings(u64::MAX, 10, nat.test.now), (Vec::new(), None));
}

#[test]
fn a_listing_says_what_there_is() {
    let mut nat = NatBox::plain();
    nat.open(Body::Tcp(SYN), at(INSIDE), at("8.8.8.8:80"));
    nat.reaches(
        Body::Tcp(SYN | ACK),
        at("8.8.8.8:80"),
        at("192.0.2.7:5000"),
        at(INSIDE),
    );
    nat.wait(10);
    nat.open(Body::Tcp(SYN), at(INSIDE), at("8.8.8.8:443"));
    nat.wait(5);
    assert_eq!(
        nat.mappings(),
        [json!({
            "channel": "",
            "protocol": "tcp",
            "inside": "10.0.0.2:5000",
            "external": "192.0.2.7:5000",
            "sessions": 2,
            "age_seconds": 15,
            "idle_seconds": 5,
            "expires_in_seconds": 7425,
            "state": "established",
        })]
    );
    assert_eq!(
        json!(nat.nat().details()),
        json!({
            "external": ["192.0.2.7"],
            "ports": ["1024-32767"],
            "filtering": "endpoint-independent",
            "mappings": { "tcp": 1, "udp": 0, "icmp": 0 },
            "ports_per_protocol": 31744,
            "ports_held": 0,
            "sessions": 2,
            "max_mappings": 65536,
            "max_sessions": 262144,
            "unsupported_icmp_types": {},
        })
    );
}

/// The flow table forgets what does not fit; the translator does not.
#[test]
fn more_flows_than_the_flow_table_holds() {
    let mut nat = NatBox::plain();
    let ends_of = |number: u16| {
        let inside = format!("10.0.0.{}:{}", 2 + number % 200, 2000 + number)
            .parse()
            .unwrap();
        (inside, at("8.8.8.8:80"))
    };
    let externals: Vec<_> = (0..3000)
        .map(|number| {
            let (inside, server) = ends_of(number);
            nat.open(Body::Tcp(SYN), inside, server)
        })
        .collect();
    for (number, external) in externals.into_iter().enumerate() {
        let (inside, server) = ends_of(number as u16);
        assert!(nat.reaches(Body::Tcp(SYN | ACK), server, external, inside));
        assert_eq!(nat.open(Body::Tcp(ACK), inside, server), external);
    }
    assert!(nat.test.dispatcher.flows().replaced() > 0);
}
