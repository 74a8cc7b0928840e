//! The fields that rules may ask for besides the five-tuple: from the configuration through the dispatcher on plain memory.

mod common;

use common::*;
use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader};
use netchannel::channel::{Drop, Forward, Pass};
use netchannel::config::Config;
use netchannel::dispatch::Registry;
use netchannel::drop_reason::DropReason;
use netchannel::packet::checksum;
use netchannel::setup;

const INTERFACES: &str = r#"
    [[interface]]
    name = "lan"
    role = "inside"
    [[interface]]
    name = "wan"
    role = "outside"
    [[interface]]
    name = "wan.100"
    role = "outside"
    [[channel]]
    name = "forward"
    type = "forward"
"#;

/// A box where one rule drops and all else goes to the kernel.
fn dropping(rule: &str) -> TestBox {
    with_rules(&format!("[[rule]]\nchannel = \"drop\"\n{rule}\n"))
}

fn with_rules(rules: &str) -> TestBox {
    let config = Config::parse(&format!("{INTERFACES}{rules}"), "test.toml").unwrap();
    let mut channels = Registry::new();
    channels.register("drop", Box::new(Drop)).unwrap();
    channels.register("pass", Box::new(Pass)).unwrap();
    channels.register("forward", Box::new(Forward)).unwrap();
    let rules = setup::rule_set(&config, &config.rules, &channels, &[]).unwrap();
    TestBox::with(channels, rules)
}

/// Whether this rule takes the frame, which comes in by `lan`.
fn takes(rule: &str, frame: &[u8]) -> bool {
    let mut test = dropping(rule);
    test.lan.send(frame);
    was_dropped(&mut test)
}

/// Whether what was sent to the box last was dropped by the rule, and not passed.
fn was_dropped(test: &mut TestBox) -> bool {
    let before = test.dispatcher.totals().dropped.get(DropReason::Rule);
    test.kernel.passed.borrow_mut().clear();
    test.run();
    let dropped = test.dispatcher.totals().dropped.get(DropReason::Rule) - before;
    assert_eq!(dropped as usize + test.kernel.passed.borrow().len(), 1);
    dropped == 1
}

fn tcp(flags: impl FnOnce(PacketBuilderStep<TcpHeader>) -> PacketBuilderStep<TcpHeader>) -> Vec<u8> {
    let step = PacketBuilder::ethernet2(HOST_MAC, LAN_MAC)
        .ipv4([10, 0, 0, 2], [8, 8, 8, 8], 64)
        .tcp(5000, 80, 1, 1000);
    let mut bytes = Vec::new();
    flags(step).write(&mut bytes, b"").unwrap();
    bytes
}

fn icmp(kind: u8, code: u8) -> Vec<u8> {
    let step = PacketBuilder::ethernet2(HOST_MAC, LAN_MAC).ipv4([10, 0, 0, 2], [8, 8, 8, 8], 64);
    let mut bytes = Vec::new();
    step.icmpv4_raw(kind, code, [0; 4])
        .write(&mut bytes, &[0x45; 28])
        .unwrap();
    bytes
}

/// The frame as a fragment: with this offset, in units of 8 bytes, and more to come or not.
fn fragment(mut frame: Vec<u8>, offset: u8, more: bool) -> Vec<u8> {
    edit_ipv4(&mut frame, |header| {
        header[6] = u8::from(more) << 5;
        header[7] = offset;
    });
    frame
}

