//! Two translators that share an external address, each with ports of its own.

use std::net::SocketAddrV4;

use classifier::{Range, Rule};
use netchannel::channel::ChannelId;
use netchannel::channel::nat::{NatSettings, PreparedNat};
use netchannel::dispatch::dimensions::{Ipv4Dimensions, Ipv4Rule, dimension};
use netchannel::dispatch::{Registry, RuleSet};

use crate::common::{TestBox, interfaces};
use crate::fragments::{cut, together};
use crate::harness::*;
use crate::packets::*;

const FIRST: ChannelId = ChannelId(0);
const SECOND: ChannelId = ChannelId(1);
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
const DATA: &[u8] = b"sixty bytes or so, of which the first fragment has less than a half";
/// A host of each, and its port outside.
const HOSTS: [(&str, u16); 2] = [("10.0.0.2:2500", 2500), ("10.0.0.3:3500", 3500)];

/// Ports 2000 to 2999 are the first one's, 3000 to 3999 the second one's, by what is sent to port 53 and to port 54. What has no port is for
/// the first one, as setup has it.
fn sharing() -> NatBox {
    let prepared = |first: u16| {
        let mut settings = NatSettings::new(vec![EXTERNAL]);
        settings.ports = vec![first..=first + 999];
        PreparedNat::new(settings).unwrap()
    };
    let first = prepared(2000).into_channel();
    let second = prepared(3000).into_channel_beside(&first.fragments());
    let mut channels = Registry::new();
    channels.register("first", Box::new(first)).unwrap();
    channels.register("second", Box::new(second)).unwrap();
    let to_ports = |channel, first: u16, last: u16| -> Ipv4Rule<ChannelId> {
        let mut rule = Rule::any::<Ipv4Dimensions>(1, channel);
        rule.ranges[dimension::DESTINATION_PORT] = Range::new(first.into(), last.into()).unwrap();
        rule
    };
    let mut rules = RuleSet::new(FIRST);
    rules.insert_answer(to_ports(FIRST, 2000, 2999)).unwrap();
    rules.insert_answer(to_ports(SECOND, 3000, 3999)).unwrap();
    rules.insert_ipv4(to_ports(FIRST, 53, 53)).unwrap();
    rules.insert_ipv4(to_ports(SECOND, 54, 54)).unwrap();
    let test = TestBox::on(interfaces(), channels, rules);
    test.network.publish(wider_network().build());
    NatBox { test }
}

fn server(number: usize) -> SocketAddrV4 {
    SocketAddrV4::new([8, 8, 8, 8].into(), 53 + number as u16)
}

/// 4787-14: fragments find their way through either translator, in every order and both directions.
#[test]
fn rfc_4787_14_fragments_through_translators_that_share_an_address() {
    let mut nat = sharing();
    let mut identification = 0;
    for (number, (inside, port)) in HOSTS.into_iter().enumerate() {
        let external = SocketAddrV4::new(EXTERNAL, port);
        for order in ORDERS {
            identification += 1;
            let sent = cut(
                &ip_packet(Body::Udp, at(inside), server(number), DATA),
                identification,
            );
            let left: Vec<_> = order
                .iter()
                .flat_map(|&part| nat.inside(&sent[part]).wan)
                .collect();
            assert_eq!(left.len(), 3);
            assert_eq!(ends(&frame(&together(&left).1)), (external, server(number)));
            let sent = cut(
                &ip_packet(Body::Udp, server(number), external, DATA),
                identification,
            );
            let arrived: Vec<_> = order
                .iter()
                .flat_map(|&part| nat.outside(&sent[part]).lan)
                .collect();
            assert_eq!(arrived.len(), 3);
            assert_eq!(ends(&frame(&together(&arrived).1)), (server(number), at(inside)));
        }
    }
}

/// 4787-14a: what waits is bounded, counted once, and given up in time.
#[test]
fn rfc_4787_14a_translators_that_share_an_address_keep_fragments_together() {
    let mut nat = sharing();
    for number in 0..300 {
        let stranger = SocketAddrV4::new([20, 0, 1, number as u8].into(), 53);
        let external = SocketAddrV4::new(EXTERNAL, 3500);
        let [_, middle, _] = cut(&ip_packet(Body::Udp, stranger, external, DATA), number);
        nat.outside(&middle);
    }
    assert_eq!(nat.test.dispatcher.totals().held, 256);
    nat.wait(5);
    assert_eq!(nat.test.dispatcher.totals().held, 0);
    nat.test.assert_all_accounted_for();
}

/// 6864, 3022-6: one external address, one count of identifications.
#[test]
fn rfc_3022_6_translators_that_share_an_address_do_not_repeat_identifications() {
    let mut nat = sharing();
    let mut seen = std::collections::HashSet::new();
    for round in 0..200 {
        let (inside, _) = HOSTS[round % 2];
        let mut packet = ip_packet(Body::Udp, at(inside), server(round % 2), DATA);
        packet[6] = 0;
        packet[10..12].fill(0);
        let sum = netchannel::packet::checksum::of(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let result = nat.inside(&packet);
        assert!(seen.insert([result.out()[18], result.out()[19]]));
    }
}
