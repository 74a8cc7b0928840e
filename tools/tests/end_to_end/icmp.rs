//! ICMP through the translator: echo, and errors with the packets that they quote (RFC 5508).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use etherparse::{IcmpEchoHeader, Icmpv4Slice, Icmpv4Type, IpNumber, Ipv4HeaderSlice, PacketBuilder, icmpv4};
use netchannel_benches::namespace::Namespace;
use netchannel_benches::topology::{BOX_INSIDE, BOX_OUTSIDE, FAR, INSIDE, Lab, Options, SERVER};
use netchannel_benches::traffic::Live;
use netchannel_benches::traffic::ping::{Ping, ping};
use netchannel_benches::traffic::probe::{
    Answer, FRAGMENTATION_NEEDED, Hop, PORT, Probe, UNREACHABLE, probe, traceroute,
};
use netchannel_benches::traffic::raw::RawSocket;
use nix::sys::socket::{getsockopt, sockopt};

use crate::frames::{ETHERNET, to_box};
use crate::site::{ON_ITS_WAY, Site, at, check_tcp, check_traffic, eventually};

/// A laboratory with a host two hops behind the box, on a link with this MTU.
fn with_far(mtu: u32) -> Site {
    Site::with(&Options {
        far_mtu: Some(mtu),
        ..Options::default()
    })
}

fn probe_from(namespace: &Namespace, what: &Probe) -> Answer {
    let what = Probe {
        timeout: ON_ITS_WAY,
        ..what.clone()
    };
    namespace.run(|| probe(&what)).expect("a socket")
}

#[test]
fn echo_requests_of_all_sizes_are_answered() {
    let site = Site::new();
    for (number, payload) in [0, 1, 56, 1471, 1472].into_iter().enumerate() {
        let some = Ping {
            count: 3,
            payload,
            identifier: 7 + number as u16,
            interval: Duration::ZERO,
            limit: ON_ITS_WAY,
        };
        let answers = site.lab.inside.run(|| ping(SERVER, &some, &Live::default()));
        let outcome = answers.expect("a raw socket").outcome;
        assert!(outcome.intact(), "{payload} bytes: {outcome:?}");
    }
    let mut mappings = site.mappings();
    mappings.sort_by(|a, b| a.inside.cmp(&b.inside));
    let inside: Vec<&str> = mappings.iter().map(|mapping| mapping.inside.as_str()).collect();
    let expected = [
        "10.77.0.2:10",
        "10.77.0.2:11",
        "10.77.0.2:7",
        "10.77.0.2:8",
        "10.77.0.2:9",
    ];
    assert_eq!(inside, expected);
    assert!(
        mappings.iter().all(|mapping| mapping.protocol == "icmp"),
        "{mappings:?}"
    );
    site.finish();
}

#[test]
fn a_traceroute_sees_every_router() {
    let site = with_far(1500);
    let hops = site.lab.inside.run(|| traceroute(FAR, 5, &Live::default()));
    let hops = hops.expect("sockets");
    let way: Vec<_> = hops.iter().map(Hop::from).collect();
    assert_eq!(way, [Some(BOX_INSIDE), Some(SERVER), Some(FAR)]);
    let expected = Answer::Icmp {
        from: FAR,
        kind: UNREACHABLE,
        code: PORT,
        mtu: 0,
    };
    assert_eq!(hops[2].answer, expected);
    assert_eq!(site.dropped("ttl-expired"), 1);
    site.finish();
}

/// Sends an echo request that expires at the server and gives the error that arrives inside, from its IP header on.
fn expire_echo_request(lab: &Lab, identifier: u16, payload: &[u8]) -> Vec<u8> {
    let socket = at(&lab.inside, || RawSocket::open("eth0").expect("a packet socket"));
    let (source, destination) = to_box(lab);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(source, destination)
        .ipv4(INSIDE.octets(), FAR.octets(), 2)
        .icmpv4_echo_request(identifier, 1)
        .write_to_vec(&mut frame, payload)
        .expect("a short payload");
    socket.send(&frame).expect("sent");
    let is_error = |frame: &[u8]| {
        let packet = frame
            .strip_prefix(&frame[..ETHERNET])
            .filter(|_| frame[12..ETHERNET] == [8, 0])?;
        let ip = Ipv4HeaderSlice::from_slice(packet).ok()?;
        (ip.protocol() == IpNumber::ICMP).then(|| packet[..usize::from(ip.total_len())].to_vec())
    };
    let error = socket.receive(ON_ITS_WAY, is_error).expect("frames");
    error.expect("an ICMP packet in time")
}

