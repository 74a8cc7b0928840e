//! The channel of the example `custom_channel`, through the dispatcher on plain memory.

mod common;
#[path = "../examples/custom_channel/responder.rs"]
mod responder;

use std::io::ErrorKind;
use std::net::IpAddr;

use common::*;
use etherparse::PacketBuilder;
use netchannel::channel::{Drop, Netchannel, Pass};
use netchannel::config::Config;
use netchannel::dispatch::Registry;
use netchannel::drop_reason::DropReason;
use netchannel::packet::{Headers, Transport, VlanTags, checksum, protocol};
use netchannel::setup;
use responder::{LONGEST_ANSWER, Responder};

const CONFIGURATION: &str = include_str!("../examples/custom_channel/responder.toml");
const HOST: [u8; 4] = [10, 0, 0, 2];
const SERVICE: [u8; 4] = [192, 0, 2, 53];

/// A box with the responder, under the rules of the example's configuration.
fn test_box() -> TestBox {
    let config = Config::parse(CONFIGURATION, "responder.toml").unwrap();
    let mut channels = Registry::new();
    let all: [(&str, Box<dyn Netchannel>); 3] = [
        ("drop", Box::new(Drop)),
        ("pass", Box::new(Pass)),
        ("responder", Box::new(Responder::new("hello"))),
    ];
    for (name, channel) in all {
        channels.register(name, channel).unwrap();
    }
    let rules = setup::rule_set(&config, &config.rules, &channels, &[]).unwrap();
    TestBox::with(channels, rules)
}