#[test]
fn tcp_flags_are_those_of_the_packet_that_opens_the_flow() {
    let opening = tcp(|step| step.syn());
    let accepting = tcp(|step| step.syn().ack(1));
    let data = tcp(|step| step.ack(1).psh());
    let rule = |flags: &str| format!("protocol = \"tcp\"\ntcp_flags = {flags}");
    let taken = |flags: &str| [&opening, &accepting, &data].map(|frame| takes(&rule(flags), frame));
    assert_eq!(taken("\"syn/syn,ack\""), [true, false, false]);
    assert_eq!(taken("\"syn/fin,syn,rst,ack\""), [true, false, false]);
    assert_eq!(taken("\"ack\""), [false, true, true]);
    assert_eq!(taken("\"psh\""), [false, false, true]);
    assert_eq!(taken("\"none/psh,cwr\""), [true, true, false]);
    assert_eq!(taken("[\"syn/all\", \"psh\"]"), [true, false, true]);
    assert_eq!(taken("\"none/all\""), [false, false, false]);
    assert!(!takes(
        &rule("\"none/syn\""),
        &udp("10.0.0.2", "8.8.8.8", 64, b"?")
    ));
    // Later fragments have no flags.
    let later = fragment(data.clone(), 10, false);
    assert!(!takes(&rule("\"none/syn\""), &later));
    assert!(takes(&rule("\"none/syn\""), &fragment(data.clone(), 0, true)));

    // What opened the flow decided for it.
    let mut test = dropping(&rule("\"syn/syn,ack\""));
    for frame in [&data, &opening] {
        test.lan.send(frame);
        assert!(!was_dropped(&mut test));
    }
}

#[test]
fn icmp_messages_are_told_apart_by_type_and_code() {
    let rule = "protocol = \"icmp\"\nicmp_type = [0, 5, \"8-9\"]\nicmp_code = \"0-1\"";
    let cases = [
        (icmp(0, 0), true),
        (icmp(5, 1), true),
        (icmp(5, 2), false),
        (icmp(8, 0), true),
        (icmp(8, 2), false),
        (icmp(9, 0), true),
        (icmp(3, 1), false),
        (udp("10.0.0.2", "8.8.8.8", 64, b"?"), false),
    ];
    for (frame, expected) in &cases {
        assert_eq!(takes(rule, frame), *expected, "{frame:x?}");
    }
    // Echo replies are of type 0; later fragments have none.
    assert!(!takes(rule, &fragment(icmp(0, 0), 10, false)));
    // Messages between the same hosts are decided one by one.
    let mut test = dropping(rule);
    for (frame, expected) in [(icmp(3, 1), false), (icmp(5, 1), true), (icmp(3, 1), false)] {
        test.lan.send(&frame);
        assert_eq!(was_dropped(&mut test), expected);
    }

    let step = PacketBuilder::ethernet2(HOST_MAC, LAN_MAC);
    let mut unreachable = Vec::new();
    let addresses = ["fd00::2", "2001:db8::2"].map(|address| match ip(address) {
        std::net::IpAddr::V6(address) => address.octets(),
        std::net::IpAddr::V4(_) => unreachable!("an IPv6 address"),
    });
    step.ipv6(addresses[0], addresses[1], 64)
        .icmpv6_raw(1, 4, [0; 4])
        .write(&mut unreachable, &[0x60; 40])
        .unwrap();
    let rule = |code| format!("protocol = \"icmpv6\"\nicmp_type = 1\nicmp_code = {code}");
    assert_eq!(
        [takes(&rule(4), &unreachable), takes(&rule(3), &unreachable)],
        [true, false]
    );
}

#[test]
fn interfaces_and_tags_are_those_that_the_packet_came_in_by() {
    let by_lan = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    assert!(takes("interface = [\"wan\", \"lan\"]", &by_lan));
    assert!(!takes("interface = \"wan\"", &by_lan));
    assert!(takes("vlan = \"none\"", &by_lan));
    assert!(!takes("vlan = \"1-4094\"", &by_lan));

    let mut by_tag = udp("172.16.0.2", "10.0.0.2", 64, b"?");
    by_tag[0..6].copy_from_slice(&WAN_MAC);
    by_tag.splice(12..12, [0x81, 0x00, 0xe0, 100]);
    let taken = |rule: &str| {
        let mut test = dropping(rule);
        test.wan.send(&by_tag);
        was_dropped(&mut test)
    };
    assert!(taken("interface = \"wan.100\""));
    assert!(!taken("interface = \"wan\""));
    assert!(taken("vlan = \"100-199\""));
    assert!(!taken("vlan = [99, 101]"));
}