fn has_right_checksum(icmp: &Icmpv4Slice<'_>) -> bool {
    icmp.checksum() == icmp.icmp_type().calc_checksum(icmp.payload())
}

/// RFC 5508 REQ-4: the quoted packet is the one that the inside host sent, checksums included.
#[test]
fn an_error_about_an_echo_request_quotes_it_as_it_was_sent() {
    let site = with_far(1500);
    let packet = expire_echo_request(&site.lab, 77, b"how far is it?");
    let ip = Ipv4HeaderSlice::from_slice(&packet).expect("IPv4").to_header();
    assert_eq!((ip.source, ip.destination), (SERVER.octets(), INSIDE.octets()));
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    let icmp = Icmpv4Slice::from_slice(&packet[ip.header_len()..]).expect("ICMP");
    assert_eq!(
        icmp.icmp_type(),
        Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit)
    );
    assert!(has_right_checksum(&icmp));

    let quoted = Ipv4HeaderSlice::from_slice(icmp.payload())
        .expect("the quoted packet")
        .to_header();
    assert_eq!(
        (quoted.source, quoted.destination),
        (INSIDE.octets(), FAR.octets())
    );
    assert_eq!(quoted.header_checksum, quoted.calc_header_checksum());
    let echo = Icmpv4Slice::from_slice(&icmp.payload()[quoted.header_len()..]).expect("the request");
    let header = IcmpEchoHeader { id: 77, seq: 1 };
    assert_eq!(echo.icmp_type(), Icmpv4Type::EchoRequest(header));
    assert_eq!(echo.payload(), b"how far is it?");
    assert!(has_right_checksum(&echo));
    site.finish();
}

#[test]
fn a_closed_port_outside_is_told_to_the_inside_socket() {
    let site = Site::new();
    let socket = at(&site.lab.inside, || UdpSocket::bind((INSIDE, 0)).expect("a port"));
    socket.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    socket.connect((SERVER, 9)).expect("a route");
    socket.send(b"anybody there?").expect("sent");
    let refused = socket.recv(&mut [0; 100]).expect_err("nobody is");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    site.finish();
}

/// An inside socket that has sent to `server`, and is closed: the endpoint that stands for it outside.
fn closed_behind_a_mapping(site: &Site, server: &UdpSocket) -> SocketAddr {
    let target = server.local_addr().expect("bound");
    let inside = at(&site.lab.inside, || UdpSocket::bind((INSIDE, 0)).expect("a port"));
    inside.send_to(b"about to close", target).expect("sent");
    server.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    server.recv_from(&mut [0; 100]).expect("a datagram").1
}

/// RFC 5508 REQ-5: what an inside host has to complain of arrives outside, and seems to come from the external address.
#[test]
fn errors_of_an_inside_host_are_told_outside() {
    let site = Site::new();
    let server = at(&site.lab.server, || UdpSocket::bind((SERVER, 0)).expect("a port"));
    let external = closed_behind_a_mapping(&site, &server);
    server.connect(external).expect("a route");
    server
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a timeout");
    // A program that another test starts at this moment shares the socket until it runs, and keeps it open.
    eventually("the inside host complains", || {
        let refused = server.send(b"too late").and_then(|_| server.recv(&mut [0; 100]));
        refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });

    let SocketAddr::V4(target) = external else {
        unreachable!("the box is IPv4")
    };
    let expected = Answer::Icmp {
        from: BOX_OUTSIDE,
        kind: UNREACHABLE,
        code: PORT,
        mtu: 0,
    };
    assert_eq!(probe_from(&site.lab.server, &Probe::to(target)), expected);
    site.finish();
}

