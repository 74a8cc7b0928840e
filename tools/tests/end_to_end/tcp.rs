//! TCP through the translator.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use netchannel_benches::topology::{BOX_OUTSIDE, INSIDE, Options, SERVER};
use nix::sys::socket::sockopt::{ReuseAddr, ReusePort};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, setsockopt, socket,
};

use crate::site::{
    EXTERNAL_PORTS, ON_ITS_WAY, Site, TRANSLATE_ALL, TRANSLATOR, at, check_tcp, eventually, lab,
};

/// A connection from inside to the server, from both ends.
fn connected(site: &Site) -> (TcpStream, TcpStream) {
    let listener = at(&site.lab.server, || {
        TcpListener::bind((SERVER, 0)).expect("a port")
    });
    let target = listener.local_addr().expect("bound");
    let inside = at(&site.lab.inside, || {
        TcpStream::connect_timeout(&target, ON_ITS_WAY).expect("the server listens")
    });
    let (outside, _) = listener.accept().expect("a connection");
    for stream in [&inside, &outside] {
        stream.set_read_timeout(Some(ON_ITS_WAY)).expect("a timeout");
    }
    (inside, outside)
}

/// A TCP socket that shares its port with others that do the same, as hole punching needs (RFC 5128).
fn sharing_socket(local: SocketAddrV4) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
    setsockopt(&socket, ReuseAddr, &true).expect("an option");
    setsockopt(&socket, ReusePort, &true).expect("an option");
    bind(socket.as_raw_fd(), &SockaddrIn::from(local)).expect("a free port");
    socket
}

#[test]
fn downloads_and_uploads_arrive_whole() {
    let site = Site::new();
    check_tcp(&site.lab, 1, 10_000_000);
    check_tcp(&site.lab, 40, 100_000);
    // Connections to different servers may have the same port inside, and share a mapping then.
    let sessions: u64 = site.mappings().iter().map(|mapping| mapping.sessions).sum();
    assert_eq!(sessions, 82, "one for each connection");
    site.finish();
}

#[test]
fn either_side_may_close_its_half_first() {
    let site = Site::new();
    let content = vec![0x5a; 200_000];
    for inside_first in [true, false] {
        let (inside, outside) = connected(&site);
        let (mut first, mut second) = if inside_first {
            (inside, outside)
        } else {
            (outside, inside)
        };
        first.write_all(b"all that I had to say").expect("sent");
        first.shutdown(Shutdown::Write).expect("half closed");
        let mut said = String::new();
        second.read_to_string(&mut said).expect("up to the end");
        assert_eq!(said, "all that I had to say");

        let mut received = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut second = second;
                second.write_all(&content).expect("the other half is open");
            });
            first.read_to_end(&mut received).expect("up to the end");
        });
        assert!(received == content, "{} bytes", received.len());
    }
    site.finish();
}

#[test]
fn a_closed_port_refuses_and_a_reset_arrives() {
    let site = Site::new();
    let closed = SocketAddr::from((SERVER, 9));
    let refused = at(&site.lab.inside, || {
        TcpStream::connect_timeout(&closed, ON_ITS_WAY)
    });
    assert_eq!(
        refused.expect_err("nobody listens").kind(),
        std::io::ErrorKind::ConnectionRefused
    );

    let (mut inside, outside) = connected(&site);
    // Closing with data unread resets.
    inside.write_all(b"unread").expect("sent");
    outside.peek(&mut [0]).expect("data");
    drop(outside);
    let reset = inside.read(&mut [0]).expect_err("a reset");
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    site.finish();
}

