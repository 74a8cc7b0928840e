//! What is listed of mappings, sessions and addresses, and what is deleted.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use netchannel::channel::nat::{EndReason, Event, Protocol, Selection};
use netchannel::channel::{AddressEntry, PortCounts, SessionEntry, Slice};
use netchannel::control::Filter;
use netchannel::drop_reason::DropReason;

use crate::harness::*;
use crate::packets::*;

fn filter(json: &str) -> Filter {
    serde_json::from_str(json).unwrap()
}

fn slice(filter: &Filter, after: u64, limit: usize) -> Slice<'_> {
    Slice { filter, after, limit }
}

/// The inside endpoints of the mappings that a filter lets through, in slices of two.
fn inside_of(nat: &NatBox, json: &str) -> Vec<String> {
    let filter = filter(json);
    let mut inside = Vec::new();
    let mut after = Some(0);
    while let Some(place) = after {
        let page = nat.mappings_from(&filter, place, 2);
        inside.extend(page.entries.iter().map(|entry| entry.inside.to_string()));
        assert!(page.next.is_none_or(|next| next > place));
        after = page.next;
    }
    inside.sort();
    inside
}

fn sessions(nat: &NatBox, json: &str) -> Vec<SessionEntry> {
    let filter = filter(json);
    let mut sessions = Vec::new();
    let mut after = Some(0);
    while let Some(place) = after {
        let page = nat.nat().sessions(slice(&filter, place, 2), nat.test.now);
        sessions.extend(page.entries);
        assert!(page.next.is_none_or(|next| next > place));
        after = page.next;
    }
    sessions
}

/// Deletes by a filter, slice after slice.
fn delete(nat: &mut NatBox, json: &str, limit: usize) -> u64 {
    let filter = filter(json);
    let (mut deleted, mut after) = (0, Some(0));
    while let Some(place) = after {
        let (count, next) = nat.delete(slice(&filter, place, limit));
        assert!(count <= limit as u64);
        deleted += count;
        after = next;
    }
    deleted
}

/// Three mappings of UDP and TCP, made 0, 100 and 200 seconds ago.
fn three() -> NatBox {
    let mut nat = NatBox::plain();
    nat.open(Body::Udp, at("10.0.0.2:2000"), at(SERVER));
    nat.wait(100);
    nat.open(Body::Tcp(SYN), at("10.0.0.2:2001"), at("8.8.8.8:80"));
    nat.wait(100);
    nat.open(Body::Udp, at("10.0.0.3:2000"), at("9.9.9.9:53"));
    nat
}

