//! Forwarded ports, inside hosts with external addresses of their own, and what is not translated at all.

use std::net::SocketAddrV4;

use classifier::Rule;
use netchannel::channel::nat::{Forward, OneToOne, Protocol};
use netchannel::dispatch::dimensions::{Ipv4Dimensions, dimension};
use netchannel::drop_reason::DropReason;
use netchannel::packet::{Headers, checksum};

use crate::harness::*;
use crate::packets::*;

const WEB: &str = "10.0.0.5:80";
const STRANGER: &str = "9.9.9.9:999";

fn forward(protocol: Protocol, ports: std::ops::RangeInclusive<u16>, inside: &str) -> Forward {
    let inside = at(inside);
    Forward {
        protocol,
        external: EXTERNAL,
        ports,
        inside: *inside.ip(),
        inside_port: inside.port(),
    }
}

fn forwarding() -> NatBox {
    NatBox::new(|settings| {
        settings.ports = vec![8080..=8099];
        settings.forwards = vec![
            forward(Protocol::Tcp, 8080..=8081, WEB),
            forward(Protocol::Tcp, 443..=443, WEB),
            forward(Protocol::Udp, 5000..=5999, "10.0.0.6:1000"),
        ];
    })
}

fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

/// A forwarded port is open for everyone, answers leave from it, and so does what the inside host opens itself.
#[test]
fn a_forwarded_port_stands_for_its_inside_port_both_ways() {
    let mut nat = forwarding();
    for port in [8080, 443] {
        let client = format!("9.9.9.9:{port}").parse().unwrap();
        assert!(nat.reaches(Body::Tcp(SYN), client, external(port), at(WEB)));
        let answer = nat.send(Body::Tcp(SYN | ACK), at(WEB), client);
        assert_eq!(ends(answer.out()), (external(port), client));
    }
    assert!(nat.reaches(Body::Tcp(SYN), at(STRANGER), external(8081), at("10.0.0.5:81")));
    assert!(nat.reaches(Body::Udp, at(STRANGER), external(5999), at("10.0.0.6:1999")));
    // What the host sends by itself leaves by the port that was named first (4787-1).
    assert_eq!(
        nat.open(Body::Tcp(SYN), at(WEB), at("8.8.8.8:25")),
        external(8080)
    );
    // What does not open anything is not let in.
    let result = nat.reply(Body::Tcp(ACK), at("9.9.9.9:1"), external(8080));
    assert_eq!(result.dropped(), DropReason::NatNotOpening);
    // 7857-6: another protocol's port of the same number is another port.
    let result = nat.reply(Body::Udp, at(STRANGER), external(8080));
    assert_eq!(result.dropped(), DropReason::NatNoMapping);
}

/// 4787-3: nobody else gets a forwarded port.
#[test]
fn rfc_4787_3_forwarded_ports_are_nobody_elses() {
    let mut nat = forwarding();
    for number in 0..18 {
        let inside = format!("10.0.0.{}:8080", 20 + number).parse().unwrap();
        let port = nat.open(Body::Tcp(SYN), inside, at(SERVER)).port();
        assert!((8082..=8099).contains(&port), "{port}");
    }
    let result = nat.send(Body::Tcp(SYN), at("10.0.0.99:8080"), at(SERVER));
    assert_eq!(result.dropped, [DropReason::NatPortsExhausted]);
    assert!(nat.reaches(Body::Tcp(SYN), at(STRANGER), external(8080), at(WEB)));
    // It is still forwarded when all its sessions are over.
    nat.wait(300);
    assert_eq!(nat.detail("/mappings/tcp"), 0);
    assert!(nat.reaches(Body::Tcp(SYN), at(STRANGER), external(8080), at(WEB)));
}

/// 4787-9, 4787-9a, 5382-8: a host inside uses a forwarded port.
#[test]
fn rfc_4787_9_forwarded_ports_are_there_for_inside_hosts() {
    let mut nat = forwarding();
    let client = at("10.0.0.9:8085");
    let result = nat.send(Body::Tcp(SYN), client, external(8080));
    assert_eq!(ends(result.at_host()), (external(8085), at(WEB)));
    let result = nat.send(Body::Tcp(SYN | ACK), at(WEB), external(8085));
    assert_eq!(ends(result.at_host()), (external(8080), client));
    // From the forwarded host to itself.
    let result = nat.send(Body::Tcp(SYN), at(WEB), external(8081));
    assert_eq!(ends(result.at_host()), (external(8080), at("10.0.0.5:81")));
}