#[test]
fn code_points_are_found_in_both_families() {
    let mut ipv4 = udp("10.0.0.2", "8.8.8.8", 64, b"?");
    edit_ipv4(&mut ipv4, |header| header[1] = 46 << 2 | 3);
    let mut ipv6 = udp("fd00::2", "2001:db8::2", 64, b"?");
    // Version 6, the traffic class, and four bits of the flow label.
    ipv6[14..16].copy_from_slice(&(0x6000_u16 | (46 << 2 | 3) << 4 | 0xf).to_be_bytes());
    for frame in [&ipv4, &ipv6] {
        assert!(takes("dscp = \"ef\"", frame));
        assert!(takes("dscp = [\"45-47\", 0]", frame));
        assert!(!takes("dscp = [\"be-va\", \"47-63\"]", frame));
    }
}

#[test]
fn fragments_are_told_from_whole_datagrams() {
    let whole = udp("10.0.0.2", "8.8.8.8", 64, &[0; 64]);
    let first = fragment(whole.clone(), 0, true);
    let later = fragment(whole.clone(), 4, false);
    let taken = |rule: &str| [&whole, &first, &later].map(|frame| takes(rule, frame));
    assert_eq!(taken("fragment = \"whole\""), [true, false, false]);
    assert_eq!(taken("fragment = \"first\""), [false, true, false]);
    assert_eq!(taken("fragment = \"later\""), [false, false, true]);
    assert_eq!(taken("fragment = [\"first\", \"later\"]"), [false, true, true]);
    // A fragment does not decide for the whole datagrams of its ports.
    let mut test = dropping("fragment = \"first\"");
    for (frame, expected) in [(&first, true), (&whole, false), (&first, true)] {
        test.lan.send(frame);
        assert_eq!(was_dropped(&mut test), expected);
    }
}

#[test]
fn answers_to_what_is_forwarded_need_not_have_its_fields() {
    let mut test = with_rules(
        "[[rule]]\nchannel = \"forward\"\ninterface = \"lan\"\nprotocol = \"tcp\"\ntcp_flags = \"syn/syn,ack\"\ndscp = 0\n",
    );
    assert_eq!(test.out(&tcp(|step| step.syn())).len(), 1);
    let mut answer = Vec::new();
    PacketBuilder::ethernet2(ROUTER_MAC, WAN_MAC)
        .ipv4([8, 8, 8, 8], [10, 0, 0, 2], 64)
        .tcp(80, 5000, 1, 1000)
        .syn()
        .ack(2)
        .write(&mut answer, b"")
        .unwrap();
    edit_ipv4(&mut answer, |header| header[1] = 8 << 2);
    test.wan.send(&answer);
    test.run();
    let sent = test.lan.sent_all();
    assert_eq!(sent.len(), 1);
    assert_eq!(checksum::sum(&sent[0][14..34]), 0xffff);
}

#[test]
fn packets_that_waited_for_a_next_hop_go_where_their_flow_goes() {
    let mut test = with_rules(
        "[[rule]]\nchannel = \"forward\"\nprotocol = \"tcp\"\ntcp_flags = \"syn/syn,ack\"\n[[rule]]\nchannel = \"drop\"\n\
         protocol = \"tcp\"\n",
    );
    let to_unknown = |mut frame: Vec<u8>| {
        edit_ipv4(&mut frame, |header| {
            header[16..20].copy_from_slice(&[192, 0, 2, 7])
        });
        frame
    };
    for frame in [tcp(|step| step.syn()), tcp(|step| step.ack(1))] {
        assert!(test.out(&to_unknown(frame)).is_empty());
    }
    assert_eq!(test.dispatcher.totals().held, 2);
    let known = network().neighbour(WAN, ip("192.0.2.7"), HOST_MAC);
    test.network.publish(known.build());
    test.run();
    assert_eq!(test.wan.sent_all().len(), 2);
    test.assert_all_accounted_for();
}