fn datagram(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(HOST_MAC, LAN_MAC)
        .ipv4(HOST, SERVICE, 64)
        .udp(5000, 7);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// What comes back by the interface that the packet went in by.
fn ask(test: &mut TestBox, packet: &[u8]) -> Vec<Vec<u8>> {
    assert!(test.lan.send(packet));
    test.run();
    assert!(test.wan.sent_all().is_empty());
    test.assert_all_accounted_for();
    test.lan.sent_all()
}

/// The payload of an answer, whose headers and checksums must be right.
fn text(answer: &[u8]) -> &[u8] {
    let headers = Headers::parse(answer).expect("a right IPv4 header");
    let segment = &answer[usize::from(headers.transport_start)..];
    let pseudo = checksum::pseudo_sum(
        headers.source,
        headers.destination,
        protocol::UDP,
        segment.len() as u64,
    );
    assert_eq!(
        checksum::add(pseudo, checksum::sum(segment)),
        0xffff,
        "UDP checksum"
    );
    &segment[8..]
}

fn read(test: &mut TestBox) -> Vec<u8> {
    let mut buffer = [0; 64];
    let length = test.dispatcher.read("responder", &mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn detail(test: &TestBox, name: &str) -> serde_json::Value {
    let (_, channel, _) = test
        .dispatcher
        .channels()
        .iter()
        .find(|(name, ..)| *name == "responder")
        .unwrap();
    channel.details()[name].clone()
}

#[test]
fn a_datagram_is_answered_to_where_it_came_from() {
    let mut test = test_box();
    let answers = ask(&mut test, &datagram(b"ping"));
    assert_eq!(answers.len(), 1);
    assert_eq!(text(&answers[0]), b"hello");
    assert_eq!(answers[0][0..6], HOST_MAC);
    assert_eq!(answers[0][6..12], LAN_MAC);
    let headers = Headers::parse(&answers[0]).unwrap();
    assert_eq!(
        (headers.source, headers.destination),
        (IpAddr::from(SERVICE), IpAddr::from(HOST))
    );
    assert_eq!(
        headers.transport,
        Transport::Udp {
            source: 7,
            destination: 5000
        }
    );
    assert_eq!(headers.ttl, 64);
    let totals = test.dispatcher.totals();
    assert_eq!(
        (totals.received, totals.transmitted, totals.consumed()),
        (1, 1, 0)
    );
    assert_eq!(detail(&test, "answered"), 1);
}

#[test]
fn the_user_reads_what_came_and_writes_the_next_answer() {
    let mut test = test_box();
    assert_eq!(read(&mut test), b"");
    ask(&mut test, &datagram(b"one"));
    ask(&mut test, &datagram(b"two"));
    assert_eq!(read(&mut test), b"one\ntwo\n");
    assert_eq!(read(&mut test), b"");

    // Longer than the request, then nothing at all.
    for answer in [&b"something else"[..], b""] {
        let taken = test.dispatcher.write("responder", answer, test.now).unwrap();
        assert_eq!(taken, answer.len());
        let answers = ask(&mut test, &datagram(b"?"));
        assert_eq!(text(&answers[0]), answer);
    }
}

#[test]
fn an_answer_that_is_too_long_is_refused_and_the_former_one_stays() {
    let mut test = test_box();
    let long = [b'x'; LONGEST_ANSWER + 1];
    let error = test.dispatcher.write("responder", &long, test.now).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(text(&ask(&mut test, &datagram(b"?"))[0]), b"hello");

    test.dispatcher.write("responder", &long[1..], test.now).unwrap();
    assert_eq!(text(&ask(&mut test, &datagram(b"?"))[0]), &long[1..]);
    let error = test.dispatcher.write("nobody", b"", test.now).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn an_odd_length_and_ethernet_padding_do_no_harm() {
    let mut test = test_box();
    let mut padded = datagram(b"odd");
    padded.resize(60, 0xaa);
    assert_eq!(text(&ask(&mut test, &padded)[0]), b"hello");
    assert_eq!(read(&mut test), b"odd\n");
}

#[test]
fn a_partial_checksum_was_completed_before() {
    let mut test = test_box();
    let mut partial = datagram(b"from a veth peer");
    let length = partial.len() - 34;
    let pseudo = checksum::pseudo_sum(HOST.into(), SERVICE.into(), protocol::UDP, length as u64);
    partial[40..42].copy_from_slice(&pseudo.to_be_bytes());
    assert_eq!(text(&ask(&mut test, &partial)[0]), b"hello");
}

#[test]
fn what_is_no_intact_datagram_is_dropped() {
    let mut damaged = datagram(b"damaged");
    damaged[42] ^= 1;
    let mut fragment = datagram(b"the first part");
    edit_ipv4(&mut fragment, |header| {
        header[6] = 0x20;
    });
    let mut group = datagram(b"from a group");
    edit_ipv4(&mut group, |header| header[12] = 239);
    for packet in [damaged, fragment] {
        let mut test = test_box();
        assert!(ask(&mut test, &packet).is_empty());
        assert_eq!(test.dispatcher.totals().dropped.get(DropReason::Channel), 1);
        assert_eq!(read(&mut test), b"");
    }
    // The rule is for hosts of the inside only.
    let mut test = test_box();
    assert!(ask(&mut test, &group).is_empty());
    assert_eq!(test.kernel.passed.borrow().len(), 1);
}

#[test]
fn a_datagram_without_a_checksum_is_answered() {
    let mut test = test_box();
    let mut unchecked = datagram(b"unchecked");
    unchecked[40..42].fill(0);
    assert_eq!(text(&ask(&mut test, &unchecked)[0]), b"hello");
}

#[test]
fn other_ports_are_the_kernels() {
    let mut test = test_box();
    let other = udp("10.0.0.2", "192.0.2.53", 64, b"to port 6000");
    assert!(ask(&mut test, &other).is_empty());
    assert_eq!(*test.kernel.passed.borrow(), [other]);
}

#[test]
fn payloads_that_nobody_reads_are_bounded() {
    let mut test = test_box();
    // 65 lines of 1001 bytes fit in 64 KiB.
    for _ in 0..70 {
        assert_eq!(ask(&mut test, &datagram(&[b'x'; 1000])).len(), 1);
    }
    assert_eq!(detail(&test, "missed"), 5);
    assert_eq!(detail(&test, "answered"), 70);
}

#[test]
fn ipv6_and_vlan_tags_are_kept() {
    let mut channels = Registry::new();
    let responder = channels
        .register("responder", Box::new(Responder::new("six")))
        .unwrap();
    let mut test = TestBox::with(channels, netchannel::dispatch::RuleSet::new(responder));
    let answers = ask(&mut test, &udp("fd00::2", "2001:db8::53", 64, b"?"));
    assert_eq!(text(&answers[0]), b"six");

    let mut tagged = udp("172.16.0.2", "192.0.2.53", 64, b"?");
    tagged[0..6].copy_from_slice(&WAN_MAC);
    tagged.splice(12..12, [0x81, 0x00, 0x00, 100]);
    assert!(test.wan.send(&tagged));
    test.run();
    let answer = test.wan.sent().unwrap();
    assert_eq!(text(&answer), b"six");
    let headers = Headers::parse(&answer).unwrap();
    assert_eq!(headers.vlan, VlanTags { outer: 100, inner: 0 });
    test.assert_all_accounted_for();
}
