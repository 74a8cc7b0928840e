//! UDP through the translator: mapping and filtering as RFC 4787 has them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use netchannel_benches::namespace::Namespace;
use netchannel_benches::topology::{BOX_OUTSIDE, INSIDE, Options, SERVER};
use netchannel_benches::traffic::udp::EchoServer;

use crate::site::{EXTERNAL_PORTS, ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, exchange_udp, lab};

/// A second address of the server.
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);

fn socket(namespace: &Namespace, address: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = at(namespace, || {
        UdpSocket::bind((address, port)).expect("a free port")
    });
    socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    socket
}

/// Receives one datagram and gives its text and sender.
fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 100];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram");
    (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
}

#[test]
fn fifty_sockets_have_mappings_of_their_own() {
    let site = Site::new();
    let echo = EchoServer::start(&site.lab.server, (SERVER, 53).into()).expect("port 53");
    let outcome = exchange_udp(&site.lab, echo.address(), 50, 5);
    assert!(outcome.intact(), "{outcome:?}");
    let peers = echo.peers();
    assert_eq!(peers.len(), 50);
    for peer in &peers {
        assert!(
            peer.ip() == BOX_OUTSIDE && EXTERNAL_PORTS.contains(&peer.port()),
            "{peer}"
        );
    }
    assert_eq!(site.external("udp"), peers);
    site.finish();
}

/// RFC 4787 REQ-1.
#[test]
fn a_mapping_is_the_same_for_every_server() {
    let site = Site::new();
    site.lab
        .server
        .ip(&format!("addr add {OTHER}/24 dev eth0"))
        .expect("an address");
    let inside = socket(&site.lab.inside, INSIDE, 40_000);
    let mut seen = HashSet::new();
    for (address, port) in [(SERVER, 1000), (SERVER, 1001), (OTHER, 1000)] {
        let server = socket(&site.lab.server, address, port);
        inside.send_to(b"who am I?", (address, port)).expect("sent");
        let (_, from) = receive(&server);
        server.send_to(b"you", from).expect("sent");
        assert_eq!(
            receive(&inside),
            ("you".to_owned(), SocketAddr::from((address, port)))
        );
        seen.insert(from);
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(
        seen.iter().next().map(SocketAddr::ip),
        Some(IpAddr::V4(BOX_OUTSIDE))
    );
    let mappings = site.mappings();
    assert_eq!(mappings.len(), 1, "{mappings:?}");
    assert_eq!(mappings[0].inside, "10.77.0.2:40000");
    site.finish();
}

/// Sends unsolicited datagrams to a mapping from the peer itself, another port of it, and another host, and
/// checks who is admitted.
fn check_filtering(filtering: &str, admitted: [bool; 3]) {
    let filtering = format!("filtering = \"{filtering}\"\n");
    let site = Site::on(
        lab(&Options::default()),
        &[TRANSLATOR, &filtering, TRANSLATE_ALL].concat(),
    );
    site.lab
        .server
        .ip(&format!("addr add {OTHER}/24 dev eth0"))
        .expect("an address");
    let inside = socket(&site.lab.inside, INSIDE, 40_000);
    let senders = [(SERVER, 1000), (SERVER, 1001), (OTHER, 1000)]
        .map(|(address, port)| socket(&site.lab.server, address, port));
    inside.send_to(b"hello", (SERVER, 1000)).expect("sent");
    let (_, external) = receive(&senders[0]);

    let mut expected = Vec::new();
    // The peer itself comes last: once its datagram has arrived, those before it have arrived too or never will.
    for (sender, admitted) in senders.iter().zip(admitted).rev() {
        sender.send_to(b"unsolicited", external).expect("sent");
        if admitted {
            expected.push(sender.local_addr().expect("bound"));
        }
    }
    let arrived: Vec<SocketAddr> = expected.iter().map(|_| receive(&inside).1).collect();
    assert_eq!(arrived, expected);
    site.wait_for_drops("nat-filtered", (3 - expected.len()) as u64);
    site.finish();
}

/// RFC 4787 REQ-8.
#[test]
fn endpoint_independent_filtering_admits_all() {
    check_filtering("endpoint-independent", [true, true, true]);
}

#[test]
fn address_dependent_filtering_admits_the_hosts_that_were_sent_to() {
    check_filtering("address-dependent", [true, true, false]);
}

#[test]
fn address_and_port_dependent_filtering_admits_the_endpoints_that_were_sent_to() {
    check_filtering("address-and-port-dependent", [true, false, false]);
}

/// RFC 4787 REQ-9.
#[test]
fn inside_hosts_reach_each_other_by_their_external_endpoints() {
    let site = Site::new();
    let other = Ipv4Addr::new(10, 77, 0, 3);
    site.lab.add_inside_address(other).expect("an address");
    let server = socket(&site.lab.server, SERVER, 1000);
    let sockets = [INSIDE, other].map(|address| socket(&site.lab.inside, address, 40_000));
    let [first, second] = sockets.each_ref().map(|socket| {
        socket.send_to(b"hello", (SERVER, 1000)).expect("sent");
        receive(&server).1
    });
    assert_ne!(first, second);
    sockets[0].send_to(b"neighbour?", second).expect("sent");
    assert_eq!(receive(&sockets[1]), ("neighbour?".to_owned(), first));
    sockets[1].send_to(b"here", first).expect("sent");
    assert_eq!(receive(&sockets[0]), ("here".to_owned(), second));
    site.finish();
}
