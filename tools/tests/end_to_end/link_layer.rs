//! Frames that are not the daemon's to take, and IP options.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use etherparse::Ipv4Options;
use netchannel_benches::topology::{
    BOX_INSIDE, BOX_INSIDE_V6, BOX_OUTSIDE, BOX_OUTSIDE_V6, INSIDE, Lab, Options, SERVER,
};
use netchannel_benches::traffic::raw::RawSocket;

use crate::frames::{Datagram, read_udp, to_box, udp};
use crate::site::{ON_ITS_WAY, Site, at, check_echo, check_traffic, eventually};

const ASKED: (Ipv4Addr, u16) = (SERVER, 7777);

/// A raw socket on the inside host's interface, one on the box's, and one on the server's.
fn raw_sockets(lab: &Lab) -> [RawSocket; 3] {
    [(&lab.inside, "eth0"), (&lab.middle, "lan"), (&lab.server, "eth0")]
        .map(|(namespace, interface)| at(namespace, || RawSocket::open(interface).expect("a packet socket")))
}

/// Waits for a datagram to the server's port and checks that it was translated.
fn receive(server: &RawSocket) -> Datagram {
    let asked = |frame: &[u8]| read_udp(frame).filter(|datagram| datagram.destination == ASKED);
    let datagram = server
        .receive(ON_ITS_WAY, asked)
        .expect("frames")
        .expect("a datagram in time");
    assert_eq!(datagram.source.0, BOX_OUTSIDE);
    datagram
}

#[test]
fn ipv4_options_pass() {
    let site = Site::new();
    let [inside, _, server] = raw_sockets(&site.lab);
    let no_operation: &[u8] = &[1, 1, 1, 1];
    let router_alert: &[u8] = &[0x94, 4, 0, 0];
    let timestamps = [68, 40, 5, 0].into_iter().chain([0; 36]).collect::<Vec<u8>>();
    for options in [&[], no_operation, router_alert, &timestamps] {
        let mac = to_box(&site.lab);
        let frame = udp(mac, (INSIDE, 4000), ASKED, b"with options", |header| {
            header.options = Ipv4Options::try_from(options).expect("at most 40 bytes");
        });
        inside.send(&frame).expect("sent");
        let arrived = receive(&server);
        assert_eq!(arrived.options, options);
        assert_eq!(
            (arrived.payload.as_slice(), arrived.ttl),
            (&b"with options"[..], 63)
        );
    }
    site.finish();
}

#[test]
fn frames_of_an_unknown_vlan_are_the_kernels() {
    let site = Site::new();
    check_traffic(&site.lab);
    let [inside, middle, server] = raw_sockets(&site.lab);
    let others = site.verdict("passed_other_interface");
    let received = site.drops().received;

    let whole = udp(to_box(&site.lab), (INSIDE, 4000), ASKED, b"tagged", |_| ());
    let tags: [&[u8]; 2] = [&[0x81, 0, 0, 100], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 100]];
    for tags in tags {
        let tagged = [&whole[..12], tags, &whole[12..]].concat();
        inside.send(&tagged).expect("sent");
        let same = |frame: &[u8]| (frame == tagged).then_some(());
        let seen = middle.receive(ON_ITS_WAY, same).expect("frames");
        assert_eq!(seen, Some(()), "the kernel sees {tags:x?}");
    }
    eventually("two frames of other interfaces", || {
        site.verdict("passed_other_interface") == others + 2
    });
    assert_eq!(site.drops().received, received);

    // Sent after the others, it is the first of them at the server.
    let untagged = udp(to_box(&site.lab), (INSIDE, 4000), ASKED, b"untagged", |_| ());
    inside.send(&untagged).expect("sent");
    assert_eq!(receive(&server).payload, b"untagged");
    check_traffic(&site.lab);
    site.finish();
}

/// A frame whose tag has VLAN identifier 0 is one without a VLAN (IEEE 802.1Q, priority tag).
#[test]
fn priority_tags_do_not_make_a_vlan() {
    let site = Site::new();
    let [inside, _, server] = raw_sockets(&site.lab);
    let whole = udp(to_box(&site.lab), (INSIDE, 4000), ASKED, b"urgent", |_| ());
    let tagged = [&whole[..12], &[0x81, 0, 0xe0, 0], &whole[12..]].concat();
    inside.send(&tagged).expect("sent");
    assert_eq!(receive(&server).payload, b"urgent");
    site.finish();
}

#[test]
fn arp_is_left_alone() {
    let site = Site::new();
    check_traffic(&site.lab);
    // Requests are broadcast, replies are not.
    let arp = || site.verdict("passed_multicast") + site.verdict("passed_not_ip");
    let before = arp();
    for namespace in [&site.lab.inside, &site.lab.server] {
        namespace.ip("neigh flush dev eth0").expect("flushed");
    }
    check_traffic(&site.lab);
    for (namespace, address) in [(&site.lab.inside, BOX_INSIDE), (&site.lab.server, BOX_OUTSIDE)] {
        let neighbour = namespace
            .ip(&format!("neigh show {address}"))
            .expect("neighbours");
        assert!(neighbour.contains("lladdr"), "{neighbour}");
    }
    assert!(arp() >= before + 2, "{before} before, {} now", arp());
    site.finish();
}

#[test]
fn the_box_is_reached_by_ipv6() {
    let site = Site::with(&Options {
        ipv6: true,
        ..Options::default()
    });
    // Solicitations are multicast first, unicast later.
    let discovery = || site.verdict("passed_multicast") + site.verdict("passed_neighbour_discovery");
    let before = discovery();
    let ends = [
        (&site.lab.inside, BOX_INSIDE_V6),
        (&site.lab.server, BOX_OUTSIDE_V6),
    ];
    for (namespace, address) in ends {
        let listener = at(&site.lab.middle, || {
            TcpListener::bind((address, 0)).expect("a port")
        });
        let target = listener.local_addr().expect("bound");
        for _ in 0..2 {
            namespace.ip("-6 neigh flush dev eth0").expect("flushed");
            at(namespace, || {
                TcpStream::connect_timeout(&target, ON_ITS_WAY).expect("the box listens")
            });
        }
    }
    assert!(
        discovery() >= before + 4,
        "{} before, {} now",
        before,
        discovery()
    );
    check_traffic(&site.lab);
    site.finish();
}

#[test]
fn malformed_packets_harm_nobody() {
    let site = Site::new();
    let [inside, _, server] = raw_sockets(&site.lab);
    let whole = udp(
        to_box(&site.lab),
        (INSIDE, 4000),
        ASKED,
        b"as it should be",
        |_| (),
    );
    let changed = |at: usize, value: u8| {
        let mut frame = whole.clone();
        frame[at] = value;
        frame
    };
    // Header length 4, header length beyond the packet, total length beyond the frame, a wrong checksum, a UDP
    // length beyond the packet, cut off inside its headers.
    let malformed = [
        changed(14, 0x44),
        changed(14, 0x4f),
        changed(16, 0x40),
        changed(24, whole[24] ^ 0x55),
        changed(38, 0x40),
        whole[..14].to_vec(),
        whole[..30].to_vec(),
        whole[..40].to_vec(),
    ];
    for frame in &malformed {
        inside.send(frame).expect("sent");
    }
    inside.send(&whole).expect("sent");
    assert_eq!(receive(&server).payload, b"as it should be");
    check_echo(&site.lab.inside, SERVER);
    site.finish();
}