/// 5508-4, 5508-5: errors about forwarded packets find their way, in both directions.
#[test]
fn rfc_5508_4_errors_about_forwarded_packets_are_translated() {
    let mut nat = forwarding();
    let client = at(STRANGER);
    assert!(nat.reaches(Body::Udp, client, external(5000), at("10.0.0.6:1000")));
    let about = ip_packet(Body::Udp, client, at("10.0.0.6:1000"), b"to the inside");
    let result = nat.inside(&error(3, 3, "10.0.0.6", *client.ip(), &about));
    assert_eq!(ends(&quoted(result.out())), (client, external(5000)));
    let about = ip_packet(Body::Udp, external(5000), client, b"an answer");
    let result = nat.outside(&error(3, 3, "9.9.9.9", EXTERNAL, &about));
    assert_eq!(ends(&quoted(result.at_host())), (at("10.0.0.6:1000"), client));
}

/// 5508-5: of two external ports that stand for one inside, an error names the one that the packet was sent to.
#[test]
fn rfc_5508_5_an_error_names_the_forwarded_port_that_the_packet_came_to() {
    let mut nat = forwarding();
    let client = at(STRANGER);
    for (opened, ports) in [(443, [443].as_slice()), (8080, &[443, 8080])] {
        assert!(nat.reaches(
            Body::Tcp(SYN),
            SocketAddrV4::new(*client.ip(), opened),
            external(opened),
            at(WEB)
        ));
        for &port in ports {
            let client = SocketAddrV4::new(*client.ip(), port);
            let about = ip_packet(Body::Tcp(SYN), client, at(WEB), b"to the inside");
            let result = nat.inside(&error(3, 3, "10.0.0.5", *client.ip(), &about));
            assert_eq!(ends(&quoted(result.out())), (client, external(port)));
        }
    }
}

/// 4787-3, 4787-9: a host sends from a forwarded port to that port.
#[test]
fn rfc_4787_3_a_forwarded_port_that_sends_to_itself_has_one_mapping() {
    let mut nat = forwarding();
    let result = nat.send(Body::Udp, at("10.0.0.6:1005"), external(5005));
    assert_eq!(ends(result.at_host()), (external(5005), at("10.0.0.6:1005")));
    assert_eq!(nat.mappings().len(), 1);
    nat.wait(300);
    assert_eq!(nat.detail("/mappings/udp"), 0);
    assert!(nat.reaches(Body::Udp, at(STRANGER), external(5005), at("10.0.0.6:1005")));
}

/// 203.0.113.8 to .15 stand for 10.0.0.32 to .39.
fn one_to_one() -> NatBox {
    NatBox::new(|settings| {
        settings.one_to_one = vec![OneToOne {
            external: host("203.0.113.8")..=host("203.0.113.15"),
            inside: host("10.0.0.32"),
        }];
    })
}

const OWNER: &str = "10.0.0.33:7777";
const OWNED: &str = "203.0.113.9:7777";

/// 3022-2.1: both directions, opened from either side, ports untouched.
#[test]
fn rfc_3022_2_1_an_address_stands_for_a_host() {
    let mut nat = one_to_one();
    for body in [Body::Tcp(SYN), Body::Udp] {
        assert!(nat.reaches(body, at(STRANGER), at(OWNED), at(OWNER)));
        assert_eq!(nat.open(body, at(OWNER), at(STRANGER)), at(OWNED));
    }
    // 7857-12, 5508-1: ping from both sides.
    let ping = nat.reply(Body::Query(8), at("9.9.9.9:77"), at("203.0.113.9:0"));
    assert_eq!(*ends(ping.at_host()).1.ip(), host("10.0.0.33"));
    let answer = nat.send(Body::Query(0), at("10.0.0.33:0"), at("9.9.9.9:77"));
    assert_eq!(*ends(answer.out()).0.ip(), host("203.0.113.9"));
    assert_eq!(nat.mappings(), Vec::<serde_json::Value>::new());
    // Hosts inside know each other by their own addresses.
    let result = nat.send(Body::Udp, at(OWNER), at("10.0.0.2:1"));
    assert_eq!(ends(result.at_host()).0, at(OWNER));
    // Nobody outside has these addresses.
    let result = nat.reply(Body::Udp, at(OWNED), at("192.0.2.7:5000"));
    assert_eq!(result.dropped(), DropReason::NotForwarded);
}

/// 6888-1, 3022-2.1: other protocols pass with an address of their own, and are dropped and counted without.
#[test]
fn rfc_6888_1_other_protocols_have_an_address_of_their_own_or_are_dropped() {
    let mut nat = one_to_one();
    for protocol in [33, 47, 50, 132, 136, 253] {
        let payload = [0x11; 24];
        let (inside, outside, external) = (host("10.0.0.33"), host("9.9.9.9"), host("203.0.113.9"));
        let result = nat.inside(&ipv4(protocol, inside, outside, &payload));
        let headers = Headers::parse(result.out()).unwrap();
        assert_eq!((headers.source, headers.protocol), (external.into(), protocol));
        let sum = |frame: &[u8], source: std::net::Ipv4Addr| {
            let pseudo = checksum::pseudo_sum(source.into(), outside.into(), protocol, 24);
            checksum::add(pseudo, checksum::sum(&frame[34..58]))
        };
        let out = result.out().to_vec();
        if [33, 136].contains(&protocol) {
            // Their checksum covers the addresses: it is as right or wrong as before.
            let before = ipv4(protocol, inside, outside, &payload);
            assert_eq!(sum(&out, external), sum(&frame(&before), inside));
        } else {
            assert_eq!(out[34..58], payload);
        }
        let result = nat.outside(&ipv4(protocol, outside, external, &payload));
        assert_eq!(
            Headers::parse(result.at_host()).unwrap().destination,
            std::net::IpAddr::from(inside)
        );
        let result = nat.inside(&ipv4(protocol, host("10.0.0.2"), outside, &payload));
        assert_eq!(result.dropped(), DropReason::NatProtocol);
    }
}