/// An inside listener that shares the port of a connection to the server, and the endpoint that the server sees
/// that connection come from.
fn listener_behind_a_mapping(site: &Site) -> (TcpListener, TcpStream, SocketAddr) {
    let rendezvous = at(&site.lab.server, || {
        TcpListener::bind((SERVER, 0)).expect("a port")
    });
    let target = rendezvous.local_addr().expect("bound");
    let SocketAddr::V4(target) = target else {
        unreachable!("bound to an IPv4 address")
    };
    let local = SocketAddrV4::new(INSIDE, 40_000);
    let (listener, connection) = at(&site.lab.inside, || {
        let (listener, connection) = (sharing_socket(local), sharing_socket(local));
        listen(&listener, Backlog::new(1).expect("a length")).expect("a listener");
        connect(connection.as_raw_fd(), &SockaddrIn::from(target)).expect("the server listens");
        (TcpListener::from(listener), TcpStream::from(connection))
    });
    let (_, external) = rendezvous.accept().expect("a connection");
    assert_eq!(external.ip(), BOX_OUTSIDE);
    assert!(EXTERNAL_PORTS.contains(&external.port()), "{external}");
    (listener, connection, external)
}

#[test]
fn a_connection_from_outside_reaches_a_listener_through_its_mapping() {
    let site = Site::new();
    let other = Ipv4Addr::new(198, 51, 100, 3);
    site.lab
        .server
        .ip(&format!("addr add {other}/24 dev eth0"))
        .expect("an address");
    let (listener, _connection, external) = listener_behind_a_mapping(&site);
    for source in [SERVER, other] {
        let mut outside = at(&site.lab.server, || {
            let socket = sharing_socket(SocketAddrV4::new(source, 5000));
            let SocketAddr::V4(external) = external else {
                unreachable!("the box is IPv4")
            };
            connect(socket.as_raw_fd(), &SockaddrIn::from(external)).expect("the mapping admits it");
            TcpStream::from(socket)
        });
        let (mut inside, peer) = listener.accept().expect("a connection");
        assert_eq!(peer, SocketAddr::from((source, 5000)));
        outside.write_all(b"from outside").expect("sent");
        outside.shutdown(Shutdown::Write).expect("half closed");
        let mut said = String::new();
        inside.read_to_string(&mut said).expect("up to the end");
        assert_eq!(said, "from outside");
    }
    site.finish();
}

#[test]
fn a_mapping_that_filters_admits_no_connection_from_elsewhere() {
    let filtering = "filtering = \"address-and-port-dependent\"\n";
    let site = Site::on(
        lab(&Options::default()),
        &[TRANSLATOR, filtering, TRANSLATE_ALL].concat(),
    );
    let (_listener, _connection, external) = listener_behind_a_mapping(&site);
    let unanswered = at(&site.lab.server, || {
        TcpStream::connect_timeout(&external, Duration::from_millis(200))
    });
    assert_eq!(
        unanswered.expect_err("filtered").kind(),
        std::io::ErrorKind::TimedOut
    );
    eventually("a drop", || site.dropped("nat-filtered") >= 1);
    let free = SocketAddr::new(external.ip(), if external.port() == 1024 { 1025 } else { 1024 });
    let unanswered = at(&site.lab.server, || {
        TcpStream::connect_timeout(&free, Duration::from_millis(200))
    });
    assert_eq!(
        unanswered.expect_err("no mapping").kind(),
        std::io::ErrorKind::TimedOut
    );
    eventually("a drop", || site.dropped("nat-no-mapping") >= 1);
    site.finish();
}

#[test]
fn mappings_say_where_a_connection_stands() {
    let site = Site::new();
    let state = || {
        let mappings = site.mappings();
        assert_eq!(mappings.len(), 1, "{mappings:?}");
        assert_eq!(mappings[0].protocol, "tcp");
        mappings[0].state.clone().expect("a TCP connection has one")
    };
    let (inside, outside) = connected(&site);
    assert_eq!(state(), "established");
    inside.shutdown(Shutdown::Write).expect("half closed");
    eventually("one half closed", || state() == "half-closed");
    outside.shutdown(Shutdown::Write).expect("half closed");
    eventually("both halves closed", || state() == "closed");
    site.finish();
}
