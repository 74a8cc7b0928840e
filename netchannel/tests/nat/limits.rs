//! Limits, listings, and how mappings come and go in numbers.

use std::time::Duration;

use netchannel::channel::Sliced;
use netchannel::channel::nat::Refusal;
use netchannel::control::Filter;
use netchannel::drop_reason::DropReason;
use serde_json::json;

use crate::harness::*;
use crate::packets::*;

#[test]
fn rfc_6888_11a_and_11d_at_the_limit_a_new_mapping_is_refused_and_old_ones_live_on() {
    let mut nat = NatBox::new(|settings| settings.limits.mappings = 3);
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
        settings.limits.mappings = 50;
        settings.limits.sessions = 50;
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
        let page = nat.mappings_from(&Filter::default(), from, 10);
        assert!(page.entries.len() <= 10);
        seen.extend(page.entries.into_iter().map(|mapping| mapping.inside));
        after = page.next;
        pages += 1;
    }
    assert_eq!((pages, seen.len()), (3, 25));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 25);
    assert_eq!(nat.mappings_from(&Filter::default(), u64::MAX, 10), Sliced::NONE);
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
    let independent = json!({
        "tcp": "endpoint-independent", "udp": "endpoint-independent", "icmp": "endpoint-independent",
    });
    assert_eq!(
        json!(nat.nat().details()),
        json!({
            "external": ["192.0.2.7"],
            "ports": ["1024-32767"],
            "mapping_behavior": independent,
            "filtering": independent,
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

fn inside(host: u32, port: u32) -> std::net::SocketAddrV4 {
    format!("10.0.0.{}:{port}", 2 + host).parse().unwrap()
}

/// 6888-4, 6888-11: a host that has all that it may have is refused and told, and nobody else is.
#[test]
fn rfc_6888_4_a_host_has_no_more_mappings_than_it_may() {
    let mut nat = NatBox::new(|settings| {
        settings.host_limits.mappings = 100;
        settings.host_limits.mappings_of.tcp = 10;
    });
    for port in 0..100 {
        let body = if port < 10 { Body::Tcp(SYN) } else { Body::Udp };
        nat.open(body, inside(0, 3000 + port), at(SERVER));
        if port == 9 {
            let result = nat.send(Body::Tcp(SYN), inside(0, 2000), at(SERVER));
            assert_eq!(result.dropped, [DropReason::NatHostMappingLimit]);
        }
    }
    let result = nat.send(Body::Udp, inside(0, 2000), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatHostMappingLimit]);
    assert_eq!(result.lan[0][34..36], [3, 13]);
    nat.open(Body::Udp, inside(1, 2000), at(SERVER));
    // What it has works.
    nat.open(Body::Udp, inside(0, 3099), at("9.9.9.9:53"));
    nat.wait(300);
    nat.open(Body::Tcp(SYN), inside(0, 2000), at(SERVER));
}

/// 6888-4 for all hosts together, by protocol.
#[test]
fn rfc_6888_4_a_limit_may_differ_by_protocol() {
    let mut nat = NatBox::new(|settings| settings.limits.mappings_of.udp = 2);
    nat.open(Body::Udp, inside(0, 2000), at(SERVER));
    nat.open(Body::Udp, inside(1, 2000), at(SERVER));
    let result = nat.send(Body::Udp, inside(2, 2000), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatMappingLimit]);
    nat.open(Body::Tcp(SYN), inside(2, 2000), at(SERVER));
}

/// 6888-4, 6888-5: the rate at which mappings are opened is bounded, by host and in all, also of mappings that end at once.
#[test]
fn rfc_6888_4_new_mappings_have_a_pace() {
    for (of_host, of_all, expected) in [
        (20, u32::MAX, DropReason::NatHostRateLimit),
        (u32::MAX, 20, DropReason::NatRateLimit),
    ] {
        let mut nat = NatBox::new(|settings| {
            settings.host_limits.new_mappings_per_second = of_host;
            settings.limits.new_mappings_per_second = of_all;
            settings.refusal = Refusal::Silent;
        });
        let burst = |nat: &mut NatBox, host| {
            let opened = (0..100u32).filter(|number| {
                let result = nat.send(Body::Udp, inside(host, 3000 + number), at(SERVER));
                let refused = result.dropped.iter().all(|reason| *reason == expected);
                assert!(refused && result.lan.is_empty());
                result.dropped.is_empty()
            });
            opened.count()
        };
        assert_eq!(burst(&mut nat, 0), 20);
        nat.wait(300);
        assert_eq!(nat.detail("/mappings/udp"), 0);
        assert_eq!(burst(&mut nat, 0), 20);
        nat.leap(Duration::from_millis(500));
        // The twenty that are there go on, ten more come.
        assert_eq!(burst(&mut nat, 0), 30);
        let other = burst(&mut nat, 1);
        assert_eq!(other, if of_all == 20 { 0 } else { 20 });
    }
}

/// 6888-5: sessions of a mapping and of a host are bounded; 4787-11: who may send in does not change.
#[test]
fn rfc_6888_5_sessions_are_bounded_by_mapping_and_by_host() {
    for of_mapping in [true, false] {
        let mut nat = NatBox::new(|settings| {
            if of_mapping {
                settings.sessions_per_mapping = 5;
            } else {
                settings.host_limits.sessions = 5;
            }
        });
        let external = nat.open(Body::Udp, at(INSIDE), at("8.8.8.8:1"));
        for port in 2..6 {
            nat.open(Body::Udp, at(INSIDE), format!("8.8.8.8:{port}").parse().unwrap());
        }
        let result = nat.send(Body::Udp, at(INSIDE), at("8.8.8.8:6"));
        let expected = if of_mapping {
            DropReason::NatMappingSessionLimit
        } else {
            DropReason::NatHostSessionLimit
        };
        assert_eq!(result.dropped, [expected]);
        assert!(nat.reaches(Body::Udp, at("9.9.9.9:9"), external, at(INSIDE)));
        assert_eq!(nat.detail("/sessions"), 5);
        let another = nat.send(Body::Udp, inside(0, 7777), at("8.8.8.8:6"));
        assert_eq!(another.dropped.is_empty(), of_mapping);
        nat.open(Body::Udp, inside(1, 5000), at("8.8.8.8:6"));
    }
}

/// 6888-11B, 5508-8, 5508-9: what a refused host is told is a choice.
#[test]
fn rfc_6888_11b_a_refused_host_is_told_what_was_chosen() {
    for (refusal, code) in [
        (Refusal::Prohibited, Some(13)),
        (Refusal::HostUnreachable, Some(1)),
        (Refusal::Silent, None),
    ] {
        let mut nat = NatBox::new(|settings| {
            settings.limits.mappings = 1;
            settings.refusal = refusal;
        });
        nat.open(Body::Udp, inside(0, 2000), at(SERVER));
        let result = nat.send(Body::Udp, inside(1, 2000), at(SERVER));
        let told = result.lan.first().map(|answer| (answer[34], answer[35]));
        assert_eq!(told, code.map(|code| (3, code)));
    }
}