/// Path MTU discovery (RFC 1191) through the translator: UDP is told, TCP learns and goes on.
#[test]
fn a_smaller_mtu_beyond_is_learnt_inside() {
    let site = with_far(1400);
    let large = Probe {
        payload: 1472,
        dont_fragment: true,
        ..Probe::to(SocketAddrV4::new(FAR, 9))
    };
    let expected = Answer::Icmp {
        from: SERVER,
        kind: UNREACHABLE,
        code: FRAGMENTATION_NEEDED,
        mtu: 1400,
    };
    assert_eq!(probe_from(&site.lab.inside, &large), expected);
    site.finish();

    // From the beginning: this time TCP finds out by itself.
    let site = with_far(1400);
    let far = site.lab.far.as_ref().expect("it was asked for");
    // The far host offers the large segments of an Ethernet, so that only the router stands in the way.
    far.ip("route change 198.51.100.0/24 via 203.0.113.1 advmss 1460")
        .expect("a route");
    let listener = at(far, || TcpListener::bind((FAR, 0)).expect("a port"));
    let target = listener.local_addr().expect("bound");
    let mut inside = at(&site.lab.inside, || {
        TcpStream::connect_timeout(&target, ON_ITS_WAY).expect("the far host listens")
    });
    assert_eq!(getsockopt(&inside, sockopt::IpMtu).expect("an option"), 1500);
    let receiver = std::thread::spawn(move || {
        let (mut outside, _) = listener.accept().expect("a connection");
        outside.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
        let mut received = Vec::new();
        io::Read::read_to_end(&mut outside, &mut received).expect("up to the end");
        received
    });
    let content: Vec<u8> = (0..100_000).map(|index| (index % 251) as u8).collect();
    io::Write::write_all(&mut inside, &content).expect("sent");
    inside.shutdown(std::net::Shutdown::Write).expect("half closed");
    assert!(receiver.join().expect("received") == content);
    assert_eq!(getsockopt(&inside, sockopt::IpMtu).expect("an option"), 1400);
    site.finish();
}

#[test]
fn traffic_of_many_kinds_goes_on_beside_errors() {
    let site = with_far(1400);
    let closed = SocketAddrV4::new(SERVER, 9);
    std::thread::scope(|scope| {
        let errors = scope.spawn(|| {
            let ask = |_| probe_from(&site.lab.inside, &Probe::to(closed));
            (0..50)
                .map(ask)
                .filter(|answer| matches!(answer, Answer::Icmp { from: SERVER, .. }))
                .count()
        });
        check_tcp(&site.lab, 4, 500_000);
        check_traffic(&site.lab);
        assert_eq!(errors.join().expect("sockets"), 50);
    });
    site.finish();
}

#[test]
fn an_error_about_nothing_is_dropped() {
    let site = Site::new();
    let socket = at(&site.lab.server, || {
        RawSocket::open("eth0").expect("a packet socket")
    });
    // It quotes a datagram that the box never sent.
    let never_sent = Ipv4Addr::new(203, 0, 113, 99);
    let mut quoted = Vec::new();
    PacketBuilder::ipv4(BOX_OUTSIDE.octets(), never_sent.octets(), 60)
        .udp(2000, 53)
        .write_to_vec(&mut quoted, b"never sent")
        .expect("a short payload");
    let unreachable = icmpv4::DestUnreachableHeader::Port;
    let mac = |namespace: &Namespace, interface| {
        netchannel_benches::measure::hardware_address(namespace, interface).expect("an address")
    };
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac(&site.lab.server, "eth0"), mac(&site.lab.middle, "wan"))
        .ipv4(SERVER.octets(), BOX_OUTSIDE.octets(), 64)
        .icmpv4(Icmpv4Type::DestinationUnreachable(unreachable))
        .write_to_vec(&mut frame, &quoted)
        .expect("a short payload");
    socket.send(&frame).expect("sent");
    site.wait_for_drops("nat-icmp-unrelated", 1);
    site.finish();
}