/// 4787-9, 5508-7: between hosts with an address of their own, and between one and a mapping, in both directions.
#[test]
fn rfc_5508_7_addresses_are_there_for_inside_hosts() {
    let mut nat = one_to_one();
    let other = at("10.0.0.34:6666");
    let result = nat.send(Body::Udp, at(OWNER), at("203.0.113.10:6666"));
    assert_eq!(ends(result.at_host()), (at(OWNED), other));
    // A host without an address of its own is seen by its mapping, and answered.
    for (body, answer) in [
        (Body::Udp, Body::Udp),
        (Body::Tcp(SYN), Body::Tcp(SYN | ACK)),
        (Body::Query(8), Body::Query(0)),
    ] {
        let to = if body == Body::Query(8) {
            at("203.0.113.9:0")
        } else {
            at(OWNED)
        };
        let result = nat.send(body, at(INSIDE), to);
        let (source, destination) = ends(result.at_host());
        assert_eq!((source, *destination.ip()), (external(5000), host("10.0.0.33")));
        let from = SocketAddrV4::new(host("10.0.0.33"), to.port());
        let result = nat.send(answer, from, source);
        let (source, destination) = ends(result.at_host());
        assert_eq!((*source.ip(), destination), (host("203.0.113.9"), at(INSIDE)));
    }
    // It may open towards a mapping too, if that lets it in.
    let result = nat.send(Body::Udp, other, external(5000));
    assert_eq!(ends(result.at_host()), (at("203.0.113.10:6666"), at(INSIDE)));
    let result = nat.send(Body::Udp, other, external(5001));
    assert_eq!(result.dropped(), DropReason::NatNoMapping);
}

/// 5508-4, 5508-5, 7857-12: errors from both sides, addresses restored in what they quote.
#[test]
fn rfc_5508_5_errors_about_packets_of_an_address() {
    let mut nat = one_to_one();
    let about = ip_packet(Body::Udp, at(OWNED), at(STRANGER), b"what was sent");
    let result = nat.outside(&error(11, 0, "151.101.1.1", host("203.0.113.9"), &about));
    let packet = result.at_host();
    assert_eq!(*ends(packet).1.ip(), host("10.0.0.33"));
    assert_eq!(ends(&quoted(packet)), (at(OWNER), at(STRANGER)));
    let about = ip_packet(Body::Udp, at(STRANGER), at(OWNER), b"what came");
    let result = nat.inside(&error(3, 3, "10.0.0.33", host("9.9.9.9"), &about));
    let packet = result.out();
    assert_eq!(*ends(packet).0.ip(), host("203.0.113.9"));
    assert_eq!(ends(&quoted(packet)), (at(STRANGER), at(OWNED)));
    // Whose identifier it is that a query has does not change.
    let query = |to: &str| {
        ip_packet(
            Body::Query(8),
            at("9.9.9.9:77"),
            SocketAddrV4::new(host(to), 0),
            b"what came",
        )
    };
    let result = nat.inside(&error(3, 1, "10.0.0.33", host("9.9.9.9"), &query("10.0.0.33")));
    assert_eq!(
        super::packets::packet(&quoted(result.out())),
        query("203.0.113.9")
    );
}

/// 6888-6: what a rule gives to a channel that forwards is not translated.
#[test]
fn rfc_6888_6_a_rule_exempts_destinations_and_ports() {
    let mut nat = NatBox::with_rules(
        |_| {},
        |rules, forward| {
            let mut exempt = Rule::any::<Ipv4Dimensions>(1, forward);
            exempt.ranges[dimension::DESTINATION_ADDRESS] =
                "8.8.0.0/16".parse::<ipnet::Ipv4Net>().unwrap().into();
            exempt.ranges[dimension::DESTINATION_PORT] = classifier::Range::exact(5000);
            rules.insert_ipv4(exempt).unwrap();
        },
    );
    assert_eq!(nat.open(Body::Udp, at(INSIDE), at("8.8.8.8:5000")), at(INSIDE));
    assert_eq!(
        nat.open(Body::Udp, at("10.0.0.2:7000"), at("8.8.8.8:5001")),
        external(7000)
    );
    assert_eq!(
        nat.open(Body::Udp, at("10.0.0.2:7000"), at("9.9.9.9:5000")),
        external(7000)
    );
}
