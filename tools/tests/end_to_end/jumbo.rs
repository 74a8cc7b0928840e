//! Packets that don't fit in one frame: the kernel hands them over in several chunks and takes them so.

use std::net::{IpAddr, UdpSocket};

use netchannel::control::report::{Memory, Table};
use netchannel_benches::namespace::Namespace;
use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE_V6, INSIDE_V6, Options, SERVER, SERVER_V6};
use netchannel_benches::traffic::Live;
use netchannel_benches::traffic::ping::{Ping, ping};
use netchannel_benches::traffic::probe::{Answer, FRAGMENTATION_NEEDED, UNREACHABLE, payload};
use netchannel_benches::traffic::udp::EchoServer;

use crate::mtu::{HEADERS, ask};
use crate::offload::poll_at_the_ends;
use crate::site::{
    ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, check_tcp, check_traffic, eventually, lab, reaches,
};

/// What most networks with jumbo frames use.
const MTU: u32 = 9000;

/// Bytes of an Ethernet frame that one chunk holds.
const CHUNK: usize = 3840;

fn options() -> Options {
    Options {
        mtu: MTU,
        ..Options::default()
    }
}

fn translating() -> String {
    [TRANSLATOR, TRANSLATE_ALL].concat()
}

fn set_mtu(namespace: &Namespace, interface: &str, mtu: u32) {
    let set = format!("link set {interface} mtu {mtu}");
    namespace.ip(&set).expect("an MTU");
}

/// Lengths of IP packets around those at which an Ethernet frame takes another chunk.
fn lengths(longest: usize) -> impl Iterator<Item = usize> {
    let edges = (1..=longest / CHUNK).flat_map(|chunks| {
        let edge = chunks * CHUNK - 14;
        edge - 9..=edge + 2
    });
    edges.chain([1500, longest - 1, longest])
}

/// The memory for long packets.
fn long_frames(site: &Site) -> Option<Table> {
    let memory: Memory = site.show_with("memory");
    memory.tables.into_iter().find(|table| table.owner == "frames")
}

fn check_long_traffic(site: &Site) {
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    for ip_bytes in lengths(MTU as usize) {
        for dont_fragment in [false, true] {
            let answer = ask(&site.lab, echo.address(), ip_bytes, dont_fragment);
            let expected = Answer::Datagram(payload(ip_bytes - HEADERS));
            assert!(answer == expected, "{ip_bytes} bytes: {answer:?}");
        }
    }
    let long = Ping {
        count: 3,
        payload: MTU as usize - HEADERS,
        ..Ping::default()
    };
    let answers = site.lab.inside.run(|| ping(SERVER, &long, &Live::default()));
    let outcome = answers.expect("a raw socket").outcome;
    assert!(outcome.intact(), "{outcome:?}");
    check_tcp(&site.lab, 10, 300_000);
    check_traffic(&site.lab);
}

/// All went through here, and nothing is left of it.
fn check_nothing_is_missing(site: &Site) {
    assert_eq!(site.verdict("passed_too_long"), 0);
    for port in site.ports().ports {
        assert_eq!(port.kernel.receive_dropped, 0, "{port:?}");
    }
    eventually("memory for long packets is free", || {
        long_frames(site).expect("there is some").entries == Some(0)
    });
}

#[test]
fn long_packets_are_translated_whole() {
    let site = Site::with(&options());
    check_long_traffic(&site);
    check_nothing_is_missing(&site);
    let memory = long_frames(&site).expect("there is some");
    assert_eq!(
        memory.bytes,
        memory.capacity.map(|count| count * (u64::from(MTU) + 22))
    );
    site.finish();
    // Where no link has such packets, there is none.
    let site = Site::new();
    assert_eq!(long_frames(&site), None);
    site.finish();
}

#[test]
fn generic_mode_does_the_same() {
    let configuration = translating().replace("role =", "mode = \"generic\"\nrole =");
    let site = Site::on(lab(&options()), &configuration);
    check_long_traffic(&site);
    check_nothing_is_missing(&site);
    site.finish();
}

/// The largest MTU that is served: packets take 16 chunks.
#[test]
fn the_longest_packets_cross() {
    let site = Site::with(&Options {
        mtu: 61_418,
        ..Options::default()
    });
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    for ip_bytes in [61_418, 1500, 61_417, 30_000] {
        let answer = ask(&site.lab, echo.address(), ip_bytes, true);
        assert!(
            answer == Answer::Datagram(payload(ip_bytes - HEADERS)),
            "{ip_bytes} bytes"
        );
    }
    check_tcp(&site.lab, 2, 3_000_000);
    check_nothing_is_missing(&site);
    site.finish();
}