#[test]
fn mappings_are_filtered_by_what_is_asked_for() {
    let nat = three();
    let [a, b, c] = ["10.0.0.2:2000", "10.0.0.2:2001", "10.0.0.3:2000"];
    for (filter, expected) in [
        ("{}", vec![a, b, c]),
        (r#"{"protocol":"udp"}"#, vec![a, c]),
        (r#"{"protocol":"icmp"}"#, vec![]),
        (r#"{"inside":"10.0.0.2"}"#, vec![a, b]),
        (r#"{"inside":"10.0.0.2/31"}"#, vec![a, b, c]),
        (r#"{"inside":":2000"}"#, vec![a, c]),
        (r#"{"inside":"10.0.0.2:2000"}"#, vec![a]),
        (r#"{"external":"192.0.2.7:2001"}"#, vec![b]),
        (r#"{"external":"192.0.2.8"}"#, vec![]),
        (r#"{"min_age_seconds":100}"#, vec![a, b]),
        (r#"{"max_age_seconds":100}"#, vec![b, c]),
        (r#"{"min_age_seconds":100,"max_age_seconds":150}"#, vec![b]),
        (r#"{"inside":"10.0.0.2","protocol":"tcp"}"#, vec![b]),
    ] {
        assert_eq!(inside_of(&nat, filter), expected, "{filter}");
    }
}

#[test]
fn sessions_say_with_whom_and_since_when() {
    let mut nat = three();
    nat.open(Body::Udp, at("10.0.0.2:2000"), at("9.9.9.9:53"));
    nat.reaches(
        Body::Udp,
        at("7.7.7.7:7"),
        at("192.0.2.7:2000"),
        at("10.0.0.2:2000"),
    );
    let all = sessions(&nat, "{}");
    assert_eq!(all.len(), 5);
    let from_outside = sessions(&nat, r#"{"remote":"7.7.7.7"}"#);
    let [session] = from_outside[..] else {
        panic!("{from_outside:?}");
    };
    assert_eq!(
        session,
        SessionEntry {
            protocol: Protocol::Udp,
            inside: at("10.0.0.2:2000"),
            external: at("192.0.2.7:2000"),
            remote: at("7.7.7.7:7"),
            is_from_inside: false,
            mapping_age: std::time::Duration::from_secs(200),
            idle: std::time::Duration::ZERO,
            left: std::time::Duration::from_secs(300),
            state: None,
        }
    );
    let connection = sessions(&nat, r#"{"protocol":"tcp"}"#)[0];
    assert_eq!(
        (connection.remote, connection.is_from_inside),
        (at("8.8.8.8:80"), true)
    );
    assert!(connection.state.is_some());
    let to = |filter| -> BTreeSet<SocketAddrV4> {
        sessions(&nat, filter)
            .iter()
            .map(|session| session.remote)
            .collect()
    };
    assert_eq!(to(r#"{"remote":":53"}"#), [at(SERVER), at("9.9.9.9:53")].into());
    assert_eq!(to(r#"{"inside":"10.0.0.3"}"#), [at("9.9.9.9:53")].into());
    assert_eq!(to(r#"{"external":"192.0.2.7:2001"}"#), [at("8.8.8.8:80")].into());
    assert_eq!(
        to(r#"{"max_age_seconds":150,"protocol":"udp"}"#),
        [at("9.9.9.9:53")].into()
    );
    nat.wait(99);
    // The oldest sessions are over 300 seconds after their last packet.
    assert_eq!(sessions(&nat, r#"{"remote":"8.8.8.8:53"}"#).len(), 1);
    nat.leap(std::time::Duration::from_secs(1));
    assert_eq!(sessions(&nat, r#"{"remote":"8.8.8.8:53"}"#).len(), 0);
}

/// However many mappings there are, a slice looks at a bounded number of places, and all slices together at each once.
#[test]
fn many_mappings_come_in_bounded_slices() {
    let mut nat = NatBox::new(|settings| settings.preserve_ports = false);
    for number in 0..20_000u32 {
        let inside = format!("10.0.0.2:{}", 1024 + number).parse().unwrap();
        nat.open(Body::Udp, inside, at(SERVER));
    }
    let none = filter(r#"{"inside":"10.9.9.9"}"#);
    let first = nat.mappings_from(&none, 0, 1000);
    assert_eq!((first.entries.len(), first.next), (0, Some(16_384)));
    assert_eq!(nat.mappings_from(&none, 16_384, 1000).next, None);
    let all = Filter::default();
    let first = nat.mappings_from(&all, 0, usize::MAX);
    assert!(first.entries.len() <= 4_096 && first.next.is_some());
    assert_eq!(inside_of(&nat, r#"{"protocol":"udp"}"#).len(), 20_000);
    assert_eq!(sessions(&nat, "{}").len(), 20_000);
    assert_eq!(delete(&mut nat, "{}", 1000), 20_000);
    assert_eq!(nat.detail("/sessions"), 0);
}

#[test]
fn deleted_mappings_are_gone_and_others_live_on() {
    let mut nat = three();
    assert_eq!(delete(&mut nat, r#"{"inside":"10.0.0.2"}"#, 10), 2);
    assert_eq!(inside_of(&nat, "{}"), ["10.0.0.3:2000"]);
    assert_eq!(delete(&mut nat, r#"{"inside":"10.0.0.2"}"#, 10), 0);
    // Nothing comes in any more.
    let result = nat.reply(Body::Udp, at(SERVER), at("192.0.2.7:2000"));
    assert_eq!(result.dropped(), DropReason::NatNoMapping);
    // The next packet from inside is looked at anew. Port 2000 is held as after any end (RFC 6888 REQ-8).
    let again = nat.open(Body::Udp, at("10.0.0.2:2000"), at(SERVER));
    assert_ne!(again.port(), 2000);
    let result = nat.send(Body::Tcp(ACK), at("10.0.0.2:2001"), at("8.8.8.8:80"));
    assert_eq!(result.dropped(), DropReason::NatNotOpening);
    nat.open(Body::Tcp(SYN), at("10.0.0.2:2001"), at("8.8.8.8:80"));
    // Time passes over what is gone.
    nat.wait(10_000);
    assert_eq!(nat.detail("/sessions"), 0);
}

/// A mapping with more sessions than one slice may end goes in several.
#[test]
fn a_mapping_with_many_sessions_is_deleted_whole() {
    let selection = Selection::default();
    let (mut nat, mut recording) = NatBox::recorded(|_| {}, selection, 64);
    for port in 1..=3000 {
        nat.open(Body::Udp, at(INSIDE), format!("8.8.8.8:{port}").parse().unwrap());
    }
    assert_eq!(delete(&mut nat, r#"{"inside":":5000"}"#, 10), 1);
    assert_eq!(nat.detail("/sessions"), 0);
    let events: Vec<Event> = recording.by_ref().map(|record| record.event).collect();
    assert!(
        matches!(
            events[..],
            [
                Event::MappingCreated(_),
                Event::MappingDeleted(_, EndReason::Deleted)
            ]
        ),
        "{events:?}"
    );
}

#[test]
fn pools_count_ports_and_hosts() {
    let mut nat = NatBox::new(|settings| {
        settings.external = vec![
            EXTERNAL..=EXTERNAL,
            std::net::Ipv4Addr::new(192, 0, 2, 8)..=std::net::Ipv4Addr::new(192, 0, 2, 9),
        ];
        settings.ports = vec![5000..=5099];
    });
    for port in 0..10 {
        nat.open(
            Body::Udp,
            format!("10.0.0.2:{}", 2000 + port).parse().unwrap(),
            at(SERVER),
        );
    }
    nat.open(Body::Tcp(SYN), at("10.0.0.2:2000"), at(SERVER));
    let counts = |nat: &NatBox| -> Vec<AddressEntry> {
        let all = Filter::default();
        let mut entries = Vec::new();
        let mut after = Some(0);
        while let Some(place) = after {
            let page = nat.nat().addresses(slice(&all, place, 2));
            entries.extend(page.entries);
            after = page.next;
        }
        entries
    };
    let used = |nat: &NatBox| -> AddressEntry {
        let all = counts(nat);
        assert_eq!(all.len(), 3);
        for entry in &all {
            for ports in [entry.ports.tcp, entry.ports.udp, entry.ports.icmp] {
                assert_eq!(ports.used + ports.free + ports.held, 100, "{entry:?}");
            }
        }
        all.into_iter()
            .max_by_key(|entry| entry.hosts + entry.ports.udp.held)
            .unwrap()
    };
    let entry = used(&nat);
    assert_eq!(entry.hosts, 1);
    let ports = |used, held| PortCounts {
        used,
        free: 100 - used - held,
        held,
    };
    assert_eq!(
        (entry.ports.udp, entry.ports.tcp, entry.ports.icmp),
        (ports(10, 0), ports(1, 0), ports(0, 0))
    );
    let pool = nat.nat().pool().unwrap();
    assert_eq!((pool.addresses, pool.hosts, pool.ports_per_protocol), (3, 1, 300));
    assert_eq!((pool.mappings.udp, pool.mappings.tcp, pool.sessions), (10, 1, 11));
    assert_eq!(
        (pool.limits.mappings, pool.host_limits.mappings),
        (Some(65_536), None)
    );

    assert_eq!(delete(&mut nat, "{}", 100), 11);
    let entry = used(&nat);
    assert_eq!(entry.hosts, 0);
    // Ports of UDP are held, those of TCP are not.
    assert_eq!((entry.ports.udp, entry.ports.tcp), (ports(0, 10), ports(0, 0)));
    assert_eq!(nat.nat().pool().unwrap().ports_held, 10);
    nat.wait(121);
    assert_eq!(used(&nat).ports.udp, ports(0, 0));
    let one = filter(r#"{"external":"192.0.2.8/31"}"#);
    assert_eq!(nat.nat().addresses(slice(&one, 0, 10)).entries.len(), 2);
}
