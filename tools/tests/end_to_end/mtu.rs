//! Packets at the edge of what a link carries, and fragments.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use netchannel_benches::namespace::Namespace;
use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE, INSIDE, Lab, Options, SERVER};
use netchannel_benches::traffic::probe::{Answer, FRAGMENTATION_NEEDED, Probe, UNREACHABLE, payload, probe};
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, check_tcp, check_traffic, lab};

/// Bytes of an IPv4 and a UDP header.
pub(crate) const HEADERS: usize = 28;

/// Inside the MTU is 3000, outside it is 1500.
fn narrow_outside() -> Site {
    let lab = lab(&Options::default());
    for (namespace, interface) in [(&lab.inside, "eth0"), (&lab.middle, "lan")] {
        namespace
            .ip(&format!("link set {interface} mtu 3000"))
            .expect("an MTU");
    }
    Site::on(lab, &[TRANSLATOR, TRANSLATE_ALL].concat())
}

/// What comes of a datagram of so many bytes, IP and UDP header included.
pub(crate) fn ask(lab: &Lab, target: SocketAddr, ip_bytes: usize, dont_fragment: bool) -> Answer {
    let SocketAddr::V4(target) = target else {
        unreachable!("the server is IPv4")
    };
    let what = Probe {
        payload: ip_bytes - HEADERS,
        dont_fragment,
        timeout: ON_ITS_WAY,
        ..Probe::to(target)
    };
    lab.inside.run(|| probe(&what)).expect("a socket")
}

fn listener(namespace: &Namespace) -> UdpSocket {
    let socket = at(namespace, || UdpSocket::bind((SERVER, 0)).expect("a port"));
    socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    socket
}

#[test]
fn what_fits_passes_and_what_does_not_is_told() {
    let site = narrow_outside();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 0).into()).expect("a port");
    for dont_fragment in [false, true] {
        let answer = ask(&site.lab, echo.address(), 1500, dont_fragment);
        assert_eq!(
            answer,
            Answer::Datagram(payload(1500 - HEADERS)),
            "dont_fragment: {dont_fragment}"
        );
    }
    let too_big = Answer::Icmp {
        from: BOX_INSIDE,
        kind: UNREACHABLE,
        code: FRAGMENTATION_NEEDED,
        mtu: 1500,
    };
    for ip_bytes in [1501, 3000] {
        assert_eq!(
            ask(&site.lab, echo.address(), ip_bytes, true),
            too_big,
            "{ip_bytes} bytes"
        );
    }
    site.wait_for_drops("too-big", 2);
    site.finish();
}

#[test]
fn what_may_be_fragmented_arrives_in_fragments() {
    let site = narrow_outside();
    let server = listener(&site.lab.server);
    let target = server.local_addr().expect("bound");
    let SocketAddr::V4(target) = target else {
        unreachable!("the server is IPv4")
    };
    let first = site.port("wan").transmitted.packets;
    for (ip_bytes, packets) in [(1500, 1), (1501, 2), (2980, 2), (2981, 3), (3000, 3)] {
        let sent = payload(ip_bytes - HEADERS);
        let what = Probe {
            payload: sent.len(),
            timeout: Duration::ZERO,
            ..Probe::to(target)
        };
        let before = site.port("wan").transmitted.packets;
        site.lab.inside.run(|| probe(&what)).expect("a socket");
        let mut received = vec![0; 4000];
        let (length, _) = server.recv_from(&mut received).expect("a whole datagram");
        assert!(received[..length] == sent, "{ip_bytes} bytes");
        assert_eq!(
            site.port("wan").transmitted.packets - before,
            packets,
            "{ip_bytes} bytes"
        );
    }
    assert_eq!(site.port("wan").transmitted.packets - first, 11);
    assert_eq!(
        site.drops().originated,
        6,
        "fragments beyond the first of each datagram"
    );
    check_tcp(&site.lab, 2, 300_000);
    site.finish();
}

/// 4787-14, by the kernels at both ends.
#[test]
fn fragments_cross_both_ways() {
    let site = Site::new();
    let server = listener(&site.lab.server);
    let target = server.local_addr().expect("bound");
    let inside = at(&site.lab.inside, || UdpSocket::bind((INSIDE, 0)).expect("a port"));
    inside.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    // 3 fragments on an Ethernet.
    let large = payload(3000);
    let mut buffer = [0; 4000];
    inside.send_to(&large, target).expect("sent");
    let (length, external) = server.recv_from(&mut buffer).expect("a datagram");
    assert_eq!(&buffer[..length], large);
    assert_eq!(external.ip(), BOX_OUTSIDE);

    // Only the first fragment has the port; the XDP program knows the others by their datagram.
    server.send_to(&large, external).expect("sent");
    let (length, from) = inside.recv_from(&mut buffer).expect("a datagram");
    assert_eq!((&buffer[..length], from), (&large[..], target));

    inside.send_to(b"whole", target).expect("sent");
    let (length, again) = server.recv_from(&mut buffer).expect("a datagram");
    assert_eq!((&buffer[..length], again), (&b"whole"[..], external));
    check_traffic(&site.lab);
    site.finish();
}