/// The XDP program carries packets of one buffer and of several.
#[test]
fn a_flow_of_short_and_long_packets_is_offloaded_and_whole() {
    let lab = lab(&options());
    poll_at_the_ends(&lab);
    let site = Site::on(lab, &translating());
    let inside = site.inside_socket(4000);
    let server = at(&site.lab.server, || UdpSocket::bind((SERVER, 0)).expect("a port"));
    server.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    let target = server.local_addr().expect("bound");
    let mut buffer = vec![0; MTU as usize];
    for round in 0..200 {
        let length = [300, MTU as usize - HEADERS, 3000, 5000][round % 4] - round;
        let sent = payload(length);
        inside.send_to(&sent, target).expect("sent");
        let (received, external) = server.recv_from(&mut buffer).expect("a datagram");
        assert!(buffer[..received] == sent, "{length} bytes to the server");
        server.send_to(&sent, external).expect("sent");
        let (received, from) = inside.recv_from(&mut buffer).expect("a datagram");
        assert!(
            buffer[..received] == sent && from == target,
            "{length} bytes back"
        );
    }
    // All but those that came before the flow was known to be worth it.
    assert!(site.verdict("offloaded") >= 360);
    check_nothing_is_missing(&site);
    site.finish();
}

#[test]
fn what_is_too_long_for_the_next_link_is_told_or_cut() {
    // Fragments that are long themselves, and short ones.
    for mtu in [5000, 1500] {
        let lab = lab(&options());
        set_mtu(&lab.middle, "wan", mtu);
        set_mtu(&lab.server, "eth0", mtu);
        let site = Site::on(lab, &translating());
        let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
        let too_big = Answer::Icmp {
            from: BOX_INSIDE,
            kind: UNREACHABLE,
            code: FRAGMENTATION_NEEDED,
            mtu,
        };
        assert_eq!(ask(&site.lab, echo.address(), MTU as usize, true), too_big);
        for ip_bytes in lengths(MTU as usize) {
            let answer = ask(&site.lab, echo.address(), ip_bytes, false);
            assert!(
                answer == Answer::Datagram(payload(ip_bytes - HEADERS)),
                "{ip_bytes} bytes: {answer:?}"
            );
        }
        check_tcp(&site.lab, 2, 300_000);
        check_nothing_is_missing(&site);
        site.finish();
    }
}

#[test]
fn long_packets_of_ipv6_are_forwarded() {
    let lab = lab(&Options {
        ipv6: true,
        ..options()
    });
    lab.server
        .ip(&format!("-6 route add fd77::/64 via {BOX_OUTSIDE_V6}"))
        .expect("a route");
    let forward = "[[channel]]\nname = \"routed\"\ntype = \"forward\"\n[[rule]]\nfrom = \"fd77::/64\"\nchannel = \"routed\"\n\
                   [[rule]]\nto = \"fd77::/64\"\nchannel = \"routed\"\n";
    let site = Site::on(lab, &[&translating(), forward].concat());
    let bind = |namespace: &Namespace, address: IpAddr| {
        let socket = at(namespace, || UdpSocket::bind((address, 0)).expect("a port"));
        socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
        socket
    };
    let inside = bind(&site.lab.inside, INSIDE_V6.into());
    let server = bind(&site.lab.server, SERVER_V6.into());
    let mut buffer = vec![0; MTU as usize];
    for length in lengths(MTU as usize).map(|ip_bytes| ip_bytes - 48) {
        let sent = payload(length);
        for (from, to) in [(&inside, &server), (&server, &inside)] {
            from.send_to(&sent, to.local_addr().expect("bound"))
                .expect("sent");
            let (received, _) = to.recv_from(&mut buffer).expect("a datagram");
            assert!(buffer[..received] == sent, "{length} bytes");
        }
    }
    check_nothing_is_missing(&site);
    site.finish();
}

/// Interfaces that are away for a while come back with memory of their own.
#[test]
fn long_packets_cross_after_an_interface_came_back() {
    let site = Site::with(&options());
    check_long_traffic(&site);
    site.lab.middle.ip("link del lan").expect("removed");
    site.lab.restore_inside(1).expect("a link");
    for (namespace, interface) in [(&site.lab.middle, "lan"), (&site.lab.inside, "eth0")] {
        set_mtu(namespace, interface, MTU);
    }
    eventually("traffic", || reaches(&site.lab.inside, SERVER));
    check_long_traffic(&site);
    site.finish();
}
